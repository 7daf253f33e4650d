# SPDX-License-Identifier: Apache-2.0
"""The vector unit alone: codes, packing, taps, tables, and the cycle of every word."""

import numpy as np
import pytest
from amaranth.sim import SimulatorContext
from manual_model import param_word
from simulate import simulate
from tile_host import small_chip

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.formats import RequantScale
from ohmtwin.arch.isa import VECTOR_ELEMENTS
from ohmtwin.arch.timing import vector_latency
from ohmtwin.behavioral.golden import requantize
from ohmtwin.rtl.vector_unit import VectorUnit

_CHIPS = [
    small_chip(lanes=4, cores=2),
    small_chip(cores=3, tables=16),
    small_chip(cell_bits=4, adc_bits=7),
    small_chip(lanes=32, cols=64),
]


@pytest.mark.parametrize("chip", _CHIPS, ids=lambda chip: f"W={chip.outputs_per_beat}")
def test_drains(chip: Chip) -> None:
    rng = np.random.default_rng(chip.outputs_per_beat)
    w, cores = chip.outputs_per_beat, chip.cores
    unit = VectorUnit(chip=chip)
    assert unit.latency == vector_latency(chip)
    acc = rng.integers(0, 1 << 18, (cores, chip.acc_words, w))
    xsum = rng.integers(0, 4096, cores)
    bias = rng.integers(-100000, 100000, chip.param_words)
    scale = [RequantScale.from_float(float(np.float32(s))) for s in rng.uniform(2e-4, 2e-3, 32)]
    tables = rng.integers(0, 256, (chip.tables, 256)).astype(np.uint8)
    elements = rng.integers(-(1 << 20), 1 << 20, VECTOR_ELEMENTS)
    memory = np.zeros(8 * chip.data_words, np.uint8)
    expected_memory = memory.copy()
    stores: list[int] = []
    stored_at: list[int] = []  # last cycle of each REQ's stores
    taps: list[tuple[int, int]] = []
    expected_taps = []
    now = [0]

    async def tick(ctx: SimulatorContext, **inputs: int) -> None:
        """A cycle; the cores' side is played here."""
        for name in ("issue", "issue_sum", "stop", "write_params", "write_table"):
            ctx.set(getattr(unit, name), inputs.get(name, 0))
        if enable := ctx.get(unit.store):
            stores.append(now[0])
            place, value = 8 * ctx.get(unit.store_addr), ctx.get(unit.store_data)
            for k in (k for k in range(8) if enable >> k & 1):
                memory[place + k] = value >> 8 * k & 0xFF
        if ctx.get(unit.tap):
            taps.append((now[0], ctx.get(unit.tap_data)))
        select, is_sum = ctx.get(unit.drain_select), ctx.get(unit.drain_sum)
        from_elements, word = ctx.get(unit.elements_select), ctx.get(unit.drain_addr)
        assert not (select and from_elements)
        await ctx.tick()
        now[0] += 1
        for core in range(cores):
            value = 0
            if select >> core & 1:
                lanes = [int(xsum[core])] if is_sum else [int(v) for v in acc[core, word]]
                value = sum(v << 32 * k for k, v in enumerate(lanes))
            ctx.set(unit.drain_data[core], value)
        part = [int(v) & 0xFFFFFFFF for v in elements[word * w : (word + 1) * w]]
        value = sum(v << 32 * k for k, v in enumerate(part)) if from_elements else 0
        ctx.set(unit.elements_data, value)

    async def drain(
        ctx: SimulatorContext, outputs: int, tap: int, table: int | None, vector: bool
    ) -> None:
        """A REQ, and what it must do in which cycle."""
        beats = -(-outputs // w)
        select = 0 if vector else int(rng.integers(1, 1 << cores))
        used = [c for c in range(cores) if select >> c & 1]
        group = int(rng.integers(0, chip.param_words // w - beats + 1))
        dest = int(rng.integers(0, len(memory) - outputs + 1))
        low, zero = int(rng.integers(0, 30)), int(rng.integers(0, 256))
        ctx.set(unit.command, {"cores": select, "vector": vector})
        await tick(ctx, issue_sum=1)
        codes = np.zeros(beats * w, np.uint8)
        for k in range(beats):
            index = np.arange(w) + (group + k) * w
            if vector:
                sums = elements[k * w : (k + 1) * w] + bias[index]
            else:
                sums = acc[used, k].sum(axis=0) - 128 * xsum[used].sum() + bias[index]
            out = requantize(
                sums, np.array([scale[i].mantissa for i in index]),
                np.array([scale[i].shift for i in index]), zero, low, 250,
            )  # fmt: skip
            codes[k * w : (k + 1) * w] = out if table is None else tables[table][out]
            ctx.set(
                unit.command,
                {
                    "cores": select, "vector": vector, "word": k,
                    "lanes": {
                        "param": group + k, "addr": dest + k * w, "last": k + 1 == beats,
                        "count": min(w, outputs - k * w), "tap": tap,
                        "table_on": table is not None, "table": table or 0,
                        "zero_point": zero, "low": low, "high": 250,
                    },
                },
            )  # fmt: skip
            issued = now[0]
            if tap:
                pair = [int(v) & 0xFFFFFFFF for v in sums] + [0] * (w % 2)
                first = now[0] + 3 + (cores - 1).bit_length()
                for j, value in enumerate(zip(pair[::2], pair[1::2], strict=True)):
                    expected_taps.append((first + j, value[0] | value[1] << 32))
            await tick(ctx, issue=1)
            ctx.set(unit.command, {})
            for _ in range(max(1, w // 2) - 1 if tap else 0):
                await tick(ctx)
        expected_memory[dest : dest + outputs] = codes[:outputs]
        last_word = (dest + (beats - 1) * w) // 8 * 8
        stored_at.append(issued + unit.latency - (1 if dest + outputs > last_word + 8 else 2))
        for _ in range(int(rng.integers(1, 6))):
            await tick(ctx)

    async def bench(ctx: SimulatorContext) -> None:
        for k in range(chip.param_words):
            ctx.set(unit.write_addr, k)
            word = param_word(int(bias[k]), scale[k].mantissa, scale[k].shift)
            ctx.set(unit.write_data, word)
            await tick(ctx, write_params=1)
        for k, entry in enumerate(tables.reshape(-1).view("<u8")):
            ctx.set(unit.write_addr, k)
            ctx.set(unit.write_data, int(entry))
            await tick(ctx, write_table=1)
        for _ in range(25):
            vector = bool(rng.integers(0, 2))
            most = min(VECTOR_ELEMENTS, chip.param_words) if vector else chip.outputs
            outputs = int(rng.integers(1, most + 1))
            table = int(rng.integers(0, chip.tables)) if rng.random() < 0.5 else None
            await drain(ctx, outputs, int(rng.integers(0, 2)), table, vector)
        for _ in range(unit.latency):
            await tick(ctx)
        np.testing.assert_array_equal(memory, expected_memory)
        assert set(stored_at) <= set(stores), "the last codes of a REQ came in another cycle"
        assert max(stored_at) == max(stores)
        assert taps == expected_taps

        # Stopped at once, nothing of a drain comes out, and the next one starts a fresh word.
        await tick(ctx, issue_sum=1)
        ctx.set(unit.command, {"cores": 1, "lanes": {"tap": 1, "last": 1, "count": 1}})
        await tick(ctx, issue=1)
        await tick(ctx, stop=1)
        before = len(stores)
        for _ in range(unit.latency + 2):
            await tick(ctx)
        assert (len(stores), taps) == (before, expected_taps)
        await drain(ctx, 1, 0, None, False)
        for _ in range(unit.latency):
            await tick(ctx)
        np.testing.assert_array_equal(memory, expected_memory)

    simulate(unit, bench, cycles=6000)
