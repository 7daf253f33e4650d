# SPDX-License-Identifier: Apache-2.0
"""REQ in NumPy and in C against the golden level: sums of any size, ties, factors of zero."""

import numpy as np
import pytest
from machine_programs import CHIP, image, make, words

from ohmtwin.behavioral.cengine import CCrossbar
from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.behavioral.golden import requantize_integers
from ohmtwin.behavioral.machine import Machine
from ohmtwin.behavioral.program import (
    OutputSegment,
)


@pytest.mark.parametrize("arrays", [CCrossbar, Crossbar])
def test_codes_of_any_sum_are_golden(arrays: type[CCrossbar] | type[Crossbar]) -> None:
    """Sums of 1 to 32 bits, all shifts, ties, factors of zero: each sent beside its code."""
    rng = np.random.default_rng(8)
    lines, quants = [], []
    for k in range(31):
        low, high = sorted(rng.integers(0, 256, 2).tolist())
        quants.append((int(rng.integers(0, 256)), low, high))
        value = quants[-1][0] | low << 8 | high << 16
        scale = int(rng.integers(-1, 2)) + (1 << min(k, 22))
        offset = int(rng.integers(-(1 << k), 1 << k))
        lines += [
            f"SET reg=QUANT value={value}",
            f"SET reg=SCALE value={scale}",
            f"SET reg=OFFSET value={offset}",
            "VEC bytes=128",
            "SYNC out_words=80",
            "REQ dest=1 param=2 outputs=128 vector=1 tap=1",
            "SEND addr=1 words=16",
        ]
    setup = "SET reg=A1 value=1024\nLOOP body=@ count=0\nSYNC in_words=1\nRECV addr=3 words=1"
    listing = "\n".join([setup.replace("@", str(len(lines) + 2)), *lines])
    chip = CHIP.with_(data_words=256, fifo_words=128)
    segments: list[OutputSegment] = []
    for k in range(31):
        segments.append(OutputSegment("acc", "int32", 64, np.arange(128) + 128 * k))
        segments.append(OutputSegment("code", "uint8", 16, np.arange(128) + 128 * k))
    mantissa = rng.integers(1 << 23, 1 << 24, 128, dtype=np.uint64)
    mantissa[::3] = 1 << 23  # powers of two make ties
    mantissa[::17] = 0
    shift = rng.permutation(128).astype(np.uint64) // np.uint64(2)
    program = make(
        listing,
        outputs=tuple(segments),
        params=mantissa << np.uint64(32) | shift << np.uint64(56),
        chip=chip,
        data=rng.integers(0, 1 << 64, 32, dtype=np.uint64),
    )
    m = Machine(program, [arrays(image(program), 1, 1)])
    out = program.unpack_outputs(m.run(words(1)))
    acc, codes = out["acc"].reshape(31, 128), out["code"].reshape(31, 128)
    assert np.abs(acc.astype(np.int64)).max() > 1 << 30
    used = mantissa != 0
    for k, (zero, low, high) in enumerate(quants):
        factor = (mantissa[used].astype(np.uint32), shift[used].astype(np.uint8))
        expected = requantize_integers(acc[k, used], *factor, zero, low, high)
        np.testing.assert_array_equal(codes[k, used], expected)
        assert (codes[k, ~used] == min(max(zero, low), high)).all()


@pytest.mark.parametrize("arrays", [CCrossbar, Crossbar])
def test_codes_are_rounded_twice(arrays: type[CCrossbar] | type[Crossbar]) -> None:
    """Products next to a half: float32 keeps 24 bits of them, and then many are ties."""
    rng = np.random.default_rng(9)
    mantissa = rng.integers(1 << 23, 1 << 24, 16, dtype=np.uint64)
    code, shift = 200, 46
    lines = []
    for k, m in enumerate(mantissa.tolist()):
        near = ((2 * code + 1) << (shift - 1)) // m
        lines += [
            f"SET reg=OFFSET value={near - 20}",
            "VEC bytes=40",
            "SYNC out_words=25",
            f"SET reg=A2 value={k}",
            "REQ dest=1 param=2 outputs=40 vector=1 same_param=1 tap=1",
            "SEND addr=1 words=5",
        ]
    setup = "SET reg=A1 value=64\nLOOP body=@ count=0\nSYNC in_words=1\nRECV addr=3 words=1"
    listing = "\n".join([setup.replace("@", str(len(lines) + 2)), *lines])
    segments: list[OutputSegment] = []
    for k in range(16):
        segments.append(OutputSegment("acc", "int32", 20, np.arange(40) + 40 * k))
        segments.append(OutputSegment("code", "uint8", 5, np.arange(40) + 40 * k))
    program = make(
        listing,
        outputs=tuple(segments),
        params=np.repeat(mantissa << np.uint64(32) | np.uint64(shift << 56), 2),
        chip=CHIP.with_(fifo_words=32),
        data=np.concatenate([words(1)[0], np.arange(8, 48, dtype=np.uint8).view("<u8")]),
    )
    x = np.arange(8, dtype=np.uint8).view("<u8").astype(np.uint64)[None]
    out = program.unpack_outputs(Machine(program, [arrays(image(program), 1, 1)]).run(x))
    acc, codes = out["acc"].reshape(16, 40), out["code"].reshape(16, 40)
    expected = (
        acc.astype(np.float32) * (mantissa.astype(np.float32) * np.float32(2.0**-shift))[:, None]
    )
    np.testing.assert_array_equal(codes, np.rint(expected))
    once = [
        [(2 * a * m + (1 << shift)) >> (shift + 1) for a in row]
        for row, m in zip(acc.tolist(), mantissa.tolist(), strict=True)
    ]
    assert (codes != once).sum() > 50
