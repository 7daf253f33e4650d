# SPDX-License-Identifier: Apache-2.0
"""Boards without a board: fast, the RTL with emulated arrays, and a board on a serial line agree.

One Verilated board, on a pseudo-terminal, driven as one on a cable is.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1] / "host"))

from networks import random_codes, random_network

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.errors import InputError
from ohmtwin.fpga.crossbar.image import EmulatorConfig
from ohmtwin.host.board_sim import SIMULATED_BAUD, BoardSimulation, build_board
from ohmtwin.host.compiler.network import CompiledNetwork, compile_network
from ohmtwin.host.driver import LinkError, WrongChipError
from ohmtwin.host.emulated import SerialTarget
from ohmtwin.host.link.errors import BoardRestartedError, PortLostError
from ohmtwin.host.link.faults import FaultInjector, FaultRates
from ohmtwin.host.link.pty import PtyBoard
from ohmtwin.host.serial_address import SerialAddress, parse_target
from ohmtwin.host.targets import FastTarget, Target, connect
from ohmtwin.host.verify import verify

# What they share is built in one worker.
pytestmark = pytest.mark.xdist_group("board target")

pytest.importorskip("serial", reason="pyserial is not installed")
pytest.importorskip("termios", reason="this system has no pseudo-terminals")

CHIP = Chip(
    name="tiny", cores=2, rows=16, cols=16, lanes=4, adc_bits=6, rows_per_read=8,
    program_words=64, data_words=32, param_words=32, tables=1, fifo_words=32,
)  # fmt: skip
CONFIG = EmulatorConfig(columns=4)


def compiled(device: str = "rram", sizes: tuple[int, ...] = (14, 4, 3)) -> CompiledNetwork:
    return compile_network(random_network(5, sizes), chip=CHIP, device=device, seed=3)


@pytest.fixture(scope="module")
def library() -> Path:
    return build_board(CHIP, CONFIG)


@pytest.fixture
def board(library: Path) -> Iterator[PtyBoard]:
    simulation = BoardSimulation(library)
    with PtyBoard(simulation) as line:
        yield line
    simulation.close()


def address(board: PtyBoard) -> SerialAddress:
    return SerialAddress(board.device, SIMULATED_BAUD)


def assert_equal(one: Target, other: Target, codes: NDArray[np.uint8]) -> None:
    want, found = one.run(codes), other.run(codes)
    for name, tensor in want.items():
        np.testing.assert_array_equal(tensor, found[name], err_msg=name)
    assert one.counters == other.counters


def test_a_simulated_board_equals_fast(board: PtyBoard) -> None:
    """Noise, two runs, time that passes between them, a trim: every tensor and every counter."""
    net = compiled()
    with FastTarget(net) as fast, SerialTarget(net, address(board)) as serial:
        assert_equal(fast, serial, random_codes(1, 20, 14))
        assert_equal(fast, serial, random_codes(2, 3, 14))
        for target in (fast, serial):
            target.advance(seconds=1e6)
        assert_equal(fast, serial, random_codes(3, 5, 14))
        gains = [target.compensate("global") for target in (fast, serial)]
        assert gains[0] == gains[1]
        assert_equal(fast, serial, random_codes(4, 5, 14))


def test_state_goes_from_a_board_to_fast(board: PtyBoard, tmp_path: Path) -> None:
    net = compiled()
    with FastTarget(net) as fast, SerialTarget(net, address(board)) as serial:
        serial.run(random_codes(1, 4, 14))
        serial.save_state(tmp_path / "board.npz")
        fast.restore_state(tmp_path / "board.npz")
        serial.run(random_codes(9, 3, 14))
        serial.restore_state(tmp_path / "board.npz")
        codes = random_codes(2, 6, 14)
        want, found = fast.run(codes), serial.run(codes)
        for name, tensor in want.items():
            np.testing.assert_array_equal(tensor, found[name], err_msg=name)


def test_verify_over_a_line_that_fails(library: Path) -> None:
    """Bytes damaged and lost, frames dropped, cut, repeated and late, both ways."""
    rates = FaultRates.bytes_and_frames(5e-4, 0.01)
    injectors = FaultInjector(rates, 1), FaultInjector(rates, 2)
    simulation = BoardSimulation(library)
    with PtyBoard(simulation, *injectors) as line:
        x = random_codes(1, 20, 14).astype(np.float32)
        report = verify(
            compiled(), x, levels=("fast", "serial"),
            target=f"serial:{line.device}@{SIMULATED_BAUD}",
        )  # fmt: skip
    simulation.close()
    assert injectors[0].faults + injectors[1].faults > 5
    assert report.agree
    assert report.levels["serial"].required
    assert report.levels["serial"].values == 20 * 2 * (4 + 3)
    assert report.counters is not None
    assert not report.counters.differing


def test_a_board_that_is_killed_and_back_resumes(library: Path) -> None:
    simulations = [BoardSimulation(library), BoardSimulation(library)]
    net = compiled()
    codes = random_codes(1, 8, 14)
    with PtyBoard(simulations[0]) as line, FastTarget(net) as fast:
        name = f"serial:{line.device}@{SIMULATED_BAUD}"
        with connect(name, net, resume=True) as serial:
            assert_equal(fast, serial, codes)
            line.replace(simulations[1])
            assert_equal(fast, serial, random_codes(2, 8, 14))
        line.replace(simulations[0])
        with SerialTarget(net, address(line)) as serial:
            serial.run(codes)
            line.replace(simulations[1])
            with pytest.raises(LinkError):
                serial.run(codes)
    for simulation in simulations:
        simulation.close()


def test_verify_goes_on_with_a_board_that_was_reset(library: Path) -> None:
    simulations = [BoardSimulation(library), BoardSimulation(library)]
    x = random_codes(1, 8, 14).astype(np.float32)
    told: list[str] = []

    with PtyBoard(simulations[0]) as line:

        def reset(what: str, done: int, total: int) -> None:
            if what == "serial" and what not in told:
                line.replace(simulations[1])
            told.append(what)

        name = f"serial:{line.device}@{SIMULATED_BAUD}"
        levels = ("fast", "serial")
        report = verify(compiled(), x, levels=levels, target=name, progress=reset, resume=True)
        assert report.agree, report
        assert report.counters is not None
        line.replace(simulations[0])
        told.clear()
        with pytest.raises(BoardRestartedError):
            verify(compiled(), x, levels=levels, target=name, progress=reset)
    for simulation in simulations:
        simulation.close()


def test_what_cannot_work_is_told(board: PtyBoard) -> None:
    other = compile_network(
        random_network(5, (14, 4, 3)), chip=CHIP.with_(data_words=64), device="rram", seed=3
    )
    with pytest.raises(WrongChipError, match="built for another configuration"):
        connect(f"serial:{board.device}@{SIMULATED_BAUD}", other)
    target = SerialTarget(compiled(), address(board))
    board.close()
    with pytest.raises(PortLostError):
        target.run(random_codes(1, 2, 14))
    target.close()


def test_targets_as_they_are_named() -> None:
    assert parse_target("serial:/dev/ttyUSB0") == SerialAddress("/dev/ttyUSB0", 3_000_000)
    assert parse_target("serial:COM3@115200") == SerialAddress("COM3", 115_200)
    for wrong in ("serial", "serial:", "usb:/dev/ttyUSB0"):
        with pytest.raises(InputError, match=r"^There is no target .* as serial:/dev/ttyUSB0$"):
            parse_target(wrong)
    for wrong in ("serial:a@", "serial:a@fast", "serial:a@0"):
        with pytest.raises(InputError, match="has no baud rate behind the @"):
            parse_target(wrong)
    x = np.zeros((1, 14), np.float32)
    with pytest.raises(InputError, match=r"^Level serial needs to be told its board"):
        verify(compiled(), x, levels=("fast", "serial"))
    with pytest.raises(InputError, match="only used by level serial: add it"):
        verify(compiled(), x, levels=("fast",), target="serial:/dev/ttyUSB0")


def test_arrays_in_the_host_equal_fast() -> None:
    """The tile asks for every read over the link, here a line that fails now and then."""
    net = compiled()
    rates = FaultRates.bytes_and_frames(1e-4, 0.002)
    simulation = BoardSimulation(build_board(CHIP, CONFIG, host_arrays=True))
    with (
        PtyBoard(simulation, FaultInjector(rates, 1), FaultInjector(rates, 2)) as line,
        FastTarget(net) as fast,
        SerialTarget(net, address(line)) as serial,
    ):
        assert_equal(fast, serial, random_codes(1, 6, 14))
        for target in (fast, serial):
            target.advance(seconds=1e6)
        assert_equal(fast, serial, random_codes(2, 2, 14))
    simulation.close()
