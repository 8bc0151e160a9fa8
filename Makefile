# Everything sets itself up in .venv; a fresh machine needs only Python 3.11+, git and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
OUT    ?= demo-out

.PHONY: demo test lint format types docs peers clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[all]" --group dev
	touch $(READY)

demo: $(READY)  ## the main job on the embedded data; ends with the report's path
	$(BIN)/kintsugi demo --out $(OUT) --check

test: $(READY) lint types  ## everything but the marks slow, browser, gpu and data where they cannot run
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow"  # a thread a worker: more only wait for each other

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY)
	$(BIN)/mypy

docs: $(READY)  ## write the method catalogue anew from the cards
	$(BIN)/kintsugi methods --write docs/methods

peers: benchmarks/peers.txt  ## the libraries that benchmarks measure against, and this one, in .venv-peers
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	.venv-peers/bin/python -m pip install --quiet --constraint benchmarks/peers-constraints.txt -r benchmarks/peers.txt
	.venv-peers/bin/python -m pip install --quiet --constraint constraints.txt --editable .

clean:
	rm -rf $(VENV) .venv-peers .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
