# SPDX-License-Identifier: Apache-2.0
"""Which chips and devices ``ohmtwin tradeoff`` looks at: the cross product of what is varied."""

import difflib
import itertools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ..arch.chip import Chip
from ..arch.errors import ConfigError, InputError
from ..arch.tomlconfig import build_model, load_model
from ..behavioral import devices
from ..behavioral.devices import Device

__all__ = [
    "MAX_POINTS",
    "Plan",
    "Point",
    "apply_chip",
    "apply_device",
    "load_plan",
    "parse_vary",
    "points_of",
]

MAX_POINTS = 4096
"""Points of one call."""

_DEVICE = "device"
_FREE = ("name", "mesh")
"""Fields of a chip that are nothing to compare, or another machine."""


@dataclass(frozen=True)
class Point:
    """One chip and device.

    Parameters
    ----------
    changes : mapping of str to value
        What is not as in the base, by key: a field of :class:`Chip`, ``device``, or a field of
        :class:`Device` behind ``device.``, that of a section behind another dot.
    label : str
        How the file calls it; empty without.
    """

    changes: Mapping[str, Any]
    label: str = ""


class Plan(BaseModel):
    """What a file of ``--config`` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    chip: str | None = None
    """Instead of --chip."""

    device: str | None = None
    """Instead of --device."""

    set: dict[str, Any] = Field(default_factory=dict)
    """Values that all points have."""

    vary: dict[str, list[Any]] = Field(default_factory=dict)
    """Values of which every combination is a point."""

    point: list[dict[str, Any]] = Field(default_factory=list)
    """Values that belong together; each with every combination of ``vary``. ``label`` names it."""


def load_plan(path: Path) -> Plan:
    """Read a file of ``--config``.

    Raises
    ------
    ConfigError
        If it is missing or wrong.
    """
    return load_model(path, Plan, "tradeoff")


def parse_vary(given: Sequence[str]) -> dict[str, list[Any]]:
    """``rows_per_read=8,16`` and the like; values as in TOML, or bare words.

    Raises
    ------
    InputError
        If one is of another form, or a key is given twice.
    """
    found: dict[str, list[Any]] = {}
    for text in given:
        key, sign, values = (part.strip() for part in text.partition("="))
        if not sign or not key or not values:
            raise InputError(
                f"--vary must be KEY=VALUE,VALUE,..., as in rows_per_read=8,16, not {text!r}"
            )
        if key in found:
            raise InputError(f"--vary names {key!r} twice; give each key once, with all its values")
        found[key] = [_value(part) for part in _split(values)]
    return found


def _split(text: str) -> list[str]:
    """Parts between the commas that stand in no bracket."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def points_of(plan: Plan, vary: Mapping[str, Sequence[Any]] = MappingProxyType({})) -> list[Point]:
    """All points of a plan and of further values to vary, in order.

    Raises
    ------
    InputError
        If a key is unknown or given twice, a key has no value, or there are too many points.
    """
    axes = {**plan.vary, **vary}
    for key in vary:
        if key in plan.vary:
            raise InputError(f"--vary {key} is varied by the file of --config as well; drop one")
    for key, values in axes.items():
        _check_key(key)
        if not values:
            raise InputError(f"--vary {key} has no value; name one or more")
        for number, value in enumerate(values):
            if any(value == other and type(value) is type(other) for other in values[:number]):
                raise InputError(f"--vary {key} has the value {value} twice; name each once")
    for key in plan.set:
        _check_key(key)
    groups = []
    for number, given in enumerate(plan.point):
        fields = dict(given)
        label = str(fields.pop("label", ""))
        for key in fields:
            _check_key(key)
            if key in axes:
                raise InputError(f"point {number + 1} sets {key}, which is varied too; drop one")
        groups.append((label, fields))
    groups = groups or [("", {})]
    points = [
        Point({**plan.set, **fields, **dict(zip(axes, values, strict=True))}, label)
        for label, fields in groups
        for values in itertools.product(*axes.values())
    ]
    if len(points) > MAX_POINTS:
        raise InputError(
            f"The values to vary make {len(points)} points; {MAX_POINTS} are the most, so vary less"
        )
    return points


def _check_key(key: str) -> None:
    """Refuse a key that nothing has."""
    chip = [name for name in Chip.model_fields if name not in _FREE]
    root, dot, rest = key.partition(".")
    if root == _DEVICE and dot:
        known = [f"{_DEVICE}.{name}" for name in Device.model_fields if name != "name"]
        key = f"{_DEVICE}.{rest.partition('.')[0]}"
    else:
        known = [*chip, _DEVICE]
    if key in known:
        return
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"choose from {', '.join(known)}"
    raise InputError(f"There is no '{key}' to vary; {hint}")


def apply_chip(chip: Chip, point: Point) -> Chip:
    """A chip with the changes of a point.

    Raises
    ------
    ConfigError
        If there is no such chip, with the reason.
    """
    changes = {k: v for k, v in point.changes.items() if k.partition(".")[0] != _DEVICE}
    return build_model({**chip.model_dump(), **changes}, Chip, "chip")


def apply_device(device: str, point: Point) -> Device:
    """A device, by name or path of a file, with the changes of a point.

    Raises
    ------
    ConfigError
        If there is no such device, with the reason.
    """
    made = devices.load(str(point.changes.get(_DEVICE, device)))
    values = made.model_dump(exclude_unset=True)
    changed = False
    for key, value in point.changes.items():
        root, *path = key.split(".")
        if root != _DEVICE or not path:
            continue
        changed = True
        table = values
        for part in path[:-1]:
            inner = table.get(part)
            if inner is not None and not isinstance(inner, dict):
                raise ConfigError(f"'{key}': {part} of a device is a value, it has no fields")
            table = table.setdefault(part, {}) if inner is not None else _section(table, part)
        table[path[-1]] = value
    return build_model(values, Device, "device") if changed else made


def _section(table: dict[str, Any], part: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    table[part] = made
    return made
