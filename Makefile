PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Two processes with one thread each: faster than one process with two, and the same on every machine.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: help install demo test test-slow golden lint format docs clean
.DEFAULT_GOAL := help

help:  ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

install: $(STAMP)  ## build .venv and install the package with everything its tests need

demo: $(STAMP)  ## train, evaluate and draw on an embedded data set (minutes on two cores)
	$(BIN)/featalign demo --out demo

test: $(STAMP)  ## run the test suite
	$(PYTEST) -n 2

test-slow: $(STAMP)  ## run the tests that take minutes
	$(BIN)/python -m pip install --quiet --editable '.[slow]'
	$(PYTEST) -m slow

golden: $(STAMP)  ## compare with the published implementations' outputs (FEATALIGN_GOLDEN)
	$(PYTEST) -m golden -ra

lint: $(STAMP)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)  ## let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)  ## build the documentation into docs/_build/html
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	$(BIN)/sphinx-build -W --keep-going -q docs docs/_build/html

clean:  ## remove everything built
	rm -rf $(VENV) build dist docs/_build .pytest_cache .mypy_cache .ruff_cache
