# SPDX-License-Identifier: Apache-2.0
"""What carries the bytes of a link: a serial port, or anything with the same few methods."""

import errno
import importlib
import os
from contextlib import suppress
from types import ModuleType
from typing import Any, Protocol

from ...arch.errors import ToolError
from .errors import (
    NoSuchPortError,
    PortBusyError,
    PortError,
    PortLostError,
    PortRefusedError,
)

__all__ = ["SerialTransport", "Transport", "check_device"]

# termios fails on a pseudo-terminal whose other side is gone; Windows has none.
try:
    from termios import error as termios_error
except ImportError:
    _FAILURES: tuple[type[Exception], ...] = (OSError,)
else:
    _FAILURES = (OSError, termios_error)

# What pyserial raises for wrong settings; and reading from None once it was closed.
_REFUSED: tuple[type[Exception], ...] = (*_FAILURES, ValueError, OverflowError)
_GONE: tuple[type[Exception], ...] = (*_FAILURES, TypeError)

_READ_WAIT = 0.001
"""Seconds that a read waits for its first byte."""

_WRITE_WAIT = 1.0
"""Seconds after which a line that takes no byte is given up."""


class Transport(Protocol):
    """A stream of bytes to and from a far end. Methods raise PortError if it fails."""

    def read(self, wait: bool) -> bytes:
        """All bytes that have come; waits a millisecond or so for the first if ``wait``."""

    def write(self, data: bytes) -> None:
        """Send all bytes."""

    def close(self) -> None:
        """Let the device go; closing twice is harmless."""


def check_device(device: str) -> None:
    """Refuse a device file that is not there, without opening anything.

    Raises
    ------
    NoSuchPortError
        If it is named by its path, and there is no such file.
    """
    if os.path.isabs(device) and not os.path.exists(device):
        raise _no_port(device)


def _no_port(device: str) -> NoSuchPortError:
    return NoSuchPortError(
        f"There is no port {device}; 'python -m serial.tools.list_ports' lists those there are"
    )


def _pyserial() -> ModuleType:
    try:
        return importlib.import_module("serial")
    except ImportError as error:
        raise ToolError(
            "Serial ports need pyserial, which is not installed; run pip install 'ohmtwin[fpga]'"
        ) from error


class SerialTransport:
    """A serial port by way of pyserial: 8 data bits, no parity, one stop bit, held exclusively.

    Parameters
    ----------
    device : str
        As ``/dev/ttyUSB0`` or ``COM3``.
    baud : int
        Bits a second.

    Raises
    ------
    PortError
        One of its subclasses says why the port cannot be opened.
    ToolError
        If pyserial is missing.
    """

    def __init__(self, device: str, baud: int) -> None:
        serial = _pyserial()
        self._device = device
        try:
            self._serial: Any = serial.Serial(
                device,
                baud,
                timeout=_READ_WAIT,
                write_timeout=_WRITE_WAIT,
                # Windows always opens exclusively.
                exclusive=True if os.name == "posix" else None,
            )
        except _REFUSED as error:
            raise _opening(device, baud, error) from error
        # FTDI's chips hold short answers back for 16 ms unless told otherwise; others refuse.
        with suppress(AttributeError, NotImplementedError, ValueError, *_FAILURES):
            self._serial.set_low_latency_mode(True)

    def read(self, wait: bool) -> bytes:
        try:
            waiting = self._serial.in_waiting
            if not waiting and not wait:
                return b""
            return bytes(self._serial.read(max(1, waiting)))
        except _GONE as error:
            raise self._lost(error) from error

    def write(self, data: bytes) -> None:
        try:
            self._serial.write(data)
        except _GONE as error:
            raise self._lost(error) from error

    def _lost(self, error: Exception) -> PortLostError:
        return PortLostError(
            f"The port {self._device} is lost ({_reason(error)}); see whether the cable is "
            "plugged in and the board has power, then connect again"
        )

    def close(self) -> None:
        with suppress(*_FAILURES):  # the device may be gone already
            self._serial.close()


def _reason(error: Exception) -> str:
    return str(error).strip().rstrip(".") or type(error).__name__


def _opening(device: str, baud: int, error: Exception) -> PortError:
    number = getattr(error, "errno", None)
    text = _reason(error)
    if isinstance(error, ValueError | OverflowError):
        return PortRefusedError(f"The port {device} cannot run at {baud} baud: {text}")
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO) or "FileNotFound" in text:
        return _no_port(device)
    # What pyserial says if another program holds its lock; the driver's own lock is EBUSY.
    if number in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in text:
        return PortBusyError(
            f"The port {device} is in use by another program; close that one first"
        )
    if number in (errno.EACCES, errno.EPERM):
        return PortRefusedError(
            f"The port {device} may not be opened by this user; join the group that owns it "
            "(often 'dialout') and log in again"
        )
    return PortRefusedError(f"The port {device} cannot be opened as a serial port: {text}")
