# SPDX-License-Identifier: Apache-2.0
"""Settings of the tests of boards, which share the helpers of the RTL's unit tests."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "rtl"))


def pytest_configure(config: pytest.Config) -> None:
    # A component that refuses its arguments, or is only asked for a latency, is never elaborated.
    config.addinivalue_line("filterwarnings", "ignore::amaranth.hdl.UnusedElaboratable")
