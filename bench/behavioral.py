# SPDX-License-Identifier: Apache-2.0
"""Speed of the behavioral crossbar on one core: ``python bench/behavioral.py``.

Each figure is the median of several runs, in processor time. Set OMP_NUM_THREADS=1.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ohmtwin.behavioral import devices
from ohmtwin.behavioral.cengine import CCrossbar, core_mvm
from ohmtwin.behavioral.core import MvmConfig
from ohmtwin.behavioral.devices import Device
from ohmtwin.behavioral.programming import program
from ohmtwin.behavioral.state import ArrayState

__all__ = ["all_effects_ratio", "derive_ms", "fast_products_per_s", "fast_reads_per_s"]

ROWS = 128


def fast_reads_per_s(
    rows_on: int = 16, columns: int = 128, device: Device | None = None, runs: int = 7
) -> dict[str, Any]:
    """Noisy reads of 128 rows a second, row masks random with ``rows_on`` rows each."""
    device = device or devices.rram()
    crossbar = _crossbar(columns, device, 0)
    random = np.random.default_rng(1)
    masks = np.argsort(random.random((2000, ROWS)), axis=1) < rows_on
    words = crossbar.row_words(masks)
    repeats = 10

    def run() -> None:
        for _ in range(repeats):
            crossbar.read_words(words)

    seconds = _median(run, runs)
    reads = repeats * len(words)
    return {
        "device": device.name,
        "read_noise": device.read_noise,
        "rows_on": rows_on,
        "columns": columns,
        "reads_per_s": round(reads / seconds),
        "us_per_read": round(seconds / reads * 1e6, 3),
    }


def fast_products_per_s(
    rows_per_read: int = 128,
    zero_skip: bool = False,
    device: Device | None = None,
    cores: int = 1,
    runs: int = 7,
) -> dict[str, Any]:
    """Noisy 8-bit products of a vector and a 128 x 128 matrix a second.

    2-bit cells, so four slices: 8 planes by 512 columns, the work of 32 reads of 128 x 128 where
    all rows are read at once. With several cores, each multiplies its own vectors in turn.
    """
    device = device or devices.rram()
    crossbars = [_crossbar(4 * ROWS, device, core) for core in range(cores)]
    config = MvmConfig(
        rows_used=ROWS,
        outputs=ROWS,
        rows_per_read=rows_per_read,
        zero_skip=zero_skip,
        group=16,
        weights=(1, 4, 16, 64),
        beats=64,
    )
    x = np.random.default_rng(2).integers(0, 256, (16, ROWS)).astype(np.uint8)
    rounds = max(1, 48 // cores)

    def run() -> None:
        for _ in range(rounds):
            for crossbar in crossbars:
                core_mvm(crossbar, x, config)

    products = rounds * cores * len(x)
    seconds = _median(run, runs)
    return {
        "device": device.name,
        "read_noise": device.read_noise,
        "rows_per_read": rows_per_read,
        "zero_skip": zero_skip,
        "cores": cores,
        "products_per_s": round(products / seconds),
        "us_per_product": round(seconds / products * 1e6, 2),
    }


EFFECTS: dict[str, Any] = {
    "variation": {"die": 0.02, "device": 0.05, "cycle": 0.02, "correlated": 0.03},
    "verify": {"tolerance": 0.02, "read_spread": 0.002},
    "faults": {"stuck_on": 0.001, "stuck_off": 0.005},
    "retention": {"time": 3e8, "loss": 0.1, "activation_energy": 1.1, "spread": 0.3},
    "drift": {"nu": 0.02, "nu_spread": 0.01, "t0": 1.0},
    "telegraph": {
        "amplitude": 0.05,
        "amplitude_spread": 0.5,
        "capture": 1e-3,
        "emission": 1e-3,
        "time_spread": 3.0,
        "slow_above": 1e-3,
    },
    "flicker": {"coefficient": 1e-6, "f_low": 1.0},
    "disturb": {"rate": 1e-8},
    "temperature_coefficients": {"on": -1e-3, "off": 2e-3},
    "wires": {"r_row": 0.5, "r_col": 0.5, "r_driver": 50.0, "r_sense": 20.0},
    "adc": {"gain_spread": 0.01, "offset_spread": 0.5, "dnl_spread": 0.2, "comparator_noise": 0.2},
    "driver": {"gain_spread": 0.01},
    "reference_noise": True,
}
"""Sections that switch every effect on."""


def all_effects_ratio(rows_per_read: int = 16, zero_skip: bool = True, runs: int = 25) -> float:
    """Speed of products with every effect on, over that with thermal and shot noise alone.

    A 128 x 128 array of 2-bit cells, aged by a day and read through resistive wires, against one
    of ideal cells with noise. Both work in turn, so that what else the machine does hits both.
    """
    levels = np.random.default_rng(3).integers(0, 4, (ROWS, ROWS)).astype(np.uint8)
    crossbars = []
    for device in (devices.rram(**EFFECTS), devices.rram().only("on_off", "thermal", "shot")):
        state = ArrayState(levels, device, cell_bits=2, seed=1, array=0, adc_bits=9, lanes=8)
        state.advance(86400.0, 320.0, reads=100_000)
        crossbars.append(CCrossbar(state.image(), 1, 0))
    config = MvmConfig(
        rows_used=ROWS,
        outputs=ROWS // 4,
        rows_per_read=rows_per_read,
        zero_skip=zero_skip,
        group=16,
        weights=(1, 4, 16, 64),
        beats=16,
    )
    x = np.random.default_rng(2).integers(0, 256, (16, ROWS)).astype(np.uint8)
    ratios = []
    for _ in range(runs):
        seconds = []
        for crossbar in crossbars:
            core_mvm(crossbar, x, config)  # warms caches
            start = time.process_time()
            for _ in range(40):
                core_mvm(crossbar, x, config)
            seconds.append(time.process_time() - start)
        ratios.append(seconds[1] / seconds[0])
    return statistics.median(ratios)


def derive_ms(wires: bool, runs: int = 15) -> float:
    """Milliseconds to let a day pass and derive the image of 128 x 128 cells, every effect on.

    Processor time, median. Writing the cells, which is done once, is not in it.
    """
    levels = np.random.default_rng(3).integers(0, 4, (ROWS, ROWS)).astype(np.uint8)
    device = devices.rram(**EFFECTS)
    if not wires:
        device = device.without("wires")
    state = ArrayState(levels, device, cell_bits=2, seed=1, array=0, adc_bits=9, lanes=8)

    def run() -> None:
        state.advance(86400.0, 320.0, reads=100_000)
        state.image()

    return 1e3 * _median(run, runs)


def _crossbar(columns: int, device: Device, array: int) -> CCrossbar:
    levels: NDArray[np.uint8] = (
        np.random.default_rng(array).integers(0, 4, (ROWS, columns)).astype(np.uint8)
    )
    image = program(
        levels, device, cell_bits=2, seed=1, array=array, adc_bits=9, lanes=min(8, columns)
    )
    return CCrossbar(image, 1, array)


def _median(run: Callable[[], object], runs: int) -> float:
    run()  # warms caches and lets the row tables be built
    times = []
    for _ in range(runs):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return statistics.median(times)


def main() -> None:
    """Print every figure as a line of JSON."""
    quiet_cells = devices.rram(read_noise=0.0)
    for device in (quiet_cells, devices.rram()):
        for rows_on in (1, 16, 64, 128):
            _show(fast_reads_per_s(rows_on, device=device))
        _show(fast_products_per_s(device=device))
        _show(fast_products_per_s(device=device, cores=32))
        _show(fast_products_per_s(16, True, device=device))
        _show(fast_products_per_s(16, True, device=device, cores=32))

    for rows, skip in ((16, True), (ROWS, False)):
        ratio = all_effects_ratio(rows, skip)
        _show({"rows_per_read": rows, "zero_skip": skip, "all_effects_ratio": round(ratio, 3)})


def _show(figures: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
