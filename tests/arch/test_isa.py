# SPDX-License-Identifier: Apache-2.0
"""The instruction table: encodings, assembler, disassembler."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohmtwin.arch.errors import InputError
from ohmtwin.arch.isa import (
    FORMATS,
    OPCODE,
    Instruction,
    Opcode,
    Reg,
    Source,
    VecOp,
    assemble,
    disassemble,
)


@st.composite
def instructions(draw: st.DrawFn) -> Instruction:
    op = draw(st.sampled_from(list(Opcode)))
    fields = {}
    for f in FORMATS[op].fields:
        choices = st.sampled_from(list(f.values)) if f.values else st.integers(f.low, f.high)
        fields[f.name] = int(draw(choices))
    return Instruction(op, fields)


@given(instructions())
def test_decode_inverts_encode(instruction: Instruction) -> None:
    word = instruction.encode()
    assert 0 <= word < 1 << 64
    assert Instruction.decode(word) == instruction


@given(st.lists(instructions(), max_size=20))
def test_assembler_takes_back_the_disassembly(program: list[Instruction]) -> None:
    text = "\n".join(disassemble(i.encode() for i in program))
    assert assemble(text) == program


@pytest.mark.parametrize("op", list(Opcode))
def test_fields_do_not_overlap(op: Opcode) -> None:
    taken: set[int] = set(range(OPCODE.lsb, OPCODE.lsb + OPCODE.width))
    for f in FORMATS[op].fields:
        bits = set(range(f.lsb, f.lsb + f.width))
        assert not taken & bits, f.name
        assert max(bits) < 64
        taken |= bits


def test_encodings_worked_by_hand() -> None:
    # A program in a memory, a bitstream or a dump outlives this table: these words are fixed.
    load = Instruction.make(Opcode.LOAD, source=Source.HOST, bytes=112, cores=0xF)
    assert load.encode() == 6 | 1 << 9 | 112 << 18 | 0xF << 32
    vec = Instruction.make(Opcode.VEC, op=VecOp.MAX, element=8, bytes=84, repeats=13)
    assert vec.encode() == 11 | 3 << 9 | 8 << 12 | 84 << 20 | 13 << 32
    req = Instruction.make(Opcode.REQ, outputs=84, vector=1, same_param=1, table_on=1, table=9)
    assert req.encode() == 10 | 1 << 14 | 9 << 15 | 84 << 19 | 1 << 29 | 1 << 30
    assert Instruction.make(Opcode.SET, reg=Reg.QUANT, value=-1).encode() == (
        3 | 11 << 5 | 0xFFFFFFFF << 32
    )
    assert Instruction.make(Opcode.LOOP, body=3, count=0).encode() == 5 | 3 << 16


def test_listing_reads_numbers_names_and_comments() -> None:
    text = """
    # a comment
    SET reg=QUANT value=0xff00   # and another
    LOAD cores=0b11 bytes=8 source=HOST
    """
    assert assemble(text) == [
        Instruction.make(Opcode.SET, reg=Reg.QUANT, value=0xFF00),
        Instruction.make(Opcode.LOAD, cores=3, bytes=8, source=1),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("JUMP value=1", "Line 2 of the listing: there is no instruction 'JUMP'"),
        ("SET reg=B0", "'B0' is no value for reg"),
        ("SET 5", "'5' is not of the form field=value"),
        ("LOAD rows=3", "LOAD has no field 'rows'"),
        ("LOAD bytes=512", "Field bytes of LOAD must be 0 to 511, not 512"),
        ("ADD value=2147483648", "must be -2147483648 to 2147483647"),
    ],
)
def test_listing_errors_name_the_line(line: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        assemble(f"NOP\n{line}\n")


def test_decode_refuses_what_encode_never_makes() -> None:
    with pytest.raises(ValueError, match="There is no opcode 31"):
        Instruction.decode(31)
    with pytest.raises(ValueError, match="NOP does not use"):
        Instruction.decode(1 << 40)
