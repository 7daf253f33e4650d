# SPDX-License-Identifier: Apache-2.0
"""What spread between cells does to the sum of a column: Crafton et al. 2021, Fig. 12.

The figure shows the cumulative distribution of the computing error for 5, 10 and 20 % spread, with
7 cells on (the most a 3-bit ADC can tell) and with 15 (4 bits). Here the sums come out of arrays:
cells are written, the array is read through its ADC, and each sum uses cells of its own. The law
beside it is exact: the sum of n cells of spread s is Gaussian with sigma ``s * sqrt(n)`` levels,
and the ADC rounds it to whole levels and cuts it at both ends.

    python column_sum.py [FIGURE.png]
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ohmtwin.behavioral import devices
from ohmtwin.behavioral.cengine import CCrossbar
from ohmtwin.behavioral.programming import program

__all__ = ["CELLS_ON", "SPREADS", "column_errors", "error_law", "main"]

SPREADS = (0.05, 0.10, 0.20)
CELLS_ON = (7, 15)
ROWS, COLS = 256, 512


def column_errors(
    spread: float, cells: int, adc_bits: int, sums: int, seed: int = 1
) -> NDArray[np.int64]:
    """Errors of column sums, in levels, as an ADC reports them.

    Parameters
    ----------
    spread : float
        Sigma over mean of the conductance of an on-state cell.
    cells : int
        On-state cells in a sum.
    adc_bits : int
    sums : int
        At least this many; whole arrays are written.
    seed : int

    Returns
    -------
    int64 array [n], n >= sums
        Code less ``cells``. No cell is in two sums, so all are independent.
    """
    # Nothing but the spread is on: no leakage, so the reference column reads zero.
    device = devices.rram(spread=spread).only("spread")
    groups = ROWS // cells
    masks = np.arange(ROWS) // cells == np.arange(groups)[:, None]
    levels = np.ones((ROWS, COLS), np.uint8)
    errors = []
    for array in range(math.ceil(sums / (groups * COLS))):
        image = program(levels, device, cell_bits=1, seed=seed, array=array, adc_bits=adc_bits)
        codes = CCrossbar(image, seed, array).read_many(masks)
        errors.append(codes.astype(np.int64).ravel() - cells)
    return np.concatenate(errors)


def error_law(
    spread: float, cells: int, adc_bits: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """All errors that can be, int64 [k], and the probability of each, float64 [k]."""
    codes = np.arange(1 << adc_bits)
    sigma = spread * math.sqrt(cells)
    below = [0.5 * math.erfc(-(c + 0.5 - cells) / sigma / math.sqrt(2)) for c in codes[:-1]]
    return codes - cells, np.diff([0.0, *below, 1.0])


def main() -> int:
    """Print measured and computed shares; draw both if a file is named."""
    parser = argparse.ArgumentParser(description="Errors of column sums by spread and cells on")
    parser.add_argument("figure", nargs="?", type=Path)
    parser.add_argument("--sums", type=int, default=200_000)
    arguments = parser.parse_args()
    curves = {}
    for cells in CELLS_ON:
        for spread in SPREADS:
            # A bit more than the sum needs: errors show on both sides.
            bits = cells.bit_length() + 1
            errors = column_errors(spread, cells, bits, arguments.sums)
            values, shares = error_law(spread, cells, bits)
            curves[cells, spread] = (errors, values, shares)
            sys.stdout.write(
                f"{cells:2} cells, spread {spread:4.0%}, n = {len(errors)}: "
                f"wrong {np.mean(errors != 0):.5f} (law {1 - shares[values == 0][0]:.5f}), "
                f"off by 2 or more {np.mean(abs(errors) > 1):.5f} "
                f"(law {shares[abs(values) > 1].sum():.5f})\n"
            )
    if arguments.figure is not None:
        _draw(arguments.figure, curves)
    return 0


def _draw(
    figure: Path,
    curves: dict[
        tuple[int, float], tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
    ],
) -> None:
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(9, 4), layout="constrained")
    for axes, cells in zip(drawing.subplots(1, 2, sharey=True), CELLS_ON, strict=True):
        for spread in SPREADS:
            errors, values, shares = curves[cells, spread]
            near = abs(values) <= 4
            measured = [np.mean(errors <= value) for value in values[near]]
            line = axes.plot(values[near], shares.cumsum()[near], drawstyle="steps-post")[0]
            axes.plot(
                values[near], measured, "o", color=line.get_color(), label=f"{spread:.0%} spread"
            )
        axes.set(title=f"{cells} cells on", xlabel="error of the sum (levels)")
        axes.legend(title="dots measured, lines law")
    drawing.axes[0].set_ylabel("share of sums with at most this error")
    drawing.savefig(figure)


if __name__ == "__main__":
    sys.exit(main())
