# SPDX-License-Identifier: Apache-2.0
"""The kit itself: what it must find, it finds, and says so in words that help."""

import random
import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from ohmtwin.arch.errors import ToolError
from ohmtwin.tb import runner
from ohmtwin.tb.coverage import Coverage, CoverageError
from ohmtwin.tb.crossbar import pack_beats, row_mask
from ohmtwin.tb.runner import BenchError
from ohmtwin.tb.scoreboard import Mismatch, Scoreboard, compare
from ohmtwin.tb.stalls import bursts, pattern, random_stalls

HERE = Path(__file__).parent


def stream(simulator: str, broken: int, folder: Path, test: str = "count") -> None:
    built = runner.build(
        simulator, [HERE / "bad_stream.v"], "bad_stream", parameters={"BREAK": broken}
    )
    runner.run(built, "stream_bench", folder, tests=[test], seed=5)


def test_a_good_stream_passes(simulator: str, tmp_path: Path) -> None:
    stream(simulator, 0, tmp_path)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (1, r"seed 5: 1 failed.*Stream o, cycle \d+: \{payload: 0x5\} was offered and not taken, "
            r"yet the payload became \{payload: 0x80\}"),
        (2, r"seed 5: 1 failed.*Stream o, cycle \d+: .* yet valid fell"),
    ],
)  # fmt: skip
def test_the_monitor_finds_a_broken_stream(broken: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=f"(?s){message}"):
        stream("verilator", broken, tmp_path)


def test_the_watchdog_ends_a_bench_that_hangs(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="Waited 50 cycles in vain for a transfer that never"):
        stream("verilator", 0, tmp_path, "nothing_ready")


def test_a_bench_in_which_no_test_runs_fails(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="seed 5"):
        stream("verilator", 0, tmp_path, "no_such_test")


def test_a_design_that_does_not_compile_is_a_tool_error(simulator: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.v"
    bad.write_text("module bad; nonsense endmodule\n")
    with pytest.raises(ToolError, match=rf"^{simulator} refused bad \(.*\):\n(?s:.*)bad\.v"):
        runner.build(simulator, [bad], "bad")


def test_waves_of_a_run_lie_in_its_folder(simulator: str, tmp_path: Path) -> None:
    built = runner.build(simulator, [HERE / "bad_stream.v"], "bad_stream", waves=True)
    runner.run(built, "stream_bench", tmp_path, tests=["count"], waves=True)
    (dump,) = tmp_path.glob("dump.*")
    assert dump.stat().st_size > 100
    plain = runner.build(simulator, [HERE / "bad_stream.v"], "bad_stream")
    with pytest.raises(ValueError, match="cannot record waves; build it with waves=True"):
        runner.run(plain, "stream_bench", tmp_path, waves=True)


def test_a_missing_simulator_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ToolError, match=r"icarus is not installed: `apt-get install iverilog`"):
        runner.find_simulator("icarus")
    with pytest.raises(ValueError, match="runs on verilator and icarus, not on 'vcs'"):
        runner.find_simulator("vcs")


def test_scoreboard_reports_the_first_difference() -> None:
    board = Scoreboard("words")
    board.expect(0x10, 0x20, 0x30)
    board.observe(0x10)
    with pytest.raises(Mismatch, match=r"^words: word 1 of 3: expected 0x20, got 0x24, bit 2 \("):
        board.observe(0x24)
    with pytest.raises(Mismatch, match=r"1 of 3 words never came, the first of them 0x30"):
        board.check()
    with pytest.raises(Mismatch, match="nothing was expected"):
        Scoreboard("idle").check()
    with pytest.raises(Mismatch, match=r"0x1 came after all 0 expected words"):
        Scoreboard("idle").observe(1)


def test_compare_names_the_element() -> None:
    want = np.arange(6).reshape(2, 3)
    compare("sums", want, want.copy(), ("product", "output"))
    got = want.copy()
    got[1, 1:] = -1, 5 + 8
    with pytest.raises(
        Mismatch, match=r"sums: 2 of 6 values differ, first at product 1, output 1: expected 4 "
    ):
        compare("sums", want, got, ("product", "output"))
    with pytest.raises(Mismatch, match=r"expected the shape \(2, 3\), got \(3, 2\)"):
        compare("sums", want, want.T, ("product", "output"))


def test_coverage_must_be_complete(tmp_path: Path) -> None:
    coverage = Coverage("core", {"full": "a full read", "empty": "an empty one"})
    coverage.hit("full", True)
    coverage.hit("empty", False)
    with pytest.raises(KeyError, match="has no bin 'fill'"):
        coverage.hit("fill")
    with pytest.raises(CoverageError, match=r"Never seen: empty\ncore: 1 of 2 bins hit"):
        coverage.check()
    coverage.save(tmp_path / "coverage.json")
    other = Coverage.load(tmp_path / "coverage.json")
    other.hit("empty", 3)
    coverage.merge(other)
    coverage.check()
    assert (coverage["full"], coverage["empty"]) == (2, 3)
    with pytest.raises(ValueError, match="other bins"):
        coverage.merge(Coverage("other", {}))


def test_stalls_never_hold_for_ever() -> None:
    rng = random.Random(2)
    cycles = list(islice(bursts(rng, 4), 2000))
    runs = "".join("s" if stalled else "f" for stalled in cycles)
    assert "sssss" not in runs
    assert "fffff" not in runs
    assert 0.3 < sum(cycles) / len(cycles) < 0.7
    assert list(islice(pattern("never", rng), 50)) == [False] * 50
    with pytest.raises(ValueError, match="0 to below 1, not 1"):
        next(random_stalls(rng, 1))
    with pytest.raises(ValueError, match="choose one of never, sometimes, often, bursts"):
        pattern("rarely", rng)


def test_rows_and_beats_by_hand() -> None:
    assert row_mask(0x8005, 16).nonzero()[0].tolist() == [0, 2, 15]
    codes = np.array([1, 2, 3, 0x3F], np.uint16)
    assert pack_beats(codes, 2, 6) == [1 | 2 << 6, 3 | 0x3F << 6]
