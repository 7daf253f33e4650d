# SPDX-License-Identifier: Apache-2.0
"""Boards as they are named on the command line: a device and the rate of its line."""

from dataclasses import dataclass

from ..arch.errors import InputError

__all__ = ["DEFAULT_BAUD", "SIMULATED", "SerialAddress", "parse_target"]

DEFAULT_BAUD = 3_000_000
"""What the boards of :mod:`ohmtwin.fpga.boards` are built with."""

SIMULATED = "simulated"  # in the place of a device


@dataclass(frozen=True)
class SerialAddress:
    """Where a board is: a device and the rate of its line."""

    device: str
    baud: int = DEFAULT_BAUD


def parse_target(text: str) -> SerialAddress:
    """A board as it is named: ``serial:/dev/ttyUSB0`` or ``serial:/dev/ttyUSB0@115200``.

    Raises
    ------
    InputError
        If it has another form.
    """
    kind, _, where = text.partition(":")
    device, at, rate = where.partition("@")
    if kind != "serial" or not device:
        raise InputError(
            f"There is no target '{text}'; choose one of golden, fast, verilator or netlist, or "
            "name a board's port as serial:/dev/ttyUSB0"
        )
    if at and not (rate.isascii() and rate.isdecimal() and int(rate) > 0):
        raise InputError(f"Target '{text}' has no baud rate behind the @, as @{DEFAULT_BAUD}")
    return SerialAddress(device, int(rate) if at else DEFAULT_BAUD)
