# Every target sets itself up: `make test` on a fresh clone is enough.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.locked
ARGS ?=
# Of the tests. Three on two cores are no faster.
WORKERS ?= 2

.PHONY: help setup lock demo demo-distributed up test test-fast defects lint fmt types check kafka migrate revision \
        bench bench-full docs secrets verify-compose clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk 'BEGIN {FS = ":.*## "} {printf "  %-16s %s\n", $$1, $$2}'

setup: $(STAMP) ## make .venv with everything in it (no-op when the lock has not changed)

# uv installs in 2 s what pip installs in 40; where uv cannot be had, pip does it from the same hashed lock. Compiled once:
# where Python may write no bytecode itself, every process would begin with three seconds of compiling.
$(STAMP): requirements/dev.txt requirements/bootstrap.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { echo "SalesGrain needs Python 3.11 to 3.13 (set PYTHON=...)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@if $(BIN)/python -m pip install -q --require-hashes -r requirements/bootstrap.txt; \
	then VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install -q --compile-bytecode --require-hashes -r requirements/dev.txt; \
	else echo "uv cannot be had here: pip installs the lock (about a minute)"; $(BIN)/python -m pip install -q --require-hashes -r requirements/dev.txt; fi
	@$(BIN)/python -m pip install -q --no-deps --no-build-isolation --no-index -e .
	@touch $(STAMP)

lock: setup ## resolve requirements/*.in again into the hashed locks
	@cd requirements && for name in bootstrap runtime dev; do \
	  ../$(BIN)/uv pip compile -q $$name.in --upgrade --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" -o $$name.txt; done

demo: setup ## the main job on real input, then keep serving (ARGS="--lang en --once")
	@$(BIN)/salesgrain demo $(ARGS)

demo-distributed: setup ## the same on a local Kafka, two processes of each service behind a gateway (needs Java and Maven)
	@$(BIN)/salesgrain demo --distributed $(ARGS)

up: setup ## the embedded mode on port 8080 (ARGS="--data-dir DIR --port N")
	@$(BIN)/salesgrain up $(ARGS)

test: setup ## every test
	@$(BIN)/python -m pytest -n $(WORKERS) --no-loadscope-reorder $(ARGS)

test-fast: setup ## without the tests that start or kill whole processes
	@$(BIN)/python -m pytest -n $(WORKERS) --no-loadscope-reorder -m "not slow" $(ARGS)

defects: setup ## build deliberate defects into a copy, one at a time: each must turn a test red (some minutes)
	@$(BIN)/python -m tests.faults.defects $(ARGS)

lint: setup ## ruff, the import contracts, the compose files and Dockerfiles
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports
	@$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml deploy/docker/compose.*.yml
	@$(BIN)/hadolint deploy/docker/Dockerfile deploy/docker/stand_ins/*/Dockerfile

fmt: setup ## format and fix
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format .

types: setup ## mypy, strict
	@$(BIN)/mypy

check: lint types ## lint and types

migrate: setup ## bring the databases to their newest schema (ARGS="--data-dir DIR", or DATABASE_URL)
	@$(BIN)/salesgrain migrate $(ARGS)

kafka: setup ## a real Kafka of one broker for a developer, until Ctrl-C (ARGS="--brokers 3"; needs Java and Maven)
	@$(BIN)/python -m deploy.kafka $(ARGS)

revision: setup ## a new Alembic revision: make revision service=kpi m="what changes"
	@$(BIN)/python -m deploy.embedded.revision $(service) "$(m)"

bench: setup ## the speed of the main job as ratios to raw loops (under 2 minutes)
	@$(BIN)/python -m bench $(ARGS)

bench-full: setup ## longer rounds, and the distributed mode with 1, 2 and 4 replicas (about a quarter of an hour)
	@$(BIN)/python -m bench --full $(ARGS)

docs: setup ## generate what is told about the events: JSON Schemas, docs/events.md, docs/asyncapi.yaml
	@$(BIN)/python -m shared.events.schemas && $(BIN)/python -m shared.events.page && $(BIN)/python -m shared.events.asyncapi

secrets: setup ## write the secret files of docker-compose.yml that are missing
	@$(BIN)/python -m deploy.docker.credentials make

verify-compose: setup ## bring docker-compose.yml up for real, as far as this machine can (ARGS="--install")
	@$(BIN)/python -m deploy.docker.verify $(ARGS)

clean: ## remove the virtual environment and all caches
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
