# SPDX-License-Identifier: Apache-2.0
"""Just enough of VCD (IEEE 1364, clause 18) to read a Verilator trace line by line.

A trace is as long as a simulation; nothing here holds more than one line of it.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ...arch.errors import ToolError

__all__ = ["Variable", "change", "read_header"]

_SCOPE = re.compile(r"\s*\$scope\s+\w+\s+(\S+)\s+\$end")
_VAR = re.compile(r"\s*\$var\s+(\w+)\s+(\d+)\s+(\S+)\s+(.*?)\s*(?:\[[\d:]+\]\s*)?\$end")


@dataclass(frozen=True)
class Variable:
    """A declaration.

    Parameters
    ----------
    scope : tuple of str
        From the top down.
    name : str
    kind : str
        ``wire``, ``real``, ...
    width : int
        Bits.
    code : str
        By which value changes name it; aliases share one.
    """

    scope: tuple[str, ...]
    name: str
    kind: str
    width: int
    code: str


def read_header(lines: Iterable[str]) -> Iterator[tuple[str, Variable | None]]:
    """Go through a header up to and with ``$enddefinitions``; lines behind it are left unread.

    Yields
    ------
    (line, variable)
        Each line as it stands, with the variable that it declares.

    Raises
    ------
    ToolError
        If the file ends before its header does.
    """
    scope: list[str] = []
    for line in lines:
        if found := _SCOPE.match(line):
            scope.append(found[1])
        elif line.lstrip().startswith("$upscope"):
            scope.pop()
        variable = None
        if found := _VAR.match(line):
            variable = Variable(tuple(scope), found[4], found[1], int(found[2]), found[3])
        yield line, variable
        if line.lstrip().startswith("$enddefinitions"):
            return
    raise ToolError("The waveform of the simulation ends within its header")


def change(line: str) -> tuple[str, str] | None:
    """Code and value of a value change, without its ``b`` or ``r``; None for any other line."""
    first = line[:1]
    if first in ("b", "B", "r", "R"):
        value, _, code = line[1:].strip().partition(" ")
        return code.strip(), value
    if first in ("0", "1", "x", "z", "X", "Z"):
        return line[1:].strip(), first
    return None
