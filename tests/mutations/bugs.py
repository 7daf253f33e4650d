# SPDX-License-Identifier: Apache-2.0
"""The bugs that the suite must catch."""

from types import MappingProxyType

from plant import Mutation

__all__ = [
    "CODE",
    "COMBINE",
    "CONTROLLER",
    "ELEMENTS",
    "ENCODINGS",
    "GATHER",
    "INPUTS",
    "LOADER",
    "NETWORK",
    "NOISE_KEY_C",
    "NOISE_KEY_NUMPY",
    "REQUANTIZER",
    "SCHEDULER",
    "STORE",
    "WRITER",
]


def _named(*mutations: Mutation) -> MappingProxyType[str, Mutation]:
    return MappingProxyType({mutation.name: mutation for mutation in mutations})


SCHEDULER = _named(
    Mutation(
        "a read that goes on in another group takes a row too many",
        "ohmtwin.rtl.scheduler",
        "need.eq(lacks[-1])",
        "need.eq(lacks[-1] + 1)",
    ),
    Mutation(
        "the row behind a full read gets lost",
        "ohmtwin.rtl.scheduler",
        "rest.eq(chosen & ~pick)",
        "rest.eq(chosen & ~pick & ~(pick << 1))",
    ),
)

COMBINE = _named(
    Mutation(
        "slices weigh one bit too little",
        "ohmtwin.rtl.combine",
        "_add(combined, codes[i * per_part + s], weights[s])",
        "_add(combined, codes[i * per_part + s], weights[s] >> s)",
    ),
    Mutation(
        "the plane of the next read, not of this one, moves the sum",
        "ohmtwin.rtl.combine",
        "moved = (combined << by)[:width]",
        "moved = (combined << self.plane)[:width]",
    ),
)

CODE = _named(
    Mutation(
        "a rest that is a multiple of A keeps an A",
        "ohmtwin.rtl.ancode",
        "with m.If(rest >= times * a):",
        "with m.If(rest > times * a):",
    ),
    Mutation(
        "the quotient that was one less stays so",
        "ohmtwin.rtl.ancode",
        "quotient.eq(rough_then + more - self._lift)",
        "quotient.eq(rough_then - self._lift)",
    ),
    Mutation(
        "nobody asks whether B divides",
        "ohmtwin.rtl.ancode",
        "fits.eq(~entry[0] & (digit == expected))",
        "fits.eq(~entry[0])",
    ),
    Mutation(
        "a decoded sum is moved up by the plane of the read under way",
        "ohmtwin.rtl.combine",
        ".as_signed() << here[-1]",
        ".as_signed() << self._plane",
    ),
    Mutation(
        "events are counted while no sum comes",
        "ohmtwin.rtl.combine",
        "with m.If(here[0]):",
        "with m.If(Const(1)):",
    ),
)

ENCODINGS = _named(
    Mutation(
        "negative columns add to the sum",
        "ohmtwin.rtl.combine",
        "return total + moved if weight > 0 else total - moved",
        "return total + moved",
    ),
    Mutation(
        "columns of a later beat lose their sign",
        "ohmtwin.rtl.combine",
        "return moved if weight > 0 else -moved",
        "return moved",
    ),
    Mutation(
        "flipped columns are put right by the rows of the next read",
        "ohmtwin.rtl.combine",
        """        with m.If(self.begin):
            m.d.sync += full.eq""",
        """        with m.If(self.begin | self.beat):
            m.d.sync += full.eq""",
    ),
    Mutation(
        "the second word of flags is that of the first",
        "ohmtwin.rtl.combine",
        "read.addr.eq(beat[beats.bit_length() - 1 :])",
        "read.addr.eq(0)",
    ),
    Mutation(
        "rows whose bit is not set are driven in their first row",
        "ohmtwin.rtl.core",
        "return Cat(plan.rows, plan.others)",
        "return Cat(plan.rows | plan.others, plan.others)",
    ),
    Mutation(
        "a read keeps other rows of the read before",
        "ohmtwin.rtl.scheduler",
        "*(whole.eq(0) for whole, _, _ in driving),\n                need.eq(per_read)",
        "taken.eq(0),\n                need.eq(per_read)",
    ),
)

REQUANTIZER = _named(
    Mutation(
        "the last rounding takes ties away from zero",
        "ohmtwin.rtl.requantizer",
        "up.eq(spread[_ZERO_SHIFT - 1] & (lost | spread[_ZERO_SHIFT]))",
        "up.eq(spread[_ZERO_SHIFT - 1])",
    ),
    Mutation(
        "the product is cut to 24 bits, not rounded",
        "ohmtwin.rtl.requantizer",
        "(aligned[MANTISSA_BITS - 1] & low)",
        "0",
    ),
)

GATHER = _named(
    Mutation(
        "a run that ends with its word goes on in the next one",
        "ohmtwin.rtl.gather",
        "self.byte + left[:4] <= _WORD_BYTES",
        "self.byte + left[:4] < _WORD_BYTES",
    ),
    Mutation(
        "the third run begins where the second one did",
        "ohmtwin.rtl.gather",
        "run.eq(following)",
        "run.eq(run)",
    ),
    Mutation(
        "a word begins with the byte after the first one",
        "ohmtwin.rtl.gather",
        "Mux(self.stream, 0, self.start[:3])",
        "Mux(self.stream, 0, self.start[:3] | (self.start[:3] == 6))",
    ),
    Mutation(
        "the last run is left out",
        "ohmtwin.rtl.gather",
        "ends & (runs != 0)",
        "ends & (runs > 1)",
    ),
)

INPUTS = _named(
    Mutation(
        "the top plane of two's complement is added",
        "ohmtwin.rtl.core",
        "return number == chip.passes - 1",
        "return number == chip.passes",
    ),
    Mutation(
        "the top plane of two's complement is that of the code",
        "ohmtwin.rtl.planes",
        "return ~plane if code.negative(number) else plane",
        "return plane",
    ),
    Mutation(
        "rows below zero are driven with those above it",
        "ohmtwin.rtl.planes",
        "plane & (below if code.negative(number) else ~below)",
        "plane & (below if code.negative(number) else ~0)",
    ),
    Mutation(
        "the two passes of a plane weigh a plane apart",
        "ohmtwin.rtl.core",
        "return number >> 1",
        "return number",
    ),
    Mutation(
        "the digits are those of the pass that is planned",
        "ohmtwin.rtl.core",
        "registers.digits_of.eq(plan.plane)",
        "registers.digits_of.eq(registers.next)",
    ),
    Mutation(
        "a row of a pulse is driven a pass too long",
        "ohmtwin.rtl.planes",
        "return self.next + 1",
        "return self.next",
    ),
    Mutation(
        "streams do not begin afresh with a product",
        "ohmtwin.rtl.planes",
        "state.eq(Mux(again, second, Cat(fed, state)))",
        "state.eq(Cat(fed, state))",
    ),
    Mutation(
        "ZERO is added to activations",
        "ohmtwin.rtl.loader",
        "word.word_select(i, 8) - self.zero",
        "word.word_select(i, 8) + self.zero",
    ),
    Mutation(
        "the sum of a stream is that of its codes",
        "ohmtwin.rtl.loader",
        "if self._code.exact:",
        "if True:",
    ),
)

LOADER = _named(
    Mutation(
        "the bytes are turned one place too far",
        "ohmtwin.rtl.loader",
        "now[:3] - offset",
        "now[:3] - offset + 1",
    ),
    Mutation(
        "what goes beyond the last word is lost",
        "ohmtwin.rtl.loader",
        "passes.eq(asked | beyond)",
        "passes.eq(asked)",
    ),
    Mutation(
        "the sum counts the bytes that are already there",
        "ohmtwin.rtl.loader",
        "sum_bytes(m, self._counts(self.elements.bytes))",
        "sum_bytes(m, self.load_planes | self.elements.bytes)",
    ),
    Mutation(
        "the sum of a load goes on from the one before",
        "ohmtwin.rtl.loader",
        "begin & (row == 0)",
        "begin & (row == 1)",
    ),
    Mutation(
        "every word of the first row starts a new sum",
        "ohmtwin.rtl.loader",
        "begin & (row == 0)",
        "row == 0",
    ),
    Mutation(
        "a load that goes on forgets the unfinished word",
        "ohmtwin.rtl.loader",
        "Mux(now[:3] == 0, 0, kept)",
        "Mux((now[:3] == 0) | begin, 0, kept)",
    ),
    Mutation(
        "a new word keeps the bytes of the one before",
        "ohmtwin.rtl.loader",
        "Mux(now[:3] == 0, 0, kept)",
        "kept",
    ),
    Mutation(
        "a VEC is loaded into the rows as well",
        "ohmtwin.rtl.loader",
        "Mux(self.vector, 0, self.cores)",
        "self.cores",
    ),
    Mutation(
        "32-bit words count as bytes",
        "ohmtwin.rtl.loader",
        "Mux(wide, count[2:], count)",
        "count",
    ),
    Mutation(
        "half a word of memory acts on two accumulators",
        "ohmtwin.rtl.loader",
        "Cat(1, count[3]) << now[:3]",
        "Cat(1, 1) << now[:3]",
    ),
)

ELEMENTS = _named(
    Mutation(
        "the second 32-bit word is taken where the first one lies",
        "ohmtwin.rtl.elements",
        "(bank + 3) % _BANKS",
        "bank - 1",
    ),
    Mutation(
        "a 32-bit word to add is put",
        "ohmtwin.rtl.elements",
        "m.Case(VecOp.ADD, VecOp.ADD32)",
        "m.Case(VecOp.ADD)",
    ),
    Mutation(
        "the larger one is found without regard to signs",
        "ohmtwin.rtl.elements",
        "Mux(acc < value, value, acc)",
        "Mux(acc.as_unsigned() < value.as_unsigned(), value, acc)",
    ),
    Mutation(
        "the product takes all of the value",
        "ohmtwin.rtl.elements",
        "value[:_HALF].as_signed()",
        "value",
    ),
    Mutation(
        "the product takes the accumulator as unsigned",
        "ohmtwin.rtl.elements",
        "acc[:_HALF].as_signed()",
        "acc[:_HALF]",
    ),
    Mutation(
        "bytes beyond the word act on the same word",
        "ohmtwin.rtl.elements",
        "Mux(first.next[k], after, first.word)",
        "first.word",
    ),
    Mutation(
        "bytes that are not new act too",
        "ohmtwin.rtl.elements",
        "enable.eq(Mux(added, mask, 0))",
        "enable.eq(Mux(added, 255, 0))",
    ),
    Mutation(
        "what is drained stays for the next REQ",
        "ohmtwin.rtl.elements",
        "self.drain_data.eq(0)",
        "self.drain_data.eq(self.drain_data)",
    ),
)

STORE = _named(
    Mutation(
        "the codes of another word are lost at the end",
        "ohmtwin.rtl.vector_unit",
        "rest.eq(word.last & over)",
        "rest.eq(0)",
    ),
    Mutation(
        "the last word stores all lanes",
        "ohmtwin.rtl.vector_unit",
        "((Const(1) << word.count) - 1)",
        "((Const(1) << len(codes)) - 1)",
    ),
    Mutation(
        "codes of a REQ stay behind for the next one",
        "ohmtwin.rtl.vector_unit",
        "m.If(word.last & ~over)",
        "m.If(0)",
    ),
    Mutation(
        "vector accumulators are drained for the sum of activations too",
        "ohmtwin.rtl.vector_unit",
        "self.issue & self.command.vector",
        "self.command.vector",
    ),
)

CONTROLLER = _named(
    Mutation(
        "same_param is ignored",
        "ohmtwin.rtl.drain",
        "Mux(same, param, param + 1)",
        "param + 1",
    ),
    Mutation(
        "same_param steps the register by all words",
        "ohmtwin.rtl.drain",
        "Mux(same, 1, (outputs + (lanes - 1)) >> group)",
        "(outputs + (lanes - 1)) >> group",
    ),
    Mutation(
        "a load steps the register by words",
        "ohmtwin.rtl.controller",
        'amount.eq(self._field(Opcode.LOAD, "bytes", coming=True))',
        'amount.eq((self._field(Opcode.LOAD, "bytes", coming=True) + 7) & ~7)',
    ),
    Mutation(
        "a VEC waits for the vector unit",
        "ohmtwin.rtl.controller",
        "with m.Case(Opcode.RECV, Opcode.SEND):\n"
        "                m.d.sync += self._wait_vector.eq(1)",
        "with m.Case(Opcode.RECV, Opcode.SEND, Opcode.VEC):\n"
        "                m.d.sync += self._wait_vector.eq(1)",
    ),
)

NETWORK = _named(
    Mutation(
        "an acknowledgment counts twice",
        "ohmtwin.rtl.noc.routes",
        "count.data, 0) + 1)",
        "count.data, 0) + 2)",
    ),
    Mutation(
        "a slot is written before it was read",
        "ohmtwin.rtl.noc.routes",
        "self.may.eq(~self.waits.bit_select(ours, 1))",
        "self.may.eq(1)",
    ),
    Mutation(
        "a producer uses one slot only",
        "ohmtwin.rtl.noc.routes",
        "with m.If(self.end):",
        "with m.If(self.end & 0):",
    ),
    Mutation(
        "a slot is full with the first packet",
        "ohmtwin.rtl.noc.slots",
        "(arrived > last_word)",
        "(arrived != 0)",
    ),
    Mutation(
        "a packet leaves before its words are there",
        "ohmtwin.rtl.noc.sender",
        "enough.eq(self.filled >= upto)",
        "enough.eq(self.filled > sent)",
    ),
    Mutation(
        "a message is fed without room for all of it",
        "ohmtwin.rtl.noc.feeder",
        "self.in_free < self.entry.words",
        "self.in_free == 0",
    ),
    Mutation(
        "a message is fed into one of the host's",
        "ohmtwin.rtl.noc.control",
        "self.busy.eq((level != 0) | (left != 0))",
        "self.busy.eq(level != 0)",
    ),
)

WRITER = _named(
    Mutation(
        "the reads that are averaged are not summed",
        "ohmtwin.rtl.writer",
        "before = Mux(self._reads == 0, 0,",
        "before = Mux(self._reads >= 0, 0,",
    ),
    Mutation(
        "a cell just within its tolerance is pulsed",
        "ohmtwin.rtl.writer",
        "off.eq(judged & (distance > tolerance))",
        "off.eq(judged & (distance >= tolerance))",
    ),
    Mutation(
        "cells that have read right are judged again",
        "ohmtwin.rtl.writer",
        "judged.eq(now_before[0] | self._recheck | (self._iterations == 0))",
        "judged.eq(1)",
    ),
    Mutation(
        "rates up and down have changed places",
        "ohmtwin.rtl.writer",
        "rate.eq(Mux(below, up, down))",
        "rate.eq(Mux(below, down, up))",
    ),
    Mutation(
        "the largest power of two is never given",
        "ohmtwin.rtl.writer",
        "last_power = power == PULSE_BITS - 1",
        "last_power = power == PULSE_BITS - 2",
    ),
    Mutation(
        "a row is programmed while the program computes",
        "ohmtwin.rtl.bridge",
        "(~self.running | self.waiting | self.stop) & ~self.run",
        "~self.run",
    ),
    Mutation(
        "all cells share the draws of their pulses",
        "ohmtwin.behavioral.pulsed",
        "cell | np.uint32(_DOMAIN)",
        "(cell & np.uint32(0)) | np.uint32(_DOMAIN)",
    ),
)

NOISE_KEY_C = _named(
    Mutation(
        "all arrays share one noise",
        "ohm_crossbar.c",
        "const uint32_t k0 = a->seed, k1 = a->array,",
        "const uint32_t k0 = a->seed, k1 = 0,",
    ),
    Mutation(
        "the columns of a pair have changed places",
        "ohm_crossbar.c",
        "&u[2 * i], &u[2 * i + 1]",
        "&u[2 * i + 1], &u[2 * i]",
    ),
)

NOISE_KEY_NUMPY = _named(
    Mutation(
        "all arrays share one noise",
        "ohmtwin.behavioral.threefry",
        "threefry2x32((seed, array), (low, high | pair), rounds)",
        "threefry2x32((seed, 0), (low, high | pair), rounds)",
    ),
    Mutation(
        "the columns of a pair have changed places",
        "ohmtwin.behavioral.threefry",
        "words[:, 0::2] = even\n    words[:, 1::2] = odd",
        "words[:, 0::2] = odd\n    words[:, 1::2] = even",
    ),
)
