# SPDX-License-Identifier: Apache-2.0
"""From a learning rate to the probabilities of pulses.

A cell gets ``slots * p_row * p_column`` pulses on average (Gokmen and Vlasov 2016), each of which
is worth the device's step. Probabilities are rounded to 1/65536, which is where the smallest rate
lies, and end at 1, which is where a large one is cut.
"""

import math

from ...arch.errors import ConfigError
from ...arch.learning import TrainMode, UpdateSettings
from ...behavioral.learning.cells import MAX_INPUT
from ...behavioral.learning.trains import CERTAIN
from .assembler import fixed_point
from .config import TrainSection

__all__ = ["pulse_settings", "transfer_settings"]

_MODES = {
    "stochastic": TrainMode.SEPARATE,
    "shared": TrainMode.SHARED,
    "overlap": TrainMode.OVERLAP,
}


def pulse_settings(train: TrainSection, where: str, most: float, unit: float) -> UpdateSettings:
    """Settings that turn an input and an error into pulses.

    Parameters
    ----------
    train : TrainSection
    where : str
        Of which layer, for messages.
    most : float
        Pulses that the largest input and an error of 1 should give.
    unit : float
        What a unit of the error vector is worth, at exponent 0.

    Raises
    ------
    ConfigError
        If no pulse can express it.
    """
    if train.scheme == "manhattan":
        return _manhattan(train, unit)
    managed = train.update_management and train.noise_management
    p = math.sqrt(most / train.slots)
    if p * CERTAIN < 1:
        low = train.rate * train.slots / CERTAIN**2 / most
        raise ConfigError(
            f"train.rate {train.rate:g} can be expressed by no pulse in {where}: its largest update"
            f" is {most:.3g} steps of the device, and probabilities end at 1/{CERTAIN}; raise the"
            f" rate to {low:.2g} or more, or take a device of more steps"
        )
    if p >= MAX_INPUT:
        high = train.rate * train.slots * MAX_INPUT**2 / most
        raise ConfigError(
            f"train.rate {train.rate:g} can be expressed by no pulse in {where}: every input"
            f" that is not 0 would fill all {train.slots} slots; take a rate of {high:.2g} or less,"
            " or a device of larger steps"
        )
    row = p / MAX_INPUT
    column = p * unit
    if managed:
        row = column = math.sqrt(row * column)
    kx, sx = fixed_point(CERTAIN * row, 16)
    kd, sd = fixed_point(CERTAIN * column, 16)
    return UpdateSettings(
        kx, kd, sx, sd, train.slots, _MODES[train.scheme], manage=managed, period=train.period
    )


def _manhattan(train: TrainSection, unit: float) -> UpdateSettings:
    """One pulse where input and error both reach the threshold."""
    if not train.threshold:
        return UpdateSettings(65535, 65535, 0, 0, 1, TrainMode.OVERLAP)
    # A line is driven in the one slot from a probability of 1/2 on.
    kx, sx = fixed_point(CERTAIN / 2 / (train.threshold * MAX_INPUT), 16)
    kd, sd = fixed_point(CERTAIN / 2 / train.threshold * unit, 16)
    return UpdateSettings(kx, kd, sx, sd, 1, TrainMode.OVERLAP)


def transfer_settings(train: TrainSection, most: float) -> UpdateSettings:
    """Settings that turn one row driven fully, and a vector, into pulses.

    Parameters
    ----------
    train : TrainSection
    most : float
        Pulses of a unit of the vector, at exponent 0.

    Raises
    ------
    ConfigError
        If no pulse can express it.
    """
    kx, sx = fixed_point(CERTAIN / MAX_INPUT, 16)
    kd, sd = fixed_point(CERTAIN * most / train.slots, 16)
    if not kd:
        raise ConfigError(
            f"train.transfer_rate {train.transfer_rate:g} can be expressed by no pulse: a unit of"
            f" the fast array's read is {most:.3g} steps of the device; raise it"
        )
    return UpdateSettings(kx, kd, sx, sd, train.slots, _MODES[train.scheme], period=train.period)
