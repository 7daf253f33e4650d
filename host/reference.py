# SPDX-License-Identifier: Apache-2.0
"""Run a quantized ONNX model in ONNX Runtime: the reference that is not ours.

Gives the model's own outputs and the codes of every quantized tensor on the way. ONNX Runtime
fuses QDQ patterns into integer kernels, and a tensor asked for as an output might stop it from
doing so; the model therefore runs twice, with and without the extra outputs, and must give the
same outputs both times. Where it does not, tensors are asked for a few at a time, in sessions of
their own, and one that changes the outputs all alone is left out and named.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from ..arch.errors import InputError, ModelError, ToolError
from .importer.file import read_model
from .importer.unshare import unshare_weights

__all__ = ["OnnxReference", "ReferenceResult"]

# The newest version that ONNX Runtime 1.20 reads, the oldest runtime supported. Later versions
# changed nothing that an 8-bit network uses.
_IR_VERSION = 10

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class ReferenceResult:
    """What one run gave.

    Parameters
    ----------
    outputs : mapping
        The model's outputs by name, in order: [n, ...], of a step model with states
        [n, steps, ...].
    codes : mapping
        Codes of each quantized tensor by ONNX name, uint8 or int8 as in the model, in the order
        of the graph; shapes as of the outputs.
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
    states : mapping of str to str, optional
        Of a step model: each input that is kept, and the output that feeds it in the next step; it
        is zero in the first.

    Raises
    ------
    ModelError
        If the file cannot be read, ONNX Runtime refuses it, or a state is no input or output.
    InputError
        If ONNX Runtime is not installed.
    """

    def __init__(self, path: str | Path, states: Mapping[str, str] = MappingProxyType({})) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise InputError(
                "The float reference needs ONNX Runtime, which is not installed; run "
                "pip install 'ohmtwin[reference]'"
            ) from None
        self._runtime: Any = onnxruntime
        self._path = Path(path)
        self._model = read_model(path)
        self._model.ir_version = min(self._model.ir_version, _IR_VERSION)
        graph = _Tensors(self._model.graph)
        self._settings = _settings(graph)
        if self._settings["session.x64quantprecision"] == "1":
            unshare_weights(self._model)
        self._plain = self._session(())
        self._inputs = {
            i.name: (_shape(i.shape[1:]), _type(i.type)) for i in self._plain.get_inputs()
        }
        sizes = (i.shape[0] if i.shape else 0 for i in self._plain.get_inputs())
        self._batch = next((size for size in sizes if isinstance(size, int)), 0)
        self._states = dict(states)
        outputs = [o.name for o in self._plain.get_outputs()]
        for entry, output in states.items():
            for name, known in ((entry, list(self._inputs)), (output, outputs)):
                if name not in known:
                    raise ModelError(
                        f"The state '{entry}={output}' names {name!r}, {self._path} has "
                        f"{', '.join(known)}"
                    )
        self.tensors: tuple[str, ...] = graph.quantized
        """Quantized tensors whose codes a run gives."""
        self.sources: Mapping[str, str] = MappingProxyType(graph.sources)
        """The real tensor that each output of a QuantizeLinear holds the codes of."""
        self._groups = [(self.tensors, self._session(self.tensors))]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Inputs that samples are needed for."""
        return tuple(name for name in self._inputs if name not in self._states)

    def _session(self, taps: tuple[str, ...]) -> Any:
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what matters comes back as an exception
        for key, value in self._settings.items():
            options.add_session_config_entry(key, value)
        model = self._model
        if taps:
            model = onnx.ModelProto()
            model.CopyFrom(self._model)
            known = {o.name for o in model.graph.output}
            extra = (onnx.ValueInfoProto(name=name) for name in taps if name not in known)
            model.graph.output.extend(extra)
        try:
            return self._runtime.InferenceSession(
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

    def run(
        self, x: NDArray[np.float32] | Mapping[str, NDArray[np.float32]], batch: int = 256
    ) -> ReferenceResult:
        """Run samples.

        Parameters
        ----------
        x : float32 [n, ...] or mapping of such
            Samples by input, of the model's sample shape or one of the same size; one array if the
            model has one input that is no state. With states [n, steps, ...].
        batch : int
            Samples that are run at a time, where the model does not fix it.

        Raises
        ------
        ModelError
            If the samples do not fit the model's inputs.
        ToolError
            If ONNX Runtime fails.
        """
        samples = self._samples(x)
        count = len(next(iter(samples.values())))
        step = self._batch or batch
        parts = [
            self._chunk({name: array[i : i + step] for name, array in samples.items()}, step)
            for i in range(0, count, step)
        ]
        outputs, codes = (
            {name: np.concatenate([part[k][name] for part in parts]) for name in parts[0][k]}
            for k in (0, 1)
        )
        return ReferenceResult(outputs, codes)

    def _samples(self, x: NDArray[np.float32] | Mapping[str, NDArray[np.float32]]) -> Arrays:
        """Each fed input as [n, (steps,) \\*shape] in the type that the model wants."""
        names = self.inputs
        given = x if isinstance(x, Mapping) else dict.fromkeys(names[:1], x)
        if missing := [name for name in names if name not in given]:
            raise ModelError(f"There are no samples for input {missing[0]!r} of {self._path}")
        lead = 2 if self._states else 1
        axes = ["n", "steps"][:lead]
        result = {}
        for name in names:
            array, (shape, kind) = np.asarray(given[name]), self._inputs[name]
            front = array.shape[:lead]
            wanted = int(np.prod(front) * np.prod(shape))
            if array.ndim < lead or 0 in front or array.size != wanted:
                which = f" of input {name!r}" if len(names) > 1 else ""
                raise ModelError(
                    f"Samples{which} must have the shape {[*axes, *shape]}, not {list(array.shape)}"
                )
            result[name] = np.ascontiguousarray(array, dtype=kind).reshape(*front, *shape)
        if len({array.shape[:lead] for array in result.values()}) > 1:
            raise ModelError(f"All inputs of {self._path} need as many samples and steps")
        return result

    def _chunk(self, samples: Arrays, step: int) -> tuple[Arrays, Arrays]:
        """Outputs and codes of at most ``step`` samples."""
        count = len(next(iter(samples.values())))
        if self._batch and count < step:  # the model's batch is fixed: fill it up
            samples = {
                name: np.concatenate([a, np.zeros((step - count, *a.shape[1:]), a.dtype)])
                for name, a in samples.items()
            }
        plain = self._sequence(self._plain, samples)
        found = self._tapped(samples, plain)
        outputs = {name: array[:count] for name, array in plain.items()}
        return outputs, {name: found[name][:count] for name in self.tensors}

    def _tapped(self, samples: Arrays, plain: Arrays) -> Arrays:
        """Codes of all tensors, from as many sessions as leave the outputs alone."""
        found: Arrays = {}
        waiting, done = self._groups[::-1], []
        while waiting:
            names, session = waiting.pop()
            result = self._sequence(session, samples)
            if all(_equal(array, result[name]) for name, array in plain.items()):
                found |= {name: result[name] for name in names}
                done.append((names, session))
            elif len(names) > 1:
                half = len(names) // 2
                for part in (names[half:], names[:half]):
                    waiting.append((part, self._session(part)))
        self._groups = done
        kept = {name for names, _ in done for name in names}
        self.tensors = tuple(name for name in self.tensors if name in kept)
        return found

    def _sequence(self, session: Any, samples: Arrays) -> Arrays:
        """One session on all samples: at once, or step after step with its states fed back."""
        if not self._states:
            return self._run_session(session, samples)
        first = next(iter(samples.values()))
        kept = {
            name: np.zeros((len(first), *self._inputs[name][0]), self._inputs[name][1])
            for name in self._states
        }
        steps = []
        for step in range(first.shape[1]):
            now = {name: np.ascontiguousarray(array[:, step]) for name, array in samples.items()}
            steps.append(self._run_session(session, now | kept))
            kept = {name: steps[-1][output] for name, output in self._states.items()}
        return {name: np.stack([made[name] for made in steps], axis=1) for name in steps[0]}

    def _run_session(self, session: Any, samples: Arrays) -> Arrays:
        names = [o.name for o in session.get_outputs()]
        try:
            values = session.run(names, samples)
        except Exception as error:
            if type(error).__module__.startswith("onnxruntime"):
                reason = " ".join(str(error).split())
                raise ToolError(f"ONNX Runtime fails on {self._path}: {reason[:300]}") from None
            raise
        # ZipMap gives lists of dictionaries, which have no place in a comparison of tensors.
        pairs = zip(names, values, strict=True)
        return {name: v for name, v in pairs if isinstance(v, np.ndarray) and v.ndim}


def _equal(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def _shape(axes: list[Any]) -> tuple[int, ...]:
    """Axes of a sample; those of free size count as 1."""
    return tuple(axis if isinstance(axis, int) else 1 for axis in axes)


def _type(name: str) -> Any:
    """The NumPy type that ONNX Runtime calls ``tensor(name)``."""
    inner = name.removeprefix("tensor(").removesuffix(")")
    return np.dtype({"float": "float32", "double": "float64"}.get(inner, inner))


def _settings(graph: "_Tensors") -> dict[str, str]:
    """Session options under which 8-bit kernels are exact.

    Kernels of uint8 activations and int8 weights saturate on AVX2 machines that lack VNNI, unless
    x64quantprecision turns the weights to uint8. Kernels of int8 activations are exact; models with
    them do not load with that option, or run in float, and QDQ models run in integers only if
    qdqisint8allowed lets them.
    """
    if "int8" in graph.activation_types:
        return {"session.x64quantprecision": "0", "session.qdqisint8allowed": "1"}
    return {"session.x64quantprecision": "1", "session.qdqisint8allowed": "0"}


# Operators that hand codes on as they are.
_MOVES = (
    "MaxPool", "Reshape", "Transpose", "Flatten", "Slice", "Split", "Squeeze", "Unsqueeze",
    "Identity", "Concat", "Pad", "Expand", "Gather", "Dropout",
)  # fmt: skip


class _Tensors:
    """Which tensors of a graph hold codes of activations.

    ``quantized`` names them in the order of the graph; ``activation_types`` holds the names of
    their types.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        values = {t.name: t for t in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute and node.output:
                values[node.output[0]] = node.attribute[0].t
        inputs = {i.name: i.type.tensor_type.elem_type for i in graph.input if i.name not in values}
        kinds: dict[str, str] = {
            name: str(onnx.helper.tensor_dtype_to_np_dtype(kind))
            for name, kind in inputs.items()
            if kind in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
        }
        fixed = set(values)
        for node in graph.node:
            source = node.input[0] if node.input else ""
            zero = -1
            if node.op_type == "QuantizeLinear":
                zero = 2
            elif node.op_type == "QGemm":
                zero = 8 if len(node.input) > 7 and node.input[7] else -1  # else a float result
            elif node.op_type == "QLinearConcat":
                zero = 1
            elif node.op_type in ("QLinearConv", "QLinearMatMul", "QLinearAdd", "QLinearMul"):
                zero = 7
            elif node.op_type.startswith("QLinear"):
                zero = 4
            if node.input and all(not name or name in fixed for name in node.input):
                fixed.update(node.output)  # weights, folded where they are used
            elif zero >= 0:
                known = len(node.input) > zero and node.input[zero] in values
                kind = numpy_helper.to_array(values[node.input[zero]]).dtype if known else "uint8"
                kinds[node.output[0]] = str(kind)
            elif node.op_type in _MOVES and source in kinds:
                kinds.update(dict.fromkeys((o for o in node.output if o), kinds[source]))
        self.sources = {
            node.output[0]: node.input[0]
            for node in graph.node
            if node.op_type == "QuantizeLinear" and node.input and node.output
        }
        made = [o for node in graph.node for o in node.output]
        self.quantized = tuple(name for name in made if name in kinds and kinds[name] in _CODES)
        self.activation_types = frozenset(kinds.values())


_CODES = ("uint8", "int8")
