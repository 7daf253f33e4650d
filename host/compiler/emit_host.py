# SPDX-License-Identifier: Apache-2.0
"""Words from and to the host, in stretches that its FIFOs hold."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ...arch.isa import Opcode, Reg
from .affine import Dim
from .tensors import Ints
from .tree import Builder, Operation, Pointer, Received, Sent, Turn

__all__ = ["receive", "send"]

_WORD = 8


def receive(
    builder: Builder, address: int, index: Ints, fill: NDArray[np.uint8], tensor: str
) -> None:
    """RECV of bytes, whole words: elements ``index``, ``fill`` where that is -1, of an input."""

    def taken(operation: Operation, part: slice, times: int) -> None:
        operation.in_words = operation.fields["words"]
        rows = _rows(index[part], times), _rows(fill[part], times)
        operation.received = Received(*rows, tensor)

    _move(builder, Opcode.RECV, address, index.size // _WORD, taken)


def send(builder: Builder, address: int, index: Ints, tensor: str) -> None:
    """SEND of bytes, whole words, that hold elements ``index`` of a tensor, -1 for none."""

    def given(operation: Operation, part: slice, times: int) -> None:
        operation.out_words = operation.fields["words"]
        operation.sent = Sent(tensor, "uint8", _rows(index[part], times))

    _move(builder, Opcode.SEND, address, index.size // _WORD, given)


_Item = TypeVar("_Item", bound=np.generic)


def _rows(values: NDArray[_Item], times: int) -> NDArray[_Item]:
    return values.reshape(times, -1) if times > 1 else values


def _move(
    builder: Builder,
    op: Opcode,
    address: int,
    words: int,
    describe: Callable[[Operation, slice, int], None],
) -> None:
    """A loop over stretches of the length of a FIFO, and what is left."""
    pointer = Pointer(builder, Reg.A0, address)
    full, rest = divmod(words, builder.stretch)
    stretches = [(full, builder.stretch)] if full else []
    stretches += [(1, rest)] if rest else []
    begin = 0
    for times, count in stretches:
        part = slice(_WORD * begin, _WORD * (begin + times * count))
        begin += times * count

        def body(_: Turn, times: int = times, count: int = count, part: slice = part) -> None:
            describe(builder.emit(op, addr=Reg.A0, words=count), part, times)
            pointer.goto(pointer.at + _WORD * count)

        dims = [Dim(times, (_WORD * count,))] if times > 1 else []
        builder.walk(dims, (pointer,), body)
