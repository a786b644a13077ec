# mmsada_lab: `make` alone explains what there is.
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
RUNS ?= runs/demo

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install demo test lint format lab gallery clean

help:  ## show this page
	@echo "Multi-modal domain adaptation for action recognition. Start with 'make demo', then 'make lab'."
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "Variables: PYTHON=$(PYTHON) (3.11 or newer), VENV=$(VENV), JOBS=$(JOBS) test processes, RUNS=$(RUNS) for the demo."

install: $(STAMP)  ## make the virtual environment with the pinned packages (once; a few minutes)

$(STAMP): pyproject.toml constraints.txt
	@echo "Making $(VENV): the pinned packages are fetched once, a few minutes (log: $(VENV)/install.log)."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --progress-bar off -c constraints.txt -e '.[notebooks,dev]' 2>&1 \
	  | tee $(VENV)/install.log \
	  | awk '/^Collecting/ && ++n % 10 == 0 {printf "\r  found %d packages", n; fflush()} /^Installing/ {print "\n  installing them"; fflush()}' \
	  || { tail -n 20 $(VENV)/install.log; exit 1; }
	@touch $@
	@echo "Installed. '. $(BIN)/activate' gives you the 'mmsada' command."

demo: $(STAMP)  ## train three methods on two drawn kitchens and print the table (no data, no GPU)
	$(BIN)/mmsada demo --runs $(RUNS)

test: lint  ## lint, types, then every test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadscope

lint: $(STAMP)  ## ruff (rules and format, notebooks too) and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)  ## let ruff repair what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lab: $(STAMP)  ## open copies of the notebooks in JupyterLab, on this machine only
	$(BIN)/mmsada lab

gallery: $(STAMP)  ## execute every notebook and make pages of them, with an index (runs/gallery/index.html)
	$(BIN)/mmsada gallery

clean:  ## remove the virtual environment, caches and the demo's runs
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis runs/demo runs/gallery
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
