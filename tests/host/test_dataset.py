# SPDX-License-Identifier: Apache-2.0
"""Data files: what is accepted, and one clear sentence for what is not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ohmtwin.arch.errors import InputError
from ohmtwin.host.dataset import load_dataset
from ohmtwin.host.graph import Combine, Dense, Network, NetworkInput, Quantization, State

QUANT = Quantization(1.0, 0, signed=False)


@pytest.fixture
def network() -> Network:
    layer = Dense(
        "fc", "x", "y",
        np.ones((3, 64), np.int8), np.zeros(3, np.int32),
        np.full(3, 1 << 23, np.uint32), np.full(3, 30, np.uint8),
        0, 0, 255, QUANT,
    )  # fmt: skip
    inputs = (NetworkInput("pixels", "x", (64,), QUANT),)
    return Network(name="digits", inputs=inputs, layers=(layer,), outputs=("y",))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data.npz"


def test_flat_and_shaped_samples_of_any_number_type(path: Path, network: Network) -> None:
    pixels = np.random.default_rng(0).integers(0, 17, (6, 8, 8))
    labels = np.arange(6)
    for dtype in (np.uint8, np.int64, np.float32, np.float64):
        for x in (pixels, pixels.reshape(6, 64), pixels.reshape(6, 1, 64)):
            np.savez_compressed(path, x=x.astype(dtype), y=labels)
            data = load_dataset(path, network)
            assert data.x.dtype == np.float32
            assert data.x.shape == (6, 64)
            np.testing.assert_array_equal(data.x, pixels.reshape(6, 64))
            assert data.y is not None
            assert data.y.dtype == np.int64
            assert data.y.tolist() == labels.tolist()
    assert len(data) == 6
    assert len(data.head(4)) == 4
    assert data.head(4).y.tolist() == [0, 1, 2, 3]


def test_labels_are_optional(path: Path, network: Network) -> None:
    np.savez(path, x=np.zeros((2, 64)), names=np.array(["a", "b"], dtype=object))
    assert load_dataset(path, network).y is None
    np.savez(path, x=np.zeros((2, 64)), y=np.array([[1.0], [2.0]]))
    assert load_dataset(path, network).y.tolist() == [1, 2]


GOOD = np.zeros((4, 64), np.float32)


def _with(value: float) -> Any:
    x = GOOD.astype(np.float64)
    x[2, 5] = value
    return x


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": GOOD}, r"has no array 'x' \(its arrays: y\)"),
        ({"x": _with(np.nan)}, r"Sample 2 of 'x' .* holds NaN or infinite values \(1 of 4 samples"),
        ({"x": _with(-np.inf)}, "Sample 2 of 'x' .* NaN or infinite"),
        ({"x": _with(1e300)}, "Sample 2 of 'x' .* NaN or infinite"),
        ({"x": np.zeros((4, 8, 9))}, r"shape \[8, 9\], but network 'digits' takes \[64\] \(64 val"),
        ({"x": np.zeros(64)}, r"Samples in .* have the shape \[\], but network"),
        ({"x": np.zeros((0, 64))}, r"has no sample \(shape \[0, 64\]\)"),
        ({"x": np.float32(3)}, r"has no sample \(shape \[\]\)"),
        ({"x": np.full((4, 64), "a")}, "must hold numbers, not <U1"),
        ({"x": np.zeros((4, 64), np.complex64)}, "must hold numbers, not complex64"),
        ({"x": np.full((4, 64), 1 << 25)}, "holds integers beyond 16777216"),
        ({"x": np.array([[{}] * 64], dtype=object)}, "pickled Python objects, which are not load"),
        ({"x": GOOD, "y": np.zeros(3)}, r"one class a sample \(4\), not the shape \[3\]"),
        ({"x": GOOD, "y": np.zeros((4, 10))}, r"not the shape \[4, 10\]"),
        ({"x": GOOD, "y": np.full(4, 0.5)}, "must hold whole class numbers"),
        ({"x": GOOD, "y": np.full(4, np.nan)}, "must hold whole class numbers"),
        ({"x": GOOD, "y": np.full(4, "a")}, "must hold class numbers, not <U1"),
        ({"x": GOOD, "y": np.full(4, -1)}, "holds the negative class -1"),
    ],
)
def test_arrays_that_are_refused(
    path: Path, network: Network, arrays: dict[str, Any], message: str
) -> None:
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=message):
        load_dataset(path, network)


def test_files_that_are_refused(path: Path, network: Network) -> None:
    with pytest.raises(InputError, match=r"There is no file .*data\.npz; check the path"):
        load_dataset(path, network)
    with pytest.raises(InputError, match=r"is a directory, not an \.npz file"):
        load_dataset(path.parent, network)
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"is not an \.npz file, or it is truncated"):
        load_dataset(path, network)
    with path.open("wb") as file:
        np.save(file, GOOD)
    with pytest.raises(InputError, match=r"is not an \.npz file"):
        load_dataset(path, network)


def test_damage_never_ends_in_another_error(path: Path, network: Network) -> None:
    rng = np.random.default_rng(0)
    np.savez_compressed(path, x=rng.integers(0, 16, (20, 64)), y=rng.integers(0, 10, 20))
    data = path.read_bytes()
    for length in range(0, len(data), 37):
        path.write_bytes(data[:length])
        with pytest.raises(InputError):
            load_dataset(path, network)
    refused = 0
    for _ in range(500):
        damaged = bytearray(data)
        damaged[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            load_dataset(path, network)
        except InputError:
            refused += 1
    assert refused > 300


def test_the_input_may_have_its_own_name(path: Path, network: Network) -> None:
    np.savez(path, pixels=np.ones((2, 64)))
    assert load_dataset(path, network).x.tolist() == np.ones((2, 64)).tolist()
    np.savez(path, pixels=np.ones((2, 64)), x=np.zeros((2, 64)))
    assert list(load_dataset(path, network).inputs) == ["pixels"]
    assert not load_dataset(path, network).x.any(), "x comes first"


def two(states: tuple[State, ...] = ()) -> Network:
    """Inputs image and scale; with states, "scale" is kept."""
    add = Combine(
        name="add", sources=("a", "b"), output="y", factors=(1, 1), offset=0,
        mantissa=1 << 23, shift=24, zero_point=0, clip_low=0, clip_high=255, out_quant=QUANT,
    )  # fmt: skip
    inputs = tuple(NetworkInput(n, t, (2, 3), QUANT) for n, t in (("image", "a"), ("scale", "b")))
    return Network(name="two", inputs=inputs, layers=(add,), outputs=("y",), states=states)


def test_several_inputs_have_an_array_each(path: Path) -> None:
    rng = np.random.default_rng(2)
    image, scale = rng.random((5, 6)), rng.random((5, 2, 3))
    np.savez(path, image=image, scale=scale, y=np.arange(5))
    data = load_dataset(path, two())
    assert list(data.inputs) == ["image", "scale"]
    np.testing.assert_array_equal(data.inputs["image"], image.reshape(5, 2, 3).astype(np.float32))
    np.testing.assert_array_equal(data.head(2).inputs["scale"], scale[:2].astype(np.float32))
    for arrays, message in (
        ({"image": image}, r"has no array 'scale' .*one for each of its inputs 'image', 'scale'"),
        ({"x": image, "scale": scale}, "has no array 'image'"),
        (
            {"image": image, "scale": scale[:4]},
            r"has \[5\] samples of 'image' but \[4\] of 'scale'",
        ),
        ({"image": image[:, :5], "scale": scale}, r"Samples of 'image' in .* have the shape \[5\]"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(InputError, match=message):
            load_dataset(path, two())


def test_step_models_take_sequences(path: Path) -> None:
    network = two((State("b", "y", None, 0),))
    x = np.random.default_rng(3).random((4, 7, 6))
    for y in (np.arange(4), np.arange(28).reshape(4, 7)):
        np.savez(path, x=x, y=y)
        data = load_dataset(path, network)
        assert data.x.shape == (4, 7, 2, 3)
        assert data.y is not None
        assert data.y.tolist() == y.tolist()
    for arrays, message in (
        ({"x": x[:, 0]}, r"Steps of samples in .* have the shape \[\], but network 'two' takes"),
        ({"x": x[:, 0, 0]}, "keeps states and takes sequences: samples, steps, values"),
        ({"x": x[:, :0]}, "takes sequences"),
        ({"x": x, "y": np.zeros((4, 6))}, r"one class a sample \(4\), or one a step \[4, 7\], not"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(InputError, match=message):
            load_dataset(path, network)
