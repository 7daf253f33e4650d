# SPDX-License-Identifier: Apache-2.0
"""Every way in which a serial port and what is behind it can fail.

Where another name, rate or chip on the command line is the way out, the error is an
:class:`~ohmtwin.arch.errors.InputError` too, and the program ends with 2; where the board or its
cable fails it ends with 1.
"""

from ...arch.errors import InputError
from ..driver import LinkError

__all__ = [
    "BoardRestartedError",
    "BoardSilentError",
    "ForeignDeviceError",
    "NoSuchPortError",
    "PortBusyError",
    "PortError",
    "PortLostError",
    "PortRefusedError",
]


class PortError(LinkError):
    """A serial port cannot be used; subclasses say more where more is known."""


class PortRefusedError(PortError, InputError):
    """The port that was named cannot be opened: rights, the rate, or no serial port at all."""


class NoSuchPortError(PortError, InputError):
    """There is no device of that name."""


class PortBusyError(PortError, InputError):
    """Another program has the port open."""


class PortLostError(PortError):
    """The device went away, or takes no more bytes: a cable was pulled, a simulation ended."""


class BoardSilentError(LinkError):
    """Nothing that could be a board answers."""


class ForeignDeviceError(LinkError, InputError):
    """Something answers, but it is no board of ours, or not at this rate, or of another version."""


class BoardRestartedError(LinkError):
    """The board does not know the session any more: it was reset, or another host opened one."""
