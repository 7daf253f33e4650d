# SPDX-License-Identifier: Apache-2.0
"""Threefry-2x32 against its published known answers, in NumPy and in C."""

import ctypes

import numpy as np
import pytest

from ohmtwin.behavioral.cengine import library
from ohmtwin.behavioral.threefry import column_words, threefry2x32

# Random123, kat_vectors: rounds, key, counter, output (words low first).
KNOWN = [
    (13, (0, 0), (0, 0), (0x9D1C5EC6, 0x8BD50731)),
    (13, (0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0xFD36D048, 0x2D17272C)),
    (13, (0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xBA3E4725, 0xF27D669E)),
    (20, (0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    (20, (0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
    (20, (0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]


@pytest.mark.parametrize(("rounds", "key", "counter", "output"), KNOWN)
def test_known_answers(rounds, key, counter, output):
    x0, x1 = threefry2x32(key, counter, rounds)
    assert (int(x0[0]), int(x1[0])) == output
    out = (ctypes.c_uint32 * 2)()
    assert library().ohm_threefry2x32(rounds, *key, *counter, out) == 0
    assert tuple(out) == output


@pytest.mark.parametrize("rounds", [0, 21])
def test_rounds_out_of_range(rounds):
    with pytest.raises(ValueError, match=rf"1 to 20 rounds, not {rounds}"):
        threefry2x32((0, 0), (0, 0), rounds)
    assert library().ohm_threefry2x32(rounds, 0, 0, 0, 0, (ctypes.c_uint32 * 2)()) < 0


def test_column_words_follow_the_counter_layout():
    read = (0xABCDEF << 32) | 0x12345678
    words = column_words(5, 9, [read], 7)
    for column in range(7):
        counter = (0x12345678, (0xABCDEF << 8) | (column >> 1))
        pair = threefry2x32((5, 9), counter)
        assert words[0, column] == pair[column & 1][0]


def test_reads_columns_and_arrays_all_differ():
    words = [column_words(1, array, range(64), 512) for array in range(4)]
    # 131072 words of 32 bits: about two coincide by chance, thousands would if counters met.
    assert len(np.unique(np.concatenate(words))) > 4 * 64 * 512 - 20
