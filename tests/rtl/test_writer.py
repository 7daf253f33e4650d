# SPDX-License-Identifier: Apache-2.0
"""The program-and-verify controller against its specification, pulse for pulse."""

import dataclasses
from random import Random

import numpy as np
import pytest
from amaranth.sim import SimulatorContext
from simulate import simulate
from streams import stream_collect
from write_model import serve_macro

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.messages import Header, Kind
from ohmtwin.arch.writing import RowReport, program_row
from ohmtwin.behavioral import devices
from ohmtwin.behavioral.cengine import CCrossbar
from ohmtwin.behavioral.cpulsed import CPulsed
from ohmtwin.behavioral.pulsed import Cells, PulsedCrossbar, PulseModel, blank_image
from ohmtwin.behavioral.writing import WrittenRow, derive_settings, write_row
from ohmtwin.rtl.bridge import Bridge
from ohmtwin.rtl.writer import RowWriter

CHIPS = {
    "two beats a row": Chip(
        rows=16, cols=16, cell_bits=2, lanes=8, rows_per_read=1, program_verify=True, cores=2
    ),
    "one beat, four bits": Chip(
        rows=8, cols=16, cell_bits=4, lanes=16, adc_bits=8, rows_per_read=1, program_verify=True
    ),
    "two words a beat": Chip(
        rows=8, cols=32, cell_bits=2, lanes=32, rows_per_read=1, program_verify=True
    ),
    "one lane, one bit": Chip(
        rows=8, cols=8, cell_bits=1, lanes=1, adc_bits=4, rows_per_read=1, program_verify=True
    ),
}


def device(pulses: int = 60) -> devices.Device:
    return devices.rram(
        read_noise=0.01,
        bits=4,
        write={
            "voltage": 3.0,
            "time": 1e-8,
            "energy": 1e-11,
            "response": {"pulses": pulses, "nonlinearity": 2.0, "spread": 0.3},
        },
    )


def engines(chip: Chip, seed: int) -> tuple[PulsedCrossbar, CPulsed]:
    """The same cells twice: erased, some of them stuck, with noise."""
    random = np.random.default_rng(seed)
    model = PulseModel.derive(device(), chip.cell_bits)
    shape = chip.rows, chip.cols
    fixed = random.random(shape) < 0.03
    state = np.where(fixed, random.choice([model.low, model.high], shape), model.low)
    cells = Cells(
        model,
        state.astype(np.int32),
        random.integers(64000, 67000, shape).astype(np.int32),
        fixed,
        np.zeros(shape, np.uint32),
    )
    image = dataclasses.replace(
        blank_image(*shape, adc_bits=chip.adc_bits, lanes=chip.lanes),
        ref=np.full(chip.rows, model.low >> 8, np.int32),
        v0=20000,
    )
    quick = CPulsed(CCrossbar(image, seed, 5), image, cells)
    return PulsedCrossbar(image, cells, seed, 5), quick


async def send(ctx: SimulatorContext, dut: RowWriter, words: list[int]) -> None:
    """A message, as the bridge hands it over."""
    while ctx.get(dut.busy):
        await ctx.tick()
    header = Header.decode(words[0])
    ctx.set(dut.begin, 1)
    ctx.set(dut.address, header.address)
    ctx.set(dut.length, header.length)
    await ctx.tick()
    ctx.set(dut.begin, 0)
    for k, word in enumerate(words[1:]):
        ctx.set(dut.valid, 1)
        ctx.set(dut.word, word)
        ctx.set(dut.last, k == len(words) - 2)
        await ctx.tick()
    ctx.set(dut.valid, 0)


def counters(dut: RowWriter, ctx: SimulatorContext) -> list[int]:
    return [ctx.get(c) for c in (dut.pulses, dut.verifies, dut.failures, dut.cycles)]


@pytest.mark.parametrize("stall", [0.0, 0.4], ids=["at once", "stalls"])
@pytest.mark.parametrize("name", CHIPS)
def test_rows_are_written_as_specified(name: str, stall: float) -> None:
    """Reports, every cell, the numbers of its pulses, reads and counters are those of NumPy."""
    chip = CHIPS[name]
    rng = Random(f"{name} {stall}")
    reference, served = engines(chip, 11)
    dut = RowWriter(chip=chip)
    kind = device()
    settings = [
        derive_settings(
            kind,
            chip,
            PulseModel.derive(kind, chip.cell_bits),
            tolerance=tolerance,
            limit=limit,
            average=average,
            recheck=recheck,
        )
        for tolerance, limit, average, recheck in (
            (0.03, 8, 0, True),
            (0.1, 3, 2, False),
            (0.05, 0, 1, True),
            (0.02, 12, 0, False),
        )
    ]
    wanted: list[WrittenRow] = []
    messages = []
    for number in range(5):
        row = rng.randrange(chip.rows)
        columns = chip.lanes * rng.randint(1, chip.beats)
        levels = [rng.randrange(1 << chip.cell_bits) for _ in range(columns)]
        how = settings[number % len(settings)]
        core = rng.randrange(chip.cores)
        messages.append(program_row(chip, how, core, row, levels))
        wanted.append(write_row(reference, chip, how, core, row, levels))
    assert any(w.report.pulses for w in wanted)
    assert any(w.report.failures for w in wanted)
    got: list[int] = []

    async def bench(ctx: SimulatorContext) -> None:
        for message in messages:
            await send(ctx, dut, message)
        for _ in range(200):
            await ctx.tick()
            if not ctx.get(dut.busy):
                break
        while len(got) < sum(len(w.report.words()) for w in wanted):
            await ctx.tick()
        pulses, reads, failures, cycles = counters(dut, ctx)
        assert pulses == sum(w.report.pulses for w in wanted)
        assert reads == sum(w.reads for w in wanted)
        assert failures == sum(w.report.failures for w in wanted)
        if stall:
            assert cycles > sum(w.cycles for w in wanted)
        else:
            assert cycles == sum(w.cycles for w in wanted)
        assert not ctx.get(dut.fault)

    async def macro(ctx: SimulatorContext) -> None:
        await serve_macro(ctx, dut, chip, served, rng, stall)

    async def report(ctx: SimulatorContext) -> None:
        await stream_collect(ctx, dut.report, got, rng, stall)

    simulate(dut, bench, cycles=60000, background=[macro, report])
    assert got == [word for w in wanted for word in w.report.words()]
    np.testing.assert_array_equal(served.cells.state, reference.cells.state)
    np.testing.assert_array_equal(served.cells.numbers, reference.cells.numbers)
    assert served.crossbar.reads == reference.reads
    assert [RowReport.decode(w.report.words()[0] >> 32, w.report.words()[1:]) for w in wanted] == [
        w.report for w in wanted
    ]


def test_wrong_messages_are_dropped() -> None:
    """Each sets the fault, none is answered or touches the array; the next one works."""
    chip = CHIPS["two beats a row"]
    reference, served = engines(chip, 2)
    dut = RowWriter(chip=chip)
    kind = device()
    settings = derive_settings(kind, chip, PulseModel.derive(kind, 2), tolerance=0.1, limit=2)
    good = program_row(chip, settings, 1, 3, [1] * 8)

    def with_length(words: list[int]) -> list[int]:
        return [words[0] & ~0xFFFF0000 | (len(words) - 1) << 16, *words[1:]]

    wrong = {
        "no payload": with_length(good[:1]),
        "settings alone": with_length(good[:2]),
        "a level missing": with_length(good[:5]),
        "no cells": with_length(good[:6]),
        "a beat too many": with_length([*good, 0, 0]),
        "no such row": [good[0] + (16 - 3 << 32), *good[1:]],
        "no such core": [good[0] + (1 << 48), *good[1:]],
        "no such array": [good[0] + (1 << 56), *good[1:]],
        "too fine": [good[0], 13, *good[2:]],
        "too many reads": [good[0], 5 << 4, *good[2:]],
    }
    got: list[int] = []
    faults: list[str] = []

    async def bench(ctx: SimulatorContext) -> None:
        for name, words in wrong.items():
            await send(ctx, dut, words)
            if ctx.get(dut.fault):
                faults.append(name)
            await ctx.tick()
            assert not ctx.get(dut.busy), name
            assert not ctx.get(dut.fault)
        await send(ctx, dut, good)
        while len(got) < 4:
            await ctx.tick()

    async def macro(ctx: SimulatorContext) -> None:
        await serve_macro(ctx, dut, chip, served, Random(0))

    async def report(ctx: SimulatorContext) -> None:
        await stream_collect(ctx, dut.report, got, Random(0))

    simulate(dut, bench, cycles=4000, background=[macro, report])
    assert faults == list(wrong)
    assert got == write_row(reference, chip, settings, 1, 3, [1] * 8).report.words()


def test_an_array_that_takes_no_pulses_is_given_up() -> None:
    chip = CHIPS["two beats a row"]
    _, served = engines(chip, 2)
    dut = RowWriter(chip=chip)
    kind = device()
    settings = derive_settings(kind, chip, PulseModel.derive(kind, 2), tolerance=0.1, limit=50)
    got: list[int] = []

    async def bench(ctx: SimulatorContext) -> None:
        await send(ctx, dut, program_row(chip, settings, 0, 1, [3] * 16))
        while len(got) < 6:
            await ctx.tick()

    async def macro(ctx: SimulatorContext) -> None:
        await serve_macro(ctx, dut, chip, served, Random(0), refuses=True)

    async def report(ctx: SimulatorContext) -> None:
        await stream_collect(ctx, dut.report, got, Random(0))

    simulate(dut, bench, cycles=4000, background=[macro, report])
    found = RowReport.decode(got[0] >> 32, got[1:])
    assert found.iterations == 1
    assert found.failures >= 14  # all but those that are stuck at the top


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("waiting", [False, True])
def test_the_bridge_lets_rows_through_between_samples(running: bool, waiting: bool) -> None:
    """A row that comes while the program computes is dropped; while one is written all waits."""
    chip = CHIPS["two beats a row"]
    bridge = Bridge(chip=chip)
    header = Header(Kind.PROGRAM_ROW, 2, 5).encode()
    allowed = not running or waiting

    async def bench(ctx: SimulatorContext) -> None:
        ctx.set(bridge.running, running)
        ctx.set(bridge.waiting, waiting)
        ctx.set(bridge.o.ready, 1)
        ctx.set(bridge.i.valid, 1)
        seen = []
        for word in (header, 7, 8):
            ctx.set(bridge.i.payload, word)
            _, _, *taken = await ctx.tick().sample(
                bridge.i.ready, bridge.row_begin, bridge.row_valid, bridge.row_last, bridge.word
            )
            seen.append(tuple(taken))
        begun = int(allowed)
        assert seen == [(1, begun, 0, 0, header), (1, 0, 1, 0, 7), (1, 0, 1, 1, 8)]
        assert ctx.get(bridge.link_fault) == (not allowed)
        ctx.set(bridge.row_busy, 1)
        ctx.set(bridge.i.payload, Header(Kind.READ_REG, 1, 0).encode())
        for _ in range(5):
            await ctx.tick()
            assert not ctx.get(bridge.i.ready)
        # The report goes out whole, and what was held up comes after it.
        words = [Header(Kind.ROW_REPORT, 2, 5).encode(), 11, 12]
        sent = []
        ctx.set(bridge.report.valid, 1)
        ctx.set(bridge.report.payload, words[0])
        at = 0
        for _ in range(12):
            _, _, ready, valid, word = await ctx.tick().sample(
                bridge.report.ready, bridge.o.valid, bridge.o.payload
            )
            if valid:
                sent.append(word)
            if ready and at < 3:
                at += 1
                ctx.set(bridge.report.valid, at < 3)
                ctx.set(bridge.report.payload, words[min(at, 2)])
                ctx.set(bridge.row_busy, at < 3)
        assert sent[:3] == words
        assert Header.decode(sent[3]).kind is Kind.REPLY

    simulate(bridge, bench, cycles=60)


def test_a_chip_without_a_write_port_has_no_writer() -> None:
    with pytest.raises(
        ValueError, match=r"^Chip 'custom' has no write port: program_verify is off$"
    ):
        RowWriter(chip=Chip())
