# SPDX-License-Identifier: Apache-2.0
"""Register writes that change nothing go, those that never change in a loop leave it.

Kernels set every register that they need; these passes take out what is too much, so that kernels
stay simple and the controller does no idle work.
"""

from collections.abc import Iterable, Sequence

from ...arch.budgets import ROWS_BITS
from ...arch.isa import ADDRESS_REGISTERS, Opcode, Reg, Source
from .tree import Loop, Node, Operation

__all__ = ["optimise"]

_Values = dict[int, int | None]
"""Registers whose value is known; None marks one that is not."""


def optimise(nodes: list[Node]) -> list[Node]:
    """The same program with fewer register writes."""
    nodes = _fold(nodes)
    nodes = _hoist(nodes)
    nodes, _ = _known(nodes, {})
    return _step(nodes)


def _operations(nodes: Iterable[Node]) -> Iterable[Operation]:
    for node in nodes:
        if isinstance(node, Loop):
            yield from _operations(node.body)
        else:
            yield node


def _fold(nodes: Sequence[Node]) -> list[Node]:
    """Join ADDs with what set or moved their register before them; drop what nothing uses."""
    out: list[Node] = []
    pending: dict[int, Operation] = {}
    dead: set[int] = set()
    for node in nodes:
        if isinstance(node, Loop):
            pending.clear()
            node.body = _fold(node.body)
        elif node.op is Opcode.ADD and node.fields["reg"] in pending:
            pending[node.fields["reg"]].fields["value"] += node.fields["value"]
            continue
        elif node.op in (Opcode.SET, Opcode.ADD):
            before = pending.get(_target(node))
            if before is not None:
                dead.add(id(before))
            pending[_target(node)] = node
        else:
            for used in _needs(node):
                pending.pop(used, None)
        out.append(node)
    return [n for n in out if id(n) not in dead and not _idle(n)]


def _target(operation: Operation) -> int:
    """The register that a SET or ADD changes. A row budget of one plane is one of its own: nothing
    but the prologue sets those, after the one for all planes."""
    fields = operation.fields
    budget = fields["value"] >> ROWS_BITS if fields["reg"] == Reg.ROWS_PER_READ else 0
    return fields["reg"] + len(Reg) * budget


def _idle(node: Node) -> bool:
    return isinstance(node, Operation) and node.op is Opcode.ADD and node.fields["value"] == 0


def _uses(operation: Operation) -> set[int]:
    """Address registers that an instruction reads."""
    fields = operation.fields
    if operation.op is Opcode.LOAD:
        return {fields["addr"]} if fields["source"] == Source.DATA else set()
    if operation.op in (Opcode.VEC, Opcode.RECV, Opcode.SEND):
        return {fields["addr"]}
    if operation.op is Opcode.REQ:
        return {fields["dest"], fields["param"]}
    return set()


def _steps(operation: Operation) -> set[int]:
    """Address registers that an instruction moves by itself."""
    fields = operation.fields
    names = ("addr", "dest", "param")
    return {fields[n] for n in names if fields.get(f"{n}_step")} | (
        {fields["reg"]} if operation.op is Opcode.ADD else set()
    )


def _hoist(nodes: Sequence[Node]) -> list[Node]:
    """Move SETs out of loops in which their register never has another value."""
    out: list[Node] = []
    for node in nodes:
        if not isinstance(node, Loop):
            out.append(node)
            continue
        node.body = _hoist(node.body)
        values: dict[int, set[int]] = {}
        moved: set[int] = set()
        first: dict[int, Operation] = {}
        early: set[int] = set()
        for operation in _operations(node.body):
            if operation.op is Opcode.SET:
                values.setdefault(_target(operation), set()).add(operation.fields["value"])
                first.setdefault(_target(operation), operation)
            moved |= _steps(operation)
        # An address that is used before it is set is another one in the first pass.
        seen: set[int] = set()
        for operation in _operations(node.body):
            if operation.op is Opcode.SET:
                seen.add(_target(operation))
            early |= _needs(operation) - seen
        fixed = {r for r, v in values.items() if len(v) == 1} - moved - early
        out += [first[r] for r in sorted(fixed)]
        node.body = _without(node.body, fixed)
        out.append(node)
    return out


def _needs(operation: Operation) -> set[int]:
    """All registers that an instruction depends on."""
    found = _uses(operation)
    fields = operation.fields
    if operation.op in (Opcode.LOAD, Opcode.VEC) and fields.get("repeats"):
        found.add(Reg.PITCH)
    if operation.op is Opcode.VEC:
        found |= {Reg.SCALE, Reg.OFFSET}
    if operation.op is Opcode.LOAD:
        found.add(Reg.ZERO)
    if operation.op is Opcode.REQ:
        found.add(Reg.QUANT)
    if operation.op is Opcode.MVM:
        found |= {Reg.SCHEDULE, Reg.ROWS_PER_READ, Reg.PLANES}
    if operation.op in (Opcode.LOAD, Opcode.MVM):
        found.add(Reg.KEEP)
    if operation.op is Opcode.ADD:
        found.add(fields["reg"])
    return found


def _without(nodes: Sequence[Node], registers: set[int]) -> list[Node]:
    out: list[Node] = []
    for node in nodes:
        if isinstance(node, Loop):
            node.body = _without(node.body, registers)
        elif node.op is Opcode.SET and _target(node) in registers:
            continue
        out.append(node)
    return out


def _after(nodes: Sequence[Node], values: _Values) -> _Values:
    """What registers hold behind some nodes."""
    values = dict(values)
    for node in nodes:
        if isinstance(node, Loop):
            values = _after(node.body, _entry(node, values))
            continue
        if node.op is Opcode.SET:
            values[_target(node)] = node.fields["value"]
        values |= dict.fromkeys(_steps(node))
    return values


def _entry(loop: Loop, values: _Values) -> _Values:
    """What registers hold at the beginning of a body in every pass: not what a pass changes."""
    entry = dict(values)
    while True:
        end = _after(loop.body, entry)
        changed = [r for r, v in entry.items() if v is not None and end.get(r) != v]
        if not changed:
            return entry
        entry |= dict.fromkeys(changed)


def _known(nodes: Sequence[Node], values: _Values) -> tuple[list[Node], _Values]:
    """Drop SETs to the value that the register has; also tells the values at the end."""
    out: list[Node] = []
    values = dict(values)
    for node in nodes:
        if isinstance(node, Loop):
            node.body, values = _known(node.body, _entry(node, values))
            out.append(node)
            continue
        if node.op is Opcode.SET:
            reg, value = _target(node), node.fields["value"]
            if values.get(reg) == value:
                continue
            values[reg] = value
        values |= dict.fromkeys(_steps(node))
        out.append(node)
    return out, values


def _step(nodes: Sequence[Node]) -> list[Node]:
    """An ADD of what the instruction before it has touched becomes that instruction's step."""
    out: list[Node] = []
    last: dict[int, Operation] = {}
    for node in nodes:
        if isinstance(node, Loop):
            node.body = _step(node.body)
            last.clear()
        elif node.op is Opcode.ADD and node.fields["reg"] < ADDRESS_REGISTERS:
            user = last.pop(node.fields["reg"], None)
            if user is not None and _advance(user, node.fields["reg"], node.fields["value"]):
                continue
        elif node.op is Opcode.SET:
            last.pop(node.fields["reg"], None)
        else:
            last |= dict.fromkeys(_uses(node), node)
        out.append(node)
    return out


def _advance(user: Operation, reg: int, value: int) -> bool:
    """Let an instruction step its register by ``value``, if that is how far it steps."""
    fields = user.fields
    if user.op in (Opcode.LOAD, Opcode.VEC):
        name, length = "addr", fields["bytes"]
    elif user.op in (Opcode.RECV, Opcode.SEND):
        name, length = "addr", 8 * fields["words"]
    elif user.op is Opcode.REQ and fields["dest"] == reg:
        name, length = "dest", fields["outputs"]
    else:
        return False
    if value != length or fields.get(f"{name}_step"):
        return False
    fields[f"{name}_step"] = 1
    return True
