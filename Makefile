# The virtual environment is built on first use and updated when pyproject.toml changes.
PYTHON ?= python3
VENV ?= .venv
VENV_NEXT ?= .venv-next
# Further arguments of a command: make train ARGS="model=dcgan dataset=cifar10 epochs=20"
ARGS ?=
RUN ?= latest

BIN := $(VENV)/bin
READY := $(VENV)/.ready
BIN_NEXT := $(VENV_NEXT)/bin
READY_NEXT := $(VENV_NEXT)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup train test test-slow test-next soak lint format bench sweep evaluate report clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  ARGS="..." passes arguments on:  make train ARGS="model=dcgan dataset=cifar10 epochs=20"'
	@echo '  source $(VENV)/bin/activate   makes gan-train, gan-evaluate, gan-sample, ... commands of this shell'

setup: $(READY)  ## create the virtual environment, with all that training and testing need

$(READY): EXTRAS := dev
$(READY_NEXT): EXTRAS := dev,next
$(READY) $(READY_NEXT): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "gan_lab needs Python 3.11 or later: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade pip
	$(@D)/bin/python -m pip install --quiet --editable '.[$(EXTRAS)]'
	@touch $@

train: $(READY)  ## train the default GAN on embedded images: samples, curves and a score, in minutes
	$(BIN)/python -m gan_lab.train $(ARGS)

test: $(READY)  ## run the default tests, 8 to 9 minutes on two cores
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow" $(ARGS)

test-slow: $(READY)  ## run all tests, half an hour on two cores
	$(BIN)/python -m pytest -n 2 $(ARGS)

test-next: $(READY_NEXT)  ## run the tests of sweeps, configuration and commands with Hydra 1.4 and Optuna 5, in .venv-next
	$(BIN_NEXT)/python -m pytest -n 2 --dist loadfile -m "not slow" tests/sweeps tests/studies tests/config tests/commands $(ARGS)
	$(BIN_NEXT)/python -m pip install --quiet --no-deps --upgrade --target $(VENV_NEXT)/sqlalchemy2 'sqlalchemy>=2,<3'
	PYTHONPATH=$(abspath $(VENV_NEXT)/sqlalchemy2) $(BIN_NEXT)/python -m pytest -m "not slow" tests/sweeps

soak: $(READY)  ## kill trainings at 50 random moments, disturb others in nine ways, and compare their ends: half an hour, ARGS="--kills 10"
	$(BIN)/python tests/soak.py $(ARGS)

lint: $(READY)  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## fix the style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)  ## measure where the time of a training step goes
	$(BIN)/python -m gan_lab.benchmark $(ARGS)

sweep: $(READY)  ## search for the best score with Optuna
	$(BIN)/python -m gan_lab.train -m sweep=quality $(ARGS)

evaluate: $(READY)  ## score the newest run, or RUN=outputs/...
	$(BIN)/python -m gan_lab.evaluate run=$(RUN) $(ARGS)

report: $(READY)  ## rewrite the page of the newest run, or of RUN=outputs/...
	$(BIN)/python -m gan_lab.report run=$(RUN)

clean:  ## remove the environment and caches, not the runs
	rm -rf $(VENV) $(VENV_NEXT) build *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
