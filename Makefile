# make help says what there is. Everything is made inside .venv and .demo; make clean removes both.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Installed anew only when pyproject.toml has changed in content, whatever its date says.
HASH := $(shell cksum < pyproject.toml | cut -d' ' -f1)
INSTALLED := $(VENV)/.installed-$(HASH)
INSTALLED_DEV := $(VENV)/.installed-dev-$(HASH)
INSTALLED_BENCH := $(VENV)/.installed-bench-$(HASH)
CODE := pipelines tasks worker examples tests docs
MYPY_FLAGS ?=
PYTEST_FLAGS ?=
# Most tests wait for processes that they killed, or for their leases: more at a time than there are cores.
PROCESSES ?= 3
N ?= 100000
SEED ?= 1
SEEDS ?= 20
FIRST ?= 1
JOBS ?= 3

.DEFAULT_GOAL := help
.PHONY: help install dev demo test fuzz chaos bench check format docs clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "penstock needs Python 3.11 or newer, $(PYTHON) is %d.%d: make PYTHON=python3.12 ..." % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(INSTALLED_DEV): | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,readers]'
	@touch $@ $(INSTALLED)

$(INSTALLED_BENCH): | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@ $(INSTALLED)

install: $(INSTALLED) ## penstock and what it needs, into .venv
dev: $(INSTALLED_DEV) ## the same with the tools of make check and make test

.demo/corpus.jsonl: examples/make_corpus.py | $(INSTALLED)
	$(BIN)/python examples/make_corpus.py $@

.demo/model/config.json: .demo/corpus.jsonl examples/make_model.py | $(INSTALLED)
	@rm -rf .demo/dataset
	$(BIN)/python examples/make_model.py .demo/corpus.jsonl --out .demo/model

demo: $(INSTALLED) .demo/corpus.jsonl .demo/model/config.json ## corpus to dataset on this machine, in a minute or two
	@echo
	@echo "The model of this demo is small and has RANDOM weights: the dataset is real, its vectors mean nothing."
	@echo "With a RoBERTa checkpoint of your own: penstock run CORPUS --out DIR --model MODEL"
	@echo
	$(BIN)/penstock run .demo/corpus.jsonl --out .demo/dataset --model .demo/model --keep module
	@echo
	$(BIN)/python examples/show.py .demo/dataset

check: $(INSTALLED_DEV) ## style, types and the floors of the house
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy $(MYPY_FLAGS)
	$(BIN)/lint-imports

format: $(INSTALLED_DEV) ## write the code as make check wants it
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

docs: $(INSTALLED) ## write the pages that are made from the code
	$(BIN)/python docs/commands.py
	$(BIN)/python docs/pictures.py

test: $(INSTALLED_DEV) ## every test that this machine can run
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadscope $(PYTEST_FLAGS)

fuzz: $(INSTALLED_DEV) ## mutated files for every reader: N=100000 SEED=1; what it finds is kept in .fuzz
	$(BIN)/python tests/fuzz/fuzzer.py --inputs $(N) --seed $(SEED) --out .fuzz

chaos: $(INSTALLED_DEV) ## storms of kills: SEEDS=20 FIRST=1 JOBS=3, logs of failures in .chaos; poison in 100,000 documents
	PYTHONPATH=tests:. $(BIN)/python -m chaos.storm --seeds $(SEEDS) --first $(FIRST) --jobs $(JOBS) --folder .chaos --json .chaos/results.jsonl
	$(BIN)/python tests/chaos/poison_run.py

# A full run goes into docs/, the others into .bench/: BENCH_FLAGS="--quick", "--smoke"; "--add memory" adds to docs/.
bench: $(INSTALLED_BENCH) ## the engine against its peers and the hardware, up to an hour on an idle machine: BENCH_FLAGS=--quick
	PYTHONPATH=tests $(BIN)/python -m benchmarks.engine.bench --work .bench $(BENCH_FLAGS)

clean: ## remove what make has made
	rm -rf $(VENV) .demo .fuzz .chaos .bench build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
