# SPDX-License-Identifier: Apache-2.0
"""What the codes of a tensor mean."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...arch.errors import ModelError

__all__ = ["Quantization"]

_SIGN_OFFSET = 128


@dataclass(frozen=True)
class Quantization:
    """Meaning of a tensor's codes: ``real = (code - zero_point) * scale``.

    Parameters
    ----------
    scale : float
        Step of one code, exactly a float32 value, finite and positive.
    zero_point : int
        In the tensor's own type: -128 to 127 if ``signed``, else 0 to 255.
    signed : bool
        Whether the ONNX tensor is int8 (else uint8).

    Raises
    ------
    ModelError
        If the scale or the zero point is out of range.
    """

    scale: float
    zero_point: int
    signed: bool

    def __post_init__(self) -> None:
        if not math.isfinite(self.scale) or self.scale <= 0:
            raise ModelError(f"A scale must be finite and positive, not {self.scale!r}")
        if float(np.float32(self.scale)) != self.scale:
            raise ModelError(f"A scale must be a float32 value, not {self.scale!r}")
        low = -_SIGN_OFFSET if self.signed else 0
        if not low <= self.zero_point <= low + 255:
            raise ModelError(
                f"A zero point of {'int8' if self.signed else 'uint8'} codes must lie between "
                f"{low} and {low + 255}, not {self.zero_point}"
            )

    @property
    def internal_zero_point(self) -> int:
        """The zero point in internal codes, 0 to 255."""
        return self.zero_point + (_SIGN_OFFSET if self.signed else 0)

    def quantize(self, x: ArrayLike) -> NDArray[np.uint8]:
        """Real values (any shape, taken as float32) to internal codes.

        As ONNX QuantizeLinear: ``clip(rint(x / scale) + zero_point)`` with a float32 division and
        ties to even. Values must be finite (datasets are checked when they are loaded).
        """
        scaled = np.rint(np.asarray(x, dtype=np.float32) / np.float32(self.scale))
        # Clipping in float first: values beyond 2**31 have no integer counterpart.
        codes = np.clip(scaled, -256.0, 256.0).astype(np.int32) + self.internal_zero_point
        result: NDArray[np.uint8] = np.clip(codes, 0, 255).astype(np.uint8)
        return result

    def dequantize(self, codes: ArrayLike) -> NDArray[np.float32]:
        """Internal codes to real values, float32, as ONNX DequantizeLinear."""
        centred = np.asarray(codes, dtype=np.int32) - self.internal_zero_point
        return centred.astype(np.float32) * np.float32(self.scale)

    def to_onnx_codes(self, codes: NDArray[np.uint8]) -> NDArray[np.uint8] | NDArray[np.int8]:
        """Internal codes to the codes of the ONNX tensor: int8 if signed, else uint8."""
        if not self.signed:
            return codes
        return (codes.astype(np.int16) - _SIGN_OFFSET).astype(np.int8)

    def from_onnx_codes(self, codes: NDArray[np.uint8] | NDArray[np.int8]) -> NDArray[np.uint8]:
        """Codes of the ONNX tensor to internal codes; the inverse of :meth:`to_onnx_codes`."""
        offset = _SIGN_OFFSET if self.signed else 0
        return (codes.astype(np.int16) + offset).astype(np.uint8)
