# SPDX-License-Identifier: Apache-2.0
"""Programs as text that a person reads and the assembler takes back."""

from collections.abc import Iterator, Mapping, Sequence

from ...arch.isa import Instruction, Opcode

__all__ = ["listing"]


def listing(instructions: Sequence[Instruction], notes: Mapping[int, str]) -> Iterator[str]:
    """A line for each instruction, its address and what it is part of beside it.

    Bodies of loops are indented. Fields that are 0 are left out: the assembler takes them for 0.

    Parameters
    ----------
    instructions : sequence of Instruction
    notes : mapping of int to str
        By address, what an instruction is part of.
    """
    ends: list[int] = []
    last = None
    for address, instruction in enumerate(instructions):
        while ends and ends[-1] < address:
            ends.pop()
        note = notes.get(address, "")
        if note != last:
            yield f"# {note}"
            last = note
        text = "  " * len(ends) + _short(instruction)
        yield f"{text:<76} # {address:>4}  {note}".rstrip()
        if instruction.op is Opcode.LOOP:
            ends.append(address + instruction["body"])


def _short(instruction: Instruction) -> str:
    words = str(instruction).split()
    return " ".join([words[0], *(w for w in words[1:] if w.split("=")[1] not in ("0", "0x0"))])
