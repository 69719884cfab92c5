# Two commands are enough: `make demo` and `make test`. Each sets up by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CODE := dataflow_assets dataflow_assets_tests demo
PORT ?= 3000

.DEFAULT_GOAL := help
.PHONY: help setup demo test coverage check dev bench lock clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 10

setup: $(READY) ## Make the virtual environment with the locked versions

$(READY): requirements.lock.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; set PYTHON=python3.11")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: $(READY) ## Make samples, run the main job on them, show what came of it
	$(BIN)/python demo/run.py

test: $(READY) ## Run all tests
	$(BIN)/python -m pytest -n 2 --dist loadgroup

coverage: $(READY) ## Run all tests, half as long again, and show what they cover; below 90 % is a failure
	$(BIN)/python -m pytest -n 2 --dist loadgroup --cov --cov-report term:skip-covered --cov-fail-under 90

check: $(READY) ## Lint, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

dev: $(READY) ## Open the Dagster UI with daemon and sensors, on http://127.0.0.1:3000
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dagster dev --port $(PORT)

bench: $(READY) ## Measure, and print figures as ratios
	$(BIN)/python -m dataflow_assets_tests.benchmarks $(BENCH)

LOCK := $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-strip-extras pyproject.toml

lock: $(READY) ## Lock the newest versions that fit pyproject.toml, for work and for the image
	$(BIN)/pip install --quiet uv
	$(LOCK) --extra dev -o requirements.lock.txt
	$(LOCK) --constraint requirements.lock.txt -o requirements.runtime.lock.txt

clean: ## Remove what the demo and the UI left behind
	rm -rf data .tmp_dagster_home_*
