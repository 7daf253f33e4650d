# SPDX-License-Identifier: Apache-2.0
"""The steps that a tile takes for a sample, every address resolved (docs/tile.md)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arch.isa import Reg
from .core import MvmConfig

__all__ = [
    "Control",
    "Load",
    "Place",
    "Product",
    "Receive",
    "Requantize",
    "Send",
    "Step",
    "Trace",
]

Place = tuple[str, int, int]
"""Something that keeps a value: ("data", 0, word), ("rows", core, word of 8 rows), ("sum", core, 0)
for the sum of activations, ("acc", core, 0) for the accumulators."""


@dataclass(frozen=True)
class Control:
    """The state of a tile that does not depend on data.

    Parameters
    ----------
    pc : int
        The next instruction.
    loops : tuple of (first, last, passes left)
        Open loops, the innermost last; 0 passes left is for ever.
    registers : tuple of int or None
        By :class:`~ohmtwin.arch.isa.Reg`; None was never set.
    sums : tuple of int
        For each core, the accumulator words that its last product filled.
    free : int
        Words that are certainly free in the output FIFO.
    """

    pc: int
    loops: tuple[tuple[int, int, int], ...]
    registers: tuple[int | None, ...]
    sums: tuple[int, ...]
    free: int = 0

    @classmethod
    def reset(cls, cores: int) -> "Control":
        return cls(0, (), (None,) * len(Reg), (0,) * cores)


@dataclass(frozen=True)
class Step:
    """One executed instruction; by itself one that moves no data.

    Parameters
    ----------
    at : int
        Its index in the program.
    cores : tuple of int
        Cores it waits for.
    waits_vector : bool
        Whether it then waits for the vector unit.
    cycles : int
        The next fetch comes this many cycles after the first cycle of execution.
    """

    at: int
    cores: tuple[int, ...] = ()
    waits_vector: bool = False
    cycles: int = 1


@dataclass(frozen=True, kw_only=True)
class Load(Step):
    """LOAD: ``count`` bytes from byte ``start`` of the sample's input words or of data memory."""

    host: bool
    start: int
    row: int
    count: int


@dataclass(frozen=True, kw_only=True)
class Receive(Step):
    """RECV: words ``start`` and up of the sample's input to data word ``address`` and up."""

    start: int
    address: int
    words: int


@dataclass(frozen=True, kw_only=True)
class Send(Step):
    """SEND: data word ``address`` and up to output word ``start`` and up."""

    start: int
    address: int
    words: int


@dataclass(frozen=True, kw_only=True)
class Product(Step):
    """MVM; ``number`` counts the products of the pass, one a core."""

    config: MvmConfig
    number: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Requantize(Step):
    """REQ, with its parameters looked up.

    Parameters
    ----------
    address, words : int
        Where the codes go in data memory.
    beats : int
        Accumulator words.
    last_issue : int
        Cycles from the first cycle of execution to the issue of the last accumulator word.
    bias, mantissa, shift : arrays [outputs] of int32, uint32, uint8
    used : bool array [outputs]
        Outputs with a mantissa; the others scale to 0.
    quant : (zero point, lowest code, highest code)
    table : int or None
    tap : int or None
        First output word of the sums, if they are sent.
    """

    address: int
    words: int
    beats: int
    last_issue: int
    bias: NDArray[np.int32]
    mantissa: NDArray[np.uint32]
    shift: NDArray[np.uint8]
    used: NDArray[np.bool_]
    quant: tuple[int, int, int]
    table: int | None
    tap: int | None


@dataclass(frozen=True, eq=False)
class Trace:
    """From one wait for a sample's input to the next.

    Parameters
    ----------
    steps : tuple of Step
        The last one is the SYNC that waits.
    end : Control
        State when it waits.
    needs : dict
        Places read before this pass wrote them, and the index of an instruction that does.
    makes : set
        Places that this pass writes.
    """

    steps: tuple[Step, ...]
    end: Control
    needs: dict[Place, int]
    makes: frozenset[Place]

    @property
    def products(self) -> tuple[Product, ...]:
        """The MVM steps."""
        return tuple(step for step in self.steps if isinstance(step, Product))

    @property
    def product_count(self) -> int:
        """Products of the pass; each core of an MVM makes one."""
        return sum(len(step.cores) for step in self.products)

    @property
    def independent(self) -> bool:
        """Whether samples may run side by side.

        Then no pass reads what the pass before it wrote, and each array makes at most one product,
        so that its reads are numbered sample by sample.
        """
        cores = [core for step in self.products for core in step.cores]
        return len(cores) == len(set(cores)) and not self.needs.keys() & self.makes

    @property
    def data_words(self) -> int:
        """Words of data memory up to the last that is touched."""
        places = self.needs.keys() | self.makes
        return max((place[2] + 1 for place in places if place[0] == "data"), default=0)
