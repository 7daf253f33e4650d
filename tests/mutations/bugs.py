# SPDX-License-Identifier: Apache-2.0
"""The bugs that the suite must catch."""

from plant import Mutation, named

__all__ = [
    "COMBINE",
    "CONTROLLER",
    "ELEMENTS",
    "GATHER",
    "LOADER",
    "NETWORK",
    "NOISE_KEY_C",
    "NOISE_KEY_NUMPY",
    "REQUANTIZER",
    "SCHEDULER",
    "STORE",
]

SCHEDULER = named(
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

COMBINE = named(
    Mutation(
        "slices weigh one bit too little",
        "ohmtwin.rtl.combine",
        "_add(combined, codes[i * per_part + s], weights[s])",
        "_add(combined, codes[i * per_part + s], weights[s] >> s)",
    ),
    Mutation(
        "the plane of the next read, not of this one, moves the sum",
        "ohmtwin.rtl.combine",
        "moved = combined << by\n",
        "moved = combined << self.plane\n",
    ),
)

REQUANTIZER = named(
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

GATHER = named(
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

LOADER = named(
    Mutation(
        "the bytes are turned one place too far",
        "ohmtwin.rtl.loader",
        "first[:3] - self.offset",
        "first[:3] - self.offset + 1",
    ),
    Mutation(
        "what goes beyond the last word is lost",
        "ohmtwin.rtl.loader",
        "Mux(over | ~now[3], takers, 0)",
        "Mux(~now[3], takers, 0)",
    ),
    Mutation(
        "what goes beyond an even word is written before it",
        "ohmtwin.rtl.loader",
        "now[4:] + now[3]",
        "now[4:]",
    ),
    Mutation(
        "what goes beyond is not what a word goes on from",
        "ohmtwin.rtl.loader",
        "Mux(now[3], odd, even)",
        "Mux(now[3], even, odd)",
    ),
    Mutation(
        "the sum counts the bytes that are already there",
        "ohmtwin.rtl.loader",
        "sum_bytes(m, self._counts(self.elements.bytes))",
        "sum_bytes(m, even | self.elements.bytes)",
    ),
    Mutation(
        "the sum of a load goes on from the one before",
        "ohmtwin.rtl.loader",
        "at_row_0.eq(self.row == 0)",
        "at_row_0.eq(self.row == 1)",
    ),
    Mutation(
        "every word of the first row starts a new sum",
        "ohmtwin.rtl.loader",
        "sum_first.eq(begin & at_row_0)",
        "sum_first.eq(at_row_0)",
    ),
    Mutation(
        "a load that goes on forgets the unfinished word",
        "ohmtwin.rtl.loader",
        "Mux(now[:3] == 0, 0, Mux(now[3], odd, even))",
        "Mux((now[:3] == 0) | begin, 0, Mux(now[3], odd, even))",
    ),
    Mutation(
        "a new word keeps the bytes of the one before",
        "ohmtwin.rtl.loader",
        "Mux(now[:3] == 0, 0, Mux(now[3], odd, even))",
        "Mux(now[3], odd, even)",
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
        "now + Mux(wide, count[2:], count)",
        "now + count",
    ),
    Mutation(
        "half a word of memory acts on two accumulators",
        "ohmtwin.rtl.loader",
        "Cat(1, count[3]) << now[:3]",
        "Cat(1, 1) << now[:3]",
    ),
)

ELEMENTS = named(
    Mutation(
        "the second 32-bit word is taken where the first one lies",
        "ohmtwin.rtl.elements",
        "(bank + 3) % _BANKS",
        "bank - 1",
    ),
    Mutation(
        "a 32-bit word to add is put",
        "ohmtwin.rtl.elements",
        "first.op.matches(VecOp.ADD, VecOp.ADD32)",
        "first.op.matches(VecOp.ADD)",
    ),
    Mutation(
        "the larger one is found without regard to signs",
        "ohmtwin.rtl.elements",
        "wins.eq(acc < value)",
        "wins.eq(acc.as_unsigned() < value.as_unsigned())",
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

STORE = named(
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

CONTROLLER = named(
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

NETWORK = named(
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

NOISE_KEY_C = named(
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

NOISE_KEY_NUMPY = named(
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
