# SPDX-License-Identifier: Apache-2.0
"""Run a quantized ONNX model in ONNX Runtime: the reference that is not ours.

Gives the model's own outputs and the codes of every quantized tensor on the way. ONNX Runtime
fuses QDQ patterns into integer kernels, and a tensor asked for as an output might stop it from
doing so; the model therefore runs twice, with and without the extra outputs, and must give the
same outputs both times.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ..arch.errors import InputError, ModelError, ToolError
from .importer.file import read_model
from .importer.view import GraphView

__all__ = ["OnnxReference", "ReferenceResult"]

# The newest version that ONNX Runtime 1.20 reads, the oldest runtime supported. Later versions
# changed nothing that an 8-bit network uses.
_IR_VERSION = 10


@dataclass(frozen=True, eq=False)
class ReferenceResult:
    """What one run gave.

    Parameters
    ----------
    outputs : mapping
        The model's outputs by name, in order, first axis the sample.
    codes : mapping
        Codes of each quantized tensor by ONNX name, uint8 or int8 as in the model, in the order
        of the graph.
    """

    outputs: Mapping[str, NDArray[Any]]
    codes: Mapping[str, NDArray[np.uint8] | NDArray[np.int8]]

    @property
    def output(self) -> NDArray[np.float32]:
        """The first floating-point output."""
        for array in self.outputs.values():
            if array.dtype == np.float32:
                return array
        raise ModelError("The model has no float32 output; export it with its logits as output")


class OnnxReference:
    """A model in ONNX Runtime, on one thread, with exact 8-bit kernels.

    Parameters
    ----------
    path : str or Path
        A quantized ONNX model.

    Raises
    ------
    ModelError
        If the file cannot be read or ONNX Runtime refuses it.
    InputError
        If ONNX Runtime is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise InputError(
                "The float reference needs ONNX Runtime, which is not installed; run "
                "pip install 'ohmtwin[reference]'"
            ) from None
        model = read_model(path)
        graph = GraphView(model)
        self._path = Path(path)
        self._input = graph.input_name
        self._sample = graph.input_shape
        batch = next(i for i in model.graph.input if i.name == self._input)
        self._batch = int(batch.type.tensor_type.shape.dim[0].dim_value)
        model.ir_version = min(model.ir_version, _IR_VERSION)
        precise = not _has_signed_products(graph)
        self._plain = self._session(onnxruntime, model, precise)
        self.tensors: tuple[str, ...] = _quantized_tensors(graph)
        self._shifted: set[str] = set()
        if precise and not graph.outputs & set(self.tensors):
            self._shifted = _make_unsigned(model, graph)
        for name in self.tensors:
            if name not in graph.outputs:
                model.graph.output.append(onnx.ValueInfoProto(name=name))
        self._tapped = self._session(onnxruntime, model, precise)

    def _session(self, runtime: Any, model: onnx.ModelProto, precise: bool) -> Any:
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what matters comes back as an exception
        if precise:
            # Without it, U8S8 kernels saturate on AVX2 machines that lack VNNI.
            options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            return runtime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            # Its exceptions have no base class of their own.
            if type(error).__module__.startswith("onnxruntime"):
                reason = " ".join(str(error).split())
                raise ModelError(
                    f"ONNX Runtime does not load {self._path}: {reason[:300]}"
                ) from None
            raise

    def run(self, x: NDArray[np.float32], batch: int = 256) -> ReferenceResult:
        """Run samples float32 [n, ...], of the model's sample shape or one of the same size.

        Raises
        ------
        ModelError
            If the samples do not fit the model's input.
        ToolError
            If reading intermediate tensors changed the outputs, or ONNX Runtime fails.
        """
        size = int(np.prod(self._sample))
        if x.ndim < 1 or len(x) == 0 or x.size != len(x) * size:
            raise ModelError(
                f"Samples must have the shape {['n', *self._sample]}, not {list(x.shape)}"
            )
        samples = np.ascontiguousarray(x, dtype=np.float32).reshape(len(x), *self._sample)
        step = self._batch or batch
        parts = [self._chunk(samples[i : i + step], step) for i in range(0, len(samples), step)]
        outputs, codes = (
            {name: np.concatenate([part[k][name] for part in parts]) for name in parts[0][k]}
            for k in (0, 1)
        )
        return ReferenceResult(outputs, codes)

    def _chunk(
        self, x: NDArray[np.float32], step: int
    ) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        """Outputs and codes of at most ``step`` samples."""
        count = len(x)
        if self._batch and count < step:  # the model's batch is fixed: fill it up
            x = np.concatenate([x, np.zeros((step - count, *x.shape[1:]), np.float32)])
        plain = self._run_session(self._plain, x)
        tapped = self._run_session(self._tapped, x)
        for name, array in plain.items():
            if not np.array_equal(array, tapped[name], equal_nan=array.dtype.kind == "f"):
                raise ToolError(
                    f"ONNX Runtime computes output {name!r} of {self._path} differently when "
                    "intermediate tensors are read, so they cannot be compared"
                )
        outputs = {name: array[:count] for name, array in plain.items()}
        codes = {name: tapped[name][:count] for name in self.tensors}
        for name in self._shifted:
            codes[name] = (codes[name].astype(np.int16) - 128).astype(np.int8)
        return outputs, codes

    def _run_session(self, session: Any, x: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        names = [o.name for o in session.get_outputs()]
        try:
            values = session.run(names, {self._input: x})
        except Exception as error:
            if type(error).__module__.startswith("onnxruntime"):
                reason = " ".join(str(error).split())
                raise ToolError(f"ONNX Runtime fails on {self._path}: {reason[:300]}") from None
            raise
        # ZipMap gives lists of dictionaries, which have no place in a comparison of tensors.
        pairs = zip(names, values, strict=True)
        return {name: v for name, v in pairs if isinstance(v, np.ndarray) and v.ndim}


def _quantized_tensors(graph: GraphView) -> tuple[str, ...]:
    """Names of all tensors that hold 8-bit codes of activations, in the order of the graph."""
    names: list[str] = []
    for node in graph.nodes:
        if node.op_type == "QuantizeLinear":
            wanted = not graph.is_constant(node.input[0])  # folded weights are no activations
        elif node.op_type == "QGemm":
            wanted = bool(graph.operand(node, 7))  # without a scale its result is float
        else:
            wanted = node.op_type.startswith("QLinear")
        if wanted:
            names.append(node.output[0])
    return tuple(names)


def _has_signed_products(graph: GraphView) -> bool:
    """Whether a QOperator node has int8 activations.

    Such models do not load with ``session.x64quantprecision``, and are exact without it.
    """
    for node in graph.nodes:
        if node.op_type in ("QGemm", "QLinearMatMul") and graph.operand(node, 2):
            zero = graph.zero_point(node, 2)
            if zero is not None and zero.dtype == np.int8:
                return True
    return False


def _make_unsigned(model: onnx.ModelProto, graph: GraphView) -> set[str]:
    """Turn the int8 activations of a QDQ model into uint8 ones, ``q + 128`` with ``z + 128``.

    ONNX Runtime does the same on x86 before it fuses, but not to a tensor that is an output: read
    as it is, an int8 tensor would make it compute the layer in float. The model is changed in
    place; constants (weights, biases) and tensors that are outputs already stay.

    Returns
    -------
    set of str
        Names of the tensors that changed.
    """
    changed: set[str] = set()
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or not node.input:
            continue
        source = graph.producers.get(node.input[0])
        is_weight = graph.is_constant(node.input[0]) or (
            source is not None
            and source.op_type == "QuantizeLinear"
            and graph.is_constant(source.input[0])
        )
        zero = None if is_weight else graph.zero_point(node, 2)
        if zero is None or zero.dtype != np.int8 or zero.size != 1:
            continue
        shifted = np.array(int(zero[0]) + 128, np.uint8)
        name = f"{node.input[2]}__as_uint8"
        if all(t.name != name for t in model.graph.initializer):
            model.graph.initializer.append(onnx.numpy_helper.from_array(shifted, name))
        node.input[2] = name
        if node.op_type == "QuantizeLinear":
            changed.add(node.output[0])
    del model.graph.value_info[:]  # it may name the old types
    return changed
