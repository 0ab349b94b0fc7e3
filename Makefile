# Thin on purpose: each target calls one tool. `make help` lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DATA   ?=
ARGS   ?=
ONLY   ?=

.DEFAULT_GOAL := help
.PHONY: help install demo demo-edge test check bench protos reference lock pcsc-up clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 16

# What runs: the platform and the local servers. What develops: tests and checks on top.
$(VENV)/.run: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

install: $(VENV)/.dev ## Install everything for development into .venv

demo: $(VENV)/.run ## Run the city: a card's life and one day (DATA=transactions.csv.gz for real records, ARGS=--keep to stay up)
	@$(BIN)/citycard demo $(if $(DATA),--data $(DATA)) $(ARGS)

demo-edge: $(VENV)/.run ## Run a day of 1,000 terminals with faults; every certificate of completeness must be right (ARGS=--seed=2)
	@$(BIN)/citycard demo-edge $(ARGS)

# Debian's pcscd with a virtual reader, and SoftHSM2; what cannot be installed is said, and its tests are skipped.
$(VENV)/.devices: requirements-pcsc.lock $(VENV)/.dev
	@$(BIN)/python -m tools.devices install
	@touch $@

test: $(VENV)/.devices ## Run all tests (ARGS= for pytest)
	@$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.dev ## Format, lint, types, import rules, protos, stubs, reference pages, manifests
	@$(BIN)/python -m tools.check

bench: $(VENV)/.dev ## Measure beside bare baselines; writes bench/results.json (ONLY=name for one)
	@$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY)) $(ARGS)

pcsc-up: $(VENV)/.dev ## Start pcscd with a virtual reader and lay a virtual card on it (ARGS= for `citycard card virtual`)
	@$(BIN)/python -m tools.devices up $(ARGS)

protos: $(VENV)/.dev ## Generate stubs/ from protos/
	@$(BIN)/python -m tools.protos

reference: $(VENV)/.dev ## Write docs/reference/ from protos and settings
	@$(BIN)/python -m tools.reference

lock: $(VENV)/.dev ## Pin all dependencies anew, with hashes
	@$(BIN)/python -m tools.lock

clean: ## Remove what was built and run here
	@rm -rf $(VENV) var .mypy_cache .ruff_cache .pytest_cache .hypothesis
