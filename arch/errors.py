# SPDX-License-Identifier: Apache-2.0
"""Errors that a user can cause.

Every error a user can bring about is an :class:`InputError`: one sentence that names what is wrong,
where, the limit and the way out. The command line prints it and exits with 2. Failures of links
and tools are :class:`ToolError`; they are not the user's fault, yet never end in a traceback.
"""

__all__ = ["CapacityError", "ConfigError", "InputError", "ModelError", "ToolError"]


class InputError(ValueError):
    """Something the user gave cannot be used; the message is one sentence fit to be printed."""


class ConfigError(InputError):
    """A chip or device description is wrong."""


class ModelError(InputError):
    """A network file cannot be read or holds something that is not supported."""


class CapacityError(InputError):
    """The network is fine, but does not fit the chip."""


class ToolError(RuntimeError):
    """An external tool or link failed: a compiler, Verilator, a simulated or real board."""
