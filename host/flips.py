# SPDX-License-Identifier: Apache-2.0
"""Digital faults: which bits there are to flip, and which of them a seed picks.

A pick is a pure function of seed, place and number: Threefry-2x32 with the key (seed, place) and
the counter (number, draw), as the read noise is. So the tenth flip is the same however many are
asked for, and whatever ran before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..arch.errors import InputError
from ..arch.isa import VECTOR_ELEMENTS, Opcode, VecOp
from ..behavioral.threefry import threefry2x32
from .compiler.network import CompiledNetwork
from .memories import PLACES, Memory, find_memories
from .verilator_build import emit_chip

__all__ = ["Flip", "Space", "check_places", "flip_space", "pick_flips"]


@dataclass(frozen=True)
class Flip:
    """One bit that flips once.

    Parameters
    ----------
    place : str
        One of :data:`~.memories.PLACES`.
    memory : Memory
    word, bit : int
    sample : int or None
        The tile waits for this sample when it flips; None: it flips in the middle of a run.
    cycle : int
        Clock cycles of the run that have passed by then; 0 with ``sample``.
    """

    place: str
    memory: Memory
    word: int
    bit: int
    sample: int | None
    cycle: int


@dataclass(frozen=True)
class Space:
    """The bits of a place that a program uses.

    Parameters
    ----------
    place : str
    memories : tuple of Memory
    words : tuple of int
        Words in use of each memory, from 0 on.
    """

    place: str
    memories: tuple[Memory, ...]
    words: tuple[int, ...]

    @property
    def bits(self) -> int:
        """All bits in use."""
        return sum(m.width * n for m, n in zip(self.memories, self.words, strict=True))

    def bit(self, index: int) -> tuple[Memory, int, int]:
        """The memory, word and bit of one of :attr:`bits`."""
        for memory, words in zip(self.memories, self.words, strict=True):
            if index < memory.width * words:
                word, bit = divmod(index, memory.width)
                return memory, word, bit
            index -= memory.width * words
        raise IndexError(f"Place {self.place} has {self.bits} bits")


def check_places(names: Sequence[str]) -> tuple[str, ...]:
    """Known places, each once, in their order.

    Raises
    ------
    InputError
        If one is unknown or none is given.
    """
    for name in names:
        if name not in PLACES:
            raise InputError(
                f"--where: there is no place '{name}'; choose from {', '.join(PLACES)}, separated "
                "by commas"
            )
    if not names:
        raise InputError(f"--where names no place; choose from {', '.join(PLACES)}")
    return tuple(place for place in PLACES if place in names)


def flip_space(compiled: CompiledNetwork, place: str) -> Space:
    """The bits of a place that the program of a network uses.

    Raises
    ------
    InputError
        If it uses none.
    ToolError
        If the RTL cannot be written out.
    """
    program, chip = compiled.program, compiled.chip
    cores = {spec.core for spec in program.arrays}
    elements = max(
        (
            i["element"] + i["bytes"] * (i["repeats"] + 1) // VecOp(i["op"]).width
            for i in program.instructions
            if i.op is Opcode.VEC
        ),
        default=0,
    )
    elements = min(elements, VECTOR_ELEMENTS)
    lanes = chip.outputs_per_beat
    memories, words = [], []
    for memory in find_memories(emit_chip(chip)):
        if memory.place != place:
            continue
        owner = memory.path.split(".")[0]
        if owner.startswith("core"):
            used = memory.words if int(owner.removeprefix("core")) in cores else 0
        else:
            used = {
                "accumulators": -(-elements // 8),
                "data": compiled.data_words,
                "program": len(program.encoded),
                "params": -(-len(program.params) // lanes),
                "tables": len(program.table_words),
            }[place]
        if used:
            memories.append(memory)
            words.append(min(used, memory.words))
    if not memories:
        raise InputError(
            f"--where: network '{compiled.network.name}' uses no bit of place '{place}' on chip "
            f"'{chip.name}'; leave it out"
        )
    return Space(place, tuple(memories), tuple(words))


def _draw(seed: int, place: int, number: int, draw: int, below: int) -> int:
    """An integer from 0 to below ``below``, all but equally likely."""
    low, high = threefry2x32((seed, place), (number, draw))
    return ((int(high[0]) << 32 | int(low[0])) * below) >> 64


def pick_flips(
    space: Space, count: int, seed: int, *, cycles: int, samples: int | None = None
) -> list[Flip]:
    """The first flips of a seed.

    Parameters
    ----------
    space : Space
    count : int
    seed : int
        0 to 2**32 - 1.
    cycles : int
        Of the run: the cycle of a flip lies below it.
    samples : int, optional
        If given, flips happen while the tile waits for one of so many samples.
    """
    place = PLACES.index(space.place)
    flips = []
    for number in range(count):
        memory, word, bit = space.bit(_draw(seed, place, number, 0, space.bits))
        cycle = 0 if samples is not None else _draw(seed, place, number, 1, cycles)
        sample = None if samples is None else _draw(seed, place, number, 1, samples)
        flips.append(Flip(space.place, memory, word, bit, sample, cycle))
    return flips
