# SPDX-License-Identifier: Apache-2.0
"""Pictures of devices and arrays: the figures behind them, and the files."""

import struct
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

from ohmtwin.arch.errors import InputError, ToolError
from ohmtwin.behavioral import devices
from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.behavioral.devices.sections import Flicker, Telegraph
from ohmtwin.behavioral.effects.flicker import flicker_variance
from ohmtwin.behavioral.effects.noise import noise_parameters
from ohmtwin.behavioral.effects.streams import Streams
from ohmtwin.behavioral.effects.telegraph import amplitudes, draw_traps, fast_variance
from ohmtwin.behavioral.state import ArrayState
from ohmtwin.behavioral.wires import WireModel
from ohmtwin.host.cli import app
from ohmtwin.host.plots import figures
from ohmtwin.host.plots.figures import canvas, check_picture
from ohmtwin.host.plots.pictures import ageing, draw_device, ir_drop, level_samples, noise
from ohmtwin.host.plots.spectrum import SLOW, band, spectrum


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def test_levels_have_the_mean_and_spread_of_the_device() -> None:
    device = devices.rram()
    samples = level_samples(device, 2, seed=5)
    assert samples.shape == (4, 4096)
    targets = device.conductances(2)
    # 4096 draws: the mean is off by 0.03 / 64, a sigma by 1.1 %; five times that is allowed.
    np.testing.assert_allclose(samples.mean(axis=1), targets, rtol=5 * 0.03 / 64)
    np.testing.assert_allclose(samples.std(axis=1) / targets, 0.03, rtol=0.055)
    assert (np.ptp(level_samples(devices.ideal(), 2, seed=5), axis=1) == 0).all()


def test_ageing_is_the_drift_law() -> None:
    device = devices.pcm().only("on_off", "drift")
    times = np.array([20.0, 2e3, 2e5, 2e7])
    curves = ageing(device, 2, 1, times)
    assert curves.shape == (4, 4, 3)
    top = np.log(curves[-1, 2:, 1] / curves[-1, 1:-1, 1]) / np.log(times[2:] / times[1:-1])
    np.testing.assert_allclose(top, -0.049, atol=0.002)
    assert (np.diff(curves, axis=2) >= 0).all()
    flat = ageing(devices.rram(), 2, 1, times)
    np.testing.assert_array_equal(flat[:, 0], flat[:, -1])


EVERYTHING = devices.rram(
    telegraph={"amplitude": 0.1, "capture": 1e-8, "emission": 3e-8, "slow_above": 1.0},
    flicker={"coefficient": 1e-4, "f_low": 1.0},
    spread=0.0,
)


@pytest.mark.parametrize(
    "effects", [("thermal",), ("shot",), ("read_noise",), ("telegraph",), ("flicker",), ()]
)
def test_noise_is_that_of_the_reads(effects: tuple[str, ...]) -> None:
    """Sigma of 20,000 reads of a column through the whole chain, within 2.5 %."""
    device = EVERYTHING.only("on_off", *effects) if effects else EVERYTHING
    rows = 16
    state = ArrayState(
        np.full((rows, 8), 3, np.uint8), device, cell_bits=2, seed=1, array=0, adc_bits=8
    )
    crossbar = Crossbar(state.image(), 1, 0)
    found = crossbar.analog(np.ones((2500, rows), np.bool_)).noise.std()
    unit = device.read_voltage * device.step(2) / 4096
    parts = noise(device, np.array([float(rows)]))
    wanted = parts["total"][0] / unit
    # A filled trap lowers the current, and with it what grows with the current, by a few percent.
    assert found == pytest.approx(wanted, rel=0.025 if "telegraph" not in device.active else 0.09)
    named = {"thermal": 2, "shot": 1, "read_noise": 1, "telegraph": 1, "flicker": 1}
    assert len(parts) == 1 + (sum(named[e] for e in effects) if effects else 6)


def integral(device: devices.Device, name: str, g: float, *ends: float) -> float:
    frequencies = np.geomspace(*(ends or band(device)), 4001)
    return float(np.trapezoid(spectrum(device, g, frequencies)[name], frequencies))


@pytest.mark.parametrize("name", ["rram", "pcm"])
def test_the_spectrum_holds_the_variance_of_an_image(name: str) -> None:
    """Each part, integrated over the band, is what its effect puts into the image."""
    device = devices.load(name).model_copy(
        update={
            "bandwidth": 3e8,
            "amplifier_resistance": 2e4,
            "flicker": Flicker(coefficient=1e-4, f_low=0.1, f_high=1e8),
        }
    )
    g = float(device.conductances(2)[2])
    current = g * device.read_voltage
    unit = device.read_voltage * device.step(2) / 4096
    white = device.only("thermal", "shot")
    v0, v1 = noise_parameters(white, 2)
    wanted = v0 * unit**2 + v1 / 65536 * unit * current
    # Ratios, as `approx` takes anything below 1e-12 for equal.
    assert integral(white, "total", g) / wanted == pytest.approx(1, rel=0.02)
    wanted = flicker_variance(device) * current**2
    assert integral(device, "1/f", g) / wanted == pytest.approx(1, rel=0.02)
    # Nothing above the ends of the bands.
    beyond = spectrum(device, g, np.array([0.05, 2e8, 4e8]))
    assert [bool(x) for x in beyond["1/f"]] == [False, False, False]
    assert [bool(x) for x in beyond["shot"]] == [True, True, False]


@pytest.mark.parametrize("scatter", [0.0, 0.5])
def test_a_lorentzian_holds_the_variance_of_quick_traps(scatter: float) -> None:
    """Against the mean over drawn cells; where times scatter, 28 % of the traps are slow."""
    trap = Telegraph(
        fraction=0.8,
        amplitude=0.2,
        exponent=0.5,
        max_amplitude=0.6,
        amplitude_spread=scatter,
        capture=1e-5,
        emission=3e-5,
        time_spread=scatter,
        slow_above=1e-5 if scatter else 1.0,
    )
    device = devices.rram().model_copy(update={"telegraph": trap}).only("on_off", "telegraph")
    g = float(device.conductances(2)[2])
    traps, _ = draw_traps((600, 600), device, Streams(1, 0))
    loss = amplitudes(np.full((600, 600), g), traps, device)
    current = g * device.read_voltage
    wanted = fast_variance(loss, traps, device).mean() * current**2
    found = integral(device, "telegraph", g, 1.0, 1e9)
    assert found / wanted == pytest.approx(1, rel=0.02)
    assert integral(device, "total", g, 1.0, 1e9) == found
    if scatter:
        slow = integral(device, SLOW, g, 1.0, 1e9)
        both = (loss**2 * traps.occupancy * (1 - traps.occupancy)).mean() * current**2
        assert (slow + found) / both == pytest.approx(1, rel=0.02)
    # The corner, where half of the plateau is left, is at 1 / (2 pi tau).
    else:
        ends = np.array([1e-3, 1 / (2 * np.pi * 7.5e-6)])
        plateau, corner = spectrum(device, g, ends)["telegraph"]
        assert corner / plateau == pytest.approx(0.5, rel=1e-6)


def test_the_worst_cell_is_the_farthest() -> None:
    device = devices.rram()
    found = ir_drop(device, WireModel(r_row=1.0, r_col=1.0), 16, 24)
    assert found.ratio.shape == (16, 24)
    assert found.worst == (0, 23)
    assert found.ratio[0, 23] == found.ratio.min() < found.ratio[15, 0] < 1
    none = ir_drop(device, WireModel(), 8, 8)
    np.testing.assert_array_equal(none.ratio, 1.0)
    # One cell: a divider of its conductance and the four resistances about it.
    one = ir_drop(device, WireModel(r_row=100, r_col=200, r_driver=300, r_sense=400), 1, 1)
    assert one.ratio[0, 0] == pytest.approx(1e4 / (1e4 + 1000), rel=1e-12)
    access = WireModel(r_row=100, cell="1t1r", r_access=5e3)
    one = ir_drop(device, access, 1, 1)
    assert one.ratio[0, 0] == pytest.approx(15e3 / 15.1e3, rel=1e-12)
    double = ir_drop(device, WireModel(r_row=1.0, drive="double"), 8, 33)
    assert double.worst[1] == 16


def test_random_levels_are_seeded() -> None:
    device, wires = devices.rram(), WireModel(r_row=1.0, r_col=1.0)
    first, second, other = (ir_drop(device, wires, 8, 8, seed=s).ratio for s in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_maps_are_bounded() -> None:
    with pytest.raises(InputError, match="1 to 256 rows, not 257"):
        ir_drop(devices.rram(), WireModel(), 257, 8)
    with pytest.raises(InputError, match="1 to 256 columns, not 0"):
        ir_drop(devices.rram(), WireModel(), 8, 0)


def size(path: Path) -> tuple[int, int]:
    return struct.unpack(">II", path.read_bytes()[16:24])


@pytest.mark.parametrize("name", devices.names())
def test_every_device_can_be_drawn(tmp_path: Path, name: str) -> None:
    path = tmp_path / "d.png"
    result = run("device", "show", name, "-o", str(path))
    assert result.exit_code == 0, result.output
    assert size(path) == (1200, 1120)
    assert [p.name for p in tmp_path.iterdir()] == ["d.png"]


def test_pictures_are_the_same_every_time_whatever_the_user_has_set(tmp_path: Path) -> None:
    import matplotlib as mpl

    device = devices.rram(
        write={
            "voltage": 3.0,
            "time": 1e-8,
            "energy": 1e-11,
            "response": {"pulses": 50, "nonlinearity": 3.0},
        }
    )
    for kind in ("png", "svg"):
        files = [tmp_path / f"{n}.{kind}" for n in (1, 2)]
        draw_device(device, files[0], width=600)
        with mpl.rc_context({"axes.facecolor": "red", "font.size": 30.0}):
            draw_device(device, files[1], width=600)
            assert mpl.rcParams["font.size"] == 30.0
        assert files[0].read_bytes() == files[1].read_bytes()
    assert size(tmp_path / "1.png") == (600, 1550)


def test_texts_lie_within_the_picture_and_apart() -> None:
    """Titles and labels of neighbouring panels do not overlap, wide or narrow."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from ohmtwin.host.plots import pictures

    kept: list[Any] = []

    def keep(figure: Any, path: Path) -> None:
        FigureCanvasAgg(figure).draw()
        boxes = []
        for axes in figure.axes:
            for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
                boxes.append((text.get_text(), text.get_window_extent()))
        kept.append((figure.bbox, boxes))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "save", keep)
        for name in ("rram", "pcm"):
            for width in (480, 900, 1200):
                pictures.draw_device(devices.load(name), Path("x.png"), width=width)
        wires = WireModel(r_row=1.0, r_col=1.0)
        found = ir_drop(devices.rram(), wires, 8, 64)
        for width in (480, 1200):
            pictures.draw_array(devices.rram(), wires, found, Path("x.png"), width=width)
    assert len(kept) == 8
    for frame, boxes in kept:
        assert len(boxes) >= 6
        for number, (text, box) in enumerate(boxes):
            inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= frame.x1 and box.y1 <= frame.y1
            assert inside or not text, text
            for other, second in boxes[number + 1 :]:
                assert not (text and other and box.overlaps(second)), (text, other)


def test_an_array_is_drawn_and_its_worst_cell_named(tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    options = ["--rows", "16", "--cols", "24", "--r-row", "2", "--r-sense", "100"]
    result = run("array", "show", "-o", str(path), *options)
    assert result.exit_code == 0, result.output
    assert "worst cell row 0, column 23 keeps" in result.stdout
    assert ElementTree.parse(path).getroot().tag.endswith("svg")
    mine = tmp_path / "mine.toml"
    mine.write_text(
        'name = "mine"\ng_on = 1e-4\non_off_ratio = 10.0\nread_voltage = 0.2\n'
        "[wires]\nr_row = 50.0\n",
        encoding="utf-8",
    )
    result = run("array", "show", "-o", str(path), "--device", str(mine), "--rows", "1")
    share = ir_drop(devices.load(mine), WireModel(r_row=50.0), 1, 128).ratio[0, 127]
    assert f"column 127 keeps {100 * share:.4g} %" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["device", "show", "rrram"], "There is no device 'rrram'"),
        (["device", "show", "rram", "-o", "d.pdf"], "-o d.pdf must end in .png or .svg"),
        (["device", "show", "rram", "-o", "none/d.png"], "there is no folder"),
        (["device", "show", "rram", "--width", "100"], "480 to 4000 pixels wide, not 100"),
        (["device", "show", "rram", "--seed", "-1"], "A seed must be 0 to 4294967295, not -1"),
        (["array", "show", "--rows", "300"], "1 to 256 rows, not 300"),
        (["array", "show", "--r-row", "-1"], "r_row must be 0 ohm or more"),
        (["array", "show", "--drive", "triple"], 'drive must be "single" or "double"'),
        (["array", "show", "--pattern", "off"], "no pattern 'off'; choose on or random"),
    ],
)
def test_bad_options_are_a_sentence_and_exit_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_a_sentence_tells_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ToolError, match=r"pip install 'ohmtwin\[plots\]'"):
        check_picture(tmp_path / "d.png", "-o", 1000)
    result = run("device", "show", "rram", "-o", str(tmp_path / "d.png"))
    assert result.exit_code == 1
    assert "matplotlib" in result.stderr


def test_a_failed_drawing_leaves_the_old_picture(tmp_path: Path) -> None:
    path = tmp_path / "d.png"
    path.write_bytes(b"old")
    with canvas(600, 400) as figure:
        figure.savefig = broken
        with pytest.raises(ValueError, match="mantissa"):
            figures.save(figure, path)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def broken(*_: object, **__: object) -> None:
    raise ValueError("a mantissa that cannot be drawn")
