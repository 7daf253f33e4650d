# SPDX-License-Identifier: Apache-2.0
"""What a layer's weights are made of: sums of arrays, how they are read, pulsed and kept in range.

A kind of cells has a list of arrays with a factor each; a read adds up their codes. Units: a code
of a read is worth ``2**shift * device.unit`` of weight times the largest input; a pulse changes a
weight by ``device.step``.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...arch.errors import ConfigError
from ...arch.learning_isa import NO_FLAGS, Flag, LearnOp
from ...arch.learning_isa import VectorFunction as V
from ...behavioral.learning.cells import MAX_INPUT, LearnCells
from ...behavioral.learning.device import HALF, LearnDevice, learn_model
from .assembler import Assembler
from .config import TrainConfig

__all__ = [
    "CARRY_COUNTER",
    "MOST_PULSES",
    "ROTATION",
    "SCRATCH",
    "ArraySpec",
    "Layer",
    "bounded",
    "emit_carry",
    "emit_pulses",
    "emit_read",
    "emit_row",
    "emit_write",
    "make_specs",
    "row_code",
    "row_shift",
]

SCRATCH = 2
CARRY_COUNTER = 8
ROTATION = 15
"""Registers; 1 holds the label, 3 to 7 exponents, 10 to 14 rows of the layers."""

MOST_PULSES = 63
"""Of a cell in one WRITE."""

_MARGIN = 1.25
"""How far beyond a cell's range the converters reach when one row is read."""


@dataclass(frozen=True, eq=False)
class ArraySpec:
    """An array to be made.

    ``weights`` float64 [rows, cols] is what it starts from; ``reference`` as that of
    ``draw_cells``, or a quarter of the range, which both devices of a pair have.
    """

    device: LearnDevice
    weights: NDArray[np.float64]
    reference: Literal["middle", "symmetry", "quarter"] = "middle"


@dataclass
class Layer:
    """A layer of weights while its program is made.

    ``rows`` counts the bias. ``arrays`` are the numbers of its arrays, ``factors`` what each one
    counts in a read (0: it is not read), ``learns`` the one that pulses of the updates go to.
    """

    index: int
    rows: int
    cols: int
    device: LearnDevice
    x_unit: float = 1.0
    shift: int = 0
    code: float = 0.0
    back: float = 0.0
    first: int = 0
    factors: tuple[int, ...] = (1,)
    learns: int = 0
    memory: int | None = None
    scratch: dict[str, int] = field(default_factory=dict)

    @property
    def row_register(self) -> int:
        """Counts the row whose turn it is."""
        return 10 + self.index

    @property
    def name(self) -> str:
        """As messages call it."""
        return f"layer {self.index + 1}"


def make_specs(
    config: TrainConfig,
    device: LearnDevice,
    capacitor: LearnDevice,
    weights: NDArray[np.float64],
) -> tuple[list[ArraySpec], tuple[int, ...], int]:
    """Arrays of a layer, their factors, and which one learns.

    Parameters
    ----------
    weights : float64 [rows, cols]
        That the arrays hold together at first.
    """
    cells, train = config.cells, config.train
    zero = np.zeros_like(weights)
    single = ArraySpec(device, weights, cells.reference)
    factor = cells.factor
    if train.algorithm == "tiki_taka":
        fast = ArraySpec(device, zero, "symmetry")
        return [fast, single], (train.gamma, 1), 0
    if cells.kind == "pair":
        return [*_pair(device, weights)], (1, -1), 0
    if cells.kind == "multi":
        share = ArraySpec(device, weights / cells.count, cells.reference)
        return [share] * cells.count, (1,) * cells.count, 0
    if cells.kind == "significance":
        high = ArraySpec(device, weights / factor, cells.reference)
        return [high, ArraySpec(device, zero, cells.reference)], (factor, 1), 1
    if cells.kind == "transfer":
        parts = [*_pair(device, weights / factor), ArraySpec(capacitor, zero, "middle")]
        return parts, (factor, -factor, 1), 2
    return [single], (1,), 0


def _pair(device: LearnDevice, weights: NDArray[np.float64]) -> tuple[ArraySpec, ArraySpec]:
    """Both begin around a quarter of the range, which is their reference."""
    return ArraySpec(device, weights / 2, "quarter"), ArraySpec(device, -weights / 2, "quarter")


def row_shift(device: LearnDevice) -> int:
    """Shift of a read of one row: finer than that of a product, for it reaches less far."""
    top = (1 << (device.adc_bits - 1)) - 1
    return max(0, math.ceil(math.log2(_MARGIN * device.weight_max / device.unit / top)))


def row_code(device: LearnDevice) -> float:
    """The weight that a code of a read of one row is worth."""
    return float(2 ** row_shift(device) * device.unit)


def emit_read(
    code: Assembler, layer: Layer, dst: int, a: int, *, back: bool, tries: int, outputs: int
) -> None:
    """The product of all of a layer's arrays, forward or back."""
    if layer.memory is not None:
        _read_memory(code, layer, dst, a, back=back)
        return
    inputs = layer.cols if back else layer.rows
    flags = Flag.TRANSPOSED if back else NO_FLAGS
    if tries:
        flags |= Flag.BOUND
    for number, factor in enumerate(layer.factors):
        if not factor:
            continue
        code.emit(
            LearnOp.READ,
            **{"dst": dst, "a": a, "b": outputs, "n": inputs, "k": tries, "m": factor},
            **{"array": layer.first + number, "shift": layer.shift, "flags": int(flags)},
        )
        flags |= Flag.ACCUMULATE


def _read_memory(code: Assembler, layer: Layer, dst: int, a: int, *, back: bool) -> None:
    flags = Flag.TRANSPOSED if back else NO_FLAGS
    code.emit(
        LearnOp.DENSE,
        **{"dst": dst, "a": a, "b": layer.memory or 0, "n": layer.rows, "k": layer.cols},
        **{"shift": layer.shift, "flags": int(flags)},
    )


def emit_row(code: Assembler, layer: Layer, number: int, dst: int, *, shift: int) -> None:
    """Read the row whose turn it is of one of a layer's arrays."""
    hot = layer.scratch["hot"]
    code.emit(
        LearnOp.READ,
        **{"dst": dst, "a": hot, "b": layer.cols, "n": layer.rows, "m": 1},
        **{"array": layer.first + number, "shift": shift},
    )


def emit_write(code: Assembler, layer: Layer, number: int, counts: int, *, invert: bool) -> None:
    """Pulses for the row whose turn it is."""
    code.emit(
        LearnOp.WRITE,
        **{"a": counts, "n": layer.cols, "reg": layer.row_register},
        **{"array": layer.first + number, "flags": int(Flag.INVERT if invert else NO_FLAGS)},
    )


def emit_pulses(
    code: Assembler,
    config: TrainConfig,
    layer: Layer,
    settings: int,
    x: int,
    d: int,
    exponent: int,
    *,
    signed: bool,
) -> None:
    """The update of a layer by pulse trains; inputs are ``signed`` or not below 0."""
    kind = config.cells.kind

    def update(number: int, rows: int, columns: int, *, invert: bool, register: int = 0) -> None:
        code.emit(
            LearnOp.UPDATE,
            **{"a": rows, "b": columns, "n": layer.rows, "k": layer.cols, "m": settings},
            **{"reg": exponent, "array": layer.first + number, "bits": register},
            flags=int(Flag.INVERT if invert else NO_FLAGS),
        )

    if kind == "multi":
        update(0, x, d, invert=True, register=ROTATION)
        return
    if kind != "pair":
        update(layer.learns, x, d, invert=True)
        return
    # Devices of a pair only go up: the one that is added where the weight grows, else the other.
    falls, grows = layer.scratch["positive"], layer.scratch["negative"]
    code.vector(V.MAXK, falls, d, layer.cols)
    code.vector(V.MINK, grows, d, layer.cols)
    if not signed:
        update(0, x, grows, invert=True)
        update(1, x, falls, invert=False)
        return
    above, below = layer.scratch["above"], layer.scratch["below"]
    code.vector(V.MAXK, above, x, layer.rows)
    code.vector(V.MINK, below, x, layer.rows)
    update(0, above, grows, invert=True)
    update(0, below, falls, invert=True)
    update(1, above, falls, invert=False)
    update(1, below, grows, invert=False)


def emit_carry(
    code: Assembler, config: TrainConfig, layer: Layer, parts: Sequence[ArraySpec]
) -> None:
    """Keep one row in range: carry from the less to the more significant, reset pairs."""
    kind = config.cells.kind
    if kind not in ("pair", "significance", "transfer"):
        return
    code.emit(LearnOp.STEP, reg=layer.row_register, n=layer.rows)
    code.hot(layer.scratch["hot"], layer.rows, layer.row_register, MAX_INPUT)
    if kind in ("significance", "transfer"):
        _carry(code, config, layer, parts)
    if kind in ("pair", "transfer"):
        _reset(code, config, layer, parts[0].device)


def _carry(code: Assembler, config: TrainConfig, layer: Layer, parts: Sequence[ArraySpec]) -> None:
    low, high = parts[layer.learns].device, parts[0].device
    found, q = layer.scratch["positive"], layer.scratch["negative"]
    emit_row(code, layer, layer.learns, found, shift=row_shift(low))
    step = _step_up(high, 0.25) if config.cells.kind == "transfer" else high.step
    worth = config.cells.factor * step
    # As much as the learning cell can give back in one WRITE; the rest waits for the next turn.
    most = int(MOST_PULSES * low.step / worth)
    if not most:
        raise ConfigError(
            f"cells.factor {config.cells.factor} is too large: a step of the more significant"
            f" device is {worth / low.step:.0f} of the one that learns, and a carry takes"
            f" {MOST_PULSES} at most; lower it, or take devices of other steps"
        )
    # Whole pulses only: what is less may be noise, and is not carried to and fro.
    half = min(32767, round(worth / row_code(low) / 2))
    part = layer.scratch["kept"]
    for end, sign in ((V.MAXK, -1), (V.MINK, 1)):
        target = q if sign < 0 else part
        code.vector(V.ADDK, target, found, layer.cols, k=sign * half)
        code.vector(end, target, target, layer.cols)
        code.scale(target, target, layer.cols, row_code(low) / worth)
    code.vector(V.ADD, q, q, layer.cols, b=part)
    code.vector(V.MINK, q, q, layer.cols, k=most)
    code.vector(V.MAXK, q, q, layer.cols, k=-most)
    code.vector(V.MAXK, found, q, layer.cols)
    emit_write(code, layer, 0, found, invert=False)
    code.vector(V.MINK, found, q, layer.cols)
    second = 1 if config.cells.kind == "transfer" else 0
    emit_write(code, layer, second, found, invert=bool(second))
    code.scale(found, q, layer.cols, worth / low.step)
    emit_write(code, layer, layer.learns, found, invert=True)


def _reset(code: Assembler, config: TrainConfig, layer: Layer, device: LearnDevice) -> None:
    """Where one of a pair is nearly full, take both to the bottom and one up by the difference."""
    plus, minus = layer.scratch["positive"], layer.scratch["negative"]
    full, kept = layer.scratch["full"], layer.scratch["kept"]
    cols = layer.cols
    emit_row(code, layer, 0, plus, shift=row_shift(device))
    emit_row(code, layer, 1, minus, shift=row_shift(device))
    code.vector(V.MAX, full, plus, cols, b=minus)
    level = (2 * config.cells.saturated - 0.5) * device.weight_max / row_code(device)
    code.vector(V.GTK, full, full, cols, k=round(level))
    code.vector(V.SUB, kept, plus, cols, b=minus)
    code.vector(V.MUL, kept, kept, cols, b=full)
    code.scale(plus, kept, cols, row_code(device) / _step_up(device, 0.125))
    most = 1 if device.reset else math.ceil(1.5 * device.steps / MOST_PULSES)
    code.vector(V.MULK, full, full, cols, k=1 if device.reset else MOST_PULSES)
    with code.loop(most):
        emit_write(code, layer, 0, full, invert=True)
        emit_write(code, layer, 1, full, invert=True)
    code.vector(V.MAXK, minus, plus, cols)
    emit_write(code, layer, 0, minus, invert=False)
    code.vector(V.MINK, minus, plus, cols)
    emit_write(code, layer, 1, minus, invert=True)


def _step_up(device: LearnDevice, share: float) -> float:
    """The weight of a step up at a share of the range: devices of a pair live low in it."""
    place = np.array([round(2 * share * HALF * 256)])
    step = learn_model(device).steps(place, up=True)
    return float(step[0] / (HALF * 256) * device.weight_max)


def bounded(cells: LearnCells, bounds: tuple[float, float], device: LearnDevice) -> LearnCells:
    """Cells whose weights end at bounds."""
    ends = [
        np.clip((cells.ref + round(w * HALF / device.weight_max)) * 256, 0, cells.model.high)
        for w in bounds
    ]
    low, high = (v.astype(np.int32) for v in ends)
    if cells.low is not None and cells.high is not None:
        low, high = np.maximum(low, cells.low), np.minimum(high, cells.high)
        low = np.minimum(low, high)
    state = np.clip(cells.state, low, high).astype(np.int32)
    return dataclasses.replace(cells, state=state, low=low, high=high)
