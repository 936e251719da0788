# The commands of this repository; `make` alone lists them. Every target makes the environment first if it is missing.
#
#   make demo PYTHON=/path/to/python      choose the interpreter that .venv is made with

SHELL := /bin/bash
.SHELLFLAGS := -e -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all bench lint format clean

VENV := .venv
VENV_PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
PYTHON_CANDIDATES := $(or $(PYTHON),python3.11 python3.12 python3.13 python3 python)
# The other files in that folder are what these share.
BENCHMARKS = $(shell grep -l "^if __name__ == '__main__'" benchmarks/*.py)

help: ## List the commands.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## Make .venv with the tested versions of everything (the other commands do it by themselves).

# The stamp is the last thing written: an installation that was interrupted starts again in an empty environment.
$(INSTALLED): $(wildcard requirements/*.txt) setup.py pyproject.toml cda_mmseg/version.py
	@if [ ! -f $@ ]; then \
	    for candidate in $(PYTHON_CANDIDATES); do \
	        if "$$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then \
	            python=$$candidate; break; \
	        fi; \
	    done; \
	    if [ -z "$${python:-}" ]; then \
	        echo "No Python 3.11 or newer with the venv module among: $(PYTHON_CANDIDATES)" >&2; \
	        echo "Install one (on Debian: python3 and python3-venv) or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python" >&2; \
	        exit 1; \
	    fi; \
	    echo "Making $(VENV) with $$("$$python" --version)."; \
	    "$$python" -m venv --clear $(VENV); \
	fi
	@rm -f $@
	@echo 'Installing the tested versions (two minutes and 1.6 GB with the CPU build of torch; the README says how to get it).'
	$(VENV_PYTHON) -m pip install --disable-pip-version-check --constraint requirements/locked.txt torch setuptools
	MMCV_WITH_OPS=0 $(VENV_PYTHON) -m pip install --disable-pip-version-check --no-deps --requirement requirements/locked.txt
	$(VENV_PYTHON) -m pip install --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(INSTALLED) ## Train source-only and adapted models on the built-in data; say where the results are.
	$(VENV_PYTHON) tools/demo.py

test: $(INSTALLED) ## Run the test suite.
	$(VENV_PYTHON) -m pytest --durations=15

test-all: $(INSTALLED) ## Run the test suite and the long campaigns; keep the output in work_dirs/test-all.log.
	@mkdir -p work_dirs
	$(VENV_PYTHON) -m pytest -m 'campaign or not campaign' -v --durations=30 2>&1 | tee work_dirs/test-all.log

bench: $(INSTALLED) ## Run every benchmark.
	@for benchmark in $(BENCHMARKS); do \
	    echo "$$benchmark"; \
	    $(VENV_PYTHON) "$$benchmark"; \
	done

lint: $(INSTALLED) ## Check lint rules and format.
	$(VENV_PYTHON) -m ruff check
	$(VENV_PYTHON) -m ruff format --check

format: $(INSTALLED) ## Apply lint fixes and format.
	$(VENV_PYTHON) -m ruff check --fix
	$(VENV_PYTHON) -m ruff format

clean: ## Remove the environment, builds and caches; data/ and work_dirs/ stay.
	rm -rf $(VENV) build dist *.egg-info cda_mmseg/.mim .pytest_cache .ruff_cache .hypothesis
	find cda_mmseg tools tests benchmarks configs -name __pycache__ -prune -exec rm -rf {} +
