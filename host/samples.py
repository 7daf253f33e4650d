# SPDX-License-Identifier: Apache-2.0
"""Samples for a float model: an .npz file with an array for each input, by name.

A model with one input may have its samples under ``x``. For a step model the arrays are sequences
[samples, steps, ...], and the states are not in the file: they are zero at the start, and each
step's outputs are the next one's states.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from ..arch.errors import InputError
from .dataset import read_arrays
from .float_model import inputs_of

__all__ = ["Samples", "load_samples", "read_state"]


@dataclass(frozen=True, eq=False)
class Samples:
    """What a file holds.

    Parameters
    ----------
    feeds : mapping
        float32 [n, ...] for each input, or [n, steps, ...].
    labels : int64 [n], optional
        Array ``y``, if it holds a class for each sample.
    """

    feeds: Mapping[str, NDArray[np.float32]]
    labels: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.feeds.values())))

    def head(self, count: int | None) -> "Samples":
        """The first ``count`` samples, or all.

        Raises
        ------
        InputError
            If there are not as many.
        """
        if count is not None and not 1 <= count <= len(self):
            raise InputError(
                f"The number of samples must be 1 to {len(self)}, as many as the data has, "
                f"not {count}"
            )
        feeds = {name: x[:count] for name, x in self.feeds.items()}
        return Samples(feeds, None if self.labels is None else self.labels[:count])


def read_state(given: list[str], model: ModelProto) -> dict[str, str]:
    """``h=h_out`` and the like: the output that feeds each input of the state.

    Raises
    ------
    InputError
        If there is no such input or output, their shapes differ, or no input is left for samples.
    """
    inputs = inputs_of(model)
    outputs = {
        o.name: [d.dim_value for d in o.type.tensor_type.shape.dim] for o in model.graph.output
    }
    found: dict[str, str] = {}
    for text in given:
        name, sign, output = text.partition("=")
        if not sign or not name or not output:
            raise InputError(f"--state must be INPUT=OUTPUT, as in h=h_out, not {text!r}")
        for kind, wanted, known in (("input", name, inputs), ("output", output, outputs)):
            if wanted not in known:
                names = ", ".join(known) or "none"
                raise InputError(
                    f"--state {text}: the model has no {kind} {wanted!r}; its {kind}s are {names}"
                )
        if name in found:
            raise InputError(f"--state names the input {name!r} twice; give each input once")
        if outputs[output] and outputs[output][1:] != inputs[name][1:]:
            raise InputError(
                f"--state {text}: the output has the shape {_shown(outputs[output])}, but the "
                f"input takes {_shown(inputs[name])}"
            )
        found[name] = output
    if found and len(found) == len(inputs):
        raise InputError("--state names all inputs of the model; one must be left for the samples")
    return found


def load_samples(path: Path, model: ModelProto, state: Mapping[str, str]) -> Samples:
    """Read and check the samples of a model.

    Raises
    ------
    InputError
        If the file cannot be read, or does not fit the model.
    """
    shapes = {k: v for k, v in inputs_of(model).items() if k not in state}
    for name, shape in shapes.items():
        if not all(shape[1:]):
            raise InputError(
                f"Input {name!r} of the model has the shape {_shown(shape)}, with more dimensions "
                f"that vary than the first; fix them with --shape {name}="
                + ",".join(["n", *(str(d or "?") for d in shape[1:])])
            )
    arrays = read_arrays(path, {"x", "y", *shapes})
    named = {name: name if name in arrays or len(shapes) > 1 else "x" for name in shapes}
    for name, key in named.items():
        if key not in arrays:
            keys = ", ".join(sorted(arrays)) or "none"
            wanted = repr(name) if key == name else f"{name!r} or 'x'"
            raise InputError(
                f"{path} has no array {wanted} for the model's input (its arrays: {keys}); save "
                "one array for each input, by its name"
                + (", and name states with --state" if len(shapes) > 1 else "")
            )
    feeds = {
        name: _fit(path, key, arrays[key], shapes[name][1:], bool(state))
        for name, key in named.items()
    }
    lengths = {name: list(x.shape[: 2 if state else 1]) for name, x in feeds.items()}
    if len({tuple(length) for length in lengths.values()}) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        what = "samples and steps" if state else "samples"
        raise InputError(f"The arrays in {path} have different numbers of {what}: {told}")
    count = next(iter(lengths.values()))[0]
    labels = arrays.get("y") if "y" not in shapes else None
    if labels is None or labels.shape != (count,) or labels.dtype.kind not in "iu":
        return Samples(feeds)
    return Samples(feeds, labels.astype(np.int64))


def _fit(
    path: Path, key: str, x: NDArray[np.generic], sample: list[int], sequence: bool
) -> NDArray[np.float32]:
    """Bring an array to float32 [n, *sample], or [n, steps, *sample]."""
    lead = 2 if sequence else 1
    form = ["samples", "steps", *sample] if sequence else ["samples", *sample]
    if x.dtype.kind not in "uifb":
        raise InputError(f"{key!r} in {path} must hold numbers, not {x.dtype}")
    if x.ndim < lead or 0 in x.shape[:lead]:
        raise InputError(
            f"{key!r} in {path} has the shape {list(x.shape)}, but the model takes {_list(form)}, "
            "with at least one of each"
        )
    # A picture may be stored flat, but a step's values must not mix with another's.
    if math.prod(x.shape[lead:]) != math.prod(sample) or (
        sequence and x.ndim < 3 and sample != [1]
    ):
        raise InputError(
            f"{key!r} in {path} has the shape {list(x.shape)}, but the model takes {_list(form)}"
        )
    with np.errstate(over="ignore"):  # float64 values too large become infinite and are refused
        values = np.asarray(x.astype(np.float32)).reshape(*x.shape[:lead], *sample)
    if not np.isfinite(values).all():
        raise InputError(f"{key!r} in {path} holds NaN or infinite values; remove them")
    return values


def _shown(shape: list[int]) -> str:
    return _list([str(d or "?") for d in shape])


def _list(shape: Sequence[object]) -> str:
    return f"[{', '.join(str(d) for d in shape)}]"
