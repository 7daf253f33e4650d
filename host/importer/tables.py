# SPDX-License-Identifier: Apache-2.0
"""Non-linearities of 8-bit codes as 256-entry tables, entry for entry as ONNX Runtime makes them.

ONNX Runtime evaluates sigmoid and tanh in float32 by rational approximations, those of Eigen, with
fused multiply-adds. A correctly rounded function gives another code about once in 40,000 entries,
where the value lies on the edge between two codes; so the same approximations are evaluated here.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..graph import Quantization

__all__ = ["FUNCTIONS", "Reals", "activation_table", "leaky_relu", "relu", "sigmoid", "tanh"]

Reals = NDArray[np.float32]


class _Rational(NamedTuple):
    """``x * p(x**2) / q(x**2)`` on ``[-limit, limit]``; coefficients from the highest power on."""

    limit: float
    p: tuple[float, ...]
    q: tuple[float, ...]


# Eigen, MathFunctionsImpl.h (ptanh_float) and its logistic of the 3.3 series.
_TANH = _Rational(
    9.0,
    (
        -2.76076847742355e-16,
        2.00018790482477e-13,
        -8.60467152213735e-11,
        5.12229709037114e-08,
        1.48572235717979e-05,
        6.37261928875436e-04,
        4.89352455891786e-03,
    ),
    (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03),
)
_SIGMOID = _Rational(
    18.0,
    (
        4.37031012579801e-11,
        1.15627324459942e-07,
        6.08574864600143e-05,
        8.51377133304701e-03,
        2.48287947061529e-01,
    ),
    (
        6.10247389755681e-13,
        5.76102136993427e-09,
        6.29106785017040e-06,
        1.70198817374094e-03,
        1.16817656904453e-01,
        9.93151921023180e-01,
    ),
)


def _horner(coefficients: tuple[float, ...], x: Reals) -> Reals:
    """Horner's rule with fused multiply-adds in float32."""
    result = np.full_like(x, np.float32(coefficients[0]))
    for coefficient in coefficients[1:]:
        # The product of two float32 values is exact in float64, so one rounding to float32 is
        # left: a fused multiply-add.
        exact = result.astype(np.float64) * x.astype(np.float64)
        result = (exact + np.float64(np.float32(coefficient))).astype(np.float32)
    return result


def _evaluate(function: _Rational, x: Reals) -> Reals:
    limit = np.float32(function.limit)
    x = np.clip(x, -limit, limit)
    square = x * x
    return _horner(function.p, square) * x / _horner(function.q, square)


def tanh(x: Reals) -> Reals:
    """Hyperbolic tangent, float32, as ONNX Runtime computes it."""
    return _evaluate(_TANH, x)


def sigmoid(x: Reals) -> Reals:
    """Logistic function, float32, as ONNX Runtime computes it."""
    result: Reals = _evaluate(_SIGMOID, x) + np.float32(0.5)
    return np.minimum(np.maximum(result, np.float32(0)), np.float32(1))


def relu(x: Reals) -> Reals:
    """``max(x, 0)``."""
    return np.maximum(x, np.float32(0))


def leaky_relu(alpha: float) -> Callable[[Reals], Reals]:
    """``x`` where it is not negative, else ``alpha * x`` in float32."""
    slope = np.float32(alpha)

    def function(x: Reals) -> Reals:
        return np.where(x >= 0, x, slope * x)

    return function


def _rounded(function: Callable[[float], float]) -> Callable[[Reals], Reals]:
    """A function evaluated in double precision and rounded to float32."""

    def rounded(x: Reals) -> Reals:
        values = [function(v) for v in x.astype(np.float64).ravel().tolist()]
        return np.array(values, np.float64).astype(np.float32).reshape(x.shape)

    return rounded


def _exp(x: Reals) -> Reals:
    result: Reals = np.exp(x.astype(np.float64)).astype(np.float32)
    return result


def _softplus(x: Reals) -> Reals:
    result: Reals = np.logaddexp(0.0, x.astype(np.float64)).astype(np.float32)
    return result


def _reciprocal(x: Reals) -> Reals:
    result: Reals = np.divide(np.float32(1), x, dtype=np.float32)
    return result


def _softsign(x: Reals) -> Reals:
    result: Reals = np.divide(x, np.float32(1) + np.abs(x), dtype=np.float32)
    return result


def _hard_swish(x: Reals) -> Reals:
    """``x * clip(x / 6 + 0.5, 0, 1)``."""
    gate: Reals = np.clip(np.float32(1 / 6) * x + np.float32(0.5), np.float32(0), np.float32(1))
    return x * gate


def _gelu(x: Reals) -> Reals:
    """``x * (1 + erf(x / sqrt(2))) / 2``."""
    inner = erf(x * np.float32(math.sqrt(0.5)))
    return np.float32(0.5) * x * (inner + np.float32(1))


def _fast_gelu(x: Reals) -> Reals:
    """The approximation of GELU by tanh."""
    inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x)
    return np.float32(0.5) * x * (np.float32(1) + tanh(inner))


erf = _rounded(math.erf)
"""The error function, correctly rounded."""


FUNCTIONS: dict[str, Callable[[Reals], Reals]] = {
    "Abs": np.abs,
    "Ceil": np.ceil,
    "Erf": erf,
    "Exp": _exp,
    "FastGelu": _fast_gelu,
    "Floor": np.floor,
    "Gelu": _gelu,
    "HardSwish": _hard_swish,
    "Neg": np.negative,
    "Reciprocal": _reciprocal,
    "Relu": relu,
    "Sigmoid": sigmoid,
    "Softplus": _softplus,
    "Softsign": _softsign,
    "Sqrt": np.sqrt,
    "Tanh": tanh,
}
"""Functions of one operand and no attribute, float32 to float32."""


def activation_table(
    function: Callable[[Reals], Reals], before: Quantization, after: Quantization
) -> NDArray[np.uint8]:
    """``quantize(function(dequantize(code)))`` for each of the 256 internal codes.

    Returns
    -------
    uint8 [256]
        Internal code to internal code.
    """
    return after.quantize(function(before.dequantize(np.arange(256))))
