# make demo: restore a real clip. make test: all checks. Each sets up .venv first, in which everything stays.

SHELL := /bin/sh
PYTHONS := python3.14 python3.13 python3.12 python3 python
BIN := .venv/bin

# vspipe finds Python through a configuration file: in .venv, not in the user's home
export XDG_CONFIG_HOME := $(CURDIR)/.venv/config
# as `import vsedvr` sets it, for tests that load torch first
export OMP_WAIT_POLICY := PASSIVE

.PHONY: demo test lint bench gpu-check

demo: .venv/ready
	$(BIN)/python examples/demo.py

test: lint
	$(BIN)/pytest --numprocesses 2 --dist worksteal

lint: .venv/ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: .venv/ready
	$(BIN)/pip install --quiet --editable ".[bench]"
	$(BIN)/python -m benchmarks.cpu.race
	$(BIN)/python -m benchmarks.cpu.filter

gpu-check: .venv/ready
	@cuda=$$($(BIN)/python -c 'import torch; print(torch.version.cuda.split(".")[0] if torch.cuda.is_available() else "")'); \
	if [ -n "$$cuda" ]; then $(BIN)/pip install --quiet --editable ".[cuda$$cuda]"; fi; \
	$(BIN)/python -m benchmarks.gpu.check

# Candidates are run, not just found: a shim may be there for a Python that is not.
.venv/ready: pyproject.toml setup.cfg
	@set -e; \
	for candidate in $(PYTHONS); do \
	    if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	    echo "No Python 3.12 or newer found (tried: $(PYTHONS)). Get one from https://www.python.org/downloads," >&2; \
	    echo "or on Debian and Ubuntu: apt install python3.12-venv libpython3.12" >&2; \
	    exit 1; \
	fi; \
	[ -d .venv ] || $$python -m venv .venv || { \
	    rm -rf .venv; \
	    echo "$$python cannot make virtual environments; on Debian and Ubuntu: apt install python3.12-venv" >&2; \
	    exit 1; \
	}
	$(BIN)/pip install --quiet --editable ".[dev]"
	$(BIN)/vapoursynth config
	@touch $@
