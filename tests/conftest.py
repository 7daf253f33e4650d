# SPDX-License-Identifier: Apache-2.0
"""For all tests: with --no-tool-skips, a test that skips for want of a tool or package fails."""

import gc
from collections.abc import Generator
from typing import Any

import pytest

_ALLOWED = "CPU:"
"""How the reason of a skip begins that no installation can cure."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-tool-skips",
        action="store_true",
        help="fail instead of skipping where a tool or package is missing",
    )


def pytest_collection_finish(session: pytest.Session) -> None:
    # What the collection made stays; looking through it again and again for garbage takes half of
    # the time in which Amaranth elaborates a design, which makes many objects and little garbage.
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)


def _forbid(config: pytest.Config, report: Any) -> None:
    if not config.getoption("--no-tool-skips") or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not reason.removeprefix("Skipped: ").startswith(_ALLOWED):
        report.outcome = "failed"
        report.longrepr = f"{reason}\nSkips are failures here: install what is missing."


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    _forbid(item.config, report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    report = yield
    _forbid(collector.config, report)
    return report
