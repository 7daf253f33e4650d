# SPDX-License-Identifier: Apache-2.0
"""Refresh on a schedule: cells drift, and the chip writes them anew between two samples."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arch.errors import ConfigError
from .codes import Codes, input_codes
from .programming import ProgramOptions, ProgramReport, program_arrays
from .targets import Target

__all__ = ["RefreshSchedule", "RefreshedRun", "run_refreshed"]


@dataclass(frozen=True)
class RefreshSchedule:
    """When arrays are refreshed, and how time passes.

    Parameters
    ----------
    every : int, optional
        Samples between two refreshes.
    after : float, optional
        Seconds of model time between two refreshes: at the first sample at which as much has
        passed. Exactly one of both is given.
    sample_time : float
        Seconds that pass with every sample.

    Raises
    ------
    ConfigError
        If they are not.
    """

    every: int | None = None
    after: float | None = None
    sample_time: float = 0.0

    def __post_init__(self) -> None:
        if (self.every is None) == (self.after is None):
            raise ConfigError("A refresh needs its samples or its seconds, one of them")
        if self.every is not None and self.every < 1:
            raise ConfigError(f"A refresh comes every 1 or more samples, not {self.every}")
        if not (math.isfinite(self.sample_time) and self.sample_time >= 0):
            raise ConfigError(f"The time of a sample must be 0 or more, not {self.sample_time}")
        if self.after is not None and not (math.isfinite(self.after) and self.after > 0):
            raise ConfigError(f"A refresh comes after more than 0 seconds, not {self.after}")
        if self.after is not None and not self.sample_time:
            raise ConfigError(
                "A refresh by seconds needs samples that take time; give the time of a sample"
            )

    @property
    def samples(self) -> int:
        """Samples from one refresh to the next."""
        if self.every is not None:
            return self.every
        # A hair less, so that ten tenths of a second make one.
        return max(1, math.ceil((self.after or 0.0) / self.sample_time * (1 - 1e-12)))


@dataclass(frozen=True, eq=False)
class RefreshedRun:
    """What came of it: tensors as a run returns them, and the report of each refresh."""

    tensors: Mapping[str, NDArray[Any]]
    refreshes: tuple[ProgramReport, ...]


def run_refreshed(
    target: Target,
    codes: Mapping[str, Codes] | Codes,
    schedule: RefreshSchedule,
    options: ProgramOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RefreshedRun:
    """Run samples in order, with a refresh between two of them whenever one is due.

    Time passes behind each stretch of samples. The schedule begins with the call, and none comes
    behind the last sample; a state that was saved before a call is all that it takes to repeat it.

    Parameters
    ----------
    target : Target
        A fast or a Verilated one.
    codes : as :meth:`.targets.Target.run`
    schedule : RefreshSchedule
    options : ProgramOptions, optional
        ``erase`` is of no use: a refresh starts from the cells as they are.
    progress : callable, optional
        Told samples done and samples in all.

    Raises
    ------
    InputError, ConfigError, ToolError
        As :func:`~.programming.program_arrays` and :meth:`.targets.Target.run`.
    """
    given = input_codes(target.compiled.network, codes)
    count = len(next(iter(given.values())))
    kept = ProgramOptions() if options is None else options
    kept = ProgramOptions(**{**kept.__dict__, "erase": False})
    parts: list[Mapping[str, NDArray[Any]]] = []
    refreshes = []
    for start in range(0, max(count, 1), schedule.samples):
        if start:
            refreshes.append(program_arrays(target, kept))
        stretch = {name: array[start : start + schedule.samples] for name, array in given.items()}
        parts.append(target.run(stretch))
        ran = len(next(iter(stretch.values())))
        if schedule.sample_time:
            target.advance(seconds=schedule.sample_time * ran)
        if progress is not None:
            progress(start + ran, count)
    tensors = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return RefreshedRun(tensors, tuple(refreshes))
