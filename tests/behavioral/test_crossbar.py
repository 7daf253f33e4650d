# SPDX-License-Identifier: Apache-2.0
"""Reads: the C engine against NumPy over millions of columns, and NumPy against worked cases."""

import ctypes
import math
import platform
from pathlib import Path

import numpy as np
import pytest

from ohmtwin.arch.errors import ConfigError
from ohmtwin.behavioral import cengine
from ohmtwin.behavioral.cengine import FLAGS, CCrossbar, build, declare, library
from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.behavioral.gaussian import gaussian
from ohmtwin.behavioral.image import ArrayImage
from ohmtwin.behavioral.threefry import column_words

SHAPES = [(128, 128), (256, 512), (8, 8), (40, 24), (64, 136), (200, 56)]
KINDS = [
    "plain",
    "cells",
    "halves",
    "past halves",
    "no noise",
    "wide variance",
    "wide sums",
    "table",
]

X86 = platform.machine() in ("x86_64", "AMD64")
ISAS = {
    "native": None,
    "avx2": ("-mavx2", "-mno-avx512f"),
    "baseline": ("-march=x86-64",),
}


def image(random: np.random.Generator, shape: tuple[int, int], kind: str) -> ArrayImage:
    rows, cols = shape
    # Few bits would clip nearly every code and hide what is below.
    bits = int(random.integers(7, 11))
    lanes = int(random.integers(1, cols + 1))
    wide = kind.startswith("wide")
    ref = 1 << 29 if kind == "wide sums" else 400
    quiet = kind == "no noise"
    q = random.integers(-2000, 1 << (31 if wide else 16), shape, dtype=np.int32)
    if kind.endswith("halves"):
        # Multiples of 4 whose sums fit 16 bits, in column 0 just so; or one too many.
        q = random.integers(0, 65536 // rows, shape, dtype=np.int32)
        q[:, 0] = 65535 // rows
        q[0, 0] += 65535 - int(q[:, 0].sum()) + (kind == "past halves")
        q *= 4
    v0 = 1 << 45 if kind == "wide variance" else int(random.integers(0, 1 << 20))
    return ArrayImage(
        g=random.integers(-500, 13000, shape, dtype=np.int32),
        ref=random.integers(-ref if wide else 0, ref, rows, dtype=np.int32),
        q=q if kind in ("cells", "halves", "past halves") or wide else None,
        v0=0 if quiet else v0,
        v1=0 if quiet else int(random.integers(0, 1 << 20)),
        adc_bits=bits,
        lanes=lanes,
        adc_table=(
            random.integers(0, 1 << 16, (lanes, 1 << bits), dtype=np.uint16)
            if kind == "table"
            else None
        ),
    )


def _has_avx2() -> bool:
    info = Path("/proc/cpuinfo")
    return info.exists() and "avx2" in info.read_text(encoding="utf-8", errors="replace")


def library_for(isa: str) -> ctypes.CDLL:
    flags = ISAS[isa]
    if flags is None:
        return library()
    if not X86 or (isa == "avx2" and not _has_avx2()):
        pytest.skip(f"CPU: cannot run the {isa} build")
    return declare(ctypes.CDLL(str(build([f for f in FLAGS if "march" not in f] + list(flags)))))


def masks_of(random: np.random.Generator, n: int, rows: int) -> np.ndarray:
    """Row masks of every density, none and all among them."""
    density = random.random((n, 1)) * 1.2 - 0.1
    return random.random((n, rows)) < density


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", KINDS)
def test_c_equals_numpy(isa, kind):
    # 200 reads of 864 columns for each of eight kinds: a million column samples for each build.
    lib = library_for(isa)
    for number, shape in enumerate(SHAPES):
        random = np.random.default_rng([number, KINDS.index(kind)])
        img = image(random, shape, kind)
        numpy, c = Crossbar(img, 7, number), CCrossbar(img, 7, number, lib)
        assert c.narrow == img.narrow == (not kind.startswith("wide"))
        masks = masks_of(random, 200, shape[0])
        assert np.array_equal(numpy.read_many(masks), c.read_many(masks))
        for columns in {1, 7, shape[1] - 1, int(random.integers(1, shape[1]))}:
            assert np.array_equal(
                numpy.read_many(masks[:20], columns), c.read_many(masks[:20], columns)
            )
        assert numpy.driven == c.driven
        assert c.driven >= np.count_nonzero(masks)
        left, right = numpy.analog(masks[:20]), c.analog(masks[:20])
        for field in ("current", "noise", "reference", "x"):
            assert np.array_equal(getattr(left, field), getattr(right, field)), field
        assert numpy.reads == c.reads > 200


@pytest.mark.parametrize("isa", ISAS)
def test_integer_square_root(isa):
    roots = np.arange(46341, dtype=np.int64)
    around = (roots[:, None] ** 2 + np.array([-1, 0, 1])).ravel()
    values = np.concatenate(
        [
            around[(around >= 0) & (around < 1 << 31)],
            np.random.default_rng(6).integers(0, 1 << 31, 500_000),
            np.array([(1 << 31) - 1]),
        ]
    ).astype(np.uint32)
    out = np.empty_like(values)
    library_for(isa).ohm_isqrt31(len(values), values.ctypes.data, out.ctypes.data)
    assert out.tolist() == [math.isqrt(v) for v in values.tolist()]


def test_read_against_plain_integers():
    """One read worked in Python integers from the stated contract."""
    random = np.random.default_rng(8)
    img = image(random, (24, 16), "cells")
    crossbar = Crossbar(img, 3, 4)
    crossbar.reads = 1000
    mask = random.random(24) < 0.5
    z = gaussian(column_words(3, 4, [1000], 16))[0]
    codes = crossbar.read(mask)
    for c in range(16):
        driven = np.flatnonzero(mask).tolist()
        current = sum(int(img.g[r, c]) for r in driven)
        ref = sum(int(img.ref[r]) for r in driven)
        cells = sum(int(img.q[r, c]) for r in driven)
        var = img.v0 + ((img.v1 * max(current, 0)) >> 16) + max(0, cells)
        x = current + ((math.isqrt(var) * int(z[c]) + 2048) >> 12) - ref
        assert codes[c] == min(max((x + 2048) >> 12, 0), (1 << img.adc_bits) - 1)
    assert crossbar.reads == 1001


@pytest.mark.parametrize("make", [Crossbar, CCrossbar])
def test_noise_depends_on_the_read_number_alone(make):
    random = np.random.default_rng(9)
    img = image(random, (128, 128), "plain")
    masks = masks_of(random, 50, 128)
    forward = make(img, 1, 2).read_many(masks)
    other = make(img, 1, 2)
    for i in random.permutation(50):
        other.reads = int(i)
        assert np.array_equal(other.read(masks[i]), forward[i])
    assert not np.array_equal(make(img, 1, 3).read_many(masks), forward)
    assert not np.array_equal(make(img, 2, 2).read_many(masks), forward)


def test_fewer_columns_give_the_same_codes():
    random = np.random.default_rng(10)
    img = image(random, (64, 64), "cells")
    masks = masks_of(random, 20, 64)
    for make in (Crossbar, CCrossbar):
        whole = make(img, 1, 2).read_many(masks)
        for columns in (1, 9, 16, 33):
            assert np.array_equal(make(img, 1, 2).read_many(masks, columns), whole[:, :columns])


@pytest.mark.parametrize("start", [2**32 - 5, 2**56 - 5, 2**64 - 5])
def test_read_number_wraparound(start):
    random = np.random.default_rng(11)
    img = image(random, (32, 32), "plain")
    masks = masks_of(random, 10, 32)
    numpy, c = Crossbar(img, 1, 2), CCrossbar(img, 1, 2)
    numpy.reads = c.reads = start
    assert np.array_equal(numpy.read_many(masks), c.read_many(masks))
    assert numpy.reads == c.reads == (start + 10) % 2**64
    if start < 2**33:  # past 2**32 the noise must not repeat that of reads 0, 1, ...
        high, low = Crossbar(img, 1, 2), Crossbar(img, 1, 2)
        high.reads = 2**32
        assert not np.array_equal(high.analog(masks).noise, low.analog(masks).noise)


def test_read_number_advances_without_noise():
    img = image(np.random.default_rng(12), (32, 32), "no noise")
    for make in (Crossbar, CCrossbar):
        crossbar = make(img, 1, 2)
        crossbar.read_many(np.zeros((3, 32), dtype=bool))
        assert crossbar.reads == 3


def test_dense_and_sparse_reads_share_their_bits():
    """Row tables are built after some dense reads; nothing may change then."""
    random = np.random.default_rng(13)
    img = image(random, (256, 128), "cells")
    numpy, c = Crossbar(img, 1, 2), CCrossbar(img, 1, 2)
    masks = random.random((120, 256)) < np.where(np.arange(120) % 3, 0.6, 0.05)[:, None]
    assert np.array_equal(numpy.read_many(masks), c.read_many(masks))
    masks[:, 64:] = False  # the upper words are empty
    assert np.array_equal(numpy.read_many(masks), c.read_many(masks))
    other = image(random, (256, 128), "plain")
    c.program(other)  # drops them
    assert np.array_equal(Crossbar(other, 1, 2).read_many(masks), _fresh(c, masks))


def _fresh(crossbar, masks):
    crossbar.reads = 0
    return crossbar.read_many(masks)


def test_noise_statistics():
    """The noise of many reads has the variance that the image states."""
    g = np.full((16, 512), 4096, dtype=np.int32)
    q = np.full((16, 512), 5000, dtype=np.int32)
    img = ArrayImage(g=g, ref=np.zeros(16, np.int32), q=q, v0=40000, v1=3 << 16)
    noise = Crossbar(img, 1, 1).analog(np.ones((400, 16), dtype=bool)).noise
    expected = 40000 + 3 * 16 * 4096 + 16 * 5000
    assert noise.var() == pytest.approx(expected, rel=0.02)
    assert abs(noise.mean()) < 5 * math.sqrt(expected / noise.size)
    # Neighbouring columns and reads are independent.
    for pairs in (noise[:, 1:] * noise[:, :-1], noise[1:] * noise[:-1]):
        assert abs(pairs.mean() / expected) < 5 / math.sqrt(pairs.size)


def test_no_static_state():
    """Two arrays used in turn do not disturb each other."""
    random = np.random.default_rng(14)
    images = [image(random, (64, 64), kind) for kind in ("cells", "plain")]
    masks = masks_of(random, 60, 64)
    alone = [CCrossbar(img, 5, i).read_many(masks) for i, img in enumerate(images)]
    pair = [CCrossbar(img, 5, i) for i, img in enumerate(images)]
    for i, mask in enumerate(masks):
        for j in (0, 1):
            assert np.array_equal(pair[j].read(mask), alone[j][i])


GOOD = {"g": np.zeros((16, 8), np.int32), "ref": np.zeros(16, np.int32)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"g": np.zeros(8, np.int32)}, "two dimensions, not 1"),
        ({"g": np.zeros((12, 8), np.int32)}, "8 to 256 rows in multiples of 8, not 12"),
        ({"g": np.zeros((16, 520), np.int32)}, "8 to 512 columns in multiples of 8, not 520"),
        ({"g": np.zeros((16, 8), np.int64)}, "g must be int32, not int64"),
        ({"g": np.zeros((8, 16), np.int32).T}, "g must be C-contiguous"),
        ({"g": np.full((16, 8), 1 << 22, np.int32)}, r"g must stay below 2\*\*22.*not 4194304"),
        ({"g": np.full((16, 8), -(1 << 31), np.int32)}, r"not 2147483648"),
        ({"ref": np.zeros(8, np.int32)}, r"ref must have the shape \(16,\), not \(8,\)"),
        ({"ref": np.full(16, 1 << 30, np.int32)}, r"ref must stay below 2\*\*30"),
        ({"q": np.zeros((8, 8), np.int32)}, r"q must have the shape \(16, 8\)"),
        ({"v0": -1}, r"v0 must be 0 to 2\*\*52 - 1, not -1"),
        ({"v1": 1 << 32}, r"v1 must be 0 to 2\*\*32 - 1, not 4294967296"),
        ({"adc_bits": 17}, "1 to 16 bits, not 17"),
        ({"lanes": 9}, "8 columns has 1 to 8 lanes, not 9"),
        ({"adc_table": np.zeros((1, 8), np.uint16)}, r"adc_table must have the shape \(1, 64\)"),
        (
            {"g": np.full((16, 8), 1 << 21, np.int32), "v1": (1 << 32) - 1, "v0": (1 << 52) - 1},
            r"could reach .* past the limit of 2\*\*52",
        ),
    ],
)
def test_image_errors(change, message):
    with pytest.raises(ConfigError, match=message):
        ArrayImage(**(GOOD | change))


@pytest.mark.parametrize("make", [Crossbar, CCrossbar])
def test_argument_errors(make):
    img = ArrayImage(**GOOD)
    with pytest.raises(ValueError, match=r"Seed must be 0 to 2\*\*32 - 1, not -1"):
        make(img, -1, 0)
    with pytest.raises(ValueError, match="Array number must be"):
        make(img, 0, 1 << 32)
    crossbar = make(img, 0, 0)
    with pytest.raises(ValueError, match=r"bool \[n, 16\], not bool \[1, 8\]"):
        crossbar.read(np.zeros(8, dtype=bool))
    with pytest.raises(ValueError, match="not int64"):
        crossbar.read(np.zeros(16, dtype=np.int64))
    for columns in (0, 9):
        with pytest.raises(ValueError, match=f"must be 1 to 8, not {columns}"):
            crossbar.read(np.zeros(16, dtype=bool), columns)
    with pytest.raises(ValueError, match=r"0 to 2\*\*64 - 1"):
        crossbar.reads = 1 << 64


def test_c_refuses_what_python_would():
    """Users of the C alone are guarded too."""
    lib = library()
    assert lib.ohm_array_new(12, 8, 0, 0) is None
    assert lib.ohm_array_new(8, 520, 0, 0) is None
    crossbar = CCrossbar(ArrayImage(**GOOD), 0, 0)
    big = np.full((16, 8), 1 << 22, np.int32)
    ref = GOOD["ref"].ctypes.data
    zero = GOOD["g"].ctypes.data
    handle = crossbar.handle
    assert lib.ohm_array_program(handle, big.ctypes.data, ref, None, 0, 0) == -1
    assert lib.ohm_array_program(handle, zero, ref, None, 1 << 52, 0) == -1
    assert lib.ohm_array_program(handle, zero, ref, None, 0, 1 << 32) == -1
    assert lib.ohm_array_set_adc(handle, 17, 1, None) == -1
    assert lib.ohm_array_set_adc(handle, 6, 9, None) == -1
    assert lib.ohm_array_read_many(handle, 1, zero, 9, big.ctypes.data) == -1


def test_program_refuses_another_shape():
    crossbar = CCrossbar(ArrayImage(**GOOD), 0, 0)
    other = ArrayImage(g=np.zeros((8, 8), np.int32), ref=np.zeros(8, np.int32))
    with pytest.raises(ValueError, match=r"\(16, 8\).*\(8, 8\)"):
        crossbar.program(other)


def test_row_words():
    crossbar = CCrossbar(image(np.random.default_rng(15), (40, 8), "plain"), 0, 0)
    mask = np.zeros((1, 40), dtype=bool)
    mask[0, [0, 31, 32, 39]] = True
    words = crossbar.row_words(mask)
    assert words.tolist() == [[0x80000001, 0x81]]
    # Bits past the last row are ignored.
    codes = crossbar.read_words(words)
    crossbar.reads = 0
    assert np.array_equal(crossbar.read_words(words | np.uint32([0, 0xFFFFFF00])), codes)
    with pytest.raises(ValueError, match=r"uint32 \[n, 2\], not uint32 \[1, 1\]"):
        crossbar.read_words(words[:, :1])


def test_missing_compiler(monkeypatch):
    monkeypatch.setattr(cengine.shutil, "which", lambda name: None)
    with pytest.raises(cengine.ToolError, match=r"apt-get install gcc.*xcode-select --install"):
        cengine.find_compiler()


def test_failing_compiler():
    with pytest.raises(cengine.ToolError, match="compiler failed"):
        build([*FLAGS, "-fno-such-flag"])
