# SPDX-License-Identifier: Apache-2.0
"""A tile under cocotb, both host streams stalling: every word and counter of the fast machine."""

from pathlib import Path

import numpy as np
import pytest
from tile_networks import TILE_CHIP, samples, small_network

from ohmtwin.arch.errors import ToolError
from ohmtwin.arch.registers import CoreCounter, TileRegister
from ohmtwin.behavioral.cengine import CCrossbar
from ohmtwin.behavioral.machine import Counters, Machine
from ohmtwin.host.compiler.network import CompiledNetwork
from ohmtwin.host.verilator_build import emit_chip
from ohmtwin.rtl.tile import Tile
from ohmtwin.tb import runner
from ohmtwin.tb.dpi import COCOTB_MACRO
from ohmtwin.tb.plain import plain_verilog
from ohmtwin.tb.scoreboard import compare

# What they share is built in one worker.
pytestmark = pytest.mark.xdist_group("tile bench")

FIRST = TileRegister.CYCLES
# What the speed of the host decides, and nothing else.
HOST = (TileRegister.HOST_IN_STALLS, TileRegister.HOST_OUT_STALLS)


def build(simulator: str) -> runner.Build:
    try:
        runner.find_simulator(simulator)
    except ToolError as error:
        pytest.skip(str(error))
    if simulator == runner.ICARUS:
        text = plain_verilog(Tile(chip=TILE_CHIP), "tile")
    else:
        text = emit_chip(TILE_CHIP)
    return runner.build(
        simulator,
        [COCOTB_MACRO],
        "tile",
        verilog={"tile.sv": text},
        public={"tile": ["clk", "rst", "i__*", "o__*"]},
    )


def fast(compiled: CompiledNetwork, inputs: np.ndarray) -> tuple[np.ndarray, Counters]:
    arrays = [
        CCrossbar(image, compiled.seed, spec.core)
        for spec, image in zip(compiled.program.arrays, compiled.images, strict=True)
    ]
    machine = Machine(compiled.program, arrays)
    words = machine.run(inputs)
    return words, machine.counters


def run_tile(
    simulator: str,
    compiled: CompiledNetwork,
    folder: Path,
    *,
    count: int,
    stalls: str,
    macro_stalls: str = "never",
    seed: int = 1,
) -> dict[str, np.ndarray]:
    """Run on the RTL; output words and counters must be those of the fast machine."""
    program = compiled.program
    inputs = program.pack_inputs(samples(count))
    words, counters = fast(compiled, inputs)
    images = compiled.images
    assert [spec.core for spec in program.arrays] == list(range(TILE_CHIP.cores))
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / "setup.npz",
        program=program.encoded,
        params=program.params,
        tables=program.table_words,
        inputs=inputs,
        outputs=words.reshape(-1),
        g=np.array([image.g for image in images]),
        ref=np.array([image.ref for image in images]),
        q=np.array([image.q for image in images if image.q is not None]),
        v=np.array([(image.v0, image.v1) for image in images]),
    )
    runner.run(
        build(simulator),
        "tile_bench",
        folder,
        seed=seed,
        parameters={
            "stalls": stalls,
            "macro_stalls": macro_stalls,
            "array_seed": compiled.seed,
            "adc_bits": TILE_CHIP.adc_bits,
            "lanes": TILE_CHIP.lanes,
        },
    )
    with np.load(folder / "found.npz") as file:
        found = dict(file)
    reads = [
        (counters.core_reads[i], counters.core_beats[i], counters.core_active[i], stalled)
        for i, stalled in enumerate(counters.core_adc_stalls)
    ]
    compare("reads served", np.array(counters.core_reads), found["served"], ("core",))
    known = len(CoreCounter) if macro_stalls == "never" else 2
    compare(
        "counters of the cores",
        np.array(reads)[:, :known],
        found["cores"][:, :known],
        ("core", "counter"),
    )
    assert found["tile"][TileRegister.INSTRUCTIONS - FIRST] == counters.instructions
    if macro_stalls == "never":
        assert found["tile"][TileRegister.CYCLES - FIRST] == counters.cycles
        assert found["tile"][TileRegister.CORE_STALLS - FIRST] == counters.core_stalls
        assert found["tile"][TileRegister.VECTOR_STALLS - FIRST] == counters.vector_stalls
    return found


@pytest.mark.parametrize(
    ("simulator", "noisy", "zero_skip", "stalls"),
    [
        ("verilator", True, True, "often"),
        ("verilator", True, False, "bursts"),
        ("verilator", False, True, "never"),
        ("icarus", True, True, "sometimes"),
    ],
)
def test_tile_equals_the_fast_machine(
    simulator: str, noisy: bool, zero_skip: bool, stalls: str, tmp_path: Path
) -> None:
    compiled = small_network(noisy=noisy, zero_skip=zero_skip)
    run_tile(simulator, compiled, tmp_path, count=4, stalls=stalls)


def test_the_speed_of_the_host_moves_no_counter(tmp_path: Path) -> None:
    """SYNC takes what waits for the host out of CYCLES; only the stall counters show it."""
    compiled = small_network(noisy=True)
    quick = run_tile("verilator", compiled, tmp_path / "quick", count=3, stalls="never")
    slow = run_tile("verilator", compiled, tmp_path / "slow", count=3, stalls="often", seed=9)
    waits = [int(register) - FIRST for register in HOST]
    assert (slow["tile"][waits] != quick["tile"][waits]).any()
    compare(
        "tile counters",
        np.delete(quick["tile"], waits),
        np.delete(slow["tile"], waits),
        ("register",),
    )
    compare("core counters", quick["cores"], slow["cores"], ("core", "counter"))


def test_a_slow_array_changes_no_word(tmp_path: Path) -> None:
    compiled = small_network(noisy=True)
    run_tile("verilator", compiled, tmp_path, count=3, stalls="sometimes", macro_stalls="often")
