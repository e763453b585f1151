# Two commands are enough: `make up` deploys the local stack, `make test` runs every test that this machine can run.
# Each target sets up what it needs. STACK=dev or STACK=prod choose an AWS stack; BASE=origin/main has `make preview`
# show the change in cost against that revision.

STACK ?= local
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup up down preview test lint bench mutants lock clean

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make the virtual environment in .venv, with .venv/bin/gpuslice

$(READY): requirements.txt requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "gpu-slicing needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@echo "setting up $(VENV) (a minute or two, once)" >&2
	@$(PYTHON) -m venv $(VENV) || { echo "could not make $(VENV); on Debian: apt-get install python3-venv" >&2; exit 2; }
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements.txt -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

up: $(READY) ## deploy the stack: `local` into a sandbox on this machine, others with the Pulumi CLI
	@$(BIN)/gpuslice up --stack $(STACK)

down: $(READY) ## take the stack away again
	@$(BIN)/gpuslice down --stack $(STACK)

preview: $(READY) ## show what the stack would make, what it slices and what it costs
	@$(BIN)/gpuslice preview --stack $(STACK) --engine auto $(if $(BASE),--base "$(BASE)")

test: $(READY) ## run every test that this machine can run
	@$(BIN)/python -m pytest

lint: $(READY) ## formatting, lint and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

bench: $(READY) ## measure speed, as ratios within one run
	@$(BIN)/python -m benchmarks

mutants: $(READY) ## break the policies and the program on purpose, and list what nothing notices (20 minutes)
	@$(BIN)/python -m benchmarks.mutants

lock: $(READY) ## pin every requirements*.in anew, with hashes
	@$(BIN)/python -m pip install --quiet uv==0.13.9
	@for name in requirements requirements-dev requirements-scanners; do \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-emit-find-links --custom-compile-command "make lock" $$name.in -o $$name.txt; done

clean: ## remove what the other targets made in this folder
	@if [ -x $(BIN)/gpuslice ]; then $(BIN)/gpuslice down --stack local; fi
	@rm -rf $(VENV) .sandbox .pytest_cache .mypy_cache .ruff_cache .hypothesis
