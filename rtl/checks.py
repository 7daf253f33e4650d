# SPDX-License-Identifier: Apache-2.0
"""Checks of constructor arguments that several components share."""

from ..arch.chip import Chip

__all__ = ["check_chip"]


def check_chip(chip: object) -> Chip:
    """The argument, if it is a chip configuration.

    Raises
    ------
    TypeError
        If it is anything else.
    """
    if not isinstance(chip, Chip):
        raise TypeError(f"Chip must be a Chip, not {chip!r}")
    return chip
