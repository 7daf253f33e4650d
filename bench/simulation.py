# SPDX-License-Identifier: Apache-2.0
"""Speed of the Verilated tile on one processor core: ``python -m ohmtwin.bench.simulation``.

A tile of four cores, all of them multiplying all the time with noise on, beside the same program on
the same RTL with the crossbars stubbed out: the bare clock loop. Runs of both are interleaved, so
that whatever else the machine does weighs on both alike. Times are processor times.
"""

import ctypes
import json
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arch.chip import Chip, RowSchedule
from ..arch.isa import Instruction, Opcode, Reg, Source
from ..behavioral import devices
from ..behavioral.cengine import CCrossbar
from ..behavioral.program import ArraySpec, InputLayout, OutputSegment, TileProgram
from ..behavioral.programming import program as program_array
from ..host.driver import TileDriver
from ..host.simulation import Simulation, SimulationPort, load_library
from ..host.toolchain import Progress
from ..host.verilator_build import Macro, build_model

__all__ = [
    "CHIP_16",
    "CHIP_128",
    "RunningTile",
    "busy_program",
    "rram_arrays",
    "simulation_speed",
]

CHIP_128 = Chip(name="128 rows a read", rows_per_read=128, adc_bits=9, lanes=1)
"""The whole array at once, a converter for the array: the largest reads there are."""

CHIP_16 = Chip(name="16 rows a read", rows_per_read=16, adc_bits=6, lanes=8)

_PRODUCTS = 32
"""Products a sample: moving data in and out then hardly counts."""


def busy_program(chip: Chip, products: int = _PRODUCTS) -> TileProgram:
    """All cores multiply the same vector over and over; a word a sample comes out.

    Parameters
    ----------
    chip : Chip
    products : int
        Matrix-vector products a sample and core.
    """
    cores = (1 << chip.cores) - 1
    words = chip.rows // 8
    random = np.random.default_rng(0)
    make = Instruction.make
    setup = [
        make(Opcode.SET, reg=Reg.SCHEDULE, value=int(chip.row_schedule == RowSchedule.ZERO_SKIP)),
        make(Opcode.SET, reg=Reg.ROWS_PER_READ, value=chip.rows_per_read),
        make(Opcode.SET, reg=Reg.PLANES, value=8),
        make(Opcode.SET, reg=Reg.QUANT, value=255 << 16),
    ]
    sample = [
        make(Opcode.SYNC, in_words=words, out_words=1),
        make(Opcode.LOAD, source=Source.HOST, bytes=chip.rows, cores=cores),
        make(Opcode.LOOP, body=1, count=products),
        make(Opcode.MVM, rows=chip.rows, beats=chip.beats, cores=cores),
        make(Opcode.REQ, dest=0, param=1, outputs=chip.outputs_per_beat, cores=cores),
        make(Opcode.SEND, addr=0, words=1),
    ]
    loop = make(Opcode.LOOP, body=len(sample), count=0)
    outputs = chip.outputs_per_beat
    index = np.full(8, -1)
    index[:outputs] = np.arange(outputs)
    # Mantissa 2**23 and shift 40: a factor of 2**-17.
    params = np.full(outputs, 40 << 56 | 1 << 55, dtype=np.uint64)
    return TileProgram(
        chip=chip,
        instructions=(*setup, loop, *sample),
        params=params,
        tables=np.zeros((chip.tables, 256), np.uint8),
        arrays=tuple(
            ArraySpec(
                core,
                random.integers(0, 1 << chip.cell_bits, (chip.rows, chip.cols)).astype(np.uint8),
            )
            for core in range(chip.cores)
        ),
        input=InputLayout.plain(chip.rows),
        outputs=(OutputSegment("codes", "uint8", 1, index),),
        shapes={"codes": (outputs,)},
    )


def rram_arrays(programs: Sequence[TileProgram], seed: int, lib: ctypes.CDLL) -> list[CCrossbar]:
    """Arrays of the shipped RRAM for the cores of tiles, numbered over all tiles, in a library."""
    device = devices.rram()
    return [
        CCrossbar(
            program_array(
                spec.levels,
                device,
                cell_bits=program.chip.cell_bits,
                seed=seed,
                array=number,
                adc_bits=program.chip.adc_bits,
                lanes=program.chip.lanes,
            ),
            seed,
            number,
            lib,
        )
        for tile, program in enumerate(programs)
        for spec in program.arrays
        for number in [tile * program.chip.cores + spec.core]
    ]


class RunningTile:
    """One model with the busy program, ready to be timed."""

    def __init__(self, chip: Chip, macro: Macro, progress: Progress | None) -> None:
        path = build_model(chip, macro, progress)
        lib = load_library(path)
        program = busy_program(chip)
        arrays = rram_arrays([program], 1, lib)
        self._simulation = Simulation(path, arrays)
        self._driver = TileDriver(SimulationPort(self._simulation), program)
        codes = np.random.default_rng(1).integers(0, 256, (2, chip.rows)).astype(np.uint8)
        self._words = program.pack_inputs(codes)
        self.run(0.0)

    def run(self, seconds: float) -> float:
        """Run for about so long; cycles a second of processor time."""
        begin = time.process_time()
        cycles = self._simulation.cycles
        while True:
            self._driver.run(self._words)
            spent = time.process_time() - begin
            if spent >= seconds and spent > 0:
                return (self._simulation.cycles - cycles) / spent

    @property
    def adc_busy(self) -> float:
        return self._driver.counters().adc_busy

    def close(self) -> None:
        self._driver.close()


def simulation_speed(
    chip: Chip, runs: int = 9, seconds: float = 0.3, progress: Progress | None = None
) -> dict[str, Any]:
    """Time the model with its noisy crossbars and with the stub, in turn.

    Parameters
    ----------
    chip : Chip
    runs : int
        Of each model.
    seconds : float
        Length of a run, processor time.
    progress : callable, optional
        Told how a build goes, if there is one to do.

    Returns
    -------
    dict
        ``cycles_per_s`` and ``stub_cycles_per_s``, medians; ``ratio_to_stub``, the median of the
        ratios of neighbouring runs; ``adc_busy``, a check that the cores were kept busy.
    """
    dpi = RunningTile(chip, "dpi", progress)
    stub = RunningTile(chip, "stub", progress)
    pairs = [(dpi.run(seconds), stub.run(seconds)) for _ in range(runs)]
    found = {
        "chip": chip.name,
        "lanes": chip.lanes,
        "rows_per_read": chip.rows_per_read,
        "cores": chip.cores,
        "cycles_per_s": statistics.median(a for a, _ in pairs),
        "stub_cycles_per_s": statistics.median(b for _, b in pairs),
        "ratio_to_stub": statistics.median(a / b for a, b in pairs),
        "adc_busy": dpi.adc_busy,
        "runs": runs,
    }
    dpi.close()
    stub.close()
    return found


def main(chips: Sequence[Chip] = (CHIP_128, CHIP_128.with_(lanes=8), CHIP_16)) -> None:
    """Print the figures of each chip as a line of JSON."""
    for chip in chips:
        sys.stdout.write(json.dumps(simulation_speed(chip)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
