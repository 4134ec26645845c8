# `make` says what there is. Settings: PYTHON=python3.12 · ARGS="--trials 20" (for make search) · SIMULATE="..."

SIMULATE = --train 10 --val 3 --test 2 --duration-s 4
ARGS =
BIN = .venv/bin

# Every Ray worker is a new Python: without this, where the variable is set, each compiles all of its libraries anew.
unexport PYTHONDONTWRITEBYTECODE

.DELETE_ON_ERROR:
.PHONY: help env runtime search test test-system test-cluster check docs clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: ## make .venv with everything, or bring it up to date
	@./environment.sh dev

runtime:
	@./environment.sh runtime

search: datasets/quickstart/manifest.json | runtime ## search the quickstart space; ARGS="--trials 20" and its kind are passed on
	$(BIN)/spiketune search search_spaces/quickstart.yaml --data datasets/quickstart $(ARGS)

datasets/quickstart/manifest.json: datasets/traffic | runtime
	$(BIN)/spiketune ingest datasets/traffic datasets/quickstart --labels etram8

# Needed for the ingestion only: once that is done, the recordings may be deleted.
.SECONDARY: datasets/traffic

# Simulated under another name, so that an interrupted simulation is never taken for a finished one.
datasets/traffic: | runtime
	rm -rf $@.part
	$(BIN)/spiketune simulate $@.part $(SIMULATE)
	mv $@.part $@

test: env ## run the tests that need nothing but this folder
	$(BIN)/pytest -m "not system and not cluster" -n logical --maxprocesses 4 --dist loadfile

test-system: env ## run the tests that need servers or a browser
	$(BIN)/pytest -m system

test-cluster: env ## run the tests that raise a cluster, its services or its hosts
	$(BIN)/pytest -m cluster

check: env ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: env ## build the documentation into site/, to be opened from there
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean: ## remove .venv and what tools left behind; datasets and runs stay
	rm -rf .venv build site *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
