# SPDX-License-Identifier: Apache-2.0
"""Makes the checks of the ordinary tests importable: mutations run those, not copies."""

import sys
from pathlib import Path

import pytest

_TESTS = Path(__file__).parents[1]
sys.path[:0] = [
    str(_TESTS / name)
    for name in ("mutations", "formal", "rtl", "tb", "behavioral", "host", "fpga")
]


def pytest_configure(config: pytest.Config) -> None:
    # A component that a check refuses half way is never elaborated.
    config.addinivalue_line("filterwarnings", "ignore::amaranth.hdl.UnusedElaboratable")
