# SPDX-License-Identifier: Apache-2.0
"""Samples to run: an .npz file with the model's float inputs and, if known, labels ``y``.

A model with one input takes array ``x``, one with several an array for each, by its name.
"""

import math
import struct
import zipfile
import zlib
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..arch.errors import InputError
from .graph import Network, NetworkInput

__all__ = ["Dataset", "load_dataset", "read_arrays"]

# What zipfile and numpy raise on archives with flipped bits; a RuntimeError says "encrypted", or is
# the NotImplementedError of an unknown compression.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    MemoryError,
    RuntimeError,
    SyntaxError,
)

_MAX_EXACT_INTEGER = 1 << 24
"""Integers up to this magnitude are float32 values."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples and labels.

    Parameters
    ----------
    inputs : mapping of str to float32 [n, \\*shape]
        Finite samples of each input that is fed, by its name; of a step model with states
        [n, steps, \\*shape].
    y : int64 [n], optional
        Class of each sample; of a step model also [n, steps].
    """

    inputs: Mapping[str, NDArray[np.float32]]
    y: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def x(self) -> NDArray[np.float32]:
        """Samples of the first input."""
        return next(iter(self.inputs.values()))

    def head(self, count: int) -> "Dataset":
        """The first ``count`` samples, or all if there are fewer."""
        first = {name: array[:count] for name, array in self.inputs.items()}
        return Dataset(first, None if self.y is None else self.y[:count])


def load_dataset(path: str | Path, network: Network) -> Dataset:
    """Read and check a data set.

    The one input of a network is array ``x`` (or has its own name); several have theirs each.
    Samples may have any shape [n, ...] with as many values as the network's input; those of a step
    model with states are sequences, [n, steps, ...]. Integers and float64 are converted to float32.

    Raises
    ------
    InputError
        If the file cannot be read, holds Python objects, or does not fit the network.
    """
    path = Path(path)
    names = [entry.name for entry in network.fed]
    wanted = {"x": names[0]} if len(names) == 1 else {}
    wanted |= {name: name for name in names}
    arrays = read_arrays(path, {*wanted, "y"})
    inputs: dict[str, NDArray[np.float32]] = {}
    keys = {entry.name: [k for k in wanted if wanted[k] == entry.name] for entry in network.fed}
    for name in names:
        if not set(keys[name]) & arrays.keys():
            raise InputError(_missing(path, arrays, network, name))
    for entry in network.fed:
        key = next(k for k in keys[entry.name] if k in arrays)
        inputs[entry.name] = _samples(path, key, arrays[key], network, entry)
    lead = 2 if network.states else 1
    fronts = {name: array.shape[:lead] for name, array in inputs.items()}
    first, *others = fronts
    for name in others:
        if fronts[name] != fronts[first]:
            what = "samples" if lead == 1 else "samples and steps"
            raise InputError(
                f"{path} has {list(fronts[first])} {what} of '{first}' but "
                f"{list(fronts[name])} of '{name}'; give as many of each"
            )
    if "y" not in arrays or "y" in names:
        return Dataset(inputs)
    return Dataset(inputs, _labels(path, arrays["y"], fronts[first]))


def _missing(
    path: Path, arrays: Mapping[str, NDArray[np.generic]], network: Network, name: str
) -> str:
    """What to say of an array that is not there."""
    keys = ", ".join(sorted(arrays)) or "none"
    if len(network.fed) == 1:
        return (
            f"{path} has no array 'x' (its arrays: {keys}); save it with "
            "numpy.savez_compressed(path, x=samples, y=labels)"
        )
    names = ", ".join(f"'{entry.name}'" for entry in network.fed)
    return (
        f"{path} has no array '{name}' (its arrays: {keys}); network {network.name!r} takes one "
        f"for each of its inputs {names}; what a step model keeps from step to step is named with "
        "--state INPUT=OUTPUT"
    )


def read_arrays(path: Path, wanted: Container[str]) -> dict[str, NDArray[np.generic]]:
    """The wanted arrays of an .npz file; its other names map to empty arrays.

    Raises
    ------
    InputError
        If the file cannot be read or holds Python objects.
    """
    if path.is_dir():
        raise InputError(f"{path} is a directory, not an .npz file; name the file in it")
    try:
        # Opened here: numpy leaves its file open if the archive is damaged.
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise InputError(
                    f"{path} is not an .npz file, or it is truncated; save it with "
                    "numpy.savez_compressed(path, x=samples, y=labels)"
                )
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                return {
                    name: archive[name] if name in wanted else np.empty(0) for name in archive.files
                }
    except FileNotFoundError:
        raise InputError(f"There is no file {path}; check the path") from None
    except InputError:
        raise
    except _DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} is damaged ({reason}); save or copy it again") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        if "allow_pickle" in str(error) or "pickled" in str(error):
            raise InputError(
                f"{path} holds pickled Python objects, which are not loaded as they can run code; "
                "save plain numeric arrays"
            ) from None
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is damaged ({reason}); save or copy it again") from None


def _samples(
    path: Path, key: str, x: NDArray[np.generic], network: Network, entry: NetworkInput
) -> NDArray[np.float32]:
    """Check an array and bring it to float32 [n, \\*shape], or [n, steps, \\*shape]."""
    wanted = list(entry.shape)
    if x.dtype.kind not in "uifb":
        raise InputError(f"'{key}' in {path} must hold numbers, not {x.dtype}")
    if x.ndim < 1 or x.shape[0] == 0:
        raise InputError(
            f"'{key}' in {path} has no sample (shape {list(x.shape)}); give at least one"
        )
    if network.states and (x.ndim < 2 or x.shape[1] == 0):
        raise InputError(
            f"'{key}' in {path} has the shape {list(x.shape)}, but network {network.name!r} keeps "
            "states and takes sequences: samples, steps, values"
        )
    lead = 2 if network.states else 1
    sample = list(x.shape[lead:])
    if math.prod(sample) != math.prod(wanted):
        what = "Samples" if lead == 1 else "Steps of samples"
        of = "" if key == "x" else f" of '{key}'"
        raise InputError(
            f"{what}{of} in {path} have the shape {sample}, but network {network.name!r} takes "
            f"{wanted} ({math.prod(wanted)} values); export {key} as the model's own input"
        )
    if x.dtype.kind in "ui" and int(np.abs(x.astype(np.float64)).max()) > _MAX_EXACT_INTEGER:
        raise InputError(
            f"'{key}' in {path} holds integers beyond {_MAX_EXACT_INTEGER}, which float32 cannot "
            "hold; scale them as the model expects"
        )
    with np.errstate(over="ignore"):  # float64 values too large become infinite and are refused
        values: NDArray[np.float32] = x.astype(np.float32).reshape(*x.shape[:lead], *wanted)
    finite = np.isfinite(values).reshape(len(x), -1).all(axis=1)
    if not finite.all():
        bad = np.flatnonzero(~finite)
        raise InputError(
            f"Sample {int(bad[0])} of '{key}' in {path} holds NaN or infinite values ({bad.size} "
            f"of {len(x)} samples do); remove them"
        )
    return values


def _labels(path: Path, y: NDArray[np.generic], front: tuple[int, ...]) -> NDArray[np.int64]:
    """Check ``y`` and bring it to int64 [n], or [n, steps]."""
    count = front[0]
    if y.shape not in ((count,), (count, 1), front):
        steps = f", or one a step {list(front)}," if len(front) > 1 else ","
        raise InputError(
            f"'y' in {path} must have one class a sample ({count}){steps} not the shape "
            f"{list(y.shape)}"
        )
    flat = y if y.shape == front else y.ravel()
    if flat.dtype.kind == "f":
        real = flat.astype(np.float64)
        if not np.isfinite(real).all() or (real != np.rint(real)).any():
            raise InputError(f"'y' in {path} must hold whole class numbers, not fractions or NaN")
    elif flat.dtype.kind not in "uib":
        raise InputError(f"'y' in {path} must hold class numbers, not {y.dtype}")
    result: NDArray[np.int64] = flat.astype(np.int64)
    if result.min() < 0:
        raise InputError(f"'y' in {path} holds the negative class {int(result.min())}")
    return result
