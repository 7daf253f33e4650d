# SPDX-License-Identifier: Apache-2.0
"""Sequences as one matrix a step, and the operators that only choose among the matrices."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray
from onnx import NodeProto

from ..arch.errors import ModelError
from .graph_edit import integers
from .importer.view import describe

__all__ = ["Pieces", "rearranged"]

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Pieces:
    """A tensor that exists only as matrices [n, features], one for each step and direction.

    ``axes`` tells how they make up the tensor, a letter an axis: t steps, d directions, n samples,
    f features, and 1 where of all steps the last is left in a step model. ``parts[t][d]`` names a
    matrix.
    """

    parts: tuple[tuple[str, ...], ...]
    axes: str
    features: int

    @property
    def only(self) -> str | None:
        """The one matrix that is the whole tensor, if it is one."""
        return self.parts[0][0] if self.axes == "nf" else None


def rearranged(
    node: NodeProto, name: str, pieces: Pieces, arrays: Arrays, single: bool
) -> Pieces | None:
    """What Transpose, Squeeze, Gather and Slice make of a tensor in pieces.

    Parameters
    ----------
    node : NodeProto
    name : str
        The tensor.
    pieces : Pieces
        What it is made of.
    arrays : mapping
        The model's constants.
    single : bool
        Whether there is only the current step.

    Returns
    -------
    Pieces or None
        None if the node does more than choose, and needs the tensor itself.

    Raises
    ------
    ModelError
        If a step model would need another step than the last.
    """
    operators = {"Transpose": _transpose, "Squeeze": _squeeze, "Gather": _gather, "Slice": _slice}
    if node.op_type not in operators or node.input[0] != name:
        return None
    return operators[node.op_type](node, pieces, arrays, single)


def _transpose(node: NodeProto, pieces: Pieces, arrays: Arrays, single: bool) -> Pieces | None:
    perm, axes = integers(node, "perm"), pieces.axes
    if sorted(perm) != list(range(len(axes))) or perm[-1] != len(axes) - 1:
        return None
    return replace(pieces, axes="".join(axes[p] for p in perm))


def _squeeze(node: NodeProto, pieces: Pieces, arrays: Arrays, single: bool) -> Pieces | None:
    gone, axes = _numbers(node, 1, arrays) or integers(node, "axes"), pieces.axes
    if not gone or not all(-len(axes) <= a < len(axes) for a in gone):
        return None
    sizes = {"t": 0 if single else len(pieces.parts), "d": len(pieces.parts[0]), "1": 1}
    if any(sizes.get(axes[a]) != 1 for a in gone):
        return None
    return replace(pieces, axes="".join(x for x in axes if x not in {axes[a] for a in gone}))


def _gather(node: NodeProto, pieces: Pieces, arrays: Arrays, single: bool) -> Pieces | None:
    index, axes = arrays.get(node.input[1]), pieces.axes
    axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
    if index is None or index.ndim or not -len(axes) <= axis < len(axes):
        return None
    letter, first = axes[axis], int(index)
    chosen = _chosen(node, letter, slice(first, first + 1 or None), pieces, single)
    return None if chosen is None else replace(chosen, axes=axes.replace(letter, ""))


def _slice(node: NodeProto, pieces: Pieces, arrays: Arrays, single: bool) -> Pieces | None:
    begin, end, along = (_numbers(node, i, arrays) for i in (1, 2, 3))
    step, axes = _numbers(node, 4, arrays) or [1], pieces.axes
    if not (len(begin) == len(end) == len(along) == len(step) == 1) or along[0] >= len(axes):
        return None
    # Any end from 2**31 - 1 on means all the rest.
    part = slice(begin[0], None if end[0] >= (1 << 31) - 1 else end[0], step[0])
    letter = axes[along[0]]
    chosen = _chosen(node, letter, part, pieces, single)
    if chosen is None or not (single and letter == "t"):
        return chosen
    return replace(chosen, axes=axes.replace("t", "1"))


def _chosen(
    node: NodeProto, letter: str, part: slice, pieces: Pieces, single: bool
) -> Pieces | None:
    """Some of the steps, or of the directions."""
    if letter == "d":
        rows = tuple(row[part] for row in pieces.parts)
        return replace(pieces, parts=rows) if rows[0] else None
    if letter != "t":
        return None
    if single and (part.start, part.stop, part.step or 1) != (-1, None, 1):
        raise ModelError(
            f"The {describe(node)} takes other steps of a sequence than the last, which is all "
            "that a step model has; use --unroll"
        )
    return replace(pieces, parts=pieces.parts[part]) if pieces.parts[part] else None


def _numbers(node: NodeProto, index: int, arrays: Arrays) -> list[int]:
    """Integers of a constant operand; none if it is left out or computed."""
    name = node.input[index] if index < len(node.input) else ""
    return [int(v) for v in arrays[name].ravel()] if name in arrays else []
