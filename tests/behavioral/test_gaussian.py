# SPDX-License-Identifier: Apache-2.0
"""The integer Gaussian: its exact distribution, from the table, and a sample of it."""

import hashlib

import numpy as np
import pytest
from scipy import special, stats

from ohmtwin.behavioral.cengine import library
from ohmtwin.behavioral.gaussian import MAX_MAGNITUDE, TABLE, gaussian
from ohmtwin.behavioral.gaussian_fit import fit_table, normal_tail_inverse
from ohmtwin.behavioral.threefry import column_words


@pytest.fixture(scope="module")
def masses():
    """Exact probability of every |z|, by adding up all 2**31 magnitudes segment by segment."""
    mass = np.zeros(MAX_MAGNITUDE + 1)
    mass[gaussian(np.zeros(1, np.uint32))[0]] += 1
    for p in range(1, 32):
        steps = min(1 << (p - 1), 1 << 16)
        weight = (1 << (p - 1)) // steps  # magnitudes that share their top 17 bits
        m = (1 << (p - 1)) + np.arange(steps) * weight
        np.add.at(mass, gaussian(m.astype(np.uint32)), weight)
    assert mass.sum() == 1 << 31
    return mass / 2.0**31


def test_only_the_top_bits_of_a_magnitude_matter():
    random = np.random.default_rng(1)
    words = random.integers(1 << 24, 1 << 31, 10000, dtype=np.uint32)
    lengths = np.frexp(words.astype(np.float64))[1]
    lowest = (np.uint32(1) << (lengths - 17).astype(np.uint32)) - np.uint32(1)
    assert np.array_equal(gaussian(words & ~lowest), gaussian(words | lowest))


def test_sign_is_the_top_bit():
    words = np.random.default_rng(2).integers(0, 1 << 31, 10000, dtype=np.uint32)
    assert np.array_equal(gaussian(words | np.uint32(1 << 31)), -gaussian(words))
    assert np.all(gaussian(words) >= 0)


def test_larger_magnitudes_are_nearer_the_centre():
    words = np.sort(np.random.default_rng(3).integers(0, 1 << 31, 1_000_000, dtype=np.uint32))
    # Segments are fitted one by one; where they meet, the line may step by part of a unit.
    assert np.diff(gaussian(words)).max() <= 1


@pytest.mark.parametrize("sigmas", [1.0, 2.0, 3.0, 4.0, 4.5, 5.0])
def test_tail_masses(masses, sigmas):
    first = int(sigmas * 4096)
    expected = special.erfc((first - 0.5) / 4096 / np.sqrt(2))
    assert masses[first:].sum() == pytest.approx(expected, rel=2e-4)


@pytest.mark.parametrize(("sigmas", "tolerance"), [(5.5, 0.01), (6.0, 0.1)])
def test_far_tail_masses(masses, sigmas, tolerance):
    # Here only a few dozen magnitudes are left, so the steps themselves are coarse.
    first = int(sigmas * 4096)
    expected = special.erfc((first - 0.5) / 4096 / np.sqrt(2))
    assert masses[first:].sum() == pytest.approx(expected, rel=tolerance)


def test_moments(masses):
    z = np.arange(len(masses)) / 4096
    variance = (masses * z**2).sum()
    assert variance == pytest.approx(1, abs=2e-6)
    assert (masses * z**4).sum() / variance**2 == pytest.approx(3, abs=1e-5)
    assert (masses * z).sum() == pytest.approx(np.sqrt(2 / np.pi), abs=2e-6)


def test_distribution_function(masses):
    edges = (np.arange(len(masses)) + 0.5) / 4096
    assert np.abs(np.cumsum(masses) - special.erf(edges / np.sqrt(2))).max() < 1e-4


def test_sample_of_ten_million():
    samples = np.concatenate(
        [gaussian(column_words(11, k, range(2000), 500)).ravel() for k in range(10)]
    )
    assert samples.size == 10_000_000
    # Spread over its unit, as the mass of an integer stands for an interval.
    dither = np.random.default_rng(4).random(samples.size) - 0.5
    assert stats.kstest((samples + dither) / 4096, "norm").pvalue > 0.01


def test_table_is_the_one_of_record():
    digest = hashlib.sha256(TABLE.astype("<i4").tobytes()).hexdigest()
    assert digest == "e9676c52207e0774877db64b41faadaa5ea83555005c4b1114393ed9ae5ee65e"


def test_fit_gives_the_table():
    # Another math library may round a fitted entry the other way, but by no more than one count.
    fitted = np.array(fit_table())
    assert np.abs((fitted >> 12) - (TABLE >> 12)).max() <= 1
    assert np.abs((fitted & 0xFFF) - (TABLE & 0xFFF)).max() <= 1


@pytest.mark.parametrize("tail", [0.5, 0.25, 1e-3, 1e-6, 2.0**-33])
def test_tail_inverse(tail):
    assert normal_tail_inverse(tail) == pytest.approx(
        special.ndtri(1 - tail) if tail > 1e-3 else -special.ndtri(tail), rel=1e-12, abs=1e-12
    )


def test_c_equals_numpy():
    random = np.random.default_rng(5)
    words = np.concatenate(
        [
            random.integers(0, 1 << 32, 1_000_000, dtype=np.uint32),
            random.integers(0, 1 << 32, 200_000, dtype=np.uint32)
            >> random.integers(0, 32, 200_000, dtype=np.uint32),
            np.array([0, 1, 2, 3, (1 << 24) - 1, 1 << 24, (1 << 31) - 1, 1 << 31], np.uint32),
            np.array([(1 << 31) + 1, (1 << 32) - 1, (1 << 25) - 1, (1 << 17) - 1], np.uint32),
        ]
    )
    z = np.empty(len(words), dtype=np.int32)
    library().ohm_gaussian(len(words), words.ctypes.data, z.ctypes.data)
    assert np.array_equal(z, gaussian(words))
