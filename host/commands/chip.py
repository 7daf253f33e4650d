# SPDX-License-Identifier: Apache-2.0
"""The chip that the options of a command name."""

from ...arch.chip import Chip, RowSchedule, load_chip
from ...arch.errors import ConfigError
from ..compiler.network import choose_chip
from ..graph import Network

__all__ = ["pick_chip"]


def pick_chip(name: str, network: Network, schedule: str | None) -> Chip:
    """The chip that the options name.

    Raises
    ------
    ConfigError, CapacityError
        If there is no such chip or schedule, or ``auto`` finds none that holds the network.
    """
    names = [str(s) for s in RowSchedule]
    if schedule is not None and schedule not in names:
        raise ConfigError(f"There is no row schedule '{schedule}'; choose {' or '.join(names)}")
    chip = choose_chip(network) if name == "auto" else load_chip(name)
    return chip if schedule is None else chip.with_(row_schedule=RowSchedule(schedule))
