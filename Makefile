# The virtual environment is built on first use, and again only when pyproject.toml has changed.
PYTHON ?= python3
VENV ?= .venv
# more arguments: make train ARGS="model=dcgan dataset=cifar10 epochs=20"
ARGS ?=
RUN ?= latest

BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup train test test-slow lint format bench sweep evaluate report clean

help:  ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY)  ## the virtual environment, with everything that training and testing need

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "gan_lab needs Python 3.11 or later; name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

train: $(READY)  ## the main job: a GAN on embedded garments, to pictures, curves and a score
	$(BIN)/python -m gan_lab.train $(ARGS)

test: $(READY)  ## the default suite, minutes
	$(BIN)/python -m pytest -n 2 -m "not slow" $(ARGS)

test-slow: $(READY)  ## the whole suite, half an hour on two cores
	$(BIN)/python -m pytest -n 2 $(ARGS)

lint: $(READY)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## put style right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)  ## where the time of a step goes
	$(BIN)/python -m gan_lab.benchmark $(ARGS)

sweep: $(READY)  ## Optuna looks for the best score
	$(BIN)/python -m gan_lab.train -m sweep=quality $(ARGS)

evaluate: $(READY)  ## score the newest run, or RUN=outputs/...
	$(BIN)/python -m gan_lab.evaluate run=$(RUN) $(ARGS)

report: $(READY)  ## write the page of the newest run anew, or of RUN=outputs/...
	$(BIN)/python -m gan_lab.report run=$(RUN)

clean:  ## remove the environment and caches; runs stay
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
