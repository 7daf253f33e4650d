# SPDX-License-Identifier: Apache-2.0
"""A quantized network: integer operators joined by named tensors, and what goes in and out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ...arch.errors import ModelError
from .checks import Summing, check_accumulators, check_arrays, check_range
from .operators import Operator, Shape
from .quantization import Quantization

__all__ = ["Network", "NetworkInput", "State"]


@dataclass(frozen=True)
class NetworkInput:
    """An input of the model.

    Parameters
    ----------
    name : str
        Of the float input in the ONNX model, and of its array in a data file.
    tensor : str
        Of the quantized tensor that operators read.
    shape : tuple of int
        Of one sample (of one step, for a step model).
    quant : Quantization
    """

    name: str
    tensor: str
    shape: Shape
    quant: Quantization

    def quantize(self, x: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Samples float32 [n, \\*shape] (or flat) to codes uint8 [n, \\*shape]."""
        return self.quant.quantize(x).reshape(len(x), *self.shape)


@dataclass(frozen=True, eq=False)
class State:
    """A tensor that a step model keeps from one step to the next.

    Parameters
    ----------
    input : str
        Quantized tensor of the input that is fed.
    output : str
        Quantized tensor of the output that feeds it.
    table : uint8 [256] or None
        Codes of the output to codes of the input, where their quantizations differ.
    initial : int
        The code of zero, with which every element begins a sequence.
    """

    input: str
    output: str
    table: NDArray[np.uint8] | None
    initial: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Network:
    """A quantized network whose accumulators are proven to fit.

    Parameters
    ----------
    name : str
    inputs : tuple of NetworkInput
        Those that the host feeds come first, then those of ``states``.
    layers : tuple of Operator
        In topological order.
    outputs : tuple of str
        Quantized tensors that are results; the first holds the codes that are classified.
    states : tuple of State
        Empty unless the network is a step model with state.
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
    inputs: tuple[NetworkInput, ...]
    layers: tuple[Operator, ...]
    outputs: tuple[str, ...]
    states: tuple[State, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.layers:
            raise ModelError(f"Network {self.name!r} has no layer")
        if not self.inputs or not self.outputs:
            raise ModelError(f"Network {self.name!r} needs an input and an output")
        shapes: dict[str, Shape] = {i.tensor: i.shape for i in self.inputs}
        quants = {i.tensor: i.quant for i in self.inputs}
        names: set[str] = set()
        for layer in self.layers:
            if layer.name in names:
                raise ModelError(f"Two layers of network {self.name!r} are named {layer.name!r}")
            for source in layer.sources:
                if source not in shapes:
                    raise ModelError(
                        f"Layer {layer.name!r} reads tensor {source!r}, which no layer before it "
                        "produces"
                    )
            if layer.output in shapes:
                raise ModelError(f"Tensor {layer.output!r} is produced twice")
            names.add(layer.name)
            shapes[layer.output] = layer.shape(*(shapes[s] for s in layer.sources))
            quants[layer.output] = layer.out_quant
            if hasattr(layer, "accumulator_range"):
                check_accumulators(cast(Summing, layer))
        self._check_inputs(shapes)
        made = {layer.output for layer in self.layers if layer.kind != "Constant"}
        for output in self.outputs:
            if output not in made:
                raise ModelError(f"No layer produces the output tensor {output!r}")
        object.__setattr__(self, "_shapes", MappingProxyType(shapes))
        object.__setattr__(self, "_quants", MappingProxyType(quants))

    def _check_inputs(self, shapes: Mapping[str, Shape]) -> None:
        """Inputs differ, and states join outputs to inputs of their shape."""
        for field in ("name", "tensor"):
            used = [getattr(entry, field) for entry in self.inputs]
            if len(set(used)) < len(used):
                raise ModelError(
                    f"Two inputs of network {self.name!r} have the {field} {used[0]!r}"
                )
        inputs = {entry.tensor: entry.shape for entry in self.inputs}
        kept: set[str] = set()
        for state in self.states:
            if state.input not in inputs or state.input in kept:
                raise ModelError(
                    f"A state of network {self.name!r} feeds {state.input!r}, which is no input or "
                    "fed twice"
                )
            if state.output not in shapes:
                raise ModelError(f"No layer produces {state.output!r}, which feeds {state.input!r}")
            if inputs[state.input] != shapes[state.output]:
                raise ModelError(
                    f"The state {state.input!r} has the shape {list(inputs[state.input])}, but "
                    f"{state.output!r}, which feeds it, has {list(shapes[state.output])}"
                )
            kept.add(state.input)
            check_range(self.name, "initial", (state.initial,), 0, 255)
            if state.table is not None:
                check_arrays(self.name, {"table": (state.table, np.uint8, (256,))})
        if len(kept) == len(self.inputs):
            raise ModelError(f"All inputs of network {self.name!r} are states; one must be fed")

    def shape(self, tensor: str) -> Shape:
        """Shape of a quantized tensor, of one sample."""
        shapes: MappingProxyType[str, Shape] = self.__dict__["_shapes"]
        return shapes[tensor]

    def quant(self, tensor: str) -> Quantization:
        """What the codes of a tensor mean."""
        quants: MappingProxyType[str, Quantization] = self.__dict__["_quants"]
        return quants[tensor]

    @cached_property
    def fed(self) -> tuple[NetworkInput, ...]:
        """Inputs that the host feeds: those that are no state."""
        kept = {state.input for state in self.states}
        return tuple(i for i in self.inputs if i.tensor not in kept)

    # The network's one input and its first output: what most networks have.

    @property
    def input_name(self) -> str:
        """Quantized tensor of the first input."""
        return self.inputs[0].tensor

    @property
    def input_shape(self) -> Shape:
        """Shape of a sample of the first input."""
        return self.inputs[0].shape

    @property
    def input_quant(self) -> Quantization:
        """Quantization of the first input."""
        return self.inputs[0].quant

    @property
    def output_name(self) -> str:
        """The first output tensor."""
        return self.outputs[0]

    @property
    def output_quant(self) -> Quantization:
        """Quantization of the first output."""
        return self.quant(self.outputs[0])

    def quantize_input(self, x: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Samples of the one input, float32 [n, \\*input_shape] or flat, to codes [n, values]."""
        return self.inputs[0].quantize(x).reshape(len(x), math.prod(self.input_shape))
