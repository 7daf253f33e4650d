# SPDX-License-Identifier: Apache-2.0
"""From the tree of a program to instructions: SYNCs in place, loops laid out, host words listed."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...arch.chip import Chip
from ...arch.errors import CapacityError
from ...arch.isa import FORMATS, Instruction, Opcode
from ...behavioral.program import OutputSegment
from .tree import Loop, Node, Operation, Region

__all__ = [
    "Flat",
    "flatten",
    "host_input",
    "host_order",
    "host_outputs",
    "place_syncs",
    "words_of",
]

_SLOTS = {"int32": 2, "uint8": 8}


def _meet(one: Iterable[Region], other: Sequence[Region]) -> bool:
    return any(a < d and c < b for a, b in one for c, d in other)


def _regions(nodes: Iterable[Node], what: str) -> Iterator[Region]:
    for node in nodes:
        if isinstance(node, Loop):
            yield from _regions(node.body, what)
        else:
            yield from getattr(node, what)


def _sync(before: Node) -> Operation:
    """A wait for the vector unit, for the sake of a node that reads."""
    return Operation(Opcode.SYNC, {"in_words": 0, "out_words": 0}, before.note)


def _guard(nodes: Sequence[Node], dirty: list[Region]) -> tuple[list[Node], list[Region]]:
    """Put a SYNC between a REQ and whoever reads its bytes, outside of loops where that is enough.

    Parameters
    ----------
    dirty : list of Region
        Bytes that a REQ has stored since the last SYNC.

    Returns
    -------
    nodes, dirty
    """
    out: list[Node] = []
    for node in nodes:
        if isinstance(node, Loop):
            if _meet(_regions(node.body, "reads"), dirty):
                out.append(_sync(node))
                dirty = []
            body, left = _guard(node.body, [])
            if _meet(_reads_before_sync(body), left):
                # What a pass stores, the next one reads.
                body, left = _guard(node.body, left)
            node.body = body
            synced = any(isinstance(n, Operation) and n.op is Opcode.SYNC for n in body)
            dirty = left if synced else dirty + left
        else:
            if node.op is Opcode.SYNC:
                dirty = []
            elif _meet(node.reads, dirty):
                out.append(_sync(node))
                dirty = []
            dirty = [*dirty, *(w for w in node.writes if w not in dirty)]
        out.append(node)
    return out, dirty


def _reads_before_sync(nodes: Sequence[Node]) -> list[Region]:
    found: list[Region] = []
    for node in nodes:
        if isinstance(node, Loop):
            found += _regions(node.body, "reads")
        elif node.op is Opcode.SYNC:
            break
        else:
            found += node.reads
    return found


def words_of(node: Node) -> tuple[int, int]:
    """Words that a node takes from the host and sends to it."""
    if isinstance(node, Operation):
        return node.in_words, node.out_words
    inner = [words_of(n) for n in node.body]
    return node.count * sum(i for i, _ in inner), node.count * sum(o for _, o in inner)


def _sources(node: Node) -> set[str]:
    """The inputs that a node takes words of."""
    if isinstance(node, Operation):
        return set() if node.received is None else {node.received.tensor}
    return set().union(*(_sources(n) for n in node.body)) if node.body else set()


def _reserve(nodes: Sequence[Node], chip: Chip, message_words: int) -> list[Node]:
    """Put a SYNC before each stretch whose words fit the host FIFOs."""
    # An interface fills and empties a FIFO by whole messages.
    limit = chip.fifo_words - message_words
    sources: set[str] = set()
    out: list[Node] = []
    group: list[Node] = []
    received = sent = 0

    def close() -> None:
        nonlocal received, sent, sources
        if received or sent:
            fields = {"in_words": received, "out_words": sent}
            first = group[0] if group else None
            if isinstance(first, Operation) and first.op is Opcode.SYNC:
                del group[0]
            out.append(Operation(Opcode.SYNC, fields, "wait for the host"))
        out.extend(group)
        group.clear()
        received = sent = 0
        sources = set()

    for node in nodes:
        taken, given = words_of(node)
        if max(taken, given) > limit:
            if isinstance(node, Operation):
                raise CapacityError(
                    f"'{node.instruction}' moves {max(taken, given)} words at once, the host FIFOs "
                    f"of chip '{chip.name}' hold {limit}"
                    + (f" beside a message of {message_words}" if message_words else "")
                    + "; raise fifo_words"
                )
            close()
            node.body = _reserve(node.body, chip, message_words)
            out.append(node)
            continue
        own = _sources(node)
        # In a mesh, what is there already must not wait for what another tile makes.
        mixed = message_words and own and sources and own != sources
        if received + taken > limit or sent + given > limit or mixed:
            close()
        sources |= own
        group.append(node)
        received += taken
        sent += given
    close()
    return out


def place_syncs(nodes: list[Node], chip: Chip, message_words: int = 0) -> list[Node]:
    """All SYNCs that a program needs: for what REQs have stored, and for the host's words.

    ``message_words``: of the longest message of a tile in a mesh, 0 without one.

    Raises
    ------
    CapacityError
        If an instruction moves more words than a FIFO holds.
    """
    # Twice round: what the end of a sample stores, the beginning of the next one may read.
    guarded, dirty = _guard(nodes, [])
    if _meet(_reads_before_sync(guarded), dirty):
        guarded = [_sync(guarded[0]), *guarded]
    placed = _reserve(guarded, chip, message_words)
    first = next(_waits(placed))
    if placed[0] is not first:
        # A sample begins where its words are waited for, and with nothing else.
        fields = {"in_words": first.fields["in_words"], "out_words": 0}
        placed.insert(0, Operation(Opcode.SYNC, fields, first.note))
    return placed


def _waits(nodes: Iterable[Node]) -> Iterator[Operation]:
    """SYNCs that wait for words from the host."""
    for node in nodes:
        if isinstance(node, Loop):
            yield from _waits(node.body)
        elif node.op is Opcode.SYNC and node.fields["in_words"]:
            yield node


@dataclass(frozen=True)
class Flat:
    """Instructions of a program, and what each is part of."""

    instructions: tuple[Instruction, ...]
    notes: tuple[str, ...]


def flatten(nodes: Sequence[Node]) -> Flat:
    """Lay out loops.

    Raises
    ------
    CapacityError
        If a loop holds more instructions than LOOP can name.
    """
    found = list(_lay_out(nodes))
    return Flat(tuple(i for i, _ in found), tuple(note for _, note in found))


def _lay_out(nodes: Sequence[Node]) -> Iterator[tuple[Instruction, str]]:
    longest = FORMATS[Opcode.LOOP]["body"].high
    for node in nodes:
        if isinstance(node, Operation):
            yield node.instruction, node.note
            continue
        body = list(_lay_out(node.body))
        if not body or isinstance(node.body[-1], Loop):
            # Two loops must not end on the same instruction.
            body.append((Instruction.make(Opcode.NOP), node.note))
        if len(body) > longest:
            raise CapacityError(
                f"The program takes {len(body)} instructions in a loop, which holds {longest}"
            )
        yield Instruction.make(Opcode.LOOP, body=len(body), count=node.count), node.note
        yield from body


# What goes through the FIFOs. Inside, index arrays carry an axis for each loop around.


def host_outputs(nodes: Sequence[Node], sizes: dict[str, int]) -> tuple[OutputSegment, ...]:
    """The words of a sample that go to the host, in order.

    Parameters
    ----------
    nodes : sequence of Node
        A sample's work, without the endless loop.
    sizes : dict
        Elements of each tensor, of one step.
    """
    return tuple(
        OutputSegment(tensor, dtype, index.size // _SLOTS[dtype], index.ravel())
        for tensor, dtype, index in _sent(nodes, sizes)
    )


def _sent(nodes: Sequence[Node], sizes: dict[str, int]) -> list[tuple[str, Any, NDArray[np.int64]]]:
    found: list[tuple[str, Any, NDArray[np.int64]]] = []
    for node in nodes:
        if isinstance(node, Operation):
            if node.sent is not None:
                found.append((node.sent.tensor, node.sent.dtype, node.sent.index))
            continue
        inner = _sent(node.body, sizes)
        if not inner:
            continue
        if node.steps:
            found += [
                (tensor, dtype, np.where(index < 0, -1, index + step * sizes[tensor]))
                for step in range(node.count)
                for tensor, dtype, index in inner
            ]
        elif len({tensor for tensor, _, _ in inner}) == 1:
            joined = np.concatenate([index for _, _, index in inner], axis=-1)
            found.append((inner[0][0], inner[0][1], joined.reshape(*joined.shape[:-2], -1)))
        else:
            found += [
                (tensor, dtype, index[..., turn, :])
                for turn in range(node.count)
                for tensor, dtype, index in inner
            ]
    return found


def host_input(
    nodes: Sequence[Node], steps: int | None, sizes: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Order and fill of the bytes that a sample's words hold: int64 [bytes], uint8 [bytes].

    Parameters
    ----------
    nodes : sequence of Node
    steps : int or None
        Steps of a sample.
    sizes : sequence of int
        Elements of each input, of one step. The elements of a sample are those of the first input,
        step after step, then those of the second.
    """
    taken = _taken(nodes, steps or 1, np.array(sizes, np.int64))
    return (
        np.concatenate([index.ravel() for index, _ in taken]),
        np.concatenate([fill.ravel() for _, fill in taken]),
    )


def host_order(nodes: Sequence[Node]) -> tuple[tuple[str, int], ...]:
    """Inputs and how many words of each a sample takes, in the order of its words."""
    found: list[tuple[str, int]] = []

    def walk(nodes: Sequence[Node]) -> None:
        for node in nodes:
            if isinstance(node, Loop):
                if _sources(node):
                    for _ in range(node.count):
                        walk(node.body)
            elif node.received is not None:
                name = node.received.tensor
                before = found.pop()[1] if found and found[-1][0] == name else 0
                found.append((name, before + node.in_words))

    walk(nodes)
    return tuple(found)


_Taken = tuple[NDArray[np.int64], NDArray[np.uint8]]


def _taken(nodes: Sequence[Node], steps: int, sizes: NDArray[np.int64]) -> list[_Taken]:
    found: list[_Taken] = []
    for node in nodes:
        if isinstance(node, Operation):
            if node.received is not None:
                found.append((node.received.index, node.received.fill))
            continue
        inner = _taken(node.body, steps, sizes)
        if node.steps:
            begins = np.concatenate([[0], np.cumsum(sizes)])
            for step in range(node.count):
                for index, fill in inner:
                    which = np.searchsorted(begins, index, side="right") - 1
                    before, size = begins[which], np.append(sizes, 0)[which]
                    moved = index + before * (steps - 1) + step * size
                    found.append((np.where(index < 0, -1, moved), fill))
        else:
            found += [
                (index[..., turn, :], fill[..., turn, :])
                for turn in range(node.count if inner else 0)
                for index, fill in inner
            ]
    return found
