# SPDX-License-Identifier: Apache-2.0
# Sets up a virtual environment once, then runs. `make help` lists what there is.
#
#   make demo PYTHON=/path/to/python3.12    another interpreter
#   make test VENV=/path/to/folder          another virtual environment
#   make soak SOAK_READS=30000              a shorter one

VENV := .venv
PYTHON :=
PYTEST_FLAGS :=
SOAK_READS := 1000000
PACKAGES := arch behavioral bench fpga host rtl tb

BIN := $(VENV)/bin
# More than two workers gain nothing: Verilator builds use two processes themselves.
WORKERS := 2

.DEFAULT_GOAL := help
.PHONY: help demo test mutate prove soak lint format clean

help:
	@echo "make demo    the main job: two networks on the Verilated chip, every tensor compared"
	@echo "make test    all tests but the next two"
	@echo "make mutate  bugs planted in the RTL, each of which its tests must catch"
	@echo "make prove   formal proofs of the small hard parts"
	@echo "make soak    NumPy, C and RTL with every effect on, a million reads each (for the night)"
	@echo "make lint    ruff and mypy"
	@echo "make format  rewrite the sources in house style"
	@echo "make clean   remove the virtual environment and what was built here"

demo: $(VENV)/.demo
	"$(BIN)/python" examples/demo.py

PYTEST = OMP_NUM_THREADS=1 "$(BIN)/python" -m pytest -n $(WORKERS) --dist loadgroup $(PYTEST_FLAGS)

test: $(VENV)/.dev
	$(PYTEST) --ignore=tests/mutations --ignore=tests/formal

mutate: $(VENV)/.dev
	$(PYTEST) tests/mutations

prove: $(VENV)/.dev
	$(PYTEST) tests/formal

# First wide arrays in NumPy and C, then small chips in NumPy, C and RTL.
soak: $(VENV)/.dev
	OMP_NUM_THREADS=1 "$(BIN)/python" tests/behavioral/soak.py --reads $(SOAK_READS)
	OMP_NUM_THREADS=1 PYTHONPATH=tests/behavioral "$(BIN)/python" tests/host/soak_verilator.py --reads $(SOAK_READS)

lint: $(VENV)/.dev
	"$(BIN)/python" -m ruff check .
	"$(BIN)/python" -m ruff format --check .
	@# mypy does not follow an editable install: give it the package by its name.
	@mkdir -p "$(VENV)/typing" && ln -sfn "$$PWD" "$(VENV)/typing/ohmtwin"
	MYPYPATH="$(VENV)/typing" "$(BIN)/python" -m mypy -m ohmtwin $(PACKAGES:%=-p ohmtwin.%)

format: $(VENV)/.dev
	"$(BIN)/python" -m ruff check --fix .
	"$(BIN)/python" -m ruff format .

clean:
	rm -rf "$(VENV)" build

# A stamp is as old as its install, so a changed pyproject.toml installs again.
$(VENV)/.demo: pyproject.toml
	@sh .ci/venv.sh "$(VENV)" demo "$(PYTHON)"
	@touch "$@"

$(VENV)/.dev: pyproject.toml
	@sh .ci/venv.sh "$(VENV)" dev "$(PYTHON)"
	@touch "$@" "$(VENV)/.demo"
