# SPDX-License-Identifier: Apache-2.0
"""A compiled tile program: what the compiler makes and every target runs.

The same object drives the fast machine, the Verilated model, a netlist and a board: it holds what
the host writes to the tile once (instructions, parameters, tables, cells), how a sample becomes
input words, and what the words that come back mean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..arch.chip import Chip
from ..arch.errors import InputError
from ..arch.isa import Instruction
from ..arch.messages import CORE_FLAGS

__all__ = [
    "ArraySpec",
    "InputLayout",
    "OutputSegment",
    "ProgramError",
    "TileProgram",
]

_SLOTS: Mapping[str, int] = MappingProxyType({"int32": 2, "uint8": 8})
"""Elements that a 64-bit word holds."""


class ProgramError(InputError):
    """A tile program cannot run; the message names the instruction."""


@dataclass(frozen=True, eq=False)
class ArraySpec:
    """The cells of one array in use.

    Parameters
    ----------
    core : int
        Which core.
    levels : uint8 array [rows, cols]
        Cell levels, ``0 .. 2**cell_bits - 1``.
    flips : bool array [cols], optional
        Columns whose cells hold the complement, on chips of the encoding flipped.
    thresholds : int32 array [cols], optional
        Of sense amplifiers, as in :class:`~.image.ArrayImage`.
    array : int
        Which of the core's arrays.
    """

    core: int
    levels: NDArray[np.uint8]
    flips: NDArray[np.bool_] | None = None
    thresholds: NDArray[np.int32] | None = None
    array: int = 0


@dataclass(frozen=True, eq=False)
class InputLayout:
    """Which input element goes to which byte of a sample's words.

    Parameters
    ----------
    order : int64 array [8 * words]
        For each byte, the first of a word in bits 7:0, the input element; -1 is a pad byte.
    fill : int or uint8 array [8 * words]
        What pad bytes hold, one value for all or one a byte: padded images carry their zero point.

    Raises
    ------
    ValueError
        If the bytes are no whole number of words, an index is below -1, or ``fill`` does not fit.
    """

    order: NDArray[np.int64]
    fill: int | NDArray[np.uint8] = 0

    def __post_init__(self) -> None:
        if self.order.ndim != 1 or self.order.size % 8 or not self.order.size:
            raise ValueError(f"An input layout fills whole words, not {self.order.shape} bytes")
        if self.order.min() < -1:
            raise ValueError(f"An input layout names elements from -1 up, not {self.order.min()}")
        if isinstance(self.fill, np.ndarray):
            if self.fill.dtype != np.uint8 or self.fill.shape != self.order.shape:
                raise ValueError(
                    f"Pad bytes must be uint8 {list(self.order.shape)}, "
                    f"not {self.fill.dtype} {list(self.fill.shape)}"
                )
        elif not 0 <= self.fill <= 255:
            raise ValueError(f"A pad byte must be 0 to 255, not {self.fill}")

    @property
    def inputs(self) -> int:
        """Elements of a sample."""
        return int(self.order.max()) + 1

    @property
    def words(self) -> int:
        """64-bit words of a sample."""
        return self.order.size // 8

    def pack(self, codes: NDArray[np.uint8]) -> NDArray[np.uint64]:
        """Lay out samples as words: see :meth:`TileProgram.pack_inputs`."""
        flat = codes.reshape(len(codes), -1) if codes.ndim and codes.size else codes
        if codes.ndim < 2 or codes.dtype != np.uint8 or flat.shape[1] != self.inputs:
            raise InputError(
                f"Input codes must be uint8 with {self.inputs} elements a sample, "
                f"not {codes.dtype} {list(codes.shape)}"
            )
        # Index -1 takes the last column, which is overwritten.
        padded = np.concatenate([flat, np.zeros((len(flat), 1), dtype=np.uint8)], axis=1)
        data = np.take(padded, self.order, axis=1)
        pads = np.flatnonzero(self.order < 0)
        data[:, pads] = np.broadcast_to(self.fill, self.order.shape)[pads]
        return data.view("<u8").astype(np.uint64, copy=False)

    @classmethod
    def plain(cls, inputs: int) -> "InputLayout":
        """Elements in order; the last word is filled up with zeros."""
        order = np.full(-(-inputs // 8) * 8, -1, dtype=np.int64)
        order[:inputs] = np.arange(inputs)
        return cls(order)


@dataclass(frozen=True, eq=False)
class OutputSegment:
    """Consecutive output words of a sample that hold elements of one tensor.

    Parameters
    ----------
    tensor : str
        Its name; several segments may share a tensor.
    dtype : str
        "int32" (two elements a word, the first in the low half) or "uint8" (eight a word).
    words : int
        64-bit words.
    index : int64 array [words * elements of a word]
        Flat element of the tensor that each slot holds; -1 is padding to drop.
    unit : int
        Units of the words that make one of the tensor, rounded down.

    Raises
    ------
    ValueError
        If the dtype is another, or ``index`` does not have one entry a slot.
    """

    tensor: str
    dtype: Literal["int32", "uint8"]
    words: int
    index: NDArray[np.int64]
    unit: int = 1

    def __post_init__(self) -> None:
        if self.dtype not in _SLOTS:
            raise ValueError(f"Output words hold int32 or uint8 elements, not {self.dtype}")
        slots = self.words * _SLOTS[self.dtype]
        if self.words < 1 or self.index.shape != (slots,):
            raise ValueError(
                f"A segment of {self.words} words of '{self.tensor}' has {slots} slots, "
                f"its index has the shape {self.index.shape}"
            )


@dataclass(frozen=True, eq=False, kw_only=True)
class TileProgram:
    """All that a target needs to run a network on one tile.

    The instructions run once up to the first SYNC that waits for input words; from there on each
    sample takes them back to such a SYNC, for ever.

    Parameters
    ----------
    chip : Chip
        What it was compiled for.
    instructions : tuple of Instruction
        From address 0.
    params : uint64 array [n]
        Parameter memory from address 0.
    tables : uint8 array [chip.tables, 256]
        The code-to-code tables.
    arrays : tuple of ArraySpec
        Those in use.
    input : InputLayout
        Words of a sample.
    outputs : tuple of OutputSegment
        In the order in which words come out for one sample.
    data : uint64 array [n]
        What data memory holds from word 0 on when the program starts: constants, the margins of
        padded tensors, states of zero.
    shapes : mapping of str to tuple of int
        Shape of tensors in ``outputs``, without the sample axis; those that are not named have one
        axis.

    Raises
    ------
    ValueError
        If the parts do not fit each other: a tensor of two dtypes, or with an element that comes
        out never or twice; cells of another shape than the chip's array.
    ProgramError
        If the program, its parameters or its data do not fit the chip's memories.
    """

    chip: Chip
    instructions: tuple[Instruction, ...]
    params: NDArray[np.uint64]
    tables: NDArray[np.uint8]
    arrays: tuple[ArraySpec, ...]
    input: InputLayout
    outputs: tuple[OutputSegment, ...]
    data: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        chip = self.chip
        if len(self.instructions) > chip.program_words:
            raise ProgramError(
                f"The program has {len(self.instructions)} instructions, chip '{chip.name}' holds "
                f"{chip.program_words}; raise program_words"
            )
        for what, words, limit, key in (
            ("parameter", self.params, chip.param_words, "param_words"),
            ("data", self.data, chip.data_words, "data_words"),
        ):
            if words.dtype != np.uint64 or words.ndim != 1:
                raise ValueError(f"The {what} words must be uint64 [n], not {words.dtype}")
            if len(words) > limit:
                raise ProgramError(
                    f"The program has {len(words)} {what} words, chip '{chip.name}' holds "
                    f"{limit}; raise {key}"
                )
        if self.tables.dtype != np.uint8 or self.tables.shape != (chip.tables, 256):
            raise ValueError(
                f"Tables must be uint8 [{chip.tables}, 256], not {self.tables.dtype} "
                f"{list(self.tables.shape)}"
            )
        self._check_arrays()
        self._check_outputs()

    def _check_arrays(self) -> None:
        chip = self.chip
        cores = [spec.core for spec in self.arrays]
        each = chip.arrays_per_core
        if (each == 1 and len(set(cores)) != len(cores)) or not all(
            0 <= c < chip.cores for c in cores
        ):
            raise ValueError(f"Arrays belong to different cores 0 to {chip.cores - 1}, not {cores}")
        if not all(0 <= spec.array < each for spec in self.arrays):
            found = [spec.array for spec in self.arrays]
            raise ValueError(f"A core has arrays 0 to {each - 1}, not {found}")
        if len(set(self.array_numbers)) != len(cores):
            raise ValueError(f"Two arrays have the same place: {self.array_numbers}")
        for spec in self.arrays:
            levels = spec.levels
            if levels.dtype != np.uint8 or levels.shape != (chip.rows, chip.cols):
                raise ValueError(
                    f"Levels of {self.place_of(spec)} must be uint8 [{chip.rows}, {chip.cols}], "
                    f"not {levels.dtype} {list(levels.shape)}"
                )
            if levels.max() >> chip.cell_bits:
                raise ValueError(
                    f"{self.place_of(spec).capitalize()} has a cell of level {levels.max()}, a "
                    f"cell holds "
                    f"{chip.cell_bits} bits"
                )
            flips = spec.flips
            if flips is not None and (flips.dtype != np.bool_ or flips.shape != (chip.cols,)):
                raise ValueError(
                    f"Flags of core {spec.core} must be bool [{chip.cols}], not {flips.dtype} "
                    f"{list(flips.shape)}"
                )
            if flips is not None and not chip.flag_words:
                raise ValueError(
                    f"Core {spec.core} has flipped columns, chip '{chip.name}' has no flags for "
                    f"them; its encoding is {chip.weight_encoding}"
                )

    def _check_outputs(self) -> None:
        tensors: dict[str, list[OutputSegment]] = {}
        for segment in self.outputs:
            tensors.setdefault(segment.tensor, []).append(segment)
        shapes = {}
        for name, segments in tensors.items():
            if len({s.dtype for s in segments}) > 1:
                raise ValueError(f"Tensor '{name}' has segments of two dtypes")
            index = np.concatenate([s.index for s in segments])
            shapes[name] = self.shapes.get(name, (int(index.max()) + 1,))
            size = int(np.prod(shapes[name], dtype=np.int64))
            found = np.sort(index[index >= 0])
            if not np.array_equal(found, np.arange(size)) or index.min() < -1:
                raise ValueError(
                    f"Tensor '{name}' has {size} elements, each of which must come out once"
                )
        if not shapes.keys() >= self.shapes.keys():
            raise ValueError(f"No output holds {sorted(self.shapes.keys() - shapes.keys())}")
        object.__setattr__(self, "shapes", MappingProxyType(shapes))

    @property
    def array_numbers(self) -> tuple[int, ...]:
        """Of each of ``arrays``, its number in the tile."""
        return tuple(self.chip.array_number(spec.core, spec.array) for spec in self.arrays)

    def place_of(self, spec: ArraySpec) -> str:
        """How messages call an array."""
        several = self.chip.arrays_per_core > 1
        return f"array {spec.array} of core {spec.core}" if several else f"core {spec.core}"

    @property
    def input_words(self) -> int:
        """64-bit words that go in for a sample."""
        return self.input.words

    @property
    def output_words(self) -> int:
        """64-bit words that come out for a sample."""
        return sum(segment.words for segment in self.outputs)

    @property
    def output_used(self) -> NDArray[np.bool_]:
        """bool [8 * output_words]: whether a byte of a sample's output words belongs to a tensor.

        The others are padding, whose values mean nothing.
        """
        used = [np.repeat(s.index >= 0, 8 // _SLOTS[s.dtype]) for s in self.outputs]
        return np.concatenate([np.zeros(0, dtype=np.bool_), *used])

    @property
    def encoded(self) -> NDArray[np.uint64]:
        """The instructions as uint64 words for the instruction memory."""
        return np.array([i.encode() for i in self.instructions], dtype=np.uint64)

    @property
    def table_words(self) -> NDArray[np.uint64]:
        """The tables as uint64 [32 * tables] words, as a WRITE_TABLE message carries them."""
        return np.ascontiguousarray(self.tables).reshape(-1).view("<u8").astype(np.uint64)

    @property
    def corrections(self) -> NDArray[np.uint64]:
        """The table of corrections as uint64 words, as a WRITE_CORRECTIONS message carries them;
        none without an AN code."""
        code = self.chip.an_code
        return np.array([] if code is None else code.words, dtype=np.uint64)

    @property
    def flag_words(self) -> NDArray[np.uint64]:
        """The flags of flipped columns of all cores as uint64 [8 * cores], as a WRITE_FLAGS message
        carries them; none on chips without."""
        chip = self.chip
        if not chip.flag_words:
            return np.zeros(0, dtype=np.uint64)
        flags = np.zeros((chip.cores, 64 * CORE_FLAGS), dtype=np.bool_)
        for spec in self.arrays:
            if spec.flips is not None:
                flags[spec.core, : chip.cols] = spec.flips
        packed = np.packbits(flags.reshape(-1), bitorder="little")
        return packed.view("<u8").astype(np.uint64)

    def pack_inputs(self, codes: NDArray[np.uint8]) -> NDArray[np.uint64]:
        """Lay out samples as input words.

        Parameters
        ----------
        codes : uint8 [n, ...]
            Internal codes of the input tensor; the axes after the first are flattened.

        Returns
        -------
        uint64 [n, input_words]

        Raises
        ------
        InputError
            If type or number of elements do not fit, or if rows are driven with a single bit and
            a code has more.
        """
        if self.chip.sense_amplifier and codes.size and codes.max() > 1:
            raise InputError(
                f"Input codes must be 0 or 1 on chip '{self.chip.name}' with its sense amplifiers, "
                f"not {codes.max()}; make the samples binary"
            )
        return self.input.pack(codes)

    def unpack_outputs(self, words: NDArray[np.uint64]) -> dict[str, NDArray[Any]]:
        """Gather tensors from output words.

        Parameters
        ----------
        words : uint64 [n, output_words]

        Returns
        -------
        dict
            Tensor name to an int32 or uint8 array [n, *shape], in order of first appearance.

        Raises
        ------
        InputError
            If the words have another type or shape.
        """
        if words.dtype != np.uint64 or words.ndim != 2 or words.shape[1] != self.output_words:
            raise InputError(
                f"Output words must be uint64 [n, {self.output_words}], "
                f"not {words.dtype} {list(words.shape)}"
            )
        n = len(words)
        data = np.ascontiguousarray(words).astype("<u8", copy=False)
        starts = _starts(self.outputs)
        result: dict[str, NDArray[Any]] = {}
        for start, segment in zip(starts, self.outputs, strict=True):
            shape = self.shapes[segment.tensor]
            if segment.tensor not in result:
                size = int(np.prod(shape, dtype=np.int64))
                result[segment.tensor] = np.empty((n, size), dtype=segment.dtype)
            part = np.ascontiguousarray(data[:, start : start + segment.words])
            kind = "<i4" if segment.dtype == "int32" else "u1"
            kept = np.flatnonzero(segment.index >= 0)
            values = part.view(kind) if segment.unit == 1 else part.view(kind) // segment.unit
            result[segment.tensor][:, segment.index[kept]] = values[:, kept]
        return {name: a.reshape(n, *self.shapes[name]) for name, a in result.items()}


def _starts(segments: Sequence[OutputSegment]) -> list[int]:
    """First word of each segment."""
    starts = [0]
    for segment in segments:
        starts.append(starts[-1] + segment.words)
    return starts[:-1]
