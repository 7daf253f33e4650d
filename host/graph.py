# SPDX-License-Identifier: Apache-2.0
"""A quantized network as integer operators: what the importer produces and the compiler reads.

A layer is a node with a named input tensor and a named output tensor; :attr:`Network.layers` lists
them in topological order. All activations are *internal codes*: uint8, an int8 tensor being carried
as ``q + 128`` with zero point ``z + 128`` (see :mod:`ohmtwin.arch.formats`).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arch.errors import CapacityError, ModelError
from ..arch.formats import ACC_BITS, RequantScale

__all__ = ["Dense", "Network", "Quantization", "check_accumulators"]

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


@dataclass(frozen=True, eq=False)
class Dense:
    """A fully connected layer with its requantizer and an optional table.

    ``acc = weights @ x + bias``; ``pre = clip(round(acc * mantissa * 2**-shift) + zero_point)``;
    the output is ``table[pre]``, or ``pre`` without a table. ReLU is ``clip_low``.

    Parameters
    ----------
    name : str
        Unique in its network.
    input, output : str
        Names of the quantized tensors in the ONNX model.
    weights : int8 [outputs, inputs]
    bias : int32 [outputs]
        Includes ``-zx * sum(w)`` with the internal zero point ``zx`` of the input.
    mantissa, shift : uint32 and uint8 [outputs]
        The factor of each output (:class:`~ohmtwin.arch.formats.RequantScale`).
    zero_point, clip_low, clip_high : int
        Of the codes that leave the requantizer, internal codes.
    out_quant : Quantization
        Meaning of the output codes (behind the table).
    table : uint8 [256], optional
        Internal code to internal code.
    pre_quant : Quantization, optional
        Meaning of the codes before the table; given exactly if there is a table.
    pre_output : str, optional
        Name of the ONNX tensor before the table, if the layer has one.

    Raises
    ------
    ModelError
        If shapes, types or ranges do not fit together.
    """

    name: str
    input: str
    output: str
    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    mantissa: NDArray[np.uint32]
    shift: NDArray[np.uint8]
    zero_point: int
    clip_low: int
    clip_high: int
    out_quant: Quantization
    table: NDArray[np.uint8] | None = None
    pre_quant: Quantization | None = None
    pre_output: str | None = None

    def __post_init__(self) -> None:
        if self.weights.ndim != 2 or 0 in self.weights.shape:
            raise ModelError(
                f"The weights of layer {self.name!r} must be a matrix [outputs, inputs], "
                f"not of shape {list(self.weights.shape)}"
            )
        wanted: dict[str, tuple[NDArray[np.generic], type[np.generic], tuple[int, ...]]] = {
            "weights": (self.weights, np.int8, self.weights.shape),
            "bias": (self.bias, np.int32, (self.outputs,)),
            "mantissa": (self.mantissa, np.uint32, (self.outputs,)),
            "shift": (self.shift, np.uint8, (self.outputs,)),
        }
        if self.table is not None:
            wanted["table"] = (self.table, np.uint8, (256,))
        for field, (array, dtype, shape) in wanted.items():
            if array.dtype != dtype or array.shape != shape:
                raise ModelError(
                    f"{field} of layer {self.name!r} must be {np.dtype(dtype)} {list(shape)}, "
                    f"not {array.dtype} {list(array.shape)}"
                )
            array.setflags(write=False)
        if not 0 <= self.clip_low <= self.clip_high <= 255 or not 0 <= self.zero_point <= 255:
            raise ModelError(
                f"Zero point and clip bounds of layer {self.name!r} must be codes 0 to 255 with "
                f"low <= high, not {self.zero_point}, {self.clip_low}, {self.clip_high}"
            )
        if (self.table is None) != (self.pre_quant is None):
            raise ModelError(f"Layer {self.name!r} needs pre_quant exactly if it has a table")

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return int(self.weights.shape[1])

    @property
    def outputs(self) -> int:
        """Number of outputs."""
        return int(self.weights.shape[0])

    @property
    def scales(self) -> tuple[RequantScale, ...]:
        """The requantization factor of each output."""
        pairs = zip(self.mantissa.tolist(), self.shift.tolist(), strict=True)
        return tuple(RequantScale(m, s) for m, s in pairs)

    def accumulator_range(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Exact bounds of every sum, partial or total, in any order, over all uint8 inputs.

        A partial sum takes any subset of the products, with or without the bias. Its least value
        has every negative weight at 255 and every positive one at 0; its largest the reverse.

        Returns
        -------
        low, high : int64 [outputs]
        """
        w = self.weights.astype(np.int64)
        bias = self.bias.astype(np.int64)
        low = 255 * np.minimum(w, 0).sum(axis=1) + np.minimum(bias, 0)
        high = 255 * np.maximum(w, 0).sum(axis=1) + np.maximum(bias, 0)
        return low, high


def check_accumulators(layer: Dense, bits: int = ACC_BITS) -> None:
    """Prove that no accumulator of a layer leaves ``bits`` bits.

    Raises
    ------
    CapacityError
        If some input makes a partial or total sum leave the range.
    """
    low, high = layer.accumulator_range()
    limit = 1 << (bits - 1)
    wrong = np.flatnonzero((low < -limit) | (high >= limit))
    if wrong.size:
        worst = int(wrong[0])
        raise CapacityError(
            f"Output {worst} of layer {layer.name!r} can sum to {int(low[worst])} .. "
            f"{int(high[worst])}, which does not fit a {bits}-bit accumulator; "
            "split the layer or use smaller weights or biases"
        )


@dataclass(frozen=True, eq=False)
class Network:
    """A quantized network whose accumulators are proven to fit.

    Parameters
    ----------
    name : str
    input_name : str
        Name of the quantized input tensor: the ``input`` of the first layers.
    input_shape : tuple of int
        Shape of one sample of the model's float input.
    input_quant : Quantization
    layers : tuple of Dense
        In topological order.
    output_quant : Quantization
    output_name : str
        Name of the quantized output tensor: the ``output`` of the last layer.
    notes : tuple of str
        Where ONNX Runtime computes in float what this network computes in integers, so that a code
        may differ by one: one sentence each. Empty if every code is equal.

    Raises
    ------
    ModelError
        If layers do not join up.
    CapacityError
        If an accumulator can leave 32 bits.
    """

    name: str
    input_name: str
    input_shape: tuple[int, ...]
    input_quant: Quantization
    layers: tuple[Dense, ...]
    output_quant: Quantization
    output_name: str
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.layers:
            raise ModelError(f"Network {self.name!r} has no layer")
        sizes = {self.input_name: math.prod(self.input_shape)}
        names: set[str] = set()
        for layer in self.layers:
            if layer.name in names:
                raise ModelError(f"Two layers of network {self.name!r} are named {layer.name!r}")
            if layer.input not in sizes:
                raise ModelError(
                    f"Layer {layer.name!r} reads tensor {layer.input!r}, which no layer before it "
                    "produces"
                )
            if layer.output in sizes:
                raise ModelError(f"Tensor {layer.output!r} is produced twice")
            if sizes[layer.input] != layer.inputs:
                raise ModelError(
                    f"Layer {layer.name!r} takes {layer.inputs} values, but tensor "
                    f"{layer.input!r} has {sizes[layer.input]}"
                )
            check_accumulators(layer)
            names.add(layer.name)
            sizes[layer.output] = layer.outputs
        if self.output_name not in sizes:
            raise ModelError(f"No layer produces the output tensor {self.output_name!r}")

    def quantize_input(self, x: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Samples float32 [n, \\*input_shape] (or already flat) to codes uint8 [n, inputs]."""
        return self.input_quant.quantize(x).reshape(len(x), math.prod(self.input_shape))
