# SPDX-License-Identifier: Apache-2.0
"""The check of the core bench: run it, and hold what it found against the behavioral core.

The ordinary test and the mutations run the same function.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from cases import CHIPS, Product, core_flips, core_images
from numpy.typing import NDArray

from ohmtwin.arch.chip import Chip
from ohmtwin.behavioral.core import core_mvm
from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.behavioral.image import ArrayImage
from ohmtwin.tb import runner
from ohmtwin.tb.scoreboard import compare

__all__ = ["SEED", "check_core"]

SEED = 0x5EED


class _Spy(Crossbar):
    """A reference array; it notes that it is read, and which rows each read drives."""

    def __init__(self, image: ArrayImage, number: int, reads: list[tuple[int, int]]) -> None:
        super().__init__(image, SEED, number)
        self.number = number
        self.made = reads

    def read(self, row_mask: NDArray[np.bool_], columns: int | None = None) -> NDArray[np.uint16]:
        bits = np.packbits(row_mask, bitorder="little").tobytes()
        self.made.append((int.from_bytes(bits, "little"), self.number))
        return super().read(row_mask, columns)

    def read_digits(
        self, digits: NDArray[np.uint8], columns: int | None = None
    ) -> NDArray[np.uint16]:
        rows = [sum(int(d) << 2 * r for r, d in enumerate(row)) for row in digits]
        self.made += [(driven, self.number) for driven in rows]
        return super().read_digits(digits, columns)


def check_core(
    built: runner.Build,
    chip_name: str,
    engine: str,
    products: Sequence[Product],
    folder: Path,
    *,
    stalls: str = "never",
    noise: float = 0.0,
    seed: int = 1,
) -> None:
    """Raise ``Mismatch`` or ``BenchError`` unless RTL and behavioral core are equal.

    Counters that depend on the macro's timing are compared if it does not stall.
    """
    chip: Chip = CHIPS[chip_name]
    runner.run(
        built,
        "core_bench",
        folder,
        seed=seed,
        parameters={
            "chip": chip_name,
            "engine": engine,
            "noise": noise,
            "array_seed": SEED,
            "stalls": stalls,
            "products": [asdict(product) for product in products],
        },
    )
    found = np.load(folder / "found.npz")
    reads_made: list[tuple[int, int]] = []
    arrays = [_Spy(image, i, reads_made) for i, image in enumerate(core_images(chip, noise))]
    acc = np.zeros((len(products), chip.outputs), np.int32)
    counters = np.zeros((len(products), 4), np.int64)
    events = np.zeros((len(products), len(chip.events)), np.int64)
    for i, product in enumerate(products):
        x = np.zeros((1, chip.rows), np.uint8)
        x[0, : len(product.x)] = product.x
        result = core_mvm(arrays[product.array], x, product.config(chip), flips=core_flips(chip))
        acc[i, : result.acc.shape[1]] = result.acc[0]
        if product.keep:
            acc[i] += acc[i - 1]
        reads = int(result.reads[0])
        events[i] = result.events[list(chip.events)]
        counters[i] = reads, reads * product.beats, result.active[0], result.stall[0]
    # Reads first: a wrong row explains a wrong sum.
    made = np.cumsum(counters[:, 0])
    compare("reads up to the end of the product", made, found["reads_after"], ("product",))
    driven = np.array([rows for rows, _ in reads_made], np.uint64)
    compare("rows driven", driven, found["rows"], ("read",))
    compare("arrays read", np.array([n for _, n in reads_made]), found["arrays"], ("read",))
    compare("accumulators", acc, found["acc"], ("product", "output"))
    total = np.array([sum(chip.input_code.counts[v] for v in product.x) for product in products])
    compare("sum of activations", total, found["activations"], ("product",))
    compare("events", events, found["events"], ("product", "event"))
    known = 4 if stalls == "never" else 2
    compare("counters", counters[:, :known], found["counters"][:, :known], ("product", "counter"))
