# make demo   the main job on one machine: prepare, submit, train on MPI ranks, die, resume
# make test   all tests
# Both make .venv on first use. PYTHON names another interpreter (3.10 or newer).

PYTHON ?= python3
VENV ?= .venv
# Test workers. Tests that share a cluster or time ranks of their own stay together on one, and
# time what they do: more workers than cores make them late.
WORKERS ?= 2
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint bench full chaos clean

demo: $(STAMP)
	$(BIN)/python demo/demo.py

test: $(STAMP)
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadgroup

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python benchmarks/cli_startup.py
	$(BIN)/python benchmarks/submit_latency.py --lab
	$(BIN)/python benchmarks/train_cpu.py

# What `make test` has no time for: many more random kills, and tests that take minutes each.
full: $(STAMP)
	$(BIN)/python -m pytest -q --full --kills 10

# Runs under random faults; SEEDS of them. Wrong results must be 0.
SEEDS ?= 10
chaos: $(STAMP)
	$(BIN)/python tests/faults/chaos.py --seeds $(SEEDS)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) demo/make_venv.py $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) demo-out build *.egg-info
