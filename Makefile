# The commands of this repository; `make` alone lists them. Every target makes the environment first if it is missing.
#
#   make demo PYTHON=/path/to/python      choose the interpreter that .venv is made with

SHELL := /bin/bash
.SHELLFLAGS := -e -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all bench docs docs-links lint format clean

VENV := .venv
VENV_PYTHON := $(VENV)/bin/python
DOCS_VENV := .venv-docs
SPHINX := $(DOCS_VENV)/bin/python -m sphinx --fail-on-warning --keep-going -c docs . work_dirs/docs
INSTALLED := $(VENV)/.installed
INSTALLING := $(VENV)/.installing
PIP_INSTALL := $(VENV_PYTHON) -m pip install --disable-pip-version-check
CHECK_VERSION := sys.exit(sys.version_info < (3, 11))
PYTHON_CANDIDATES := $(or $(PYTHON),python3.11 python3.12 python3.13 python3 python)

help: ## List the commands.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## Make .venv with the tested versions of everything (the other commands do it by themselves).

# An environment that somebody made before, perhaps with a torch of their choice in it, is kept and completed; one whose
# installation was interrupted is made anew. The stamp is the last thing written.
$(INSTALLED): $(wildcard requirements/*.txt) setup.py pyproject.toml cda_mmseg/version.py
	@if [ -e $(INSTALLING) ] || ! $(VENV_PYTHON) -c "import pip, sys; $(CHECK_VERSION)" 2> /dev/null; then \
	    for candidate in $(PYTHON_CANDIDATES); do \
	        if "$$candidate" -c "import ensurepip, sys, venv; $(CHECK_VERSION)" 2> /dev/null; then \
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
	@touch $(INSTALLING)
	@echo 'Installing the tested versions: some minutes; 1.5 GB on disk, or 5.3 GB with CUDA (the README says how to do without).'
	$(PIP_INSTALL) --constraint requirements/locked.txt torch setuptools
	MMCV_WITH_OPS=0 $(PIP_INSTALL) --no-deps --requirement requirements/locked.txt
	$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@rm $(INSTALLING)
	@touch $@

demo: $(INSTALLED) ## Train source-only and adapted models on the built-in data; say where the results are.
	$(VENV_PYTHON) tools/demo.py

test: $(INSTALLED) ## Run the test suite.
	$(VENV_PYTHON) -m pytest --numprocesses 2 --dist worksteal --durations=15

test-all: $(INSTALLED) ## Run the test suite and the long campaigns; keep the output in work_dirs/test-all.log.
	@mkdir -p work_dirs
	$(VENV_PYTHON) -m pytest -m 'campaign or not campaign' -v --durations=30 2>&1 | tee work_dirs/test-all.log

bench: $(INSTALLED) ## Run every benchmark on an idle machine; write docs/results/benchmarks_cpu.md.
	$(VENV_PYTHON) -m benchmarks

# Documents need none of the packages that training needs.
$(DOCS_VENV)/.installed: requirements/locked_docs.txt
	@for candidate in $(PYTHON_CANDIDATES); do \
	    if "$$candidate" -c "import ensurepip, sys, venv; $(CHECK_VERSION)" 2> /dev/null; then python=$$candidate; break; fi; \
	done; \
	"$${python:?No Python 3.11 or newer with the venv module}" -m venv --clear $(DOCS_VENV)
	$(DOCS_VENV)/bin/python -m pip install --disable-pip-version-check --no-deps --requirement requirements/locked_docs.txt
	@touch $@

docs: $(DOCS_VENV)/.installed ## Build the pages into work_dirs/docs; a link that leads to no page or file is an error.
	$(SPHINX)/html -b html

docs-links: $(DOCS_VENV)/.installed ## Ask every address that the pages name, over the network.
	$(SPHINX)/links -b linkcheck

lint: $(INSTALLED) ## Check lint rules, format, and that imports go down only.
	$(VENV_PYTHON) -m ruff check
	$(VENV_PYTHON) -m ruff format --check
	$(VENV)/bin/lint-imports --no-cache

format: $(INSTALLED) ## Apply lint fixes and format.
	$(VENV_PYTHON) -m ruff check --fix
	$(VENV_PYTHON) -m ruff format

clean: ## Remove the environment, builds and caches; data/ and work_dirs/ stay.
	rm -rf $(VENV) $(DOCS_VENV) build dist *.egg-info cda_mmseg/.mim .pytest_cache .ruff_cache .hypothesis
	find cda_mmseg tools tests benchmarks configs -name __pycache__ -prune -exec rm -rf {} +
