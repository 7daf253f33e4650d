# SPDX-License-Identifier: Apache-2.0
# Sets up a virtual environment once, then runs. `make help` lists what there is.
#
#   make demo PYTHON=/path/to/python3.12    another interpreter
#   make test VENV=/path/to/folder          another virtual environment
#   make soak SOAK_READS=30000              a shorter one
#   make demo TARGET=serial:/dev/ttyUSB0    on a board (docs/bringup.md)

VENV := .venv
PYTHON :=
PYTEST_FLAGS :=
TARGET :=
SOAK_READS := 1000000
SOAK_FRAMES := 10000
SEEDS := 5
BOARDS := ulx3s-85f ecpix5-85f icebreaker
PACKAGES := arch behavioral bench fpga host rtl tb

BIN := $(VENV)/bin
# More than two workers gain nothing: Verilator builds use two processes themselves.
WORKERS := 2

.DEFAULT_GOAL := help
.PHONY: help demo boards fpga fpga-quick networks options test chips mutate prove soak lint format clean

help:
	@echo "make demo      the main job: two networks on the Verilated chip, every tensor compared"
	@echo "make networks  every shipped network: against ONNX Runtime, noisy arrays, LeNet and LSTM in RTL"
	@echo "make options   every option of a chip on both networks of the demo, against its RTL (an hour)"
	@echo "make test      all tests but the next four"
	@echo "make chips     chips with options, meshes and random programs, a model each: level fast against the RTL"
	@echo "make mutate    bugs planted in the RTL, each of which its tests must catch"
	@echo "make prove     formal proofs of the small hard parts"
	@echo "make soak      NumPy, C and RTL with every effect on, a million reads each, weight rotation, and the link (for the night)"
	@echo "make fpga      tests of boards, link and emulated arrays, through synthesis and simulation"
	@echo "make fpga-quick  one bitstream and one netlist of them"
	@echo "make boards    a bitstream for every board, five placements each (an hour or so)"
	@echo "make lint      ruff and mypy"
	@echo "make format    rewrite the sources in house style"
	@echo "make clean     remove the virtual environment and what was built here"

demo: $(if $(TARGET),$(VENV)/.fpga,$(VENV)/.demo)
	"$(BIN)/python" examples/demo.py $(if $(TARGET),--target "$(TARGET)")

# First all networks in a table, then the two largest at every level.
networks: $(VENV)/.demo
	"$(BIN)/python" examples/networks.py build/networks
	"$(BIN)/ohmtwin" verify examples/models/lenet_qdq.onnx --data build/networks/mnist_test.npz --levels golden,fast
	"$(BIN)/ohmtwin" verify examples/models/lenet_qdq.onnx --data build/networks/mnist_test.npz --samples 10
	"$(BIN)/ohmtwin" verify examples/models/vowels_lstm_step_qdq.onnx --chip tile32 --data examples/models/vowels_steps.npz --samples 20 --state h=h_out --state c=c_out

options: $(VENV)/.demo
	OMP_NUM_THREADS=1 "$(BIN)/python" examples/options.py build/options

PYTEST = OMP_NUM_THREADS=1 "$(BIN)/python" -m pytest -n $(WORKERS) --dist loadgroup $(PYTEST_FLAGS)

test: $(VENV)/.dev
	$(PYTEST) -m "not chips" --ignore=tests/mutations --ignore=tests/formal --ignore=tests/fpga

chips: $(VENV)/.dev
	$(PYTEST) -m chips tests/host

mutate: $(VENV)/.dev
	$(PYTEST) tests/mutations

prove: $(VENV)/.dev
	$(PYTEST) tests/formal

# First wide arrays in NumPy and C, then small chips in NumPy, C and RTL; then the link.
soak: $(VENV)/.dev
	OMP_NUM_THREADS=1 "$(BIN)/python" tests/behavioral/soak.py --reads $(SOAK_READS)
	OMP_NUM_THREADS=1 PYTHONPATH=tests/behavioral "$(BIN)/python" tests/host/soak_verilator.py --reads $(SOAK_READS)
	OMP_NUM_THREADS=1 "$(BIN)/python" tests/host/soak_encodings.py
	OMP_NUM_THREADS=1 "$(BIN)/python" tests/host/soak_inputs.py
	OMP_NUM_THREADS=1 PYTHONPATH=tests/behavioral "$(BIN)/python" tests/host/soak_rotation.py
	OMP_NUM_THREADS=1 "$(BIN)/python" tests/host/soak_training.py
	OMP_NUM_THREADS=1 "$(BIN)/python" tests/host/soak_link.py --frames $(SOAK_FRAMES)
	OMP_NUM_THREADS=1 "$(BIN)/python" tests/rtl/soak_noc.py --packets $(SOAK_READS)

fpga: $(VENV)/.dev
	$(PYTEST) tests/fpga

# One bitstream, and one netlist that must equal level fast: the cheapest of each.
fpga-quick: $(VENV)/.dev
	$(PYTEST) tests/fpga/test_board_build.py::test_a_bitstream tests/fpga/test_netlist.py::test_the_netlist_equals_fast

boards: $(VENV)/.dev
	for board in $(BOARDS); do \
	  "$(BIN)/ohmtwin" fpga build --board $$board -o build/boards/$$board --seeds $(SEEDS) || exit 1; \
	done

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

$(VENV)/.fpga: pyproject.toml
	@sh .ci/venv.sh "$(VENV)" demo,fpga "$(PYTHON)"
	@touch "$@" "$(VENV)/.demo"

$(VENV)/.dev: pyproject.toml
	@sh .ci/venv.sh "$(VENV)" dev "$(PYTHON)"
	@touch "$@" "$(VENV)/.demo" "$(VENV)/.fpga"
