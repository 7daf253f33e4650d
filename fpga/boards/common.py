# SPDX-License-Identifier: Apache-2.0
"""What a board is."""

import importlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ...arch.chip import Chip, load_chip
from ...arch.errors import ToolError
from ...arch.link import baud_divider
from ..crossbar.image import EmulatorConfig

__all__ = ["Board", "Light"]


@dataclass(frozen=True)
class Light:
    """Where a board shows a bit: a resource, its number, and the colour of one that has several."""

    resource: str
    number: int
    colour: str | None = None


@dataclass(frozen=True)
class Board:
    """A board that bitstreams are built for.

    Parameters
    ----------
    name, title : str
        On the command line, and for people.
    family : str
        ``"ecp5"`` or ``"ice40"``.
    platform : str
        ``module:class`` of amaranth-boards.
    source_hz : int
        Its oscillator.
    clock_hz : int
        Of the fabric.
    baud : int
        Of the serial line.
    chip : str
        The chip that is built unless another is named.
    config : EmulatorConfig
        Of its arrays.
    lights : tuple of Light
        Alive, connected, working, as far as there are any.
    loader : str
        Its name for openFPGALoader.
    capacity : mapping of str to int
        Cells of the device by kind, as :mod:`..resources` counts them.
    array_only : bool
        It is too small for a tile: it holds one array of the chip, read over the link.

    Raises
    ------
    InputError
        If the clock cannot make the rate.
    """

    name: str
    title: str
    family: str
    platform: str
    source_hz: int
    clock_hz: int
    baud: int
    chip: str
    config: EmulatorConfig
    lights: tuple[Light, ...]
    loader: str
    capacity: Mapping[str, int] = field(hash=False)
    array_only: bool = False

    def __post_init__(self) -> None:
        baud_divider(self.clock_hz, self.baud)

    def load_chip(self) -> Chip:
        """The chip that is built unless another is named."""
        return load_chip(self.chip)

    def config_for(self, chip: Chip) -> EmulatorConfig:
        """Of the arrays of a chip: as many columns at once as divide those of an array."""
        return replace(self.config, columns=math.gcd(self.config.columns, chip.cols))

    def make_platform(self) -> Any:
        """Amaranth's platform of the board.

        Raises
        ------
        ToolError
            If amaranth-boards is not installed.
        """
        module, _, name = self.platform.partition(":")
        try:
            return getattr(importlib.import_module(module), name)()
        except ImportError as error:
            raise ToolError(
                "Boards need amaranth-boards, which is not installed; run "
                "pip install 'ohmtwin[fpga]'"
            ) from error
