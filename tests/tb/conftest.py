# SPDX-License-Identifier: Apache-2.0
"""Shared by the benches: simulators that may be missing, and the path to the bench modules."""

import sys
from pathlib import Path

import pytest

from ohmtwin.arch.errors import ToolError
from ohmtwin.tb.runner import SIMULATORS, find_simulator

# The simulator's Python imports bench modules by name.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(params=SIMULATORS)
def simulator(request: pytest.FixtureRequest) -> str:
    """Each simulator, skipped with the way to install it where it is missing."""
    name: str = request.param
    try:
        find_simulator(name)
    except ToolError as error:
        pytest.skip(str(error))
    return name
