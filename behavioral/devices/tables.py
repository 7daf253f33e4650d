# SPDX-License-Identifier: Apache-2.0
"""Measured tables beside a device file: ``file = "levels.csv"`` in the section they fill.

A CSV file has a header line that names the section's fields, then a row an entry; empty lines and
lines that start with ``#`` are skipped.
"""

import csv
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...arch.errors import ConfigError

__all__ = ["read_csv", "with_files"]

_PLACES = (("levels",), ("spread_table",), ("write", "response"), ("driver",), ("adc",))
_ROWS = {"inl", "dnl"}


def read_csv(path: Path) -> dict[str, list[float]]:
    """Read the columns of a measured table.

    Raises
    ------
    ConfigError
        If the file is missing or unreadable, or a value is no finite number; with file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"table file {path} does not exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"table file {path} cannot be read: {error}") from error
    names: list[str] = []
    columns: dict[str, list[float]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        fields = [field.strip() for field in next(csv.reader([line]))]
        if not names:
            names, columns = fields, {name: [] for name in fields}
            continue
        if len(fields) != len(names):
            raise ConfigError(
                f"table file {path} line {number}: {len(fields)} values in a table of"
                f" {len(names)} columns"
            )
        for name, field in zip(names, fields, strict=True):
            columns[name].append(_number(field, f"table file {path} line {number}: '{name}'"))
    if not names:
        raise ConfigError(f"table file {path} is empty; its first line names the columns")
    return columns


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise ConfigError(f"{where} must be a number, not {text!r}") from error
    if not math.isfinite(value):
        raise ConfigError(f"{where} must be a finite number, not {text}")
    return value


def with_files(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Put the tables that sections name by ``file`` into them.

    Parameters
    ----------
    values : mapping
        A device file as parsed.
    folder : Path
        What file names are relative to.
    """
    merged = dict(values)
    for place in _PLACES:
        _fill(merged, place, folder)
    return merged


def _fill(table: dict[str, Any], place: tuple[str, ...], folder: Path) -> None:
    section = table.get(place[0])
    if not isinstance(section, dict):
        return
    table[place[0]] = section = dict(section)
    if len(place) > 1:
        _fill(section, place[1:], folder)
    elif isinstance(section.get("file"), str):
        columns = read_csv(folder / section.pop("file"))
        table[place[0]] = section | {
            # One column of a converter's errors serves all lanes.
            name: [found] if name in _ROWS else found
            for name, found in columns.items()
        }


def parse(path: Path) -> tuple[dict[str, Any], str] | None:
    """Values and text of a TOML file; None if it cannot be read or is no TOML."""
    try:
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text), text
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return None
