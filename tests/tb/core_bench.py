# SPDX-License-Identifier: Apache-2.0
"""Runs products on a core and writes down what came out: sums, reads and counters.

The macro is served by NumPy or C through cocotb, or by the DPI-C model of the build.
"""

from collections.abc import Iterator
from typing import Any

import cocotb
import numpy as np
from cases import CHIPS, Product, core_flips, core_images
from cocotb.triggers import ReadOnly, RisingEdge

from ohmtwin.arch.budgets import ROWS_BITS
from ohmtwin.arch.chip import Chip
from ohmtwin.arch.registers import CoreCounter
from ohmtwin.behavioral.cengine import CCrossbar
from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.tb.bench import folder, parameters, rng
from ohmtwin.tb.clock import start, within
from ohmtwin.tb.coverage import Coverage
from ohmtwin.tb.crossbar import CrossbarModel
from ohmtwin.tb.dpi import DpiArrays
from ohmtwin.tb.stalls import pattern
from ohmtwin.tb.streams import Beat, StreamMonitor, StreamPort

BEAT_BITS = 10
"""Of a command's beats."""

CHIP: Chip = CHIPS[parameters()["chip"]]
IMAGES = core_images(CHIP, parameters()["noise"])
# Before the first evaluation, in which the macro looks for its array.
DPI = DpiArrays(IMAGES, parameters()["array_seed"]) if parameters()["engine"] == "dpi" else None

BINS = {
    "full_read": "a read drives as many rows as it may",
    "short_read": "a read drives fewer",
    "empty_read": "a read drives no row (baseline)",
    "crossing": "a read takes rows of two planner groups",
    "empty_plane": "a plane without candidates (zero-skip)",
    "no_read": "a product makes no read at all",
    "one_row": "one row a read",
    "few_planes": "fewer than 8 planes",
    "part_of_rows": "a product uses part of the rows",
    "partial_beats": "a read converts part of the columns",
    "back_to_back": "a command is taken in the cycle of a last beat",
    "adc_waits": "a command is taken after the ADCs had waited",
    "command_stall": "a command waits for the macro",
}


def split(value: int, width: int) -> Iterator[int]:
    while value:
        yield value & ((1 << width) - 1)
        value >>= width


class TB:
    """Owns the drivers of one core."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.coverage = Coverage("core", BINS)
        self.reads: list[tuple[int, int, int]] = []  # rows, beats, array of the commands seen
        self.product: Product | None = None
        self.last_beat = -1
        self.beats_left = 0
        for name in ("start", "stop", "clear", "drain_select", "drain_sum"):
            getattr(dut, name).value = 0
        for name in ("even__valid", "odd__valid", "sum_valid", "sum_first"):
            getattr(dut, name).value = 0
        for name in ("load_sum", "drain_addr", "counter_select"):
            getattr(dut, name).value = 0
        self.coded = () if CHIP.an_code is None else CHIP.an_code.words
        if CHIP.events:
            dut.event_select.value = 0
        if self.coded:
            for name in ("write_correction", "correction_addr", "correction"):
                getattr(dut, name).value = 0
        self.flips = core_flips(CHIP)
        if self.flips is not None:
            for name in ("write_flags", "flags_addr", "flags"):
                getattr(dut, name).value = 0
        if DPI is None:
            engine = {"numpy": Crossbar, "c": CCrossbar}[parameters()["engine"]]
            self.macro = CrossbarModel(
                dut.crossbar.macro,
                [engine(image, parameters()["array_seed"], i) for i, image in enumerate(IMAGES)],
                dut.clk,
                cmd_stall=pattern(parameters()["stalls"], rng("commands")),
                code_stall=pattern(parameters()["stalls"], rng("codes")),
                reset=dut.rst,
            )
            self.macro.start()
        self.cycle = 0
        cmd = StreamPort.of(dut, "watch_cmd", dut.clk, separator="_")
        codes = StreamPort.of(dut, "watch_codes", dut.clk, separator="_")
        self.commands = StreamMonitor(cmd, self.on_command)
        self.codes = StreamMonitor(codes, self.on_beat)
        # Codes first: a command and the last beat before it come in one cycle.
        self.codes.start()
        self.commands.start()

    def on_beat(self, cycle: int, beat: Beat) -> None:
        self.beats_left -= 1
        self.last_beat = cycle
        assert self.beats_left >= 0, "more beats than were asked for"

    def on_command(self, cycle: int, beat: Beat) -> None:
        width = CHIP.rows * CHIP.input_code.digit_bits
        rows = beat["payload"] & ((1 << width) - 1)
        beats = beat["payload"] >> width & ((1 << BEAT_BITS) - 1)
        array = beat["payload"] >> width + BEAT_BITS & ((1 << CHIP.array_bits) - 1)
        assert self.beats_left == 0, "a command before the last beat"
        self.beats_left = beats
        self.reads.append((rows, beats, array))
        product = self.product
        assert product is not None, "a read between products"
        count = rows.bit_count()
        group = (1 << CHIP.planner_group) - 1
        hit = self.coverage.hit
        hit("full_read", count == product.rows_per_read)
        hit("short_read", 0 < count < product.rows_per_read)
        hit("empty_read", count == 0)
        hit("crossing", sum(part != 0 for part in split(rows, group.bit_length())) > 1)
        hit("one_row", product.rows_per_read == 1)
        hit("partial_beats", beats < CHIP.beats)
        hit("back_to_back", cycle == self.last_beat)
        hit("adc_waits", 0 < self.last_beat < cycle)

    async def load_corrections(self) -> None:
        dut = self.dut
        for residue, word in enumerate(self.coded):
            dut.write_correction.value = 1
            dut.correction_addr.value = residue
            dut.correction.value = word
            await RisingEdge(dut.clk)
            dut.write_correction.value = 0

    async def load_flags(self) -> None:
        dut = self.dut
        if self.flips is None:
            return
        for word in range(CHIP.flag_words):
            part = self.flips[64 * word : 64 * word + 64]
            dut.write_flags.value = 1
            dut.flags_addr.value = word
            dut.flags.value = sum(1 << int(k) for k in np.flatnonzero(part))
            await RisingEdge(dut.clk)
            dut.write_flags.value = 0

    async def load(self, x: list[int], zero: int) -> None:
        dut = self.dut
        code = CHIP.input_code
        # Sign and magnitude where the chip has them: the sign is a ninth bit.
        stored = [abs(v - zero) | (v < zero) << 8 for v in x] if code.has_zero else x
        for word in range(0, len(x), 8):
            part = x[word : word + 8]
            bits = list(enumerate(stored[word : word + 8]))
            planes = sum((v >> p & 1) << (8 * p + r) for r, v in bits for p in range(9))
            which, other = ("odd", "even") if word & 8 else ("even", "odd")
            getattr(dut, f"{which}__valid").value = 1
            getattr(dut, f"{other}__valid").value = 0
            getattr(dut, f"{which}__word").value = word // 16
            getattr(dut, f"{which}__planes").value = planes
            dut.sum_valid.value = 1
            dut.sum_first.value = word == 0
            dut.load_sum.value = sum(code.counts[v] for v in part)
            await RisingEdge(dut.clk)
        dut.even__valid.value = 0
        dut.odd__valid.value = 0
        dut.sum_valid.value = 0

    async def pulse(self, name: str) -> None:
        getattr(self.dut, name).value = 1
        await RisingEdge(self.dut.clk)
        getattr(self.dut, name).value = 0

    async def idle(self) -> None:
        while True:
            await RisingEdge(self.dut.clk)
            if not int(self.dut.busy.value):
                return

    async def run(self, product: Product) -> None:
        dut = self.dut
        await self.load(product.x, product.zero)
        await self.pulse("clear")
        dut.used.value = (1 << product.rows) - 1
        turns = ("array", "keep") if CHIP.array_bits else ()
        single = () if CHIP.row_budgets else ("rows_per_read",)
        if CHIP.row_budgets:
            rows = [n << (ROWS_BITS * place) for place, n in enumerate(product.budgets)]
            dut.budgets.value = sum(rows)
        for name in ("beats", "zero_skip", "planes", *single, *turns):
            getattr(dut, name).value = int(getattr(product, name))
        before = len(self.reads)
        self.last_beat = -1
        self.product = product
        await self.pulse("start")
        # What is not registered at the start shows up.
        for name in ("used", "beats", "zero_skip", "planes", *single, *turns):
            getattr(dut, name).value = rng(name).getrandbits(len(getattr(dut, name)))
        await RisingEdge(dut.clk)
        await within(dut.clk, 40_000, self.idle(), "the end of a product")
        self.product = None
        hit = self.coverage.hit
        used = np.array(product.x[: product.rows])
        empty = [p for p in range(product.planes) if not (used >> p & 1).any()]
        hit("empty_plane", bool(empty) and product.zero_skip)
        hit("no_read", len(self.reads) == before)
        hit("few_planes", product.planes < 8)
        hit("part_of_rows", product.rows < CHIP.input_rows)

    async def drain(self, words: int) -> tuple[list[int], int]:
        """Sums of the first words, and the sum of the activations."""
        dut = self.dut
        found = []
        for word in range(-1, words):
            dut.drain_select.value = 1
            dut.drain_sum.value = int(word < 0)
            dut.drain_addr.value = max(word, 0)
            await RisingEdge(dut.clk)
            dut.drain_select.value = 0
            await ReadOnly()
            found.append(int(dut.drain_data.value))
            await RisingEdge(dut.clk)
        width = CHIP.outputs_per_beat
        sums = [word >> (32 * i) & 0xFFFF_FFFF for word in found[1:] for i in range(width)]
        return sums, found[0]

    async def counters(self) -> list[int]:
        found = []
        for counter in CoreCounter:
            self.dut.counter_select.value = int(counter)
            await RisingEdge(self.dut.clk)
            await RisingEdge(self.dut.clk)
            found.append(int(self.dut.counter.value))
        return found

    async def events(self) -> list[int]:
        """Of the chip, in the order of ``chip.events``."""
        found = []
        for event in CHIP.events:
            self.dut.event_select.value = 1
            self.dut.counter_select.value = int(event)
            await RisingEdge(self.dut.clk)
            await RisingEdge(self.dut.clk)
            found.append(int(self.dut.counter.value))
            self.dut.event_select.value = 0
        return found


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def products(dut: Any) -> None:
    tb = TB(dut)
    await start(dut.clk, dut.rst)
    await tb.load_corrections()
    await tb.load_flags()
    sums, activations, counters, events, made = [], [], [], [], []
    for fields in parameters()["products"]:
        product = Product(**fields)
        await tb.run(product)
        words = product.beats * CHIP.words_per_beat // CHIP.beats_per_word
        acc, total = await tb.drain(words)
        sums.append(acc + [0] * (CHIP.outputs - len(acc)))
        activations.append(total)
        counters.append(await tb.counters())
        events.append(await tb.events())
        made.append(len(tb.reads))
    if DPI is not None:
        DPI.check()
    tb.coverage.hit("command_stall", tb.commands.stalled)
    tb.coverage.save(folder() / "coverage.json")
    np.savez(
        folder() / "found.npz",
        acc=np.array(sums, dtype=np.uint32).view(np.int32),
        activations=np.array(activations),
        counters=np.array(counters),
        events=np.array(events, dtype=np.int64),
        reads_after=np.array(made),
        rows=np.array([rows for rows, _, _ in tb.reads], dtype=np.uint64),
        beats=np.array([beats for _, beats, _ in tb.reads]),
        arrays=np.array([array for _, _, array in tb.reads]),
    )
