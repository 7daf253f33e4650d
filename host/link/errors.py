# SPDX-License-Identifier: Apache-2.0
"""Every way in which a serial port and what is behind it can fail."""

from ..driver import LinkError

__all__ = [
    "BoardRestartedError",
    "BoardSilentError",
    "ForeignDeviceError",
    "NoSuchPortError",
    "PortBusyError",
    "PortError",
    "PortLostError",
]


class PortError(LinkError):
    """A serial port cannot be used; subclasses say more where more is known."""


class NoSuchPortError(PortError):
    """There is no device of that name."""


class PortBusyError(PortError):
    """Another program has the port open."""


class PortLostError(PortError):
    """The device went away, or takes no more bytes: a cable was pulled, a simulation ended."""


class BoardSilentError(LinkError):
    """Nothing that could be a board answers."""


class ForeignDeviceError(LinkError):
    """Something answers, but it is no board of ours, or not at this rate, or of another version."""


class BoardRestartedError(LinkError):
    """The board does not know the session any more: it was reset, or another host opened one."""
