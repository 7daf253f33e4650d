# SPDX-License-Identifier: Apache-2.0
"""What is left of a network once its tensors have addresses: products, and element-wise work."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...arch.isa import VecOp
from ..graph import Conv, Dense, Network, Operator
from .tensors import Buffers, Ints

__all__ = ["IDENTITY", "Layout", "Linear", "Requantizer", "Task", "Term", "Vector", "Work"]


@dataclass(frozen=True, eq=False)
class Linear:
    """A layer of products at one or more positions: Dense or Conv.

    Products read ``source[k] + source_steps[p]`` and store at ``target[o] + target_steps[p]``.

    Parameters
    ----------
    layer : Dense or Conv
    source : int64 [rows]
        Address of each row at position 0. Rows are numbered as the inputs of Dense, and as
        (channel, kernel row, kernel column) of Conv, over all its groups.
    source_steps, target_steps : int64 [positions]
    target : int64 [outputs]
    direct : bool
        The rows come from the host FIFO; ``source`` then holds numbers of input elements.
    partials : tuple of int64 [outputs, positions]
        First bytes of 32-bit sums to be added, each tuple entry those of another share.
    """

    layer: Dense | Conv
    source: Ints
    source_steps: Ints
    target: Ints
    target_steps: Ints
    direct: bool = False
    partials: tuple[Ints, ...] = ()

    @property
    def name(self) -> str:
        return self.layer.name

    @property
    def reads(self) -> Ints:
        """Some addresses that name all buffers that are read."""
        return np.concatenate([self.source, *(partial[:, 0] for partial in self.partials)])

    @property
    def writes(self) -> Ints:
        return self.target


@dataclass(frozen=True)
class Requantizer:
    """One factor for all elements, what is added before it, and what stands behind it."""

    mantissa: int
    shift: int
    zero_point: int
    low: int
    high: int
    bias: int = 0


IDENTITY = Requantizer(1 << 23, 23, 0, 0, 255)
"""A sum of 0 to 255 becomes the code of that number."""


@dataclass(frozen=True, eq=False)
class Term:
    """``acc = acc op (scale * byte + offset)`` for every element: address int64 [n] of its byte."""

    op: VecOp
    scale: int
    offset: int
    source: Ints


@dataclass(frozen=True, eq=False)
class Vector:
    """Element-wise work: terms one after another, then the requantizer and a table.

    Parameters
    ----------
    name : str
        Of the layer.
    target : int64 [n]
        Where each element goes; no two are the same.
    terms : tuple of Term
        The first one puts.
    """

    name: str
    target: Ints
    terms: tuple[Term, ...]
    requantizer: Requantizer = IDENTITY
    table: NDArray[np.uint8] | None = None

    @property
    def reads(self) -> Ints:
        return np.concatenate([term.source for term in self.terms])

    @property
    def writes(self) -> Ints:
        return self.target


Task = Linear | Vector


@dataclass(frozen=True, eq=False)
class Work:
    """What a layer takes, in order. ``tensor`` is its output."""

    layer: Operator
    tasks: tuple[Task, ...]

    @property
    def tensor(self) -> str:
        return self.layer.output


@dataclass(eq=False)
class Layout:
    """The result.

    Parameters
    ----------
    network : Network
        Without Softmax.
    buffers : Buffers
    views : dict
        Virtual addresses of the elements of each tensor, of its logical shape.
    work : list of Work
        One for each layer that is no view and no constant, in order.
    """

    network: Network
    buffers: Buffers = field(default_factory=Buffers)
    views: dict[str, Ints] = field(default_factory=dict)
    work: list[Work] = field(default_factory=list)
    begin: list[Vector] = field(default_factory=list)
    """Before the first step of a sequence: states take their initial codes."""
    end: list[Vector] = field(default_factory=list)
    """Behind every step: states take what the step has made of them."""

    def linear(self, name: str) -> Linear:
        """The products of a layer, by name."""
        return next(
            task
            for work in self.work
            for task in work.tasks
            if isinstance(task, Linear) and task.name == name
        )
