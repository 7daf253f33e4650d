# SPDX-License-Identifier: Apache-2.0
"""Memories of a tile's Verilog that digital faults fall into, and how a model makes them public.

A build with faults has the same Verilog but for a remark behind the declaration of each memory,
which makes Verilator keep it under its name and look at it anew in every cycle.
"""

import re
from dataclasses import dataclass

__all__ = ["PLACES", "Memory", "find_memories", "mark_memories"]

PLACES = ("accumulators", "data", "program", "rows", "params", "tables")
"""Kinds of memories, in the order in which they are numbered for the seed."""

_KINDS = {
    "accumulators": r"core\d+(\.\w+)*\.sums\d*|elements\.bank\d+",
    "data": r"data",
    "program": r"controller\.sequencer\.program",
    "rows": r"core\d+\.registers\.word\d+",
    "params": r"vector_unit\.params\d+",
    "tables": r"vector_unit\.tables\d*",
}
_SCOPE = "TOP.ohmtwin_top"
_MODULE = re.compile(r"^module (\S+) ?\(.*?^endmodule\n", re.MULTILINE | re.DOTALL)
_ARRAY = re.compile(r"^(  reg \[(\d+):0\] (\\?\S+ +)\[(\d+):0\])(;)", re.MULTILINE)
_REGISTER = re.compile(r"^(  reg \[(\d+):0\] (word\d+)\b)()( =[^;]*;)", re.MULTILINE)
_PUBLIC = " /*verilator public_flat_rw*/"


@dataclass(frozen=True)
class Memory:
    """A memory, or a register as one of one word.

    Parameters
    ----------
    place : str
        One of :data:`PLACES`.
    path : str
        Where it is in the tile, as ``core0.combine.sums``.
    scope, name : str
        The same for :meth:`.Simulation.flip`.
    width, words : int
    """

    place: str
    path: str
    scope: str
    name: str
    width: int
    words: int


def _kind(path: str) -> str | None:
    return next((kind for kind, text in _KINDS.items() if re.fullmatch(text, path)), None)


def _path(module: str, name: str) -> str:
    """``core0.combine.sums``, from names in which Amaranth has numbered what has one name."""
    parts = [*module.removeprefix("\\").split(".")[1:], name.removeprefix("\\").strip()]
    return ".".join(re.sub(r"\$\d+$", "", part) for part in parts)


def find_memories(verilog: str) -> list[Memory]:
    """The memories of module ``tile`` and those below it that are of a known kind, by path."""
    found = []
    for module in _MODULE.finditer(verilog):
        for pattern in (_ARRAY, _REGISTER):
            for entry in pattern.finditer(module[0]):
                path = _path(module[1], entry[3])
                place = _kind(path)
                if place is None:
                    continue
                name = _verilator_name(entry[3])
                words = int(entry[4]) + 1 if entry[4] else 1
                scope = f"{_SCOPE}.{module[1].removeprefix(chr(92))}"
                found.append(Memory(place, path, scope, name, int(entry[2]) + 1, words))
    return sorted(found, key=lambda memory: _natural(memory.path))


def _verilator_name(name: str) -> str:
    """As Verilator knows it: an escape stays only where the name needs one."""
    plain = name.removeprefix("\\").strip()
    return plain if re.fullmatch(r"[A-Za-z_]\w*", plain) else f"\\{plain} "


def _natural(path: str) -> list[tuple[str, int]]:
    """Sorts ``core10`` behind ``core9``."""
    return [(text, int(number or 0)) for text, number in re.findall(r"([^\d]+)(\d*)", path)]


def mark_memories(verilog: str) -> str:
    """The same Verilog, its memories of a known kind public to a model."""

    def mark(module: re.Match[str]) -> str:
        text = module[0]
        for pattern in (_ARRAY, _REGISTER):
            text = pattern.sub(
                lambda entry: (
                    f"{entry[1]}{_PUBLIC}{entry[5]}"
                    if _kind(_path(module[1], entry[3])) is not None
                    else entry[0]
                ),
                text,
            )
        return text

    return _MODULE.sub(mark, verilog)
