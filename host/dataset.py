# SPDX-License-Identifier: Apache-2.0
"""Samples to run: an .npz file with ``x`` (the model's float input) and, if known, labels ``y``."""

import math
import struct
import zipfile
import zlib
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..arch.errors import InputError
from .graph import Network

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
    x : float32 [n, \\*input_shape]
        Finite.
    y : int64 [n], optional
        Class of each sample.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.x)

    def head(self, count: int) -> "Dataset":
        """The first ``count`` samples, or all if there are fewer."""
        return Dataset(self.x[:count], None if self.y is None else self.y[:count])


def load_dataset(path: str | Path, network: Network) -> Dataset:
    """Read and check a data set.

    ``x`` may have any shape [n, ...] with as many values a sample as the network's input; integers
    and float64 are converted to float32.

    Raises
    ------
    InputError
        If the file cannot be read, holds Python objects, or does not fit the network.
    """
    path = Path(path)
    arrays = read_arrays(path, ("x", "y"))
    if "x" not in arrays:
        keys = ", ".join(sorted(arrays)) or "none"
        raise InputError(
            f"{path} has no array 'x' (its arrays: {keys}); save it with "
            "numpy.savez_compressed(path, x=samples, y=labels)"
        )
    x = _samples(path, arrays["x"], network)
    if "y" not in arrays:
        return Dataset(x)
    return Dataset(x, _labels(path, arrays["y"], len(x)))


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


def _samples(path: Path, x: NDArray[np.generic], network: Network) -> NDArray[np.float32]:
    """Check ``x`` and bring it to float32 [n, *input_shape]."""
    wanted = list(network.input_shape)
    if x.dtype.kind not in "uifb":
        raise InputError(f"'x' in {path} must hold numbers, not {x.dtype}")
    if x.ndim < 1 or x.shape[0] == 0:
        raise InputError(f"'x' in {path} has no sample (shape {list(x.shape)}); give at least one")
    sample = list(x.shape[1:])
    if math.prod(sample) != math.prod(wanted):
        raise InputError(
            f"Samples in {path} have the shape {sample}, but network {network.name!r} takes "
            f"{wanted} ({math.prod(wanted)} values); export x as the model's own input"
        )
    if x.dtype.kind in "ui" and int(np.abs(x.astype(np.float64)).max()) > _MAX_EXACT_INTEGER:
        raise InputError(
            f"'x' in {path} holds integers beyond {_MAX_EXACT_INTEGER}, which float32 cannot hold; "
            "scale them as the model expects"
        )
    with np.errstate(over="ignore"):  # float64 values too large become infinite and are refused
        values: NDArray[np.float32] = x.astype(np.float32).reshape(len(x), *wanted)
    finite = np.isfinite(values).reshape(len(x), -1).all(axis=1)
    if not finite.all():
        bad = np.flatnonzero(~finite)
        raise InputError(
            f"Sample {int(bad[0])} of 'x' in {path} holds NaN or infinite values ({bad.size} of "
            f"{len(x)} samples do); remove them"
        )
    return values


def _labels(path: Path, y: NDArray[np.generic], count: int) -> NDArray[np.int64]:
    """Check ``y`` and bring it to int64 [n]."""
    if y.shape not in ((count,), (count, 1)):
        raise InputError(
            f"'y' in {path} must have one class a sample ({count}), not the shape {list(y.shape)}"
        )
    flat = y.ravel()
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
