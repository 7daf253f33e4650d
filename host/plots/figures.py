# SPDX-License-Identifier: Apache-2.0
"""Matplotlib as the pictures use it: no display, no user's settings, the same bytes every time."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...arch.errors import InputError, ToolError
from ..files import check_output, write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "MAX_WIDTH", "MIN_WIDTH", "canvas", "check_picture", "save"]

MIN_WIDTH, MAX_WIDTH = 480, 4000
"""Pixels."""

_DPI = 100
_KINDS = (".png", ".svg")

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
"""Told apart by all eyes (Wong, "Color blindness", Nature Methods 8 (2011) 441)."""

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "svg.hashsalt": "ohmtwin",  # names in an SVG would be random
}


def check_picture(path: Path, option: str, width: int) -> None:
    """Refuse a picture that could not be written, before any work.

    Raises
    ------
    InputError
        If the file's name ends in neither .png nor .svg, its folder is missing, or the width is
        out of range.
    ToolError
        If matplotlib is not installed.
    """
    if path.suffix.lower() not in _KINDS:
        raise InputError(f"{option} {path} must end in {' or '.join(_KINDS)}")
    if not MIN_WIDTH <= width <= MAX_WIDTH:
        raise InputError(f"A picture is {MIN_WIDTH} to {MAX_WIDTH} pixels wide, not {width}")
    check_output(path, option)
    with canvas(width, 100):
        pass


@contextmanager
def canvas(width: int, height: int) -> Iterator["Figure"]:
    """An empty figure of so many pixels, in the house's style while the body runs.

    Raises
    ------
    ToolError
        If matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise ToolError(
            "Pictures need matplotlib, which is not installed; "
            "install it with: pip install 'ohmtwin[plots]'"
        ) from None
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, layout="constrained")


def save(figure: "Figure", path: Path) -> None:
    """Write a figure of :func:`canvas`, within its body; the name's end tells the format.

    Raises
    ------
    InputError
        If the file system refuses.
    """
    data = io.BytesIO()
    if path.suffix.lower() == ".svg":
        figure.savefig(data, format="svg", metadata={"Date": None})
    else:
        figure.savefig(data, format="png", metadata={"Software": None})
    write_bytes(path, data.getvalue())
