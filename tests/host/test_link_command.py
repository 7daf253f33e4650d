# SPDX-License-Identifier: Apache-2.0
"""``ohmtwin verify --target serial:...`` with every port and board that is wrong: one sentence."""

import json
import subprocess
import sys
import threading
import time
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from link_words import Echo
from test_link_port import Deaf
from typer.testing import CliRunner

from ohmtwin.arch.chip import load_chip
from ohmtwin.arch.link import Feature, Ident
from ohmtwin.fpga.boards import BOARDS
from ohmtwin.host.cli import app
from ohmtwin.host.link.board import BoardModel
from ohmtwin.host.link.line import End, Sink
from ohmtwin.host.link.port import SerialPort
from ohmtwin.host.link.pty import PtyBoard
from ohmtwin.host.serial_address import DEFAULT_BAUD

pytest.importorskip("serial", reason="pyserial is not installed")
pytest.importorskip("termios", reason="this system has no pseudo-terminals")

MODEL = Path(__file__).parents[2] / "examples" / "models" / "digits_qdq.onnx"
CHIP = load_chip("ulx3s")
ABLE = Feature.EMULATED_CROSSBARS | Feature.NOISE | Feature.CELL_VARIANCE | Feature.ADC_TABLES


def ident(chip_hash: int = CHIP.structure_hash, features: int = ABLE) -> Ident:
    return Ident(chip_hash, 60_000_000, features)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "x.npz"
    np.savez(path, x=np.zeros((2, 64), np.uint8), y=np.zeros(2, np.int64))
    return path


def verify(data: Path, target: str, *options: str) -> tuple[int, str]:
    """Exit code, and the sentence, which must be the only one."""
    result = CliRunner().invoke(
        app,
        ["verify", str(MODEL), "--data", str(data), "--chip", "ulx3s", "--levels", "fast,serial",
         "--target", target, *options],
    )  # fmt: skip
    assert result.exception is None or isinstance(result.exception, SystemExit)
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, result.output
    assert "Traceback" not in result.output
    return result.exit_code, errors[0]


def test_ports_that_cannot_be_opened(data: Path) -> None:
    code, text = verify(data, "serial:/dev/ttyNONE9")
    assert (code, "There is no port /dev/ttyNONE9; 'python -m serial" in text) == (2, True)
    code, text = verify(data, "serial:ttyNONE9", "--trace", str(data.parent / "trace"))
    assert (code, "There is no port ttyNONE9; 'python -m serial" in text) == (2, True)
    assert not (data.parent / "trace").exists()
    code, text = verify(data, "serial:/dev/null")
    assert (code, "/dev/null cannot be opened as a serial port" in text) == (2, True)
    code, text = verify(data, f"serial:{data}")
    assert (code, "cannot be opened as a serial port" in text) == (2, True)
    with PtyBoard(BoardModel(ident(), Echo())) as board:
        code, text = verify(data, f"serial:{board.device}@99999999999999")
        assert (code, "cannot run at 99999999999999 baud" in text) == (2, True)
        port = SerialPort.open(board.device, 3_000_000)
        code, text = verify(data, f"serial:{board.device}")
        assert (code, "is in use by another program; close that one first" in text) == (2, True)
        port.close()


@pytest.mark.parametrize(
    ("end", "code", "message"),
    [
        (Deaf(), 1, "Nothing answered within 1.5 s"),
        (Deaf(b"\x55\xaa\0" * 30), 2, "sends no frames of ours"),
        (BoardModel(ident(5), Echo()), 2, "was built for another configuration"),
        (BoardModel(ident(features=int(Feature.ARRAY_ONLY)), Echo()), 2, "The board holds no tile"),
    ],
    ids=["silent", "garbage", "another chip", "no tile"],
)
def test_boards_that_are_wrong(data: Path, end: End, code: int, message: str) -> None:
    with PtyBoard(end) as board:
        found, text = verify(data, f"serial:{board.device}")
    assert (found, message in text) == (code, True), text


def test_a_cable_is_pulled_in_a_run(data: Path) -> None:
    """The board takes all words and answers none, and is gone before the patience ends."""
    board = PtyBoard(BoardModel(ident(), Sink()))

    def pull() -> None:
        time.sleep(1.0)
        board.close()

    puller = threading.Thread(target=pull)
    puller.start()
    code, text = verify(data, f"serial:{board.device}")
    puller.join()
    assert code == 1
    assert f"The port {board.device} is lost" in text or "does not answer" in text


def test_targets_that_are_none(data: Path) -> None:
    code, text = verify(data, "usb:1")
    assert (code, "There is no target 'usb:1'" in text) == (2, True)
    code, text = verify(data, "fast", "--resume")
    assert (code, "There is no target 'fast'" in text) == (2, True)
    code, text = verify(data, "serial:/dev/ttyUSB0@fast")
    assert (code, "has no baud rate behind the @" in text) == (2, True)


def test_make_demo_on_a_board(tmp_path: Path) -> None:
    """What `make demo TARGET=...` calls."""
    root = MODEL.parents[2]
    target = "usb:/dev/ttyUSB0"
    make = ["make", "-n", "demo", f"TARGET={target}", f"VENV={tmp_path}"]
    said = subprocess.run(make, cwd=root, capture_output=True, text=True, check=True).stdout
    assert f'examples/demo.py --target "{target}"' in said
    assert "demo,fpga" in said
    demo = [sys.executable, str(root / "examples/demo.py"), str(tmp_path / "d"), "--target", target]
    done = subprocess.run(demo, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: There is no target '{target}'; choose one of")
    assert not list(tmp_path.iterdir())


def test_reads_that_cannot_be() -> None:
    def read(*options: str) -> tuple[int, str]:
        command = ["fpga", "read", "--target", "serial:/dev/ttyNONE9", *options]
        result = CliRunner().invoke(app, command)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.exit_code, result.stderr

    one = ("--board", "icebreaker")
    for seed in ("-1", "4294967296"):
        code, text = read(*one, "--seed", seed)
        assert (code, f"--seed must be 0 to 4294967295, not {seed}" in text) == (2, True)
    code, text = read(*one, "--reads", "0")
    assert (code, "--reads must be 1 or more" in text) == (2, True)
    code, text = read(*one, "--chip", "ulx3s")
    assert (code, "holds one emulated array, of a chip with one core" in text) == (2, True)
    code, text = read(*one, "--reads", "1000000000000")
    assert (code, "There is no port /dev/ttyNONE9" in text) == (2, True)
    code, text = read("--board", "ulx3s-85f")
    assert (code, "holds a tile; run networks on it with ohmtwin verify" in text) == (2, True)


def test_boards_are_named_in_full() -> None:
    result = CliRunner().invoke(app, ["fpga", "boards"], env={"COLUMNS": "80"})
    names = [line.split()[1] for line in result.stdout.splitlines() if line.startswith("│")]
    assert {name for name in names if name != "│"} == set(BOARDS)
    assert max(map(len, result.stdout.splitlines())) <= 80
    result = CliRunner().invoke(app, ["fpga", "boards", "--json"])
    found = json.loads(result.stdout)
    assert [board["name"] for board in found] == list(BOARDS)
    # What a port is opened with unless it is told.
    assert {board["baud"] for board in found} == {DEFAULT_BAUD}


def test_lines_that_no_simulation_has() -> None:
    for option, wrong in (("--errors", "2"), ("--faults", "-1"), ("--errors", "nan")):
        command = ["fpga", "simulate", "--board", "ulx3s-85f", option, wrong]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 2
        assert f"{option} is a share from 0 to 1, not {wrong}" in result.stderr


def test_boards_that_nothing_is_built_for(tmp_path: Path) -> None:
    def build(*options: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["fpga", "build", "-o", str(tmp_path / "b"), *options])
        return result.exit_code, result.stderr

    code, text = build("--board", "nope")
    assert (code, "There is no board 'nope'" in text) == (2, True)
    code, text = build("--board", "ulx3s-85f", "--chip", "tile32")
    assert (code, "needs about" in text, "but board ulx3s-85f has" in text) == (2, True, True)
    code, text = build("--board", "ulx3s-85f", "--clock", "61.803")
    assert (code, "The board's PLL makes no 61.803 MHz out of 25 MHz" in text) == (2, True)
    code, text = build("--board", "ulx3s-85f", "--clock", "25")
    assert (code, "cannot make 3000000 baud" in text, "take 1000000" in text) == (2, True, True)
    code, text = build("--board", "ulx3s-85f", "--baud", "9600")
    assert (code, "one of 115200, 230400" in text, "not 9600" in text) == (2, True, True)
    code, text = build("--board", "icebreaker", "--host-arrays")
    assert (code, "too small for a tile" in text) == (2, True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("adc_bits = 5\nadc_step = 2", "has adc_step = 2; the converters of boards and netlists"),
        ("adc_bits = 4\nadc_clip = true", "has adc_clip = true; the converters of boards"),
        (
            'sense_amplifier = true\nweight_encoding = "xnor"\nweight_bits = 1\n'
            'adc_bits = 1\nrow_schedule = "baseline"\ncell_bits = 1',
            "has sense_amplifier = true; the converters of boards",
        ),
        ("slice_reads = true", "reads slices by themselves"),
        ("arrays_per_core = 2", "has 2 arrays behind the converters of a core"),
        ("program_verify = true", "programs its arrays by pulses"),
        ('input_encoding = "digits"\nadc_bits = 8', "take rows that are driven or not"),
    ],
    ids=["coarse", "clipped", "sense amplifier", "slices", "rotation", "write port", "digits"],
)
def test_chips_that_no_board_holds(data: Path, tmp_path: Path, option: str, message: str) -> None:
    chip = tmp_path / "chip.toml"
    keys = {line.split(" =")[0] for line in option.splitlines()}
    text = (resources.files("ohmtwin.arch.chips.boards") / "ulx3s.toml").read_text("utf-8")
    kept = [line for line in text.splitlines() if line.split(" =")[0] not in keys]
    chip.write_text("\n".join([*kept, option, ""]), encoding="utf-8")
    build = ("fpga", "build", "--board", "ulx3s-85f", "-o", str(tmp_path / "b"))
    commands = [
        build,
        (*build, "--host-arrays"),
        ("fpga", "simulate", "--board", "ulx3s-85f", "--seconds", "1"),
        ("fpga", "axi", "-o", str(tmp_path / "x.v")),
    ]
    if "weight_bits" not in keys:  # what the network was not made for
        verify = ("verify", str(MODEL), "--data", str(data), "--levels")
        commands.append((*verify, "fast,netlist"))
        commands.append((*verify, "fast,serial", "--target", "serial:simulated"))
    for command in commands:
        result = CliRunner().invoke(app, [*command, "--chip", str(chip)])
        assert result.exception is None or isinstance(result.exception, SystemExit), command
        errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
        assert (result.exit_code, len(errors)) == (2, 1), (command, result.output)
        assert message in errors[0], (command, errors[0])
