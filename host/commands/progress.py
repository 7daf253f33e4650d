# SPDX-License-Identifier: Apache-2.0
"""Progress on stderr: bars on a terminal, a line at the start of each stage elsewhere."""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

__all__ = ["Bars"]


class Bars:
    """Call it as ``bars(what, done, total)``; a total of 0 means that the end is not known."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(file=sys.stderr)
        self._live = self._console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._live,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        known = total or None
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=known)
            if not self._live:
                self._console.print(f"{what} ...", highlight=False, markup=False)
        self._progress.update(self._tasks[what], completed=done, total=known)
