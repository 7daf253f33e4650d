# SPDX-License-Identifier: Apache-2.0
"""What crossbars are made of: ``devices.rram(spread=0.05)``, ``devices.load("my.toml")``.

Each standard device is a TOML file of this folder, whose comments name the sources of its figures.
"""

from pathlib import Path
from typing import Any

from ...arch.errors import ConfigError
from ...arch.tomlconfig import build_model, key_lines, load_model
from .model import Device
from .tables import parse, with_files

__all__ = [
    "Device",
    "fefet",
    "flash",
    "ideal",
    "load",
    "names",
    "pcm",
    "rram",
    "sram",
    "stt_mram",
]

_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Return the names of the standard devices."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def load(name_or_path: str | Path) -> Device:
    """Return a standard device by name, or one from a TOML file by path.

    Sections of the file may name measured tables beside it (:mod:`.tables`).

    Raises
    ------
    ConfigError
        If there is no such device or file, or the file is wrong.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, str) and text in names():
        return load_model(_FOLDER / f"{text}.toml", Device, "device")
    path = Path(name_or_path)
    if path.suffix == ".toml" or path.exists():
        parsed = parse(path)
        if parsed is None:  # says what is wrong
            return load_model(path, Device, "device")
        values, source = parsed
        values = with_files(values, path.parent)
        return build_model(values, Device, f"device file {path}", key_lines(source))
    raise ConfigError(
        f"There is no device '{text}'; take one of {', '.join(names())} or the path of a TOML file"
    )


def ideal(**overrides: Any) -> Device:
    """Return the device without any error, with some fields replaced.

    Raises
    ------
    ConfigError
        If a field does not exist or its value cannot be.
    """
    return _with(load("ideal"), overrides)


def rram(**overrides: Any) -> Device:
    """Return a HfOx RRAM cell with its transistor, with some fields replaced.

    Raises
    ------
    ConfigError
        If a field does not exist or its value cannot be.
    """
    return _with(load("rram"), overrides)


def pcm(**overrides: Any) -> Device:
    """Return a phase-change cell that drifts, with some fields replaced.

    Raises
    ------
    ConfigError
        If a field does not exist or its value cannot be.
    """
    return _with(load("pcm"), overrides)


def stt_mram(**overrides: Any) -> Device:
    """Return a magnetic tunnel junction with its transistor, with some fields replaced.

    Raises
    ------
    ConfigError
        If a field does not exist or its value cannot be.
    """
    return _with(load("stt_mram"), overrides)


def fefet(**overrides: Any) -> Device:
    """Return a ferroelectric transistor, with some fields replaced.

    Raises
    ------
    ConfigError
        If a field does not exist or its value cannot be.
    """
    return _with(load("fefet"), overrides)


def flash(**overrides: Any) -> Device:
    """Return a floating-gate transistor, with some fields replaced.

    Raises
    ------
    ConfigError
        If a field does not exist or its value cannot be.
    """
    return _with(load("flash"), overrides)


def sram(**overrides: Any) -> Device:
    """Return a static RAM cell, with some fields replaced.

    Raises
    ------
    ConfigError
        If a field does not exist or its value cannot be.
    """
    return _with(load("sram"), overrides)


def _with(device: Device, overrides: dict[str, Any]) -> Device:
    values = device.model_dump()
    if overrides.get("levels") is not None:
        # Measured levels bring their own range.
        values = {k: v for k, v in values.items() if k not in ("g_on", "on_off_ratio")}
    return build_model(values | overrides, Device, f"device {device.name}")
