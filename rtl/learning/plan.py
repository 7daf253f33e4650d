# SPDX-License-Identifier: Apache-2.0
"""What an instruction of the core that learns makes its reader, its ALU and its writer do."""

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from ...arch.learning import LearnChip
from ...arch.learning_isa import ADDRESS_BITS, FIELDS, Flag, LearnOp, ReduceFunction, VectorFunction
from .alu import WIDE_BITS, WORD_BITS, Function, Gathering, Third, settings_layout
from .macro import ARRAY_BITS, check_learn_chip

__all__ = [
    "COUNT_BITS",
    "INSTRUCTION",
    "SETTING",
    "Planner",
    "Restart",
    "Second",
    "Sink",
    "flagged",
    "plan_layout",
]

COUNT_BITS = 16
_INT32 = (1 << 31) - 1
_MOST_INPUT = 127
_MOST_PULSES = 63
_CERTAIN = 65536

INSTRUCTION = data.StructLayout(
    {name: width for name, (_, _, width) in sorted(FIELDS.items(), key=lambda f: f[1][:2])}
)
"""An instruction, its first word lowest."""

SETTING = data.StructLayout(
    {"kx": 16, "kd": 16, "sx": 5, "sd": 5, "slots": 8, "mode": 2, "manage": 1, "period": 8}
)
"""A word of settings of an update."""


class Second(enum.Enum, shape=2):
    """Where y comes from."""

    MEMORY = 0
    CONSTANT = 1
    HOT = 2
    """The constant, for one element; 0 for the others."""
    FEEDBACK = 3
    """A byte of the register that stands for a random matrix."""


class Restart(enum.Enum, shape=2):
    """Where the second address goes on after the inner loop."""

    GO_ON = 0
    SAME = 1
    NEXT = 2
    """A word behind where it began before."""


class Sink(enum.Enum, shape=4):
    """Where results go."""

    MEMORY = 0
    TABLE = 1
    REGISTER = 2
    DIVIDER = 3
    OUTPUT = 4
    DRIVE = 5
    LINE = 6
    PULSES = 7


def plan_layout() -> data.StructLayout:
    """Two loops over elements: ``outer`` times ``inner``. The first address goes up by one, and
    starts again with each inner loop if ``again``; the second by ``step``. ``row``: x is the next
    word from ``rows_at`` on, for a whole inner loop, and c stands at the first address.
    ``codes``: x is a code of the array."""
    return data.StructLayout(
        {
            "alu": settings_layout(),
            "second": Second,
            "constant": signed(WORD_BITS),
            "a": ADDRESS_BITS,
            "b": ADDRESS_BITS,
            "rows_at": ADDRESS_BITS,
            "outer": COUNT_BITS,
            "inner": ADDRESS_BITS,
            "again": 1,
            "step": COUNT_BITS,
            "restart": Restart,
            "row": 1,
            "codes": 1,
            "sink": Sink,
            "to": ADDRESS_BITS,
        }
    )


_V, _F = VectorFunction, Function
_VECTOR = {
    _V.ADD: (_F.ADD, None),
    _V.SUB: (_F.SUB, None),
    _V.MUL: (_F.MUL, None),
    _V.MAX: (_F.MAX, None),
    _V.MIN: (_F.MIN, None),
    _V.GT: (_F.GT, None),
    _V.MULK: (_F.MUL, "k"),
    _V.ADDK: (_F.ADD, "k"),
    _V.GTK: (_F.GT, "k"),
    _V.SET: (_F.SECOND, "k"),
    _V.ABS: (_F.SIZE, "one"),
    _V.SUBR: (_F.SUB, "register"),
    _V.ADDR: (_F.ADD, "register"),
    _V.MAXK: (_F.MAX, "k"),
    _V.MINK: (_F.MIN, "k"),
}


def flagged(instruction: data.View, flag: Flag) -> Value:
    """Whether a flag is set."""
    bit: Value = instruction.flags[int(flag).bit_length() - 1]
    return bit


_ARRAYS = (LearnOp.READ, LearnOp.UPDATE, LearnOp.WRITE, LearnOp.APPLY, LearnOp.RELAX)


class Planner(wiring.Component):
    """Makes the plan of an instruction, without a register.

    Parameters
    ----------
    chip : LearnChip

    Members
    -------
    instruction, register : In(INSTRUCTION), In(signed(32))
        And what register ``reg`` holds.
    second_pass : In(1)
        Of READ: what is done with the codes, not with the inputs. Of UPDATE: columns, not rows.
    tries : In(5)
        Bits by which the inputs of READ have been halved.
    setting : In(SETTING)
        Of UPDATE.
    turn, array : In(signed(32)), Out(6)
        What register ``bits`` holds, and the array that makes.
    wrong : Out(1)
        A register makes the instruction leave the arrays or the memory.
    plan : Out(plan_layout())
    exponent : Out(signed(8))
        Of NORM.
    """

    def __init__(self, *, chip: LearnChip) -> None:
        self._chip = check_learn_chip(chip)
        super().__init__(
            {
                "instruction": In(INSTRUCTION),
                "register": In(signed(WORD_BITS)),
                "second_pass": In(1),
                "tries": In(5),
                "setting": In(SETTING),
                "turn": In(signed(WORD_BITS)),
                "array": Out(ARRAY_BITS),
                "wrong": Out(1),
                "plan": Out(plan_layout()),
                "exponent": Out(signed(8)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._check(m)
        ins, plan, alu = self.instruction, self.plan, self.plan.alu
        k = ins.k.as_signed()
        m.d.comb += [
            plan.constant.eq(0),
            plan.second.eq(Second.CONSTANT),
            plan.a.eq(ins.a),
            plan.b.eq(ins.b),
            plan.rows_at.eq(ins.a),
            plan.to.eq(ins.dst),
            plan.outer.eq(1),
            plan.inner.eq(ins.n),
            plan.step.eq(1),
            alu.least.eq(-_INT32 - 1),
            alu.most.eq(_INT32),
        ]
        with m.Switch(ins.op):
            with m.Case(LearnOp.OUT):
                m.d.comb += plan.sink.eq(Sink.OUTPUT)
            with m.Case(LearnOp.VEC):
                self._vector(m, k)
            with m.Case(LearnOp.TABLE):
                m.d.comb += [alu.shift.eq(ins.shift), plan.sink.eq(Sink.TABLE)]
                m.d.comb += [alu.least.eq(-128), alu.most.eq(127)]
            with m.Case(LearnOp.REDUCE):
                m.d.comb += [plan.sink.eq(Sink.REGISTER), alu.gathering.eq(Gathering.MAX)]
                with m.Switch(ins.m):
                    with m.Case(ReduceFunction.MAX_ABS):
                        m.d.comb += [alu.function.eq(Function.SIZE), plan.constant.eq(1)]
                    with m.Case(ReduceFunction.SUM):
                        m.d.comb += alu.gathering.eq(Gathering.SUM)
            with m.Case(LearnOp.NORM):
                self._normalize(m)
            with m.Case(LearnOp.DIV):
                m.d.comb += plan.sink.eq(Sink.DIVIDER)
            with m.Case(LearnOp.HOT):
                m.d.comb += [
                    alu.function.eq(Function.SECOND),
                    plan.second.eq(Second.HOT),
                    plan.constant.eq(k),
                ]
            with m.Case(LearnOp.READ):
                self._read(m)
            with m.Case(LearnOp.UPDATE):
                self._update(m)
            with m.Case(LearnOp.WRITE):
                m.d.comb += [plan.sink.eq(Sink.PULSES)]
                m.d.comb += [alu.least.eq(-_MOST_PULSES), alu.most.eq(_MOST_PULSES)]
            with m.Case(LearnOp.APPLY):
                m.d.comb += [
                    plan.sink.eq(Sink.PULSES),
                    plan.outer.eq(ins.n),
                    plan.inner.eq(ins.k),
                    plan.to.eq(ins.a),
                    plan.constant.eq(1),
                    alu.function.eq(Function.SIZE),
                    alu.shift.eq(ins.shift),
                    alu.truncate.eq(1),
                    alu.most.eq(_MOST_PULSES),
                ]
            with m.Case(LearnOp.FEED):
                m.d.comb += [
                    plan.second.eq(Second.FEEDBACK),
                    plan.outer.eq(ins.n),
                    plan.inner.eq(ins.b),
                    plan.again.eq(1),
                ]
                self._product(m)
            with m.Case(LearnOp.DENSE):
                m.d.comb += [
                    plan.second.eq(Second.MEMORY),
                    plan.outer.eq(ins.n),
                    plan.inner.eq(ins.k),
                    plan.again.eq(1),
                ]
                with m.If(~flagged(ins, Flag.TRANSPOSED)):
                    m.d.comb += [
                        plan.outer.eq(ins.k),
                        plan.inner.eq(ins.n),
                        plan.step.eq(ins.k),
                        plan.restart.eq(Restart.NEXT),
                    ]
                self._product(m)
            with m.Case(LearnOp.OUTER):
                self._outer(m)
            with m.Case(LearnOp.LOADR):
                m.d.comb += [plan.sink.eq(Sink.REGISTER), plan.inner.eq(1)]
            with m.Case(LearnOp.PICK):
                at = Signal(ADDRESS_BITS)
                m.d.comb += at.eq(self.register * ins.n)
                with m.If(flagged(ins, Flag.STORE)):
                    m.d.comb += plan.to.eq(ins.dst + at)
                with m.Else():
                    m.d.comb += plan.a.eq(ins.a + at)
        return m

    def _check(self, m: Module) -> None:
        """Which array, and whether registers lead out of the chip."""
        ins, chip = self.instruction, self._chip
        array = Signal(signed(WORD_BITS + 1))
        begin = Signal(signed(2 * WORD_BITS))
        m.d.comb += [
            array.eq(ins.array + self.turn),
            self.array.eq(array),
            begin.eq(Mux(flagged(ins, Flag.STORE), ins.dst, ins.a) + self.register * ins.n),
        ]
        no_row = (self.register < 0) | (self.register >= chip.rows)
        with m.Switch(ins.op):
            with m.Case(*_ARRAYS):
                m.d.comb += self.wrong.eq((array < 0) | (array >= chip.arrays))
                with m.If((ins.op == LearnOp.WRITE) & no_row):
                    m.d.comb += self.wrong.eq(1)
            with m.Case(LearnOp.PICK):
                m.d.comb += self.wrong.eq((begin < 0) | (begin + ins.n > chip.memory))

    def _clip(self, m: Module, bits: Value) -> None:
        """Limits of +-(2**(bits - 1) - 1), unless ``bits`` is 0."""
        most = Signal(signed(WIDE_BITS))
        m.d.comb += most.eq((Const(1, 1) << bits)[1:] - 1)
        with m.If(bits != 0):
            m.d.comb += [self.plan.alu.least.eq(-most), self.plan.alu.most.eq(most)]

    def _vector(self, m: Module, k: Value) -> None:
        plan = self.plan
        constants = {"k": k, "one": Const(1), "register": self.register}
        with m.Switch(self.instruction.m):
            for number, (function, constant) in _VECTOR.items():
                with m.Case(number):
                    m.d.comb += plan.alu.function.eq(function)
                    if constant is None:
                        m.d.comb += plan.second.eq(Second.MEMORY)
                    else:
                        m.d.comb += plan.constant.eq(constants[constant])
        m.d.comb += plan.alu.shift.eq(self.instruction.shift)
        self._clip(m, self.instruction.bits)

    def _product(self, m: Module) -> None:
        """Sums of products."""
        alu = self.plan.alu
        m.d.comb += [
            alu.function.eq(Function.MUL),
            alu.gathering.eq(Gathering.SUM),
            alu.shift.eq(self.instruction.shift),
        ]
        self._clip(m, self.instruction.bits)

    def _normalize(self, m: Module) -> None:
        size = Signal(WORD_BITS + 1)
        length = Signal(range(WORD_BITS + 1))
        m.d.comb += size.eq(Mux(self.register < 0, -self.register, self.register))
        for bit in range(WORD_BITS):
            with m.If(size[bit]):
                m.d.comb += length.eq(bit + 1)
        bits = self.instruction.bits
        m.d.comb += [self.exponent.eq(length - bits), self.plan.alu.shift.eq(self.exponent)]
        self._clip(m, bits + 1)

    def _read(self, m: Module) -> None:
        ins, plan, alu = self.instruction, self.plan, self.plan.alu
        m.d.comb += [
            plan.sink.eq(Sink.DRIVE),
            plan.to.eq(0),
            alu.least.eq(-_MOST_INPUT),
            alu.most.eq(_MOST_INPUT),
        ]
        with m.If(self.second_pass):
            m.d.comb += [
                plan.sink.eq(Sink.MEMORY),
                plan.a.eq(ins.dst),
                plan.to.eq(ins.dst),
                plan.inner.eq(ins.b),
                plan.codes.eq(1),
                plan.constant.eq(ins.m.as_signed()),
                alu.function.eq(Function.MUL),
                alu.shift.eq(-self.tries),
                alu.least.eq(-_INT32 - 1),
                alu.most.eq(_INT32),
            ]
            with m.If(flagged(ins, Flag.ACCUMULATE)):
                m.d.comb += alu.third.eq(Third.PLUS)

    def _update(self, m: Module) -> None:
        """Probabilities; half of the exponent goes to either side, with update management."""
        plan, alu, setting = self.plan, self.plan.alu, self.setting
        half = Signal(signed(WORD_BITS))
        shift = Signal(signed(WORD_BITS + 2))
        with m.If(setting.manage):
            m.d.comb += half.eq(self.register >> 1)
        m.d.comb += [
            plan.sink.eq(Sink.LINE),
            plan.to.eq(0),
            plan.constant.eq(setting.kx),
            alu.function.eq(Function.SIZE),
            alu.most.eq(_CERTAIN),
            shift.eq(setting.sx - half),
        ]
        with m.If(self.second_pass):
            m.d.comb += [
                plan.a.eq(self.instruction.b),
                plan.inner.eq(self.instruction.k),
                plan.to.eq(self._chip.rows),
                plan.constant.eq(setting.kd),
                shift.eq(setting.sd - (self.register - half)),
            ]
        m.d.comb += alu.shift.eq(Mux(shift < 0, 0, Mux(shift > 31, 31, shift)))

    def _outer(self, m: Module) -> None:
        ins, plan, alu = self.instruction, self.plan, self.plan.alu
        left = Signal(signed(WORD_BITS + 1))
        m.d.comb += [
            plan.second.eq(Second.MEMORY),
            plan.outer.eq(ins.n),
            plan.inner.eq(ins.k),
            plan.a.eq(ins.dst),
            plan.row.eq(1),
            plan.restart.eq(Restart.SAME),
            alu.function.eq(Function.MUL),
            alu.third.eq(Mux(flagged(ins, Flag.INVERT), Third.MINUS, Third.PLUS)),
            left.eq(self.register - ins.shift),
            alu.shift.eq(Mux(left < -40, 40, Mux(left > 20, -20, -left))),
        ]
