# make demo    set up, then run the main job on an example
# make test    set up, then lint and test on two cores, offline, on any machine with Python 3.11
# make bench   set up, then measure speed and memory beside other systems, in 20 minutes
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready

.PHONY: demo test lint format bench clean

demo: $(READY)
	$(BIN)/khulasa run examples/articles.jsonl --report

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/pytest --numprocesses 2 --dist loadfile

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/pyright

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) build/bench
	$(BIN)/python benchmarks/bench.py --write
	$(BIN)/python benchmarks/rouge_speed.py

build/bench: requirements-bench.txt
	$(BIN)/pip install --quiet --no-deps --upgrade --target $@ --requirement $<
	touch $@

$(READY): pyproject.toml requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --requirement requirements-dev.txt
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
