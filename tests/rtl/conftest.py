# SPDX-License-Identifier: Apache-2.0
"""Settings of the RTL's unit tests."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    # A component that refuses its arguments, or is only asked for a latency, is never elaborated.
    config.addinivalue_line("filterwarnings", "ignore::amaranth.hdl.UnusedElaboratable")
