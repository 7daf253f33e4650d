# SPDX-License-Identifier: Apache-2.0
"""Rewrites Verilog so that a compiled simulator computes only what a cycle needs.

Yosys gives every operator a wire of its own, and a simulator computes a wire in every cycle even if
it is read in one branch only. :func:`sink` writes such an expression where it is read, and
:func:`gather` makes one process of the many that stand under one condition. Neither changes what
a module computes.

Both work on the text of one module as :mod:`.emit` has it: an assignment a line, a signal a
process, ``always_comb`` and ``always_ff`` only.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable

__all__ = ["gather", "sink"]

_NAME = r"(?:\\\S+ |[A-Za-z_][\w$]*)"
_TOKEN = re.compile(r"\\\S+ |\d*'[bdhos][0-9a-fxz?_]+|\$?[A-Za-z_][\w$]*")
_WIRE = re.compile(rf"^  wire (?:\[(\d+):0\] )?({_NAME}) ?;$", re.MULTILINE)
_PORT = re.compile(rf"^  (?:input|output)(?: \[\d+:0\])? ({_NAME})", re.MULTILINE)
_ASSIGN = re.compile(rf"^  assign ({_NAME}) *= (.*);\n", re.MULTILINE)
# To parts of signals too. The blank that ends an escaped name belongs to the name.
_ANY_ASSIGN = re.compile(r"^  assign (.*?) ?= (.*);\n", re.MULTILINE)
_PROCESS = re.compile(
    r"^  always_(?:ff|comb)[^\n]*begin\n.*?^  end\n|^  always_ff[^\n]*\n    [^\n]*;\n",
    re.MULTILINE | re.DOTALL,
)
_BLOCKING = re.compile(rf"^ +({_NAME})\s*(?:\[[^\]]*\] )?= ", re.MULTILINE)
_READ = re.compile(rf"({_NAME})(\s*\[[^\]]*\])?")
_SLICE = re.compile(r"\s*\[(\d+)(?::(\d+))?\]")
_GUARDED = re.compile(
    rf"^  always_comb begin\n    ({_NAME}) *= ([^;\n]*);\n    if \(({_NAME})\) begin\n"
    r"((?:      [^\n]*\n)*)    end\n  end\n",
    re.MULTILINE,
)
_INSTANCE = re.compile(r"^  \S+ (?:#\(.*?\) )?\S+ ?\(\n(.*?)^  \);\n", re.MULTILINE | re.DOTALL)

_LONGEST = 3000
"""Characters of an expression beyond which it is left alone."""


def _names(text: str) -> list[str]:
    return [token.strip() for token in _TOKEN.findall(text)]


def _drop(module: str, name: str) -> str:
    """Without the declaration and the assignment of a wire."""
    module = re.sub(rf"^  assign {re.escape(name)} *= .*;\n", "", module, flags=re.MULTILINE)
    wire = rf"^  wire (?:\[\d+:0\] )?{re.escape(name)} ?;\n"
    return re.sub(wire, "", module, flags=re.MULTILINE)


def _inlined(expression: str, width: int, part: str | None) -> str | None:
    """An expression as it would read from a wire of some width, or a constant part of it.

    ``W'h0 | (...)`` gives the expression the width that the assignment gave it; the cast around it
    cuts off what the wire would not have held.
    """
    wide = f"({width}'h0 | ({expression}))"
    if part is None:
        return f"{width}'{wide} "
    found = _SLICE.fullmatch(part)
    if found is None:
        return None
    high = int(found[1])
    low = int(found[2]) if found[2] else high
    return f"{high - low + 1}'({wide} >> {low}) " if low else f"{high + 1}'{wide} "


def sink(module: str) -> str:
    """Write the expression of each wire that is read once, in a process, where it is read."""
    while True:
        ports = {name.strip() for name in _PORT.findall(module)}
        width = {n.strip(): int(w) + 1 if w else 1 for w, n in _WIRE.findall(module)}
        count = Counter(_names(module))
        inside = Counter(n for p in _PROCESS.findall(module) for n in _names(p))
        once = {
            name: expression
            for name, expression in ((n.strip(), e) for n, e in _ASSIGN.findall(module))
            # Declared, assigned and read. A signed expression would lose its sign.
            if count[name] == 3
            and inside[name] == 1
            and name in width
            and name not in ports
            and "$signed" not in expression
            and len(expression) < _LONGEST
        }
        sunk: set[str] = set()

        def replace(
            process: re.Match[str],
            once: dict[str, str] = once,
            width: dict[str, int] = width,
            sunk: set[str] = sunk,
        ) -> str:
            # A process may not read halfway what it is about to assign.
            written = {n.strip() for n in _BLOCKING.findall(process[0])}

            def read(match: re.Match[str]) -> str:
                name = match[1].strip()
                # What itself reads a wire that sinks waits for the next round.
                if name not in once or ({*once, *written} & set(_names(once[name]))):
                    return match[0]
                text = _inlined(once[name], width[name], match[2])
                if text is None:
                    return match[0]
                sunk.add(name)
                return text

            return _READ.sub(read, process[0])

        module = _PROCESS.sub(replace, module)
        if not sunk:
            return module
        for name in sunk:
            module = _drop(module, name)


def _graph(module: str) -> dict[str, set[str]]:
    """Which signals a change of each signal reaches at once, without a clock."""
    reaches: dict[str, set[str]] = defaultdict(set)
    for target, expression in _ANY_ASSIGN.findall(module):
        for source in _names(expression):
            reaches[source].update(_names(target))
    for process in _PROCESS.findall(module):
        if process.startswith("  always_comb"):
            written = {n.strip() for n in _BLOCKING.findall(process)}
            for source in _names(process):
                reaches[source] |= written
    for ports in _INSTANCE.findall(module):
        # What goes in may come out at once.
        names = set(_names(ports))
        for name in names:
            reaches[name] |= names
    return reaches


def _returns(module: str, members: set[str]) -> bool:
    """Whether a path leads from a member through something else back to a member."""
    reaches = _graph(module)
    front = {n for m in members for n in reaches[m]} - members
    seen: set[str] = set()
    while front:
        seen |= front
        front = {n for name in front for n in reaches[name]} - seen
        if front & members:
            return True
    return False


def _ordered(needs: dict[str, set[str]]) -> list[str]:
    """Names such that each stands behind what it needs."""
    order: dict[str, None] = {}

    def visit(name: str) -> None:
        if name not in order:
            for other in sorted(needs[name] & needs.keys() - {name}):
                visit(other)
            order[name] = None

    for name in needs:
        visit(name)
    return list(order)


def _private(module: str, bodies: Iterable[str], guard: str) -> dict[str, str]:
    """Wires, and their expressions, that nothing reads but some processes and one another."""
    ports = {name.strip() for name in _PORT.findall(module)}
    wires = {n.strip() for _, n in _WIRE.findall(module)}
    assigns = {n.strip(): e for n, e in _ASSIGN.findall(module)}
    count = Counter(_names(module))
    inside = Counter(n for body in bodies for n in _names(body))
    found: dict[str, str] = {}
    while True:
        more = [
            n
            for n in assigns
            if n in wires
            and n not in found
            and n not in ports
            and n != guard
            and inside[n]
            and inside[n] == count[n] - 2
        ]
        if not more:
            return found
        for name in more:
            found[name] = assigns[name]
            inside.update(_names(assigns[name]))


def gather(module: str) -> str:
    """Make one process of all combinational ones that do something under one condition only.

    The wires that only they read move in with them. A group is left alone where a signal of it
    leads back to it through logic outside: as one process that would be a loop.
    """
    groups: dict[str, list[re.Match[str]]] = defaultdict(list)
    for process in _GUARDED.finditer(module):
        groups[process[3]].append(process)
    for guard, processes in groups.items():
        members = {p[1].strip(): p for p in processes}
        if len(members) < 3:
            continue
        private = _private(module, (p[0] for p in processes), guard.strip())
        if _returns(module, {*members, *private}):
            continue
        needs = {name: set(_names(p[4])) for name, p in members.items()}
        needs |= {name: set(_names(e)) for name, e in private.items()}
        order = _ordered(needs)
        first, then = "", ""
        for name in order:
            if name in members:
                first += f"    {members[name][1]} = {members[name][2]};\n"
                then += members[name][4]
            else:
                label = f"{name} " if name.startswith("\\") else name
                first += f"    {label} = 0;\n"
                then += f"      {label} = {private[name]};\n"
        for process in processes:
            module = module.replace(process[0], "", 1)
        for name in private:
            assign = rf"^  assign {re.escape(name)} *= .*;\n"
            module = re.sub(assign, "", module, flags=re.MULTILINE)
            wire = rf"^  wire (?=(?:\[\d+:0\] )?{re.escape(name)} ?;$)"
            module = re.sub(wire, "  reg ", module, flags=re.MULTILINE)
        text = f"  always_comb begin\n{first}    if ({guard}) begin\n{then}    end\n  end\n"
        module = module.replace("endmodule\n", text + "endmodule\n")
    return module
