# SPDX-License-Identifier: Apache-2.0
"""Fits the Gaussian table and writes it: ``python -m ohmtwin.behavioral.gaussian_fit``.

The result is kept as literal integers in ``csrc/gaussian_table.h``, the only definition that NumPy,
C and the RTL read, so that a difference between math libraries can never change a bit of noise.

Method: hierarchical segmentation, finer towards the tail (Lee, Luk, Villasenor, Cheung, "A Gaussian
noise generator for hardware-based simulations", IEEE Trans. Computers 53(12), 2004), with a
least-squares line in each segment, every representable input weighted alike, so that each segment
keeps its mean.
"""

import math
import sys
from pathlib import Path

__all__ = ["fit_table", "main", "normal_tail_inverse"]

_HEADER = """\
/* SPDX-License-Identifier: Apache-2.0
 *
 * Magnitudes of the normal distribution, 512 entries: (base << 12) | delta, both in 1/16 of a Q12
 * unit (one sigma is 4096 units). Made by behavioral/gaussian_fit.py; behavioral/gaussian.py says
 * how it is used. The integers are the definition: Python and the RTL read this very file.
 */
"""


def normal_tail_inverse(tail: float) -> float:
    """Return ``z`` with ``P(Z > z) = tail`` for a standard normal ``Z``, 0 < tail <= 0.5.

    Newton's method on the logarithm of the tail, which is concave: it cannot overshoot to where
    erfc underflows.
    """
    z = math.sqrt(max(0.0, -2.0 * math.log(2.0 * tail)))
    target = math.log(tail)
    for _ in range(60):
        upper = 0.5 * math.erfc(z / math.sqrt(2.0))
        density = math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
        step = (math.log(upper) - target) * upper / density
        z += step
        if abs(step) < 1e-15 * max(1.0, z):
            break
    return z


def _points(p: int) -> list[float]:
    """Positions in a segment of octave ``p``, in units of frac, to fit at.

    Up to octave 17 every magnitude is its own point; above, one step of frac covers several, and
    a point stands for the middle of its step.
    """
    if p <= 5:
        return [0.0]
    if p <= 11:
        return [float(k << (17 - p)) for k in range(1 << (p - 5))]
    return [64.0 * k + 31.5 for k in range(64)]


def _entry(p: int, sub: int) -> int:
    if p == 0:
        positions, tails = [0.0], [0.5]
    else:
        # frac counts 2**-16 of the octave; below octave 17 one magnitude spans several counts.
        span = math.ldexp(1.0, p - 1)
        width = max(1.0, math.ldexp(1.0, p - 17))
        positions = _points(p)
        tails = [span * (1.0 + (sub * 4096 + f) / 65536.0) + 0.5 * width for f in positions]
    values = [normal_tail_inverse(t / 2.0**32) * 4096.0 * 16.0 for t in tails]
    mean_f = math.fsum(positions) / len(positions)
    mean_v = math.fsum(values) / len(values)
    square = math.fsum((f - mean_f) ** 2 for f in positions)
    slope = 0.0
    if square:
        slope = math.fsum((f - mean_f) * v for f, v in zip(positions, values, strict=True)) / square
    delta = round(-slope * 4096.0)
    # The rounded delta moves the line; the base is chosen for it so that the mean stays.
    base = round(mean_v + delta * mean_f / 4096.0)
    return (base << 12) | delta


def fit_table() -> list[int]:
    """Return the 512 packed entries, octave by octave, 16 segments each."""
    return [_entry(p, sub) for p in range(32) for sub in range(16)]


def main() -> None:
    """Write ``csrc/gaussian_table.h``."""
    table = fit_table()
    lines = [", ".join(str(v) for v in table[i : i + 8]) + "," for i in range(0, len(table), 8)]
    path = Path(__file__).parent / "csrc" / "gaussian_table.h"
    path.write_text(_HEADER + "\n".join(lines) + "\n", encoding="ascii")
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
