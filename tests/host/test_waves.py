# SPDX-License-Identifier: Apache-2.0
"""Analog waves: what they say must be what the RTL's own codes came from."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vcd.reader
from networks import random_codes, random_network
from typer.testing import CliRunner

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.errors import InputError, ToolError
from ohmtwin.behavioral import devices
from ohmtwin.host.cli import app
from ohmtwin.host.commands import waves as cli_waves
from ohmtwin.host.compiler.network import CompiledNetwork, compile_network
from ohmtwin.host.plots import waves
from ohmtwin.host.plots.vcd import change, read_header
from ohmtwin.host.plots.wave_picture import check_drawing, draw_waves, signals
from ohmtwin.host.plots.waves import Probe, Window, write_waves
from ohmtwin.host.targets import VerilatorTarget, connect
from ohmtwin.host.verilator_build import build_model

# What they share is built in one worker.
pytestmark = pytest.mark.xdist_group("waves")

CHIP = Chip(
    name="small",
    cores=2,
    rows=16,
    cols=32,
    cell_bits=2,
    lanes=8,
    adc_bits=6,
    rows_per_read=8,
    program_words=128,
    data_words=64,
    param_words=64,
    fifo_words=32,
)
CODES = random_codes(1, 3, 16)
PROBES = (Probe(0, (0, 5, 31), ((1, 2), (15, 31))), Probe(1, (7, 8)))

# Each pair of ADC lanes has a gain of its own, so that lanes cannot be mistaken for one another.
NOISY = devices.rram(read_noise=0.2, adc={"gain_spread": 0.1, "offset_spread": 1.0})


def compiled(device: str | devices.Device = NOISY) -> CompiledNetwork:
    return compile_network(random_network(1, (16, 8, 6)), chip=CHIP, device=device, seed=3)


@pytest.fixture(scope="module")
def library() -> Path:
    try:
        return build_model(CHIP, trace=True)
    except ToolError as error:
        pytest.skip(f"no Verilated model can be built here: {error}")


Values = dict[str, Any]


def cycles(path: Path) -> Iterator[tuple[int, Values]]:
    """Cycle and all values after its rising edge, as a reader that is not ours gives them."""
    names: dict[str, list[str]] = {}
    values: Values = {}
    now: int | None = None
    with path.open("rb") as file:
        scope: list[str] = []
        for token in vcd.reader.tokenize(file):
            kind = vcd.reader.TokenKind
            if token.kind is kind.SCOPE:
                scope.append(token.scope.ident)
            elif token.kind is kind.UPSCOPE:
                scope.pop()
            elif token.kind is kind.VAR:
                full = ".".join([*scope[-2:], token.var.reference])
                names.setdefault(token.var.id_code, []).append(full)
            elif token.kind is kind.CHANGE_TIME:
                if now is not None and now % waves.TICKS == 0:
                    yield now // waves.TICKS, values
                now = token.time_change
            elif token.kind in (kind.CHANGE_SCALAR, kind.CHANGE_VECTOR, kind.CHANGE_REAL):
                found = token.data
                for name in names[found.id_code]:
                    values[name] = found.value


def check_codes(path: Path, network: CompiledNetwork, probe: Probe) -> int:
    """Compare every code on the bus with what x in the same file gives; count them."""
    chip = network.chip
    image = network.images[[s.core for s in network.program.arrays].index(probe.core)]
    macro = f"macro{probe.core}.macro"
    analog = f"analog.core{probe.core}"
    accept = beat = None
    compared = 0
    before: Values = {}
    for _, values in cycles(path):
        if before:
            if before[f"{macro}.code_valid"] == "1" and before[f"{macro}.code_ready"] == "1":
                beat = None if beat is None else beat + 1
            if before[f"{macro}.cmd_valid"] == "1" and before[f"{macro}.cmd_ready"] == "1":
                accept, beat = True, 0
        if accept and beat is not None and values[f"{macro}.code_valid"] == "1":
            for column in probe.columns:
                if column // chip.lanes != beat:
                    continue
                x = values[f"{analog}.col{column}_x"]
                parts = [values[f"{analog}.col{column}_{part}"] for part in ("I", "n", "ref")]
                assert x == parts[0] + parts[1] - parts[2]
                lane = column % chip.lanes
                ideal = int(np.clip(np.floor(x + 0.5), 0, (1 << chip.adc_bits) - 1))
                code = ideal if image.adc_table is None else int(image.adc_table[lane, ideal])
                bus = int(values[f"{macro}.code_data"])
                assert bus >> (lane * chip.adc_bits) & ((1 << chip.adc_bits) - 1) == code
                compared += 1
        before = dict(values)
    return compared


@pytest.mark.parametrize("window", [Window(0, 2000), Window(57, 250), Window(58, 251)])
@pytest.mark.parametrize("device", [NOISY, "ideal"], ids=["noisy", "ideal"])
def test_codes_on_the_bus_are_those_of_x(
    library: Path, tmp_path: Path, window: Window, device: str | devices.Device
) -> None:
    network = compiled(device)
    path = tmp_path / "w.vcd"
    found = write_waves(network, CODES, PROBES, path, window=window, library=library)
    for probe in PROBES:
        count = check_codes(path, network, probe)
        # A window may cut its last read.
        assert count > 20
        assert (found.reads[probe.core] - 1) * len(probe.columns) <= count
        assert count <= found.reads[probe.core] * len(probe.columns)
    assert [p.name for p in tmp_path.iterdir()] == ["w.vcd"]


def test_the_waves_are_those_of_the_run_without_them(library: Path, tmp_path: Path) -> None:
    network = compiled()
    path = tmp_path / "w.vcd"
    found = write_waves(network, CODES, PROBES, path, window=Window(0, 5000), library=library)
    with connect("fast", network) as target:
        target.run(CODES)
        counters = target.counters
    assert counters is not None
    assert tuple(found.reads.values()) == counters.core_reads
    noise = [v for _, v in signals(path, [("analog", "core0", "col0_n")]).popitem()[1]]
    assert len({*map(float, noise)}) > 10


def test_a_window_holds_its_cycles_and_no_more(library: Path, tmp_path: Path) -> None:
    network = compiled()
    path = tmp_path / "w.vcd"
    for first, end in ((0, 1), (0, 100), (13, 63), (40, 41)):
        found = write_waves(
            network, CODES, PROBES, path, window=Window(first, end), library=library
        )
        numbers = [number for number, _ in cycles(path)]
        # Times are those of the clock's two edges; the last is closed by no further one.
        assert found.cycles == end - first
        assert numbers == list(range(found.first, found.first + found.cycles))


def test_windows_show_the_same_run(library: Path, tmp_path: Path) -> None:
    network = compiled()
    whole, part = tmp_path / "whole.vcd", tmp_path / "part.vcd"
    write_waves(network, CODES, PROBES, whole, window=Window(0, 300), library=library)
    write_waves(network, CODES, PROBES, part, window=Window(100, 200), library=library)
    wanted = {number: dict(values) for number, values in cycles(whole)}
    seen: set[str] = set()
    compared = 0
    for number, values in cycles(part):
        for name, value in values.items():
            analog = name.startswith("analog") or (".core" in name and "col" in name)
            if analog and "_g" not in name and name not in seen and value == 0.0:
                continue  # before the first read that begins in the window
            if analog:
                seen.add(name)
            assert value == wanted[number][name], (number, name)
            compared += 1
    assert compared > 100_000


def test_values_have_the_units_that_are_told(library: Path, tmp_path: Path) -> None:
    network = compiled()
    levels, amperes = tmp_path / "l.vcd", tmp_path / "a.vcd"
    write_waves(network, CODES, PROBES, levels, library=library)
    write_waves(network, CODES, PROBES, amperes, library=library, units="amperes", digital="cores")
    step = NOISY.step(CHIP.cell_bits)
    for part in ("I", "n", "ref", "x"):
        name = ("analog", "core0", f"col5_{part}")
        a = [float(v) for _, v in signals(levels, [name])[name]]
        b = [float(v) for _, v in signals(amperes, [name])[name]]
        assert len(a) > 5
        np.testing.assert_allclose(np.array(a) * step * NOISY.read_voltage, b, rtol=1e-14)
    name = ("analog", "core0", "cell_15_31_g")
    ((_, value),) = signals(levels, [name])[name]
    # The image rounds to 1/4096 of a step.
    assert float(value) == pytest.approx(network.images[0].g[15, 31] * step / 4096, rel=1e-12)
    assert "level steps" in levels.read_text()
    assert "in amperes" in amperes.read_text()
    assert amperes.stat().st_size < levels.stat().st_size
    with amperes.open() as file:
        scopes = {v.scope[3] for _, v in read_header(file) if v and len(v.scope) > 3}
    assert scopes == {"core0", "core1", "macro0", "macro1"}


def test_two_runs_write_the_same_bytes(library: Path, tmp_path: Path) -> None:
    network = compiled()
    files = []
    for name in ("a", "b"):
        path = tmp_path / f"{name}.vcd"
        found = write_waves(network, CODES, PROBES, path, library=library)
        picture = tmp_path / f"{name}.png"
        draw_waves(path, network, PROBES, found, picture)
        files.append((path.read_bytes(), picture.read_bytes()))
    assert files[0] == files[1]
    assert files[0][1].startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("probes", "window", "samples", "message"),
    [
        ([], Window(), 1, "at least one core"),
        ([Probe(2)], Window(), 1, r"Core 2 holds no part .* it uses cores 0, 1"),
        ([Probe(0, (32,))], Window(), 1, r"Column 32 does not exist: chip 'small' has 0 to 31"),
        ([Probe(0, (0,), ((16, 0),))], Window(), 1, "Cell row 16"),
        ([Probe(0, (0,), ((0, 32),))], Window(), 1, "Cell column 32"),
        ([Probe(0, (1, 1))], Window(), 1, "column 1 is given twice"),
        ([Probe(0), Probe(0)], Window(), 1, "core 0 is given twice"),
        (
            [Probe(0, tuple(range(32))), Probe(1, tuple(range(32)), ((0, 0),))],
            Window(),
            1,
            "257 analog signals, more than 256",
        ),
        ([Probe(0)], Window(5, 5), 1, "5:5 is empty"),
        ([Probe(0)], Window(0, 20_001), 1, "0:20001 is too large; it may have 20000 cycles"),
        ([Probe(0)], Window(10_000_001, 10_000_002), 1, "start up to cycle 10000000"),
        ([Probe(0)], Window(), 0, "1 to 1000 samples, not 0"),
        ([Probe(0)], Window(), 1001, "1 to 1000 samples, not 1001"),
    ],
)
def test_too_large_or_impossible_requests_are_refused(
    tmp_path: Path, probes: list[Probe], window: Window, samples: int, message: str
) -> None:
    codes = np.zeros((samples, 16), np.uint8)
    with pytest.raises(InputError, match=message):
        write_waves(compiled(), codes, probes, tmp_path / "w.vcd", window=window)
    assert list(tmp_path.iterdir()) == []


def test_a_window_past_the_run_is_refused_and_leaves_nothing(library: Path, tmp_path: Path) -> None:
    path = tmp_path / "w.vcd"
    path.write_text("old")
    with pytest.raises(InputError, match=r"run ended after \d+ cycles, before .* cycle 9000"):
        write_waves(compiled(), CODES, PROBES, path, window=Window(9000, 9100), library=library)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_pictures_are_of_what_can_be_seen() -> None:
    with pytest.raises(InputError, match="up to 2000 cycles, not 2001"):
        check_drawing([Probe(0)], Window(0, 2001))
    with pytest.raises(InputError, match="up to 12 columns, not 13"):
        check_drawing([Probe(0, tuple(range(13)))], Window())


def test_a_truncated_header_is_an_error_of_the_tool() -> None:
    with pytest.raises(ToolError, match="within its header"):
        list(read_header(["$scope module TOP $end\n"]))
    assert change("b0101 ab\n") == ("ab", "0101")
    assert change("1!\n") == ("!", "1")
    assert change("r-2.5 analog1\n") == ("analog1", "-2.5")
    assert change("#10\n") is None
    assert change("$dumpvars\n") is None


MODEL = Path(__file__).parents[2] / "examples" / "models" / "digits_qdq.onnx"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "w.fst"], "must end in .vcd; FST is not written"),
        (["-o", "missing/w.vcd"], "there is no folder"),
        (["-o", "w.vcd", "--cycles", "10"], "--cycles takes FIRST:END, not '10'"),
        (["-o", "w.vcd", "--cycles", "-1:5"], "--cycles takes whole numbers from 0 on, not '-1'"),
        (["-o", "w.vcd", "--cells", "3"], "--cells takes ROW:COLUMN"),
        (["-o", "w.vcd", "--columns", "a"], "--columns takes whole numbers"),
        (["-o", "w.vcd", "--columns", "128"], "Column 128 does not exist"),
        (["-o", "w.vcd", "--core", "9"], "Core 9 holds no part"),
        (["-o", "w.vcd", "--cycles", "0:30000"], "too large"),
        (["-o", "w.vcd", "--samples", "3"], "more than d.npz holds, 2"),
        (["-o", "w.vcd", "--units", "volts"], "no choice 'volts'; take levels or amperes"),
        (["-o", "w.vcd", "--png", "w.gif"], "must end in .png or .svg"),
        (["-o", "w.vcd", "--png", "w.png", "--width", "9"], "480 to 4000 pixels wide, not 9"),
    ],
)
def test_bad_options_are_a_sentence_and_exit_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("d.npz", x=np.zeros((2, 64), np.float32))
    result = CliRunner().invoke(app, ["waves", str(MODEL), "--data", "d.npz", *options])
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") < 4
    assert [p.name for p in tmp_path.iterdir()] == ["d.npz"]


def test_the_command_writes_both_files(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = random_network(1, (16, 8, 6))
    monkeypatch.setattr("ohmtwin.host.importer.network.load_network", lambda path: network)
    monkeypatch.setattr("ohmtwin.host.commands.chip.choose_chip", lambda network: CHIP)
    data = tmp_path / "d.npz"
    np.savez(data, x=np.linspace(0, 255, 32, dtype=np.float32).reshape(2, 16))
    out, png = tmp_path / "w.vcd", tmp_path / "w.svg"
    arguments = ["waves", "m.onnx", "--data", str(data), "-o", str(out), "--png", str(png)]
    arguments += ["--core", "0,1", "--columns", "0,1", "--cells", "3:4", "--samples", "2"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "reads that begin in it:" in result.stdout
    assert check_codes(out, compile_network(network, chip=CHIP, seed=1), Probe(1, (0, 1))) > 10
    assert b"<svg" in png.read_bytes()
    assert cli_waves.waves.__name__ == "waves"


def test_reads_before_the_window_count(library: Path, tmp_path: Path) -> None:
    """The first read of a late window has the noise of its own number, not that of read 0."""
    network = compiled()
    path = tmp_path / "w.vcd"
    name = ("analog", "core0", "col0_n")
    write_waves(network, CODES, PROBES, path, window=Window(0, 300), library=library)
    whole = dict(signals(path, [name])[name])
    write_waves(network, CODES, PROBES, path, window=Window(100, 300), library=library)
    late = signals(path, [name])[name][1:]
    assert len(late) > 3
    for time, value in late:
        assert whole[time] == value


def test_a_target_gives_the_same_sums_as_the_traced_run(library: Path) -> None:
    """The traced model evaluates both edges; its tensors are those of every other level."""
    network = compiled()
    with VerilatorTarget(network, library=library) as traced, connect("fast", network) as fast:
        a, b = traced.run(CODES), fast.run(CODES)
    assert all((a[name] == b[name]).all() for name in b)
