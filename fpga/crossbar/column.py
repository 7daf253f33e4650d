# SPDX-License-Identifier: Apache-2.0
"""From the sums of a column to its code: variance, noise, converter."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ...arch.chip import Chip
from ...arch.formats import FRACTION_BITS
from ...rtl.checks import check_chip
from .gaussian import MAGNITUDE_BITS, GaussianPipeline
from .image import EmulatorConfig
from .isqrt import IsqrtPipeline
from .ports import load_signature, sums_layout, voltage_shape
from .registers import READ_BITS
from .threefry import ThreefryPipeline, block_layout

__all__ = ["ColumnConverter", "ColumnSignature", "NoisyColumns", "QuietColumns", "delayed"]

_CHUNK = 16  # what a multiplier of either FPGA takes, unsigned
_HALF = 1 << (FRACTION_BITS - 1)


class ColumnSignature(wiring.Signature):
    """Ports of whatever turns the sums of columns into the voltages at the ADC.

    Members
    -------
    start : In(1)
        A read begins: the next column is column 0.
    i : In(stream of {current, cells})
        Sums of the columns in order.
    o : Out(stream of signed)
        ``current + noise - reference`` of the columns in order; always taken.
    reference : In(signed)
        Stands still while columns are under way, as do all that follow.
    v0, v1, q_shift, key, number
        As in :class:`~.registers.EmulatorRegisters`.
    """

    def __init__(self, chip: Chip, config: EmulatorConfig) -> None:
        check_chip(chip)
        sums = sums_layout(chip, config)
        super().__init__(
            {
                "start": In(1),
                "i": In(stream.Signature(sums)),
                "o": Out(stream.Signature(voltage_shape(chip, config), always_ready=True)),
                "reference": In(sums["current"].shape),
                "v0": In(config.widths.v0),
                "v1": In(config.widths.v1),
                "q_shift": In(5),
                "key": In(block_layout),
                "number": In(READ_BITS),
            }
        )


def delayed(m: Module, value: Any, cycles: int, name: str) -> Any:
    """A value as it was some cycles before."""
    for k in range(cycles):
        register = Signal(value.shape(), name=f"{name}_{k}", reset_less=True)
        m.d.sync += register.eq(value)
        value = register
    return value


def _product(m: Module, a: Any, b: Any, name: str) -> tuple[Any, int]:
    """An unsigned product by parts that fit a multiplier, and its latency."""
    parts = []
    for i in range(0, len(a), _CHUNK):
        for j in range(0, len(b), _CHUNK):
            left, right = a[i : i + _CHUNK], b[j : j + _CHUNK]
            part = Signal(len(left) + len(right), name=f"{name}_part{i}_{j}", reset_less=True)
            m.d.sync += part.eq(left * right)
            parts.append(part << i + j)
    levels = 0
    while len(parts) > 1:
        sums = []
        for k, pair in enumerate(zip(parts[::2], parts[1::2], strict=False)):
            total = Signal(len(a) + len(b), name=f"{name}_sum{levels}_{k}", reset_less=True)
            m.d.sync += total.eq(pair[0] + pair[1])
            sums.append(total)
        if len(parts) % 2:
            sums.append(delayed(m, parts[-1], 1, f"{name}_odd{levels}"))
        parts = sums
        levels += 1
    return parts[0][: len(a) + len(b)], 1 + levels


class QuietColumns(wiring.Component):
    """Columns without noise: a column a cycle.

    Members
    -------
    See :class:`ColumnSignature`.
    """

    def __init__(self, *, chip: Chip, config: EmulatorConfig) -> None:
        super().__init__(ColumnSignature(chip, config))

    @property
    def latency(self) -> int:
        """Cycles from the sums of a column to its voltage."""
        return 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.i.ready.eq(1)
        m.d.sync += [
            self.o.valid.eq(self.i.valid),
            self.o.payload.eq(self.i.payload.current - self.reference),
        ]
        return m


class NoisyColumns(wiring.Component):
    """Columns with noise: a column a cycle.

    The variance and its root on one path, the random number on another; each stage is at most an
    addition or a multiplication. Arithmetic: :class:`~ohmtwin.behavioral.image.ArrayImage`.

    Members
    -------
    See :class:`ColumnSignature`.
    """

    def __init__(self, *, chip: Chip, config: EmulatorConfig) -> None:
        self._config = config
        super().__init__(ColumnSignature(chip, config))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.threefry = threefry = ThreefryPipeline()
        m.submodules.gaussian = gaussian = GaussianPipeline()
        m.submodules.isqrt = isqrt = IsqrtPipeline(width=self._config.widths.variance)

        column = Signal(9)
        m.d.comb += self.i.ready.eq(1)
        with m.If(self.i.valid):
            m.d.sync += column.eq(column + 1)
        with m.If(self.start):
            m.d.sync += column.eq(0)

        # The variance, from the sums; `ahead` cycles from a column to its sigma.
        variance, ahead = self._variance(m)
        m.d.comb += isqrt.i.eq(variance)
        ahead += isqrt.latency
        sigma: Any = isqrt.o

        # The random number, from the column's number; both words of a block serve.
        behind = threefry.latency + 1 + gaussian.latency
        early = max(0, ahead - behind)
        asked = delayed(m, column, early, "column")
        odd = delayed(m, asked[0], threefry.latency, "odd")
        word = Signal(32, reset_less=True)
        m.d.comb += [
            threefry.key.eq(self.key),
            threefry.i.low.eq(self.number[:32]),
            threefry.i.high.eq(Cat(asked[1:9], self.number[32:])),
            gaussian.i.eq(word),
        ]
        m.d.sync += word.eq(Mux(odd, threefry.o.high, threefry.o.low))
        sigma = delayed(m, sigma, max(0, behind - ahead), "sigma")
        ahead = max(ahead, behind)

        # Their product has the sign of the random number; rounding is that of a floor.
        negative = Signal(reset_less=True)
        magnitude = Signal(MAGNITUDE_BITS, reset_less=True)
        m.d.sync += [
            negative.eq(gaussian.o < 0),
            magnitude.eq(Mux(gaussian.o < 0, -gaussian.o, gaussian.o)),
        ]
        size, cycles = _product(m, delayed(m, sigma, 1, "late_sigma"), magnitude, "noise")
        negative = delayed(m, negative, cycles, "negative")
        noise = Signal(signed(len(size) - FRACTION_BITS + 2), reset_less=True)
        # -p is ~p + 1: one addition for the sign and the rounding.
        product = Cat(size ^ negative.replicate(len(size)), negative).as_signed()
        m.d.sync += noise.eq((product + Cat(negative, Const(_HALF >> 1, 12))) >> FRACTION_BITS)
        ahead += 1 + cycles + 1

        signal = Signal(signed(len(self.reference) + 1), reset_less=True)
        m.d.sync += signal.eq(self.i.payload.current - self.reference)
        voltage = Signal.like(self.o.payload, reset_less=True)
        m.d.sync += voltage.eq(self._queued(m, signal, ahead - 1) + noise)
        valid = Signal(ahead + 1)
        m.d.sync += valid.eq(Cat(self.i.valid, valid))
        m.d.comb += [self.o.payload.eq(voltage), self.o.valid.eq(valid[-1])]
        return m

    def _variance(self, m: Module) -> tuple[Any, int]:
        """Variance of the column on offer, and its latency."""
        widths = self._config.widths
        sums = self.i.payload
        current = Signal(len(sums.current) - 1, reset_less=True)
        m.d.sync += current.eq(Mux(sums.current < 0, 0, sums.current))
        product, cycles = _product(m, current, self.v1, "shot")
        rest: Any = self.v0
        if len(sums.cells):
            cells = Signal(len(sums.cells) - 1, reset_less=True)
            coarse = Signal(widths.variance, reset_less=True)
            fine = Signal(widths.variance, reset_less=True)
            added = Signal(widths.variance, reset_less=True)
            m.d.sync += [
                cells.eq(Mux(sums.cells < 0, 0, sums.cells)),
                coarse.eq(cells << (self.q_shift & 0b11000)),
                fine.eq(coarse << self.q_shift[:3]),
                added.eq(self.v0 + fine),
            ]
            product = delayed(m, product, max(0, 3 - cycles), "late_shot")
            cycles = max(cycles, 3)
            rest = delayed(m, added, cycles - 3, "cells")
        variance = Signal(widths.variance, reset_less=True)
        m.d.sync += variance.eq(rest + (product >> 16))
        return variance, 1 + cycles + 1

    def _queued(self, m: Module, value: Any, cycles: int) -> Any:
        """A value as it was some cycles before, through a memory in place of many registers."""
        m.submodules.queue = queue = memory.Memory(
            shape=value.shape(), depth=1 << (cycles - 1).bit_length(), init=[]
        )
        write, read = queue.write_port(), queue.read_port(domain="comb")
        place = Signal(range(queue.depth))
        out = Signal.like(value, reset_less=True)
        # Written in a cycle, it can be read from the next on, and is out in the one after that.
        m.d.sync += [place.eq(place + 1), out.eq(read.data)]
        m.d.comb += [
            write.addr.eq(place),
            write.data.eq(value),
            write.en.eq(1),
            read.addr.eq(place - (cycles - 1)),
        ]
        return out


class ColumnConverter(wiring.Component):
    """The ADCs: voltages of columns in order to their codes.

    Members
    -------
    start : In(1)
        A read begins: the next column is column 0.
    i : In(stream of signed)
        Voltages, 4096 to a code.
    o : Out(stream of adc_bits)
        Codes.
    array : In(range(arrays))
        Whose columns; stands still while they are under way.
    load, load_array : In({en, addr, word}), In(range(arrays))
        Writes the tables of an array; without, all its ADCs are ideal.
    """

    def __init__(self, *, chip: Chip, config: EmulatorConfig, arrays: int = 1) -> None:
        self._chip = chip
        self._config = config
        self._arrays = arrays
        super().__init__(
            {
                "start": In(1),
                "i": In(stream.Signature(voltage_shape(chip, config), always_ready=True)),
                "o": Out(stream.Signature(chip.adc_bits, always_ready=True)),
                "array": In(range(arrays)),
                "load": In(load_signature),
                "load_array": In(range(arrays)),
            }
        )
        # Made here for the proofs, which look into it: where columns are under way.
        self.valid = Signal(self.latency)

    @property
    def latency(self) -> int:
        """Cycles from voltage to code."""
        return 2 + self._config.adc_table

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self._chip.adc_bits
        lane = Signal(range(self._chip.lanes))
        valid = self.valid
        rounded = Signal(signed(len(self.i.payload) + 1 - FRACTION_BITS), reset_less=True)
        code = Signal(bits, reset_less=True)
        m.d.sync += [
            valid.eq(Cat(self.i.valid, valid)),
            rounded.eq((self.i.payload + _HALF) >> FRACTION_BITS),
            code.eq(rounded[:bits]),
        ]
        with m.If(rounded < 0):
            m.d.sync += code.eq(0)
        with m.Elif(rounded >> bits != 0):
            m.d.sync += code.eq((1 << bits) - 1)
        m.d.comb += self.o.valid.eq(valid[-1])
        if not self._config.adc_table:
            m.d.comb += self.o.payload.eq(code)
            return m

        # Lanes are a power of two, so their count wraps by itself.
        with m.If(valid[1]):
            m.d.sync += lane.eq(lane + 1)
        with m.If(self.start):
            m.d.sync += lane.eq(0)
        ideal = list(range(1 << bits)) * self._chip.lanes * self._arrays
        m.submodules.table = table = memory.Memory(shape=bits, depth=len(ideal), init=ideal)
        write, read = table.write_port(), table.read_port()
        m.d.comb += [
            write.addr.eq(Cat(self.load.addr[: bits + len(lane)], self.load_array)),
            write.data.eq(self.load.word),
            write.en.eq(self.load.en & self.load.addr[19]),
            read.addr.eq(Cat(code, lane, self.array)),
            self.o.payload.eq(read.data),
        ]
        return m
