# SPDX-License-Identifier: Apache-2.0
"""Digital faults: the bit that is named flips when it is due, and what it did is told."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graph_cases import Maker
from networks import SMALL_CHIP, random_codes, random_network
from numpy.typing import NDArray
from typer.testing import CliRunner

from ohmtwin.arch.errors import InputError
from ohmtwin.arch.isa import Opcode
from ohmtwin.behavioral.machine import Machine
from ohmtwin.host import flip_campaign
from ohmtwin.host.cli import app
from ohmtwin.host.compiler.network import CompiledNetwork, compile_network
from ohmtwin.host.driver import (
    LinkError,
    ProtocolError,
    SilentLinkError,
    TileFaultError,
    TileTimeoutError,
)
from ohmtwin.host.flip_campaign import Run, inject, run_fast, run_rtl
from ohmtwin.host.flip_report import FaultReport, FlipResult, Outcome
from ohmtwin.host.flips import Flip, Space, check_places, flip_space, pick_flips
from ohmtwin.host.memories import PLACES, Memory, find_memories, mark_memories
from ohmtwin.host.simulation import Simulation, SimulationError
from ohmtwin.host.targets import VerilatorTarget, chip_arrays, connect
from ohmtwin.host.tiles import FastTile, input_words
from ohmtwin.host.verilator_build import build_model, emit_chip

# One model with faults serves all.
pytestmark = pytest.mark.xdist_group("flips")

CHIP = SMALL_CHIP
NETWORK = random_network(1, (21, 7, 5), table_after=0)
MODELS = Path(__file__).parents[2] / "examples" / "models"


def compiled(device: str = "ideal", trace: bool = False) -> CompiledNetwork:
    return compile_network(NETWORK, chip=CHIP, device=device, seed=3, trace=trace)


def padded() -> CompiledNetwork:
    """A network whose data memory holds more than the samples: margins of padded images."""
    m = Maker(12)
    a = m.conv(m.input(1, 5, 5), (4, 1, 3, 3), pads=(1, 1, 1, 1), pad_code=7)
    net = m.network(m.conv(a, (3, 4, 3, 3), pads=(1, 1, 1, 1), pad_code=90))
    return compile_network(net, chip=CHIP, device="rram", seed=5)


def pictures(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(4).integers(0, 256, (count, 1, 5, 5)).astype(np.uint8)


@pytest.fixture(scope="module")
def library() -> Path:
    return build_model(CHIP, faults=True)


@pytest.fixture(scope="module")
def memories() -> list[Memory]:
    return find_memories(emit_chip(CHIP))


def test_memories_are_found_by_kind(memories: list[Memory]) -> None:
    found = {(m.path, m.width, m.words) for m in memories}
    assert ("data", 64, CHIP.data_words) in found
    assert ("controller.sequencer.program", 64, CHIP.program_words) in found
    assert ("core3.combine.sums", 32 * CHIP.outputs_per_beat, CHIP.acc_words) in found
    assert {("elements.bank0", 32, 32), ("elements.bank7", 32, 32)} <= found
    assert {m.place for m in memories} == set(PLACES)
    for core in range(CHIP.cores):
        rows = [m for m in memories if m.path.startswith(f"core{core}.registers.word")]
        assert sum(m.width for m in rows) == 8 * CHIP.rows


def test_only_a_build_with_faults_is_changed() -> None:
    verilog = emit_chip(CHIP)
    assert "public_flat_rw" not in verilog
    marked = mark_memories(verilog)
    assert marked.count("public_flat_rw") == len(find_memories(verilog))
    assert marked.replace(" /*verilator public_flat_rw*/", "") == verilog
    with (
        Simulation(path := build_model(CHIP), chip_arrays(compiled(), path)) as simulation,
        pytest.raises(SimulationError, match=r"no bit 0 of word 0 of .*data.* without faults=True"),
    ):
        simulation.flip("TOP.ohmtwin_top.tile", "data", 0, 0)


def test_the_bit_that_is_named_flips_when_it_is_due(library: Path, memories: list[Memory]) -> None:
    with Simulation(library, chip_arrays(compiled(), library)) as simulation:
        for memory in memories:
            word, bit = memory.words - 1, memory.width - 1
            place = (memory.scope, memory.name)

            def bits(place: tuple[str, str] = place, memory: Memory = memory) -> list[int]:
                ends = {0, memory.words - 1}
                return [simulation.bit(*place, w, b) for w in ends for b in range(memory.width)]

            before = bits()
            simulation.flip(*place, word, bit, 2)
            simulation.step(2)
            assert bits() == before
            simulation.step(1)
            after = bits()
            assert sum(a != b for a, b in zip(before, after, strict=True)) == 1, memory
            simulation.flip(*place, word, bit)
            simulation.step(1)
            assert bits() == before
            for wrong in ((memory.words, 0), (0, memory.width)):
                with pytest.raises(SimulationError, match="There is no bit"):
                    simulation.flip(*place, *wrong)


def test_a_build_with_faults_equals_fast(library: Path) -> None:
    one, codes = compiled("rram", trace=True), random_codes(1, 10, 21)
    with VerilatorTarget(one, library=library) as target, connect("fast", one) as fast:
        found, want = target.run(codes), fast.run(codes)
        assert target.counters == fast.counters
        # Memories may change under it: both edges are evaluated, and what reads them.
        assert target.simulation.evaluations_per_cycle == 2
    for name, tensor in want.items():
        np.testing.assert_array_equal(found[name], tensor)


def find(memories: list[Memory], path: str) -> Memory:
    return next(memory for memory in memories if memory.path == path)


def words_of(one: CompiledNetwork, samples: int) -> NDArray[np.uint64]:
    return input_words(one, {"t0": random_codes(2, samples, 21)})


def test_a_flip_in_an_instruction_is_met_by_its_decoder(
    library: Path, memories: list[Memory]
) -> None:
    """The opcode of the first instruction becomes one that does not exist."""
    one = compiled()
    at = next(k for k, i in enumerate(one.program.instructions) if i.op is Opcode.MVM)
    word = int(one.program.encoded[at])
    # MVM is 9 of 12: with bit 2 of the opcode it is 13.
    bit = next(b for b in range(64) if _opcode(word ^ 1 << b) == 13)
    flip = Flip("program", find(memories, "controller.sequencer.program"), at, bit, None, 0)
    with pytest.raises(TileFaultError, match=f"stopped at instruction {at} "):
        run_rtl(one, library, words_of(one, 2), flip)


def _opcode(word: int) -> int:
    from ohmtwin.arch.isa import OPCODE

    return word >> OPCODE.lsb & (1 << OPCODE.width) - 1


def test_a_flip_in_an_accumulator_shows_in_its_sum(library: Path, memories: list[Memory]) -> None:
    """In some cycles of a sample a bit of a sum counts: the sum is then exactly 2**20 off."""
    one = compiled(trace=True)
    words = words_of(one, 1)
    good = run_rtl(one, library, words)
    core = one.program.arrays[0].core
    memory = find(memories, f"core{core}.combine.sums")
    seen = set()
    for cycle in range(0, good.cycles, 3):
        flip = Flip("accumulators", memory, 0, 20, None, cycle)
        found = run_rtl(one, library, words, flip).tensors["fc0.acc"].astype(np.int64)
        off = (found - good.tensors["fc0.acc"]).ravel()
        assert not off[1:].any(), "the bit belongs to the first output alone"
        seen.add(int(off[0]))
    assert seen == {0, 1 << 20} or seen == {0, -(1 << 20)} or seen == {0, 1 << 20, -(1 << 20)}


def test_flips_of_data_memory_at_a_sync_equal_fast(library: Path) -> None:
    """Also under noise: tensors and counters, whatever the bit meets."""
    one = padded()
    codes = {one.network.fed[0].tensor: pictures(4)}
    space = flip_space(one, "data")
    words = input_words(one, codes)
    good = run_fast(one, words)
    changed = 0
    for flip in pick_flips(space, 25, 7, cycles=0, samples=4):
        fast, rtl = run_fast(one, words, flip), run_rtl(one, library, words, flip)
        assert fast.counters == rtl.counters
        for name, tensor in fast.tensors.items():
            np.testing.assert_array_equal(rtl.tensors[name], tensor, err_msg=f"{name}: {flip}")
            changed += (tensor != good.tensors[name]).any()
    assert changed, "no flip of the seed reaches a tensor: the comparison says nothing"


def test_picks_are_a_function_of_seed_place_and_number() -> None:
    space = flip_space(compiled(), "program")
    flips = pick_flips(space, 50, 1, cycles=1000)
    assert flips[:20] == pick_flips(space, 20, 1, cycles=1000)
    assert flips != pick_flips(space, 50, 2, cycles=1000)
    assert len({(f.word, f.bit) for f in flips}) > 45
    assert all(0 <= f.cycle < 1000 and f.word < space.words[0] for f in flips)
    assert max(f.cycle for f in flips) > 900
    other = pick_flips(replace(space, place="data"), 50, 1, cycles=1000)
    assert [f.bit for f in other] != [f.bit for f in flips]


def test_every_bit_of_a_space_is_one_bit_of_a_memory() -> None:
    space = flip_space(compiled(), "accumulators")
    cores = len(compiled().program.arrays)
    assert space.bits == cores * CHIP.outputs * 32
    every = {space.bit(k) for k in range(space.bits)}
    assert len(every) == space.bits
    with pytest.raises(IndexError):
        space.bit(space.bits)
    assert Space("data", (), ()).bits == 0


def test_a_campaign_tells_masked_silent_and_detected(library: Path) -> None:
    assert library.exists()
    codes = random_codes(2, 6, 21)
    y = np.zeros(6, np.int64)
    with connect("fast", compiled()) as fast:
        y[:] = next(iter(fast.run(codes).values())).argmax(axis=1)
    options = {"places": ["program", "accumulators"], "flips": 40, "seed": 1}
    report = inject(compiled(), codes, y, **options)
    assert report.accuracy == 1.0
    assert list(report.bits) == ["accumulators", "program"]
    program = report.summary("program")
    assert program.flips == program.masked + program.silent + program.detected == 40
    assert min(program.masked, program.silent, program.detected) > 0
    assert "fault" in program.how
    for result in report.results:
        assert (result.values > 0) == (result.outcome is Outcome.SILENT) or result.how
        assert (result.outcome is Outcome.DETECTED) == bool(result.how)
        if result.outcome is Outcome.MASKED:
            assert result.correct == 6
    assert inject(compiled(), codes, y, jobs=1, **options) == report


@pytest.mark.parametrize(
    ("error", "how"),
    [
        (TileFaultError("x"), "fault"),
        (TileTimeoutError("x"), "timeout"),
        (ProtocolError("x"), "protocol"),
        (SilentLinkError("x"), "no answer"),
        (LinkError("x"), "link"),
        (SimulationError("x"), "macro"),
    ],
)
def test_every_error_that_a_host_meets_with_is_a_detection(
    error: Exception, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(one: CompiledNetwork, words: NDArray[np.uint64], flip: Flip | None = None) -> Run:
        if flip is not None:
            raise error
        return run_fast(one, words)

    monkeypatch.setattr(flip_campaign, "run_fast", fails)
    (result,) = at_level_fast().results
    assert (result.outcome, result.how, result.message) == (Outcome.DETECTED, how, "x")


@pytest.mark.parametrize(
    ("before", "changes", "how"),
    [
        ({}, {"link_fault": True}, "link fault"),
        ({}, {"detected": (0, 2)}, "code"),
        ({"detected": (1, 0)}, {"detected": (1, 2)}, ""),
        ({}, {}, ""),
    ],
)
def test_what_registers_tell_is_a_detection(
    before: dict[str, Any], changes: dict[str, Any], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A code tells of a flip only if it was quiet without."""

    def told(one: CompiledNetwork, words: NDArray[np.uint64], flip: Flip | None = None) -> Run:
        run = run_fast(one, words)
        told = before if flip is None else before | changes
        counters = replace(run.counters, core_detected=told.get("detected", ()))
        return replace(run, counters=counters, link_fault=told.get("link_fault", False))

    monkeypatch.setattr(flip_campaign, "run_fast", told)
    (result,) = at_level_fast().results
    assert (result.how, result.values) == (how, 0)
    assert result.outcome is (Outcome.DETECTED if how else Outcome.MASKED)
    assert result.counters == ("detected" in changes)


def test_accuracy_is_lost_where_nothing_is_detected(memories: list[Memory]) -> None:
    """A host that met with an error runs the sample again."""
    flip = Flip("data", memories[0], 0, 0, None, 1)
    results = (
        FlipResult(flip, Outcome.MASKED, correct=8),
        FlipResult(flip, Outcome.SILENT, values=9, counters=True, correct=5),
        FlipResult(flip, Outcome.SILENT, values=1, correct=8),
        FlipResult(flip, Outcome.DETECTED, "link fault", values=9, counters=True, correct=0),
        FlipResult(flip, Outcome.DETECTED, "timeout"),
    )
    report = FaultReport(
        *("m", "c", "d", "verilator", "any"), 10, 99, 1, 10, 8, {"data": 64}, results
    )
    found = report.summary("data")
    assert (found.masked, found.silent, found.detected, found.counters) == (1, 2, 2, 1)
    assert found.how == {"link fault": 1, "timeout": 1}
    assert found.accuracy_lost == pytest.approx(0.1)
    assert found.worst == pytest.approx(0.3)


def at_level_fast() -> FaultReport:
    """A flip of data memory between two samples."""
    codes = random_codes(2, 2, 21)
    return inject(compiled(), codes, places=["data"], flips=1, seed=1, level="fast", at="sync")


def test_fast_and_rtl_campaigns_at_a_sync_are_equal(library: Path) -> None:
    assert library.exists()
    one = padded()
    found = [
        inject(one, pictures(4), places=["data"], flips=20, seed=3, at="sync", level=level)
        for level in ("fast", "verilator")
    ]
    assert found[0].results == found[1].results
    assert found[0].summary("data").silent


@pytest.mark.parametrize(
    ("places", "text"),
    [(["cores"], "no place 'cores'; choose from accumulators, data"), ([], "names no place")],
)
def test_unknown_places_are_refused(places: list[str], text: str) -> None:
    with pytest.raises(InputError, match=text):
        check_places(places)


def test_what_cannot_be_injected_is_refused() -> None:
    codes = random_codes(2, 2, 21)

    def call(**options: object) -> None:
        whole = {"places": ["data"], "flips": 1, "seed": 1, **options}
        inject(compiled(), codes, **whole)

    for options, text in (
        ({"level": "golden"}, "injected at verilator or fast, not at 'golden'"),
        ({"at": "never"}, "--at must be any or sync, not 'never'"),
        ({"level": "fast"}, "knows no clock"),
        ({"level": "fast", "at": "sync", "places": ["program"]}, "between two samples alone"),
        ({"flips": 0}, "--flips must be 1 to 1000000, not 0"),
    ):
        with pytest.raises(InputError, match=text):
            call(**options)
    mesh = compile_network(
        random_network(1, (21, 7, 5)), chip=SMALL_CHIP.with_(mesh=(2, 1)), device="ideal"
    )
    with pytest.raises(InputError, match=r"takes 2 of chip 'small'; leave out its mesh$"):
        inject(mesh, codes, places=["data"], flips=1, seed=1)
    with pytest.raises(InputError, match="Data memory has 64 words"):
        FastTile(compiled()).flip_data(64, 0)
    arrays = list(FastTile(compiled()).arrays.values())
    machine = Machine(compiled().program, arrays)
    with pytest.raises(InputError, match="no bit 64 of word 0"):
        machine.flip_data(0, 64)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--where", "cache"], "there is no place 'cache'"),
        (["--where", ","], "names no place"),
        (["--flips", "0"], "--flips must be 1 to"),
        (["--level", "fast"], "--level fast knows no clock"),
        (["--samples", "0"], "must be 1 to"),
        (["--seed", "-1"], "A seed must be 0 to"),
    ],
)
def test_bad_input_is_one_sentence(arguments: list[str], text: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((3, 64), np.float32))
    call = ["faults", str(MODELS / "digits_qdq.onnx"), "--data", str(tmp_path / "d.npz")]
    result = CliRunner().invoke(app, [*call, *arguments])
    assert result.exit_code == 2
    assert text in result.output
    assert "Traceback" not in result.output


def test_the_command_prints_a_table_and_json(tmp_path: Path) -> None:
    """At level fast, which needs no build."""
    np.savez(tmp_path / "d.npz", x=np.ones((3, 64), np.float32), y=np.zeros(3, np.int64))
    call = ["faults", str(MODELS / "digits_qdq.onnx"), "--data", str(tmp_path / "d.npz")]
    call += ["--level", "fast", "--at", "sync", "--where", "data", "--flips", "5"]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, result.output
    assert "masked" in result.output
    assert "lost, worst: accuracy" in result.output
    found = json.loads(CliRunner().invoke(app, [*call, "--json"]).stdout)
    assert found["places"]["data"]["flips"] == 5
    assert len(found["flips"]) == 5
    assert found["flips"][0]["memory"] == "data"
