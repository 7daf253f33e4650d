# SPDX-License-Identifier: Apache-2.0
"""Settings of the tests of boards, which share the helpers of the RTL's unit tests."""

import ctypes
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from link_boards import Board, Endpoint, Pins, build, run

from ohmtwin.arch.errors import ToolError
from ohmtwin.host.toolchain import find_tools

sys.path.insert(0, str(Path(__file__).parents[1] / "rtl"))


def pytest_configure(config: pytest.Config) -> None:
    # A component that refuses its arguments, or is only asked for a latency, is never elaborated.
    config.addinivalue_line("filterwarnings", "ignore::amaranth.hdl.UnusedElaboratable")


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Verilator's own objects, which do not depend on the model."""
    try:
        tools = find_tools()
    except ToolError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("runtime")
    sources = [tools.root / "include" / f"verilated{part}.cpp" for part in ("", "_threads")]
    run(folder, tools.cxx, "-std=c++20", "-O0", "-w", "-fPIC", "-c", *tools.include, *sources)
    return folder


@pytest.fixture(scope="session")
def endpoint(runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return build(Endpoint(), tmp_path_factory.mktemp("endpoint"), runtime)


@pytest.fixture(scope="session")
def pins(runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return build(Pins(), tmp_path_factory.mktemp("pins"), runtime)


@pytest.fixture
def boards() -> Iterator[Callable[..., Board]]:
    made: list[Board] = []

    def make(*args: Any) -> Board:
        made.append(Board(*args))
        return made[-1]

    yield make
    for board in made:
        board.close()
