# SPDX-License-Identifier: Apache-2.0
"""Saved states: plain arrays, a description in JSON, and a hash over all of it."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arch.errors import ConfigError

__all__ = ["FORMAT", "pack", "unpack"]

FORMAT = 1


def pack(
    arrays: Mapping[str, NDArray[Any]], about: Mapping[str, object]
) -> dict[str, NDArray[Any]]:
    """Add ``about`` (the description, as JSON in uint8) and ``hash`` (SHA-256) to some arrays."""
    text = json.dumps({"format": FORMAT, **about}, sort_keys=True).encode()
    packed = {name: np.array(value) for name, value in arrays.items()}
    packed["about"] = np.frombuffer(text, dtype=np.uint8).copy()
    packed["hash"] = _digest(packed)
    return packed


def unpack(
    arrays: Mapping[str, NDArray[Any]], where: str
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Check what :func:`pack` gave and return the arrays and the description.

    Raises
    ------
    ConfigError
        If a part is missing, the hash is another one, or the format is newer.
    """
    found = {name: np.asarray(arrays[name]) for name in arrays}
    for name in ("about", "hash"):
        if name not in found:
            raise ConfigError(f"{where}: field '{name}' is missing; this is no saved state")
    if not np.array_equal(found.pop("hash"), _digest(found)):
        raise ConfigError(
            f"{where}: field 'hash' does not fit the others: the state was damaged or changed"
        )
    about: dict[str, Any] = json.loads(found.pop("about").tobytes())
    if about["format"] != FORMAT:
        raise ConfigError(
            f"{where}: field 'format' is {about['format']}, which this version does not know;"
            f" it reads {FORMAT}"
        )
    return found, about


def _digest(arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
    total = hashlib.sha256()
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        total.update(f"{name} {value.dtype.str} {value.shape} ".encode())
        total.update(value.tobytes())
    return np.frombuffer(total.digest(), dtype=np.uint8).copy()
