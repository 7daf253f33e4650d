# SPDX-License-Identifier: Apache-2.0
"""How fast a board computes: the digits network on its fabric, in cycles of its own clock.

The fabric is Verilated RTL with emulated arrays, noise on. Words come and are taken at once, so
the serial line, which is slower, does not count.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..arch.errors import InputError
from ..fpga.boards import Board
from ..fpga.crossbar.image import EmulatorConfig
from ..host.compiler.network import CompiledNetwork, compile_network
from ..host.driver import Port
from ..host.emulated import EmulatedTarget
from ..host.importer.network import load_network
from ..host.simulation import Simulation, SimulationPort
from ..host.verilator_build import build_verilog, emit_cached
from .fabric import verilated_per_s

__all__ = ["MODEL", "board_cycles", "compiled_digits", "verilator_per_s"]

MODEL = Path(__file__).parents[1] / "examples" / "models" / "digits_qdq.onnx"


def compiled_digits(board: Board) -> CompiledNetwork:
    """The network on the board's chip with rram crossbars, its last codes alone sent back.

    Raises
    ------
    InputError
        If the model is not there: it comes with the sources, not with a wheel.
    """
    if not MODEL.is_file():
        raise InputError(f"This figure needs {MODEL}; run it from a source checkout")
    return compile_network(
        load_network(MODEL), chip=board.load_chip(), device="rram", seed=1, trace=False
    )


def _images(count: int) -> NDArray[np.float32]:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise InputError(
            "This figure needs the digits of scikit-learn; run pip install 'ohmtwin[demo]'"
        ) from None
    return np.asarray(load_digits().data[:count], dtype=np.float32)


def board_cycles(board: Board, count: int) -> float:
    """Cycles of the board's clock from one image to the next, by counting.

    Raises
    ------
    ToolError
        If the model of the fabric cannot be built.
    """
    compiled = compiled_digits(board)
    config = board.config_for(compiled.chip)

    def make() -> str:
        from ..fpga.fabric import EmulatedFabric
        from ..rtl.emit import emit_verilog

        return emit_verilog(EmulatedFabric(chip=compiled.chip, config=config), "tile")

    parts = ["fabric", repr(compiled.chip.structure), repr(config)]
    verilog = emit_cached(parts, ("arch", "rtl", "fpga"), make)
    library = build_verilog(verilog, [], lambda what, done, total: None, dpi=False)
    simulation = Simulation(library)

    def open_port() -> tuple[Port, EmulatorConfig]:
        return SimulationPort(simulation), config

    with EmulatedTarget(compiled, open_port) as target:
        codes = compiled.network.quantize_input(_images(count))
        target.run(codes[:1])
        before = simulation.cycles
        target.run(codes)
        return (simulation.cycles - before) / count


def verilator_per_s(board: Board, count: int, runs: int = 5) -> float:
    """Images a second through the Verilated tile, its arrays in C: the median of the runs."""
    compiled = compiled_digits(board)
    codes = compiled.network.quantize_input(_images(count))
    return verilated_per_s(compiled, codes, runs)
