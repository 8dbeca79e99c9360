# One command does each job, set-up included.   make up | test | check | bench | setup | lock
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: up demo setup test test-packages check bench lock clean

up: setup                      ## run the hub:  make up ARGS="--demo"
	@exec $(BIN)/almenara up $(ARGS)

demo: setup                    ## run the hub with the simulated plant
	@exec $(BIN)/almenara up --demo --data ./almenara-data/demo $(ARGS)

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@test -x $(BIN)/python || { echo "Making $(VENV) ..."; $(PYTHON) -m venv $(VENV) \
	    || { rm -rf $(VENV); echo "$(PYTHON) cannot make a venv: apt install python3-venv" >&2; exit 1; }; }
	@echo "Installing packages from requirements.lock ..."
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	@touch $@

test: setup test-packages      ## pass the tests:  make test ARGS="-k store"
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

test-packages:                 ## the real brokers and browsers that tests talk to, where we may install them
	@sh tests/install-packages.sh

check: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: setup
	@$(BIN)/python bench/spine.py $(ARGS)

lock:                          ## take the newest versions that fit pyproject.toml
	@$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --all-extras --group dev --generate-hashes \
	    --no-header --no-emit-index-url --no-emit-find-links --upgrade -q -o requirements.lock

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
