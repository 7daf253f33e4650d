# SPDX-License-Identifier: Apache-2.0
"""Fault maps as files: which cells of which arrays a test of the chip has found stuck."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arch.chip import Chip
from ..arch.errors import ConfigError
from ..behavioral.effects.faults import STUCK_OFF, STUCK_ON
from .files import write_text

__all__ = ["cells_by_array", "load_faults", "save_faults"]

_KIND = "ohmtwin fault map"
_ENDS = {"on": STUCK_ON, "off": STUCK_OFF}


def cells_by_array(
    maps: Mapping[int, NDArray[np.int8]],
) -> dict[str, dict[str, list[list[int]]]]:
    """Fault maps [rows, cols] for JSON: by array the [row, column] of cells ``on`` and ``off``."""
    return {
        str(number): {end: np.argwhere(cells == value).tolist() for end, value in _ENDS.items()}
        for number, cells in sorted(maps.items())
    }


def save_faults(path: Path, chip: Chip, maps: Mapping[int, NDArray[np.int8]]) -> None:
    """Write fault maps [rows, cols] by array, as JSON: rows and columns of the stuck cells.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    about: dict[str, Any] = {"kind": _KIND, "rows": chip.rows, "cols": chip.cols}
    about["arrays"] = cells_by_array(maps)
    write_text(path, json.dumps(about, indent=1) + "\n")


def load_faults(path: Path) -> tuple[tuple[int, int], dict[int, NDArray[np.int8]]]:
    """Read what :func:`save_faults` wrote.

    Returns
    -------
    shape : tuple of int
        Rows and columns of the arrays.
    maps : dict of int to int8 [rows, cols]
        1 stuck on, -1 stuck off, 0 good.

    Raises
    ------
    ConfigError
        If the file cannot be read or is no fault map.
    """
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: the fault map cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"{path} is no JSON file; give one that ohmtwin program wrote") from None
    if not isinstance(about, dict) or about.get("kind") != _KIND:
        raise ConfigError(
            f"{path}: field 'kind' is not '{_KIND}'; give a file that ohmtwin program wrote"
        )
    shape = tuple(about.get(name) for name in ("rows", "cols"))
    rows, cols = (size if _whole(size, 1 << 16) else 0 for size in shape)
    if not rows or not cols or not isinstance(about.get("arrays"), dict):
        raise ConfigError(f"{path}: fields 'rows', 'cols' and 'arrays' must be there")
    maps = {}
    for name, ends in about["arrays"].items():
        if not name.isdecimal() or not isinstance(ends, dict) or set(ends) - set(_ENDS):
            raise ConfigError(
                f"{path}: field 'arrays' holds 'on' and 'off' by the number of the array, not "
                f"'{name}': {str(ends)[:40]}"
            )
        cells = np.zeros((rows, cols), np.int8)
        for end, found in ends.items():
            for place in found if isinstance(found, list) else [found]:
                if not _is_place(place, rows, cols):
                    raise ConfigError(
                        f"{path}: array {name}, field '{end}': cells are [row, column] within "
                        f"{rows} rows and {cols} columns, not {str(place)[:40]}"
                    )
                if cells[tuple(place)] not in (0, _ENDS[end]):
                    raise ConfigError(
                        f"{path}: array {name} has cell {place} both stuck on and stuck off; it "
                        f"can be one of them"
                    )
                cells[tuple(place)] = _ENDS[end]
        if int(name) in maps:
            raise ConfigError(f"{path}: array {int(name)} is there twice; give all its cells once")
        maps[int(name)] = cells
    return (rows, cols), maps


def _whole(value: Any, end: int) -> bool:
    return type(value) is int and 0 <= value < end


def _is_place(place: Any, rows: int, cols: int) -> bool:
    return (
        isinstance(place, list)
        and len(place) == 2
        and _whole(place[0], rows)
        and _whole(place[1], cols)
    )
