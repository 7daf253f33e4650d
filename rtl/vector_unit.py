# SPDX-License-Identifier: Apache-2.0
"""The vector unit: accumulators of the cores in, codes for data memory out."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from ..arch.chip import Chip
from ..arch.formats import ACC_BITS, ACTIVATION_BITS, MANTISSA_BITS, WEIGHT_OFFSET
from ..arch.timing import reduction_stages, vector_latency
from .reduction import ReductionTree
from .requantizer import Requantizer

__all__ = ["TABLE_WORDS", "VectorUnit", "drain_layout"]

TABLE_WORDS = 4 * 256 // 8
"""64-bit words of the four tables."""

_WORD_BYTES = 8
_CORE_STAGES = 2  # select register, then the core's own drain register
_SUM_STAGE = 1  # takes off the offset, adds the bias
_TABLE_STAGE = 1


def drain_layout(chip: Chip) -> data.StructLayout:
    """What travels with an accumulator word through the pipeline."""
    lanes = chip.outputs_per_beat
    return data.StructLayout(
        {
            "cores": chip.cores,
            "word": range(chip.acc_words),
            "param": range(chip.param_words // lanes),
            "addr": range(chip.data_words),
            "position": range(_WORD_BYTES // lanes),
            "last": 1,
            "tap": 1,
            "table_on": 1,
            "table": 2,
            "zero_point": ACTIVATION_BITS,
            "low": ACTIVATION_BITS,
            "high": ACTIVATION_BITS,
        }
    )


class VectorUnit(wiring.Component):
    """Adds up the cores' accumulators, adds the bias, requantizes W lanes, stores codes.

    A word a cycle. A word issued in cycle t has its codes in data memory from
    t + :attr:`latency` on; ``docs/tile.md`` counts idleness with the same number. The sum of
    activations of a REQ is issued before its words, by the same path, and stays in a register;
    ``128 * sum`` takes off the offset of the cells (ISAAC, section V).

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
        Of a word: its address in the cores (``word``), parameter group, address of the data-memory
        word its codes belong to and their place in it (``position``, in units of W bytes),
        ``last`` of its REQ, tap, table, zero point and bounds.
    stop : In(1)
        Forgets everything under way.
    drain_select, drain_sum, drain_addr : Out(cores), Out(1), Out(range(acc_words))
        To the cores.
    drain_data : In(ArrayLayout(W * 32, cores))
        From the cores, one cycle after ``drain_select``; zero where not selected.
    store, store_addr, store_data : Out(1), Out(range(data_words)), Out(64)
        Write port of data memory.
    tap, tap_data : Out(1), Out(64)
        Push to the output FIFO: two sums a word, the even one in the low half.
    write_params, write_table : In(1)
        Write ``write_data`` to parameter memory or tables at ``write_addr`` (64-bit words).
    write_addr, write_data : In(16), In(64)
    """

    def __init__(self, *, chip: Chip) -> None:
        self._chip = chip
        self._layout = drain_layout(chip)
        width = chip.outputs_per_beat * ACC_BITS
        super().__init__(
            {
                "issue": In(1),
                "issue_sum": In(1),
                "command": In(self._layout),
                "stop": In(1),
                "drain_select": Out(chip.cores),
                "drain_sum": Out(1),
                "drain_addr": Out(range(chip.acc_words)),
                "drain_data": In(data.ArrayLayout(width, chip.cores)),
                "store": Out(1),
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
        if self._looked_up + 1 != self.latency:
            raise ValueError(
                f"The pipeline stores {self._looked_up + 1} cycles after issue, "
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
        words = [self.command, *(Signal(self._layout, name=f"word{k}") for k in range(1, end + 1))]
        m.d.sync += later.eq(Mux(self.stop, 0, valid[:end]))
        for k in range(end):
            with m.If(valid[k]):
                m.d.sync += words[k + 1].eq(words[k])
        sums = Cat(self.issue_sum, later_sums := Signal(self._reduced))
        m.d.sync += later_sums.eq(Mux(self.stop, 0, sums[: self._reduced]))

        # To the cores and back.
        m.d.sync += self.drain_select.eq(0)
        with m.If(self.issue | self.issue_sum):
            m.d.sync += [
                self.drain_select.eq(self.command.cores),
                self.drain_sum.eq(self.issue_sum),
                self.drain_addr.eq(self.command.word),
            ]
        m.submodules.tree = tree = ReductionTree(chip=chip)
        m.d.comb += [
            tree.i.eq(self.drain_data),
            tree.enable.eq((valid | sums)[_CORE_STAGES : self._reduced]),
        ]
        activations = Signal(ACC_BITS - WEIGHT_OFFSET.bit_length() + 1)
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
            total = Signal(signed(ACC_BITS), name=f"total{lane}")
            m.submodules[f"requantizer{lane}"] = requantizer = Requantizer()
            with m.If(valid[self._reduced]):
                m.d.sync += [
                    total.eq(
                        tree.o.word_select(lane, ACC_BITS)
                        + read.data[:ACC_BITS]
                        - activations * WEIGHT_OFFSET
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
        self._pack(m, valid[end], words[end], looked_up)
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
        m.submodules.tables = tables = memory.Memory(shape=64, depth=TABLE_WORDS, init=[])
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

    def _pack(self, m: Module, valid: Signal, word: data.View, codes: list[Signal]) -> None:
        """Gather codes to 64-bit words; the last one of a REQ is filled up with zeros."""
        lanes = len(codes)
        places = _WORD_BYTES // lanes
        gathered = Signal(64)
        packed = Signal(64)
        with m.If(valid):
            m.d.comb += packed.eq(gathered)
            with m.Switch(word.position):
                for place in range(places):
                    with m.Case(place):
                        m.d.comb += packed.word_select(place, lanes * ACTIVATION_BITS).eq(
                            Cat(codes)
                        )
            m.d.comb += [
                self.store.eq(word.last | (word.position == places - 1)),
                self.store_addr.eq(word.addr),
                self.store_data.eq(packed),
            ]
            m.d.sync += gathered.eq(Mux(self.store, 0, packed))
        with m.If(self.stop):
            m.d.sync += gathered.eq(0)
