# SPDX-License-Identifier: Apache-2.0
"""Softmax, and the operators that it is made of on a tile."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...arch.errors import ModelError
from ...behavioral.golden import plan_softmax
from .elementwise import Combine, Multiply, Sum
from .network import Network
from .operators import Operator, Shape
from .pools import MaxPool
from .quantization import Quantization
from .views import Reshape

__all__ = ["Softmax", "lower_softmax"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Softmax:
    """Over the last axis, by tables and fixed point; :mod:`~ohmtwin.behavioral.golden` defines it.

    Parameters
    ----------
    scale : float
        Of the input codes.
    """

    kind: ClassVar[str] = "Softmax"

    name: str
    input: str
    output: str
    scale: float
    out_quant: Quantization

    def __post_init__(self) -> None:
        if not math.isfinite(self.scale) or self.scale <= 0:
            raise ModelError(
                f"The scale of layer {self.name!r} must be finite and positive, not {self.scale!r}"
            )

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.input,)

    def shape(self, *sources: Shape) -> Shape:
        if not sources[0]:
            raise ModelError(
                f"Layer {self.name!r} needs an axis to work on, {self.input!r} has none"
            )
        try:
            plan_softmax(self.scale, sources[0][-1], self.out_quant.scale)
        except ValueError as error:
            raise ModelError(f"Layer {self.name!r} cannot be computed: {error}") from None
        return sources[0]


_UNIT = (1 << 23, 23)
"""Mantissa and shift of the factor 1."""

_PLAIN = Quantization(1.0, 0, signed=False)
"""Of tensors whose codes are whole numbers of their own."""


def lower_softmax(network: Network) -> Network:
    """A network in which each Softmax has become the operators it is defined by.

    See :mod:`ohmtwin.behavioral.golden.softmax` for the steps. The last operator keeps the layer's
    name and output, so that a run returns the same tensors and those on the way besides, which
    are named ``"<layer>.<step>"``. Networks without Softmax are returned as they are.
    """
    if not any(isinstance(layer, Softmax) for layer in network.layers):
        return network
    layers: list[Operator] = []
    for layer in network.layers:
        if isinstance(layer, Softmax):
            layers += _steps(layer, network.shape(layer.input))
        else:
            layers.append(layer)
    return replace(network, layers=tuple(layers))


def _steps(layer: Softmax, shape: Shape) -> list[Operator]:
    length = shape[-1]
    rows = math.prod(shape[:-1])
    plan = plan_softmax(layer.scale, length, layer.out_quant.scale)

    def name(step: str) -> str:
        return f"{layer.name}.{step}"

    def combine(
        step: str,
        sources: tuple[str, ...],
        factors: tuple[int, ...],
        offset: int,
        table: NDArray[np.uint8] | None = None,
    ) -> Combine:
        return Combine(
            name=name(step),
            sources=sources,
            output=name(step),
            factors=factors,
            offset=offset,
            mantissa=_UNIT[0],
            shift=_UNIT[1],
            zero_point=0,
            clip_low=0,
            clip_high=255,
            table=table,
            pre_quant=None if table is None else _PLAIN,
            out_quant=_PLAIN,
        )

    flat, peak, hi, lo = name("rows"), name("max"), name("exp_hi"), name("exp_lo")
    layers: list[Operator] = [
        Reshape(name=flat, input=layer.input, output=flat, to=(1, rows, length), out_quant=_PLAIN),
        MaxPool(name=peak, input=flat, output=peak, kernel=(1, length), out_quant=_PLAIN),
        combine("exp_hi", (flat, peak), (1, -1), 255, plan.exp_hi),
        combine("exp_lo", (flat, peak), (1, -1), 255, plan.exp_lo),
    ]
    parts = []
    for number, part in enumerate(plan.ranges):
        parts.append(name(f"total{number}"))
        layers.append(
            Sum(
                name=parts[-1],
                sources=(hi, lo),
                output=parts[-1],
                factors=(256, 1),
                offset=part.offset,
                length=length,
                mantissa=part.scale.mantissa,
                shift=part.scale.shift,
                zero_point=0,
                clip_low=0,
                clip_high=255,
                table=part.reciprocal,
                pre_quant=_PLAIN,
                out_quant=_PLAIN,
            )
        )
    inverse = parts[0]
    if len(parts) > 1:
        inverse = name("reciprocal")
        layers.append(combine("reciprocal", tuple(parts), (1,) * len(parts), -plan.spare))
    whole = shape == (1, rows, length)
    product = Multiply(
        name=layer.name,
        sources=(hi, inverse),
        output=layer.output if whole else name("rows_out"),
        zero_points=(0, 0),
        mantissa=plan.scale.mantissa,
        shift=plan.scale.shift,
        zero_point=layer.out_quant.internal_zero_point,
        clip_low=0,
        clip_high=255,
        out_quant=layer.out_quant,
    )
    layers.append(product)
    if not whole:
        layers.append(
            Reshape(
                name=name("shape"),
                input=product.output,
                output=layer.output,
                to=shape,
                out_quant=layer.out_quant,
            )
        )
    return layers
