# SPDX-License-Identifier: Apache-2.0
"""The vector unit: accumulators of the cores in, codes for data memory out."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from ..arch.chip import Chip
from ..arch.formats import ACC_BITS, ACTIVATION_BITS, MANTISSA_BITS
from ..arch.isa import VECTOR_ELEMENTS
from ..arch.timing import reduction_stages, vector_latency
from .reduction import ReductionTree
from .requantizer import Requantizer

__all__ = ["VectorUnit", "drain_layout", "table_words"]

_WORD_BYTES = 8
_TABLE_WORDS = 256 // _WORD_BYTES
_CORE_STAGES = 2  # select register, then the core's own drain register
_SUM_STAGE = 1  # takes off the offset, adds the bias
_TABLE_STAGE = 1
_STORE_STAGES = 2  # the second one stores what the last codes of a REQ leave for another word


def table_words(chip: Chip) -> int:
    """64-bit words of all tables."""
    return chip.tables * _TABLE_WORDS


def _lanes_layout(chip: Chip) -> data.StructLayout:
    """What travels with an accumulator word through the pipeline."""
    lanes = chip.outputs_per_beat
    return data.StructLayout(
        {
            "param": range(chip.param_words // lanes),
            "addr": range(_WORD_BYTES * chip.data_words),
            "count": range(lanes + 1),
            "last": 1,
            "tap": 1,
            "table_on": 1,
            "table": range(chip.tables),
            "zero_point": ACTIVATION_BITS,
            "low": ACTIVATION_BITS,
            "high": ACTIVATION_BITS,
        }
    )


def drain_layout(chip: Chip) -> data.StructLayout:
    """An accumulator word that is called for."""
    return data.StructLayout(
        {
            "cores": chip.cores,
            "vector": 1,
            "word": range(VECTOR_ELEMENTS // chip.outputs_per_beat),
            "lanes": _lanes_layout(chip),
        }
    )


class VectorUnit(wiring.Component):
    """Adds up the cores' accumulators, adds the bias, requantizes W lanes, stores codes.

    A word a cycle. A word issued in cycle t has its codes in data memory from
    t + :attr:`latency` on; ``docs/tile.md`` counts idleness with the same number. The sum of
    activations of a REQ is issued before its words, by the same path, and stays in a register;
    ``chip.sum_weight * sum`` takes off the offset of the cells (ISAAC, section V).

    All state moves under the valid bit of its stage, so that an idle unit costs next to nothing
    in simulation.

    Parameters
    ----------
    chip : Chip

    Members
    -------
    issue, issue_sum : In(1)
        An accumulator word, or the sum of activations, of ``command.cores`` is called for.
    command : In(drain_layout(chip))
        Where a word comes from: cores, and the vector accumulators (``vector``; then ``cores`` is
        without core 0), and its address there (``word``). In ``lanes``: parameter group, byte
        address of its first code, how many codes are to be stored (``count``, less than W only at
        the ``last`` of its REQ), tap, table, zero point and bounds.
    stop : In(1)
        Forgets everything under way.
    drain_select, drain_sum, drain_addr : Out(cores), Out(1), Out(range(256 // W))
        To the cores.
    drain_data : In(ArrayLayout(W * 32, cores))
        From the cores, one cycle after ``drain_select``; zero where not selected.
    elements_select : Out(1)
        Drain the vector accumulators at ``drain_addr``.
    elements_data : In(W * 32)
        From there, a cycle later; zero where not selected.
    store, store_addr, store_data : Out(8), Out(range(data_words)), Out(64)
        Write port of data memory, an enable a byte.
    tap, tap_data : Out(1), Out(64)
        Push to the output FIFO: two sums a word, the even one in the low half.
    write_params, write_table : In(1)
        Write ``write_data`` to parameter memory or tables at ``write_addr`` (64-bit words).
    write_addr, write_data : In(16), In(64)
    """

    def __init__(self, *, chip: Chip) -> None:
        self._chip = chip
        self._layout = _lanes_layout(chip)
        width = chip.outputs_per_beat * ACC_BITS
        super().__init__(
            {
                "issue": In(1),
                "issue_sum": In(1),
                "command": In(drain_layout(chip)),
                "stop": In(1),
                "drain_select": Out(chip.cores),
                "drain_sum": Out(1),
                "drain_addr": Out(range(VECTOR_ELEMENTS // chip.outputs_per_beat)),
                "drain_data": In(data.ArrayLayout(width, chip.cores)),
                "elements_select": Out(1),
                "elements_data": In(width),
                "store": Out(_WORD_BYTES),
                "store_addr": Out(range(chip.data_words)),
                "store_data": Out(64),
                "tap": Out(1),
                "tap_data": Out(64),
                "write_params": In(1),
                "write_table": In(1),
                "write_addr": In(16),
                "write_data": In(64),
            }
        )
        # Cycles after issue at which a word stands before each stage.
        self._reduced = _CORE_STAGES + reduction_stages(chip)
        self._summed = self._reduced + _SUM_STAGE
        self._coded = self._summed + Requantizer.LATENCY
        self._looked_up = self._coded + _TABLE_STAGE
        if self._looked_up + _STORE_STAGES != self.latency:
            raise ValueError(
                f"The pipeline stores {self._looked_up + _STORE_STAGES} cycles after issue, "
                f"arch.timing says {self.latency}"
            )

    @property
    def latency(self) -> int:
        """Cycles from the issue of a word to its codes standing in data memory."""
        return vector_latency(self._chip)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        chip = self._chip
        lanes = chip.outputs_per_beat
        end = self._looked_up

        # valid[k] and words[k]: the word issued k cycles ago; words[0] is the one at the port.
        valid = Cat(self.issue, later := Signal(end))
        words = [self.command.lanes]
        words += [Signal(self._layout, name=f"word{k}", reset_less=True) for k in range(1, end + 1)]
        m.d.sync += later.eq(Mux(self.stop, 0, valid[:end]))
        for k in range(end):
            with m.If(valid[k]):
                m.d.sync += words[k + 1].eq(words[k])
        sums = Cat(self.issue_sum, later_sums := Signal(self._reduced))
        m.d.sync += later_sums.eq(Mux(self.stop, 0, sums[: self._reduced]))

        # To the cores and back.
        m.d.sync += [self.drain_select.eq(0), self.elements_select.eq(0)]
        with m.If(self.issue | self.issue_sum):
            m.d.sync += [
                self.drain_select.eq(self.command.cores),
                self.elements_select.eq(self.issue & self.command.vector),
                self.drain_sum.eq(self.issue_sum),
                self.drain_addr.eq(self.command.word),
            ]
        m.submodules.tree = tree = ReductionTree(chip=chip)
        # Core 0 is not selected with the vector accumulators: they take its place.
        m.d.comb += tree.i[0].eq(self.drain_data[0] | self.elements_data)
        for core in range(1, chip.cores):
            m.d.comb += tree.i[core].eq(self.drain_data[core])
        m.d.comb += [
            tree.enable.eq((valid | sums)[_CORE_STAGES : self._reduced]),
        ]
        offset = chip.sum_weight
        activations = Signal(ACC_BITS - max(1, offset.bit_length()) + 1)
        with m.If(sums[self._reduced]):
            m.d.sync += activations.eq(tree.o)

        # A lane's parameters; the read is timed to meet the reduced word.
        ask = self._reduced - 1
        group = lanes.bit_length() - 1
        sums_out = []
        codes = []
        for lane in range(lanes):
            params = memory.Memory(shape=64, depth=chip.param_words // lanes, init=[])
            m.submodules[f"params{lane}"] = params
            write = params.write_port()
            read = params.read_port()
            m.d.comb += [
                write.addr.eq(self.write_addr[group:]),
                write.data.eq(self.write_data),
                write.en.eq(self.write_params & (self.write_addr[:group] == lane)),
                read.addr.eq(words[ask].param),
                read.en.eq(valid[ask]),
            ]
            total = Signal(signed(ACC_BITS), name=f"total{lane}", reset_less=True)
            m.submodules[f"requantizer{lane}"] = requantizer = Requantizer()
            with m.If(valid[self._reduced]):
                m.d.sync += [
                    total.eq(
                        tree.o.word_select(lane, ACC_BITS)
                        + read.data[:ACC_BITS]
                        - (activations * offset if offset else 0)
                    ),
                    requantizer.mantissa.eq(read.data[ACC_BITS:][:MANTISSA_BITS]),
                    requantizer.shift.eq(read.data[ACC_BITS + MANTISSA_BITS :]),
                ]
            clip = words[self._coded - 1]
            m.d.comb += [
                requantizer.enable.eq(valid[self._summed : self._coded]),
                requantizer.acc.eq(total),
                requantizer.zero_point.eq(clip.zero_point),
                requantizer.low.eq(clip.low),
                requantizer.high.eq(clip.high),
            ]
            sums_out.append(total)
            codes.append(requantizer.code)

        self._tap(m, valid[self._summed] & words[self._summed].tap, sums_out)
        looked_up = self._lookup(m, valid[self._coded], words[self._coded], codes)
        self._store(m, valid[end], words[end], looked_up)
        return m

    def _tap(self, m: Module, start: Signal, sums: list[Signal]) -> None:
        """Send the sums; the controller spaces tapped words so that they stand long enough."""
        pairs = [Cat(sums[k : k + 2]) for k in range(0, len(sums), 2)]
        index = Signal(range(max(2, len(pairs))))
        more = Signal()
        m.d.comb += self.tap.eq(start | more)
        with m.If(self.tap), m.Switch(index):
            for k, pair in enumerate(pairs):
                with m.Case(k):
                    m.d.comb += self.tap_data.eq(pair)
                    last = k + 1 == len(pairs)
                    m.d.sync += [index.eq(0 if last else k + 1), more.eq(not last)]
        with m.If(self.stop):
            m.d.sync += [index.eq(0), more.eq(0)]

    def _lookup(
        self, m: Module, valid: Signal, word: data.View, codes: list[Signal]
    ) -> list[Signal]:
        """The codes a cycle later, through a table if the word asks for it."""
        m.submodules.tables = tables = memory.Memory(
            shape=64, depth=table_words(self._chip), init=[]
        )
        write = tables.write_port()
        m.d.comb += [
            write.addr.eq(self.write_addr),
            write.data.eq(self.write_data),
            write.en.eq(self.write_table),
        ]
        result = []
        use = Signal(name="use_table")
        with m.If(valid):
            m.d.sync += use.eq(word.table_on)
        for lane, code in enumerate(codes):
            read = tables.read_port()
            held = Signal(ACTIVATION_BITS, name=f"held{lane}")
            m.d.comb += [
                read.addr.eq(Cat(code[3:], word.table)),
                read.en.eq(valid & word.table_on),
            ]
            with m.If(valid):
                m.d.sync += held.eq(code)
            entry = read.data.word_select(held[:3], ACTIVATION_BITS)
            result.append(Mux(use, entry, held))
        return result

    def _store(self, m: Module, valid: Signal, word: data.View, codes: list[Signal]) -> None:
        """Gather codes to the words of data memory they belong to, and store what has changed."""
        gathered = Signal(64)
        enabled = Signal(_WORD_BYTES)
        behind = Signal.like(self.store_addr)
        rest = Signal()  # the last codes of a REQ have begun another word
        placed = Signal(64 + len(codes) * ACTIVATION_BITS)
        places = Signal(_WORD_BYTES + len(codes))
        packed = Signal(64)
        changed = Signal(_WORD_BYTES)
        over = Signal()  # some lie beyond this word
        full = Signal()  # all that come next do
        with m.If(valid):
            begin = word.addr[:3]
            m.d.comb += [
                placed.eq(Cat(codes) << (begin << 3)),
                places.eq(((Const(1) << word.count) - 1)[: len(codes)] << begin),
                packed.eq(gathered | placed[:64]),
                changed.eq(enabled | places[:_WORD_BYTES]),
                over.eq(places[_WORD_BYTES:].any()),
                full.eq(word.last | (begin >= _WORD_BYTES - len(codes))),
                self.store.eq(Mux(full, changed, 0)),
                self.store_addr.eq(word.addr[3:]),
                self.store_data.eq(packed),
            ]
            m.d.sync += [
                gathered.eq(Mux(full, placed[64:], packed)),
                enabled.eq(Mux(full, places[_WORD_BYTES:], changed)),
                rest.eq(word.last & over),
                behind.eq(word.addr[3:] + 1),
            ]
            with m.If(word.last & ~over):
                m.d.sync += gathered.eq(0)
        with m.Elif(rest):
            m.d.comb += [
                self.store.eq(enabled),
                self.store_addr.eq(behind),
                self.store_data.eq(gathered),
            ]
            m.d.sync += [rest.eq(0), gathered.eq(0), enabled.eq(0)]
        with m.If(self.stop):
            m.d.sync += [rest.eq(0), gathered.eq(0), enabled.eq(0)]
