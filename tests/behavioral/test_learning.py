# SPDX-License-Identifier: Apache-2.0
"""Arrays that learn and the core that trains them: C as NumPy, and both as they should be."""

import dataclasses

import numpy as np
import pytest
from learning_cases import SMALL, random_cells, random_program, random_samples

from ohmtwin.arch.learning import LearnChip, LearnProgram, TrainMode, UpdateSettings
from ohmtwin.arch.learning_isa import LearnInstruction, LearnOp
from ohmtwin.behavioral.learning.array import LearnArray, read_words
from ohmtwin.behavioral.learning.carray import CLearnArray
from ohmtwin.behavioral.learning.cprocessor import CLearnProcessor
from ohmtwin.behavioral.learning.processor import LearnProcessor
from ohmtwin.behavioral.learning.trains import (
    LFSR_MASK,
    LFSR_TABLE,
    Lfsr,
    probabilities,
    update_counts,
)
from ohmtwin.behavioral.pulsed import Cells, PulsedCrossbar, blank_image


@pytest.mark.parametrize("plain", [False, True])
def test_c_reads_and_pulses_as_numpy_does(plain: bool) -> None:
    random = np.random.default_rng(4)
    cells = random_cells(SMALL, 1, plain=plain)
    slow, quick = LearnArray(cells, 7, 2), CLearnArray(cells, 7, 2)
    for _ in range(60):
        back = bool(random.integers(0, 2))
        sides = cells.shape[::-1] if back else cells.shape
        x = random.integers(-127, 128, random.integers(1, sides[0] + 1))
        shift, outputs = int(random.integers(0, 20)), int(random.integers(1, sides[1] + 1))
        codes = [a.read(x, transposed=back, shift=shift, outputs=outputs) for a in (slow, quick)]
        np.testing.assert_array_equal(*codes)
        counts = random.integers(-4, 5, cells.shape) * (random.random(cells.shape) < 0.3)
        for a in (slow, quick):
            a.pulse_counts(counts)
            a.relax()
        np.testing.assert_array_equal(quick.state, slow.state)
        np.testing.assert_array_equal(quick.numbers, slow.numbers)
        np.testing.assert_array_equal(quick.weights(), slow.weights())
    assert quick.reads == slow.reads == 60


@pytest.mark.parametrize("seed", range(12))
def test_c_runs_programs_as_numpy_does(seed: int) -> None:
    program = random_program(seed)
    cells = [random_cells(SMALL, 10 * seed + i, plain=i == 2) for i in range(SMALL.arrays)]
    slow = LearnProcessor(SMALL, program, [LearnArray(c, seed, i) for i, c in enumerate(cells)], 5)
    quick = CLearnProcessor(
        SMALL, program, [CLearnArray(c, seed, i) for i, c in enumerate(cells)], 5
    )
    samples = random_samples(seed, program, 8)
    for sample in samples:
        np.testing.assert_array_equal(quick.run(sample[None]), slow.run(sample[None]))
        expected = slow.save()
        for name, values in quick.save().items():
            np.testing.assert_array_equal(values, expected[name], err_msg=name)
    moved = sum(int((a.state != c.state).sum()) for a, c in zip(quick.arrays, cells, strict=True))
    assert moved > 3


def test_a_restored_core_goes_on_with_the_same_bits() -> None:
    program = random_program(3)
    cells = [random_cells(SMALL, i) for i in range(SMALL.arrays)]

    def make() -> CLearnProcessor:
        return CLearnProcessor(
            SMALL, program, [CLearnArray(c, 1, i) for i, c in enumerate(cells)], 5
        )

    samples = random_samples(1, program, 20)
    one, other = make(), make()
    one.run(samples[:9])
    other.restore(one.save())
    np.testing.assert_array_equal(other.run(samples[9:]), one.run(samples[9:]))
    for name, values in one.save().items():
        np.testing.assert_array_equal(other.save()[name], values, err_msg=name)


def test_pulses_are_those_of_cells_that_are_programmed() -> None:
    """With no spread among cells, a cell that learns moves as one under program and verify."""
    cells = dataclasses.replace(
        random_cells(SMALL, 2),
        **dict.fromkeys(("gain_up", "gain_down", "low", "high", "limit", "worn", "fixed")),
    )
    array = LearnArray(cells, 3, 1)
    shape = cells.shape
    other = PulsedCrossbar(
        blank_image(16, 16, adc_bits=6, lanes=8),
        Cells(
            cells.model,
            np.zeros((16, 16), np.int32),
            np.full((16, 16), 65536, np.int32),
            np.zeros((16, 16), np.bool_),
            np.zeros((16, 16), np.uint32),
        ),
        3,
        1,
    )
    # Cells are numbered row by row: cell 5 of both lies in row 0, column 5.
    rows = np.arange(16) == 0
    signs = np.zeros(16, np.int8)
    signs[5] = 1
    assert cells.numbers is not None
    array.load(np.zeros(shape, np.int32), np.zeros(shape, np.uint32), 0)
    counts = np.zeros(shape, np.int32)
    counts[0, 5] = 20
    array.pulse_counts(counts)
    other.pulse(rows, signs, 20)
    assert array.state[0, 5] == other.cells.state[0, 5] > 0


def test_noise_of_a_read_has_the_stated_variance_both_ways() -> None:
    cells = random_cells(dataclasses.replace(SMALL, adc_bits=16), 5)
    array = CLearnArray(cells, 11, 0)
    x = np.full(13, 50)
    g = ((cells.state + 128) >> 8).astype(np.int64)
    noise = cells.noise
    for back, sums, lanes in ((False, g, noise.gains), (True, g.T, noise.gains_transposed)):
        given = x[: len(sums)]
        square = (given * given) @ ((sums * sums + (1 << 15)) >> 16)
        variance = noise.v0 + ((noise.v1 * (given @ sums)) >> 16) + square * noise.v2
        codes = np.array([array.read(given, transposed=back, shift=13) for _ in range(4000)])
        assert np.abs(codes).max() < noise.top
        gain = np.array([lanes[i % len(lanes)] for i in range(codes.shape[1])]) / 4096
        expected = np.sqrt(variance) * gain / 2**13
        np.testing.assert_allclose(codes.std(axis=0), expected, rtol=0.06)


def test_reads_of_other_numbers_and_lines_have_other_words() -> None:
    seen = {int(w) for read in (0, 1, 1 << 32, 1 << 33) for w in read_words(1, 2, read, 1024)}
    assert len(seen) == 4096


def test_the_register_has_the_longest_period() -> None:
    """x**32 + x**22 + x**2 + x + 1 is primitive: the order of x is 2**32 - 1 and no part of it."""

    def multiply(a: int, b: int) -> int:
        product = 0
        while b:
            if b & 1:
                product ^= a
            b >>= 1
            a = a << 1 ^ (((1 << 32) | 0x00400007) if a >> 31 else 0)
        return product

    def power(exponent: int) -> int:
        result, base = 1, 2
        while exponent:
            if exponent & 1:
                result = multiply(result, base)
            base = multiply(base, base)
            exponent >>= 1
        return result

    # A step to the right divides by x, and takes the polynomial where it does not divide.
    assert LFSR_MASK == ((1 << 32 | 0x00400007) ^ 1) >> 1
    whole = (1 << 32) - 1
    assert power(whole) == 1
    assert all(power(whole // prime) != 1 for prime in (3, 5, 17, 257, 65537))


def test_16_steps_at_once_are_16_steps() -> None:
    state = 0x12345678
    lfsr = Lfsr(1, 1)
    lfsr.state = np.array([state], np.uint32)
    for _ in range(100):
        drawn = lfsr.draw(1)[0, 0]
        assert drawn == state & 0xFFFF
        for _ in range(16):
            state = state >> 1 ^ (LFSR_MASK if state & 1 else 0)
        assert int(lfsr.state[0]) == state
    assert len(set(LFSR_TABLE.tolist())) == 256


def count_updates(
    settings: UpdateSettings, v: list[int], d: list[int], trials: int, exponent: int = 0
) -> np.ndarray:
    """Pulses of every cell in so many updates, by the C core."""
    chip = LearnChip(rows=len(v), cols=len(d), arrays=1, adc_bits=9, memory=16)
    code = [
        LearnInstruction(LearnOp.UPDATE, a=0, b=8, reg=1, n=len(v), k=len(d)),
        LearnInstruction(LearnOp.END),
    ]
    program = LearnProgram(code, (settings,), memory=[(0, v), (8, d)], registers={1: exponent})
    array = CLearnArray(random_cells(chip, 0, plain=True), 0, 0)
    core = CLearnProcessor(chip, program, [array], 9)
    core.run(np.zeros((trials, 0), np.int32))
    return array.numbers.astype(np.int64)


@pytest.mark.parametrize("mode", [TrainMode.SEPARATE, TrainMode.SHARED])
def test_stochastic_trains_meet_as_often_as_the_product_says(mode: TrainMode) -> None:
    """Within 1 % over 1e5 trials, for every pair of a row and a column."""
    v, d = [230, -180, 128], [200, 150, -250, 0]
    settings = UpdateSettings(256, 256, slots=10, mode=mode)
    total = count_updates(settings, v, d, 100_000)
    expected = 1e6 * np.abs(np.outer(v, d)) / 65536
    np.testing.assert_allclose(total[:, :3], expected[:, :3], rtol=0.01)
    assert not total[:, 3].any()


def test_rows_and_columns_of_one_seed_would_give_the_minimum() -> None:
    settings = UpdateSettings(256, 256, slots=31)
    generator = Lfsr(9, 2)
    generator.state[1] = generator.state[0]
    total = sum(int(update_counts(settings, [128], [64], generator, 1)[0, 0]) for _ in range(2000))
    assert abs(total / 62000 - 0.25) < 0.01


def test_overlap_is_within_one_pulse_of_the_product() -> None:
    generator = Lfsr(1, 1026)
    values = np.arange(0, 65537, 128)
    for slots in (1, 7, 31, 100, 255):
        settings = UpdateSettings(1, 1, slots=slots, mode=TrainMode.OVERLAP)
        counts = update_counts(settings, values, values, generator, 513)
        expected = slots * np.outer(values, values) / 2.0**32
        assert np.abs(counts - expected).max() <= 1
    np.testing.assert_array_equal(generator.state, Lfsr(1, 1026).state)


def test_overlap_of_crafton_figure_17() -> None:
    """40 % of the word line and 80 % of the bit line: 32 %; at one period, the minimum."""
    forty, eighty = [26214], [52429]  # of 65536

    def meetings(period: int) -> int:
        settings = UpdateSettings(1, 1, slots=100, mode=TrainMode.OVERLAP, period=period)
        return int(update_counts(settings, forty, eighty, Lfsr(1, 2), 1)[0, 0])

    assert meetings(10) == 32
    assert meetings(20) == 32
    assert meetings(100) == 40


def test_management_keeps_the_product_and_balances_the_trains() -> None:
    """An update that is 2**-10 weaker: rows and columns share the loss, or the columns bear it."""
    plain = UpdateSettings(256, 256, 0, 0, slots=31)
    expected = 3.1e6 * (200 / 256) ** 2 / 1024
    for manage in (False, True):
        settings = dataclasses.replace(plain, manage=manage)
        total = count_updates(settings, [200], [200], 100_000, -10)
        assert total[0, 0] == pytest.approx(expected, rel=0.08)
    generator = Lfsr(2, 2)
    # Balanced trains meet once where both have few pulses, others when the row is always driven.
    balanced = dataclasses.replace(plain, manage=True)
    assert probabilities([200], plain.kx, plain.sx)[0] == 51200
    assert probabilities([200], plain.kx, plain.sx + 5)[0] == 1600
    assert update_counts(balanced, [200], [200], generator, 1, -64).sum() == 0
