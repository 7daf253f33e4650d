# SPDX-License-Identifier: Apache-2.0
"""A board's fabric, Verilated, with its serial line on a pseudo-terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..arch.chip import Chip
from ..fpga.crossbar.image import EmulatorConfig
from .link.pty import PtyBoard
from .serial_address import SerialAddress
from .simulation import Simulation
from .toolchain import Progress
from .verilator_build import build_verilog, emit_cached

__all__ = ["SIMULATED_BAUD", "BoardSimulation", "build_board", "simulated_board"]

_DIVIDER = 4
SIMULATED_BAUD = 100_000
"""The rate that a simulated board is to be opened with: about what a simulation reaches at
``_DIVIDER`` cycles a bit. Only the host's pacing depends on it."""

_STEP = 8192
"""Cycles between two looks at the line."""

_IDLE_STEP = 64

_IDLE_AFTER = 400_000
"""Cycles without a byte after which the simulation slows down to spare the processor: longer than
the board waits before it sends something again."""


def build_board(
    chip: Chip,
    config: EmulatorConfig,
    progress: Progress | None = None,
    *,
    array_only: bool = False,
    host_arrays: bool = False,
) -> Path:
    """Build the Verilated fabric of a board, unless the cache has it.

    It is the fabric below the PLL, at ``_DIVIDER`` clock cycles a bit of its line; it says of
    itself that its clock is as fast as that makes it.

    Raises
    ------
    ToolError
        If a tool is missing or fails.
    """
    tell = progress or (lambda what, done, total: None)
    tell("elaborating the board", 0, 1)

    def make() -> str:
        from ..fpga.simtop import LineSimulation
        from ..fpga.top import BoardFabric
        from ..rtl.emit import emit_verilog

        board = BoardFabric(
            chip=chip,
            clock_hz=_DIVIDER * SIMULATED_BAUD,
            baud=SIMULATED_BAUD,
            config=config,
            array_only=array_only,
            host_arrays=host_arrays,
        )
        return emit_verilog(LineSimulation(board=board), "tile")

    parts = ["board", repr(chip.structure), repr(config), f"array_only={array_only}"]
    parts.append(f"host_arrays={host_arrays}")
    parts += [str(_DIVIDER), str(SIMULATED_BAUD)]
    verilog = emit_cached(parts, ("arch", "rtl", "fpga"), make)
    return build_verilog(verilog, [], tell, dpi=False)


class BoardSimulation:
    """A Verilated board as the far end of a line (:class:`~.link.line.End`), switched on.

    Parameters
    ----------
    library : Path
        From :func:`build_board`.

    Raises
    ------
    SimulationError
        If the model does not start.
    """

    def __init__(self, library: Path) -> None:
        self._simulation = Simulation(library)
        self._quiet = 0  # cycles since the last byte either way

    @property
    def cycles(self) -> int:
        """Clock cycles since it was switched on."""
        return self._simulation.cycles

    def receive(self, data: bytes, now: float) -> None:
        """Bytes come to its pin one after another, however fast they are given."""
        self._simulation.push(np.frombuffer(data, np.uint8).astype(np.uint64))
        self._quiet = 0

    def transmit(self, now: float) -> bytes:
        """Run on for a while; what its pin has sent."""
        step = _STEP if self._quiet < _IDLE_AFTER else _IDLE_STEP
        self._simulation.step(step)
        data = self._simulation.pop().astype(np.uint8).tobytes()
        self._quiet = 0 if data else self._quiet + step
        return data

    def close(self) -> None:
        """Switch it off; closing twice is harmless."""
        self._simulation.close()


@contextmanager
def simulated_board(library: Path) -> Iterator[SerialAddress]:
    """A simulated board on a pseudo-terminal, for as long as the block lasts.

    Parameters
    ----------
    library : Path
        From :func:`build_board`.

    Raises
    ------
    ToolError
        If the system has no pseudo-terminal left, or the model does not start.
    """
    simulation = BoardSimulation(library)
    try:
        with PtyBoard(simulation) as line:
            yield SerialAddress(line.device, SIMULATED_BAUD)
    finally:
        simulation.close()
