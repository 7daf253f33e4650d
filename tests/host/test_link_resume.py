# SPDX-License-Identifier: Apache-2.0
"""The far end killed and restarted in the middle of a run: an error, or the same results."""

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from test_driver import CHIP, make_program, samples

from ohmtwin.arch.link import Ident
from ohmtwin.arch.messages import Header, Kind, message
from ohmtwin.arch.registers import ID_MAGIC, ID_VERSION, Control, Status, TileRegister
from ohmtwin.behavioral.program import TileProgram
from ohmtwin.host.driver import LinkError, TileDriver, WrongChipError
from ohmtwin.host.link.board import BoardModel, Words
from ohmtwin.host.link.errors import (
    BoardRestartedError,
    BoardSilentError,
    NoSuchPortError,
    PortBusyError,
    PortLostError,
    PortRefusedError,
)
from ohmtwin.host.link.faults import FaultInjector, FaultRates
from ohmtwin.host.link.port import SerialPort
from ohmtwin.host.link.pty import PtyBoard
from ohmtwin.host.link.resume import ResumeError, ResumingDriver

pytest.importorskip("serial", reason="pyserial is not installed")
pytest.importorskip("termios", reason="this system has no pseudo-terminals")

IDENT = Ident(CHIP.structure_hash, 25_000_000)


class TinyTile(Words):
    """Adds up the words of a sample, and a number that counts samples as noise counts reads.

    Parameters
    ----------
    killed : callable
        Told the number of a sample before it is done; if it says so, nothing comes any more.
    """

    def __init__(self, program: TileProgram, killed: Callable[[int], bool]) -> None:
        self.program = program
        self.killed = killed
        self.reset()

    def reset(self) -> None:
        self.words: list[int] = []
        self.inputs: list[int] = []
        self.answers: list[int] = []
        self.samples = 0
        self.status = 0
        self.dead = False

    def take(self, words: NDArray[np.uint64]) -> int:
        self.words += words.tolist()
        while self.words and not self.dead:
            header = Header.decode(self.words[0])
            payload = 0 if header.kind is Kind.READ_REG else header.length
            if len(self.words) <= payload:
                break
            self.obey(header, self.words[1 : 1 + payload])
            del self.words[: 1 + payload]
        return len(words)

    def obey(self, header: Header, payload: list[int]) -> None:
        if header.kind is Kind.READ_REG:
            values = {
                int(TileRegister.ID): ID_MAGIC << 32 | ID_VERSION,
                int(TileRegister.CHIP_HASH): CHIP.structure_hash,
                int(TileRegister.STATUS): self.status,
            }
            wanted = range(header.address, header.address + header.length)
            self.answers += message(Kind.REPLY, [values.get(at, 0) for at in wanted])
        elif header.kind is Kind.WRITE_REG and payload == [Control.RUN]:
            self.status = Status.RUNNING | Status.WAITING
        elif header.kind is Kind.INPUT:
            self.inputs += payload
            self.work()

    def work(self) -> None:
        n = self.program.input_words
        while len(self.inputs) >= n and not self.dead:
            if self.killed(self.samples):
                self.dead = True
                return
            self.samples += 1
            total = sum(self.inputs[:n]) + 1000 * self.samples
            del self.inputs[:n]
            outputs = [total + i for i in range(self.program.output_words)]
            self.answers += message(Kind.OUTPUT, outputs)

    def give(self) -> NDArray[np.uint64]:
        found, self.answers = self.answers, []
        return np.array(found, np.uint64)


def expected(program: TileProgram, x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    numbers = np.arange(1, len(x) + 1, dtype=np.uint64) * np.uint64(1000)
    total = x.sum(axis=1, dtype=np.uint64) + numbers
    return total[:, None] + np.arange(program.output_words, dtype=np.uint64)


class Silence:
    """No power."""

    def receive(self, data: bytes, now: float) -> None:
        pass

    def transmit(self, now: float) -> bytes:
        return b""


class Bench:
    """A board that is killed at given samples, and a driver of it."""

    def __init__(self, kills: list[int], rates: FaultRates | None = None) -> None:
        self.program = make_program()
        self.kills = kills
        self.connections = 0
        rates = rates or FaultRates()
        self.running = PtyBoard(self.board(), FaultInjector(rates, 1), FaultInjector(rates, 2))

    def board(self) -> BoardModel:
        return BoardModel(IDENT, TinyTile(self.program, self.killed))

    def killed(self, number: int) -> bool:
        if not self.kills or number != self.kills[0]:
            return False
        del self.kills[0]
        self.running.replace(self.board())
        return True

    def connect(self) -> TileDriver:
        self.connections += 1
        port = SerialPort.open(self.running.device, 3_000_000, chip_hash=CHIP.structure_hash)
        return TileDriver(port, self.program)


@pytest.fixture
def benches() -> Iterator[list[Bench]]:
    made: list[Bench] = []
    yield made
    for bench in made:
        bench.running.close()


def test_the_driver_over_the_link(benches: list[Bench]) -> None:
    benches.append(bench := Bench([]))
    x = samples(bench.program, 60)
    driver = bench.connect()
    np.testing.assert_array_equal(driver.run(x), expected(bench.program, x))
    driver.close()


def test_the_driver_over_a_bad_link(benches: list[Bench]) -> None:
    benches.append(bench := Bench([], FaultRates.bytes_and_frames(0.002, 0.02)))
    x = samples(bench.program, 200)
    driver = bench.connect()
    np.testing.assert_array_equal(driver.run(x), expected(bench.program, x))
    driver.close()


def test_a_restart_is_an_error_if_nothing_is_asked(benches: list[Bench]) -> None:
    benches.append(bench := Bench([20]))
    driver = ResumingDriver(bench.connect)
    with pytest.raises(BoardRestartedError):
        driver.run(samples(bench.program, 60))
    # The link is of no use afterwards, and says so.
    with pytest.raises(LinkError, match="failed before"):
        driver.run(samples(bench.program, 60))
    assert bench.connections == 1
    driver.close()


def test_a_board_that_loses_power_in_a_run_is_told(benches: list[Bench]) -> None:
    """Its serial port stays, as that of a board whose USB chip is powered by the cable."""
    benches.append(bench := Bench([]))
    driver = bench.connect()
    x = samples(bench.program, 60)
    driver.run(x)
    bench.running.replace(Silence())
    began = time.monotonic()
    with pytest.raises(BoardSilentError, match=r"has not answered for 1\.5 s; see whether it"):
        driver.run(x)
    assert time.monotonic() - began < 3.0  # two are promised; a busy machine takes some more
    driver.close()


@pytest.mark.parametrize("kills", [[0], [20], [59], [20, 5, 40]])
def test_a_restart_is_survived_if_asked(benches: list[Bench], kills: list[int]) -> None:
    number = len(kills)
    benches.append(bench := Bench(kills))
    x = samples(bench.program, 60)
    driver = ResumingDriver(bench.connect, resume=True)
    np.testing.assert_array_equal(driver.run(x), expected(bench.program, x))
    assert driver.interruptions == number
    assert bench.connections == number + 1
    driver.close()


def test_earlier_runs_are_repeated_for_their_reads(benches: list[Bench]) -> None:
    benches.append(bench := Bench([70]))
    x = samples(bench.program, 100)
    driver = ResumingDriver(bench.connect, resume=True)
    parts = [driver.run(part) for part in (x[:25], x[25:50], x[50:])]
    np.testing.assert_array_equal(np.concatenate(parts), expected(bench.program, x))
    assert driver.interruptions == 1
    driver.close()


def test_a_board_that_comes_back_as_another_is_refused(benches: list[Bench]) -> None:
    """Meanwhile somebody has loaded another bitstream."""
    benches.append(bench := Bench([]))

    def killed(number: int) -> bool:
        if number != 20:
            return False
        other = Ident(CHIP.structure_hash ^ 1, 25_000_000)
        bench.running.replace(BoardModel(other, TinyTile(bench.program, lambda number: False)))
        return True

    bench.running.replace(BoardModel(IDENT, TinyTile(bench.program, killed)))
    driver = ResumingDriver(bench.connect, resume=True)
    with pytest.raises(WrongChipError, match="was built for another configuration"):
        driver.run(samples(bench.program, 60))
    driver.close()


def test_too_many_restarts_end(benches: list[Bench]) -> None:
    benches.append(bench := Bench([3, 3, 3, 3]))
    driver = ResumingDriver(bench.connect, resume=True, attempts=2)
    with pytest.raises(BoardRestartedError):
        driver.run(samples(bench.program, 10))
    assert driver.interruptions == 2
    driver.close()


class Scripted:
    """A driver whose runs do what a script says."""

    def __init__(self, script: list[Exception | int]) -> None:
        self.script = script
        self.closed = 0

    def run(self, inputs: NDArray[np.uint64], progress: object = None) -> NDArray[np.uint64]:
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return inputs + np.uint64(step)

    def close(self) -> None:
        self.closed += 1


def test_another_result_is_not_passed_on() -> None:
    made = [Scripted([1, BoardSilentError("away")]), Scripted([2])]
    queue = list(made)
    driver = ResumingDriver(lambda: queue.pop(0), resume=True)
    driver.run(np.zeros((2, 2), np.uint64))
    with pytest.raises(ResumeError, match="run 0 of this session gave other results"):
        driver.run(np.zeros((2, 2), np.uint64))
    assert made[0].closed == 1


def test_a_board_may_be_away_for_a_while() -> None:
    back = Scripted([1, 1])
    script: list[Exception | Scripted] = [
        Scripted([1, PortLostError("pulled")]),
        NoSuchPortError("gone"),
        PortRefusedError("not its rights yet"),
        PortBusyError("a modem manager looks at it"),
        BoardSilentError("boots"),
        back,
    ]
    rewound = []

    def connect() -> TileDriver:
        step = script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    driver = ResumingDriver(connect, resume=True, rewind=lambda: rewound.append(1))
    x = np.arange(4, dtype=np.uint64).reshape(2, 2)
    for _ in range(2):
        np.testing.assert_array_equal(driver.run(x), x + np.uint64(1))
    assert len(rewound) == 5
    assert back.script == []


def test_a_board_that_stays_away_is_an_error() -> None:
    first = Scripted([PortLostError("pulled")])

    def connect() -> TileDriver:
        if first.script:
            return first
        raise NoSuchPortError("still gone")

    driver = ResumingDriver(connect, resume=True, back_within=0.05)
    with pytest.raises(NoSuchPortError, match="still gone"):
        driver.run(np.zeros((2, 2), np.uint64))
