# SPDX-License-Identifier: Apache-2.0
"""What crossbars are made of: ``devices.rram(spread=0.05)``, ``devices.load("my.toml")``.

Each standard device is a TOML file of this folder, whose comments name the sources of its figures.
"""

from pathlib import Path
from typing import Any

from ...arch.errors import ConfigError
from ...arch.tomlconfig import build_model, load_model
from .model import Device

__all__ = ["Device", "ideal", "load", "names", "rram"]

_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Return the names of the standard devices."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def load(name_or_path: str | Path) -> Device:
    """Return a standard device by name, or one from a TOML file by path.

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
        return load_model(path, Device, "device")
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


def _with(device: Device, overrides: dict[str, Any]) -> Device:
    return build_model(device.model_dump() | overrides, Device, f"device {device.name}")
