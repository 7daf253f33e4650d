# SPDX-License-Identifier: Apache-2.0
"""The boards, by name."""

from collections.abc import Mapping
from types import MappingProxyType

from ...arch.errors import ConfigError
from .common import Board
from .ecpix5 import ECPIX5_85F
from .icebreaker import ICEBREAKER
from .ulx3s import ULX3S_85F

__all__ = ["BOARDS", "Board", "find_board"]

BOARDS: Mapping[str, Board] = MappingProxyType(
    {board.name: board for board in (ULX3S_85F, ECPIX5_85F, ICEBREAKER)}
)
"""In the order in which they are listed."""


def find_board(name: str) -> Board:
    """A board by its name.

    Raises
    ------
    ConfigError
        If there is none of that name.
    """
    if name not in BOARDS:
        raise ConfigError(f"There is no board '{name}'; choose one of {', '.join(BOARDS)}")
    return BOARDS[name]
