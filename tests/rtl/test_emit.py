# SPDX-License-Identifier: Apache-2.0
"""The Verilog that is written: the same every time, one process a register, alive at time 0."""

import gc
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ohmtwin.arch.chip import Chip
from ohmtwin.rtl.core import Core
from ohmtwin.rtl.emit import emit_verilog

CHIP = Chip(rows=16, cols=16, cell_bits=2, lanes=2, adc_bits=6, rows_per_read=1)


def test_text_depends_on_the_component_alone() -> None:
    text = emit_verilog(Core(chip=CHIP), "core")
    assert text == emit_verilog(Core(chip=CHIP), "core")
    assert re.search(r"^module core\(", text, re.MULTILINE)
    for port in ("cmd__valid", "cmd__payload", "codes__ready", "drain_data"):
        assert re.search(rf"^  (input|output) .*\b{port} ?;$", text, re.MULTILINE), port
    assert "src" not in text
    assert str(Path(__file__).parents[2]) not in text


class Registers(wiring.Component):
    """A register of every kind, and a process without any input that changes."""

    enable: In(1)
    value: In(4)
    held: Out(4)
    delayed: Out(4)
    sliced: Out(8)
    fixed: Out(4)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        one = Signal(init=1)  # never driven
        with m.If(self.enable):
            m.d.sync += [self.held.eq(self.value), self.sliced[2:6].eq(self.value)]
        m.d.sync += self.delayed.eq(self.held)
        with m.If(one):
            m.d.comb += self.fixed.eq(9)
        return m


def test_a_register_is_one_process() -> None:
    text = emit_verilog(Registers(), "registers")
    joined = re.findall(r"always_ff @\(posedge clk\) begin\n    if \(enable\) begin\n +(\S+)", text)
    assert sorted(joined) == ["held", "sliced[5:2]"]


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus Verilog is not installed")
def test_icarus_runs_it(tmp_path: Path) -> None:
    """No X at time 0, registers hold, reset resets."""
    bench = """
module bench;
  reg clk = 0, rst = 0, enable = 0;
  reg [3:0] value = 5;
  wire [3:0] held, delayed, fixed;
  wire [7:0] sliced;
  registers dut(.clk(clk), .rst(rst), .enable(enable), .value(value), .held(held),
                .delayed(delayed), .sliced(sliced), .fixed(fixed));
  task tick; begin
    #1 $display("%b %b %b %b", held, delayed, sliced, fixed);
    clk = 1; #1 clk = 0;
  end endtask
  initial begin
    tick; enable = 1; tick; enable = 0; value = 3; tick; tick; rst = 1; tick; tick; $finish(0);
  end
endmodule
"""
    (tmp_path / "bench.v").write_text(bench, encoding="utf-8")
    text = emit_verilog(Registers(), "registers")
    (tmp_path / "registers.v").write_text(text, encoding="utf-8")
    build = ["iverilog", "-g2012", "-o", "bench", "bench.v", "registers.v"]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True)
    out = subprocess.run(["vvp", "bench"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert out.stdout.split("\n")[:6] == [
        "0000 0000 00000000 1001",
        "0000 0000 00000000 1001",
        "0101 0000 00010100 1001",
        "0101 0101 00010100 1001",
        "0101 0101 00010100 1001",
        "0000 0000 00000000 1001",
    ]


class Step(wiring.Component):
    """A register that is so much ahead."""

    i: In(4)
    o: Out(4)

    def __init__(self, step: int) -> None:
        self._step = step
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.o.eq(self.i ^ self._step)
        return m


class Twins(wiring.Component):
    """Two submodules that are alike and one that is not."""

    i: In(4)
    o: Out(12)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for number, step in enumerate((5, 5, 6)):
            m.submodules[f"part{number}"] = part = Step(step)
            m.d.comb += [part.i.eq(self.i), self.o.word_select(number, 4).eq(part.o)]
        return m


def test_modules_that_are_alike_stay_apart() -> None:
    text = emit_verilog(Twins(), "twins")
    found = re.findall(
        r"^module \\twins\.(part\d) \((.*?)^endmodule", text, re.MULTILINE | re.DOTALL
    )
    assert [name for name, _ in found] == ["part0", "part1", "part2"]
    bodies = [body for _, body in found]
    assert bodies[0] == bodies[1]
    assert bodies[2] == bodies[1].replace("4'h5", "4'h6") != bodies[1]


def test_garbage_is_collected_as_before() -> None:
    assert gc.isenabled()
    emit_verilog(Registers(), "registers")
    assert gc.isenabled()

    class Broken(Registers):
        def elaborate(self, platform: object) -> Module:
            assert not gc.isenabled()
            raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        emit_verilog(Broken(), "broken")
    assert gc.isenabled()
