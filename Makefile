# `make demo` and `make test` make their own environment first; nothing else is needed but
# Python 3.11, make and gcc.  Where there is a cargo too, the compiled twin of the books is built
# with it; HEAN_NATIVE=require insists on that, HEAN_NATIVE=off leaves it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
NATIVE := $(wildcard $(addprefix hean_router/native/,backend.py Cargo.* src/*.rs core/Cargo.* core/src/*.rs))
WORKERS ?= 2
# A part of the tests by folder, such as PICK=tests/oms; all of them without.
PICK ?=

.DEFAULT_GOAL := help
.PHONY: help demo test check-all lint types floors storm evidence soak bench clean lock

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(STAMP): pyproject.toml config/constraints.txt $(NATIVE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 3; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) 2>/dev/null || $(PYTHON) -m virtualenv -q $(VENV) 2>/dev/null \
	  || { rm -rf $(VENV); echo "cannot make a virtual environment: install Debian's python3-venv (or: pip install virtualenv)"; exit 3; }
	$(BIN)/python -m pip install -q --disable-pip-version-check -c config/constraints.txt -e '.[dev,speed]'
	@touch $@

demo: $(STAMP)  ## the whole router on four simulated venues: no network, no keys
	$(BIN)/hean demo

test: $(STAMP)  ## every correctness test, at most five minutes
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -m "not storm and not bench and not slow" $(PICK)

check-all: lint types floors $(STAMP)  ## what CI runs
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -m "not storm and not bench"

lint: $(STAMP)  ## format and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)  ## strict types
	$(BIN)/mypy hean_router connectors

floors: $(STAMP)  ## imports point down
	$(BIN)/lint-imports

storm: $(STAMP)  ## long runs: a thousand seeds, every crash point, 200 kills, days of faults, fuzzing
	$(BIN)/python -m pytest -q -n $(WORKERS) -m storm --timeout 7200
	$(BIN)/python -m tests.storm.evidence

evidence: $(STAMP)  ## docs/EVIDENCE.md from the last runs of storms
	$(BIN)/python -m tests.storm.evidence

soak: $(STAMP)  ## one hour as people run it: does anything rise
	$(BIN)/python -m tests.soak.soak --minutes 60

bench: $(STAMP)  ## speed, as medians and ratios of one run
	$(BIN)/python -m pytest -q -s -m bench -p no:xdist --timeout 3600

lock: $(STAMP)  ## write down the versions that are installed
	$(BIN)/python -m pip freeze --exclude-editable | grep -v ' @ ' > config/constraints.txt

clean:  ## forget the environment and every cache
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build *.egg-info
