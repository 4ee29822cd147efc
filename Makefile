# Everything here needs GNU make and Python 3.11 or newer; the rest goes into $(VENV).
# Another Python:  make test PYTHON=python3.13 VENV=.venv313

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=
# Files of tests, and notebooks, side by side. What a file holds stays together, since it
# shares what is compiled; slow files come first (tests/conftest.py).
WORKERS ?= -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

BIN   := $(VENV)/bin
QUIET := PIP_DISABLE_PIP_VERSION_CHECK=1

# One device, no window, and no grab of all GPU memory by a test.
TEST_ENV := JAX_PLATFORMS=cpu MPLBACKEND=agg XLA_PYTHON_CLIENT_PREALLOCATE=false

.DEFAULT_GOAL := help
.PHONY: help demo test quick check docs lab clean
# A recipe that fails leaves no stamp behind.
.DELETE_ON_ERROR:

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-6s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.core  ## distil the digits and write results/demo/
	$(BIN)/python -m isa_toolkit demo $(ARGS)

test: $(VENV)/.dev  ## run the tests, then the notebooks
	$(TEST_ENV) $(BIN)/python -m pytest $(WORKERS) $(ARGS)
	@if ls notebooks/*.ipynb >/dev/null 2>&1; then \
	  set -x; \
	  $(TEST_ENV) $(BIN)/python -m pytest $(WORKERS) -o addopts= -p no:python \
	    --nbval --nbval-current-env --nbval-sanitize-with notebooks/sanitize.cfg \
	    --nbval-cell-timeout 900 --nbval-kernel-startup-timeout 120 notebooks; \
	fi

quick: $(VENV)/.dev  ## run the tests that need no runs, browser or notebooks
	$(TEST_ENV) $(BIN)/python -m pytest $(WORKERS) -m 'not (slow or browser or gpu)' \
	  $(or $(ARGS),tests)

check: $(VENV)/.dev  ## lint, format, import layers, types, docstrings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/interrogate isa_toolkit

docs: $(VENV)/.docs  ## build the documentation into docs/_build/html
	JAX_PLATFORMS=cpu $(BIN)/python -m sphinx -W --keep-going -q docs docs/_build/html $(ARGS)

# The whole project is served, so that runs/, results/ and docs/ can be opened.
lab: $(VENV)/.notebooks  ## open JupyterLab at the first notebook
	$(BIN)/python -m jupyterlab --ServerApp.root_dir=. \
	  $$(test "$$(id -u)" -ne 0 || echo --allow-root) $(ARGS) notebooks/01_quickstart.ipynb

clean:  ## remove the environment and caches; runs/ and results/ stay
	rm -rf .venv build dist docs/_build docs/notebooks .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# --- the environment -------------------------------------------------------------
# Stamps say what is installed: the core for the demo, more for notebooks and tests.
# Whatever holds more also holds less, so the order of the targets does not matter.

$(VENV)/.core: $(VENV)/.python pyproject.toml
	$(QUIET) $(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.notebooks: $(VENV)/.python pyproject.toml
	$(QUIET) $(BIN)/python -m pip install --quiet --editable '.[notebooks]'
	@touch $@ $(VENV)/.core

$(VENV)/.docs: $(VENV)/.python pyproject.toml
	$(QUIET) $(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@ $(VENV)/.core $(VENV)/.notebooks

$(VENV)/.dev: $(VENV)/.python pyproject.toml
	$(QUIET) $(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.core $(VENV)/.notebooks $(VENV)/.docs

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "ISA Toolkit needs Python 3.11 or newer, got $$($(PYTHON) --version 2>&1) from '$(PYTHON)'. Name another: make PYTHON=python3.13 ..." >&2; \
	  exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "$(PYTHON) cannot make an environment in '$(VENV)'. On Debian or Ubuntu: apt-get install python3-venv" >&2; \
	  exit 1; }
	@$(PYTHON) -c 'import sys; print(*sys.version_info[:2], sep=".")' > $@

# An environment stays with its Python: a different one asked for by name is refused.
ifneq ($(origin PYTHON),file)
ifneq ($(wildcard $(VENV)/.python),)
ifneq ($(shell $(PYTHON) -c 'import sys; print(*sys.version_info[:2], sep=".")'),$(shell cat $(VENV)/.python))
$(error '$(VENV)' holds Python $(shell cat $(VENV)/.python), not that of '$(PYTHON)'. Name another folder (VENV=.venv313) or remove this one)
endif
endif
endif
