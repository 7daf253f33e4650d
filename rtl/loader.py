# SPDX-License-Identifier: Apache-2.0
"""The load path: words of eight activations to the bit planes of the row registers."""

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.chip import Chip
from .checks import check_chip

__all__ = ["Loader", "sum_bytes", "transpose"]

# Block transpose by swapping ever larger off-diagonal blocks (Warren, Hacker's Delight, 2nd ed.,
# section 7-3): three masked steps on one 64-bit value.
_SWAPS = ((7, 0x00AA00AA00AA00AA), (14, 0x0000CCCC0000CCCC), (28, 0x00000000F0F0F0F0))


def transpose(m: Module, word: Value) -> Signal:
    """Byte p of the result holds bit p of each byte of the 64-bit ``word``, byte 0's lowest."""
    for shift, mask in _SWAPS:
        swap = Signal(64, name=f"swap{shift}")
        swapped = Signal(64, name=f"swapped{shift}")
        m.d.comb += [
            swap.eq((word ^ (word >> shift)) & Const(mask, 64)),
            swapped.eq(word ^ swap ^ (swap << shift)),
        ]
        word = swapped
    return word


def sum_bytes(m: Module, word: Value) -> Signal:
    """The sum of the eight bytes of ``word``, 11 bits."""
    total = Signal(11, name="sum_of_bytes")
    pairs = Signal(64, name="pair_sums")
    low = Const(0x00FF00FF00FF00FF, 64)
    m.d.comb += [
        pairs.eq((word & low) + ((word >> 8) & low)),
        total.eq((pairs[:16] + pairs[16:32]) + (pairs[32:48] + pairs[48:])),
    ]
    return total


class Loader(wiring.Component):
    """Cuts, transposes and sums the words of a LOAD and hands them to the cores.

    A step in cycle t means that a word was asked for in t: it stands at ``data_word`` or
    ``host_word`` in t + 1, goes to the cores in that cycle (:attr:`latency`), and stands in their
    row registers in t + 2, the cycle in which a product that follows at once is started.
    One word a cycle.

    Parameters
    ----------
    chip : Chip

    Members
    -------
    step : In(1)
        A word is under way, described by:
    from_host : In(1)
        It stands at ``host_word``, otherwise at ``data_word``.
    row_word : In(5)
        First row / 8.
    keep : In(3)
        Bytes of it that count; 0 means all eight. The others read as zero.
    cores : In(cores)
        Where it goes.
    stop : In(1)
        Drop what is under way.
    data_word, host_word : In(64)
        A cycle after ``step``.
    load_valid : Out(cores)
        One bit a core.
    load_word, load_planes, load_sum : Out(5), Out(64), Out(11)
        As the cores take them.
    """

    def __init__(self, *, chip: Chip) -> None:
        self._cores = check_chip(chip).cores
        super().__init__(
            {
                "step": In(1),
                "from_host": In(1),
                "row_word": In(5),
                "keep": In(3),
                "cores": In(self._cores),
                "stop": In(1),
                "data_word": In(64),
                "host_word": In(64),
                "load_valid": Out(self._cores),
                "load_word": Out(5),
                "load_planes": Out(64),
                "load_sum": Out(11),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from ``step`` to ``load_valid``."""
        return 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        asked = Signal()
        from_host = Signal()
        row_word = Signal(5)
        keep = Signal(3)
        cores = Signal(self._cores)
        m.d.sync += asked.eq(self.step & ~self.stop)
        with m.If(self.step):
            m.d.sync += [
                from_host.eq(self.from_host),
                row_word.eq(self.row_word),
                keep.eq(self.keep),
                cores.eq(self.cores),
            ]

        # Nothing here is computed while no word passes.
        with m.If(asked):
            word = Signal(64)
            m.d.comb += word.eq(Mux(from_host, self.host_word, self.data_word))
            cut = Signal(64)
            with m.Switch(keep):
                for count in range(1, 8):
                    with m.Case(count):
                        m.d.comb += cut.eq(word & Const((1 << 8 * count) - 1, 64))
                with m.Default():
                    m.d.comb += cut.eq(word)
            m.d.comb += [
                self.load_valid.eq(Mux(self.stop, 0, cores)),
                self.load_planes.eq(transpose(m, cut)),
                self.load_sum.eq(sum_bytes(m, cut)),
            ]
        m.d.comb += self.load_word.eq(row_word)
        return m
