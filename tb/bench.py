# SPDX-License-Identifier: Apache-2.0
"""What a bench finds when it runs: the parameters of :func:`.runner.run`, and its random numbers.

Runs inside the simulator.
"""

import functools
import json
import random
from pathlib import Path
from typing import Any

import cocotb

__all__ = ["PLUSARG", "folder", "parameters", "rng"]

PLUSARG = "bench_parameters"
"""The plusarg that carries the path of the parameter file."""


@functools.cache
def parameters() -> dict[str, Any]:
    """The parameters that :func:`.runner.run` was given, and ``seed`` and ``folder``.

    Raises
    ------
    RuntimeError
        If the simulation was not started by it.
    """
    path = cocotb.plusargs.get(PLUSARG)
    if not isinstance(path, str):
        raise RuntimeError(f"Start this bench with tb.runner.run, or pass +{PLUSARG}=<file>")
    found: dict[str, Any] = json.loads(Path(path).read_text())
    return found


def folder() -> Path:
    """Where this run keeps its files."""
    return Path(parameters()["folder"])


def rng(name: str) -> random.Random:
    """A generator that depends on the seed and on ``name`` alone.

    Each user of random numbers has its own, so that one more stall moves nobody else's numbers.
    """
    return random.Random(f"{parameters()['seed']}/{name}")
