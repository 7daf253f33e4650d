# SPDX-License-Identifier: Apache-2.0
"""The AXI top: its buses under cocotbext-axi, and that they are cut by registers."""

import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import SimulatorContext
from simulate import simulate
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))

from axi_case import case

from ohmtwin.arch.errors import ToolError
from ohmtwin.arch.link import Ident
from ohmtwin.fpga.axi.packets import Packets
from ohmtwin.fpga.axi.slice import RegisterSlice
from ohmtwin.fpga.axi.top import AxiFabric
from ohmtwin.host.cli import app
from ohmtwin.rtl.emit import emit_verilog
from ohmtwin.tb import plain, runner

HERE = Path(__file__).parent
IDENT = Ident(chip_hash=0x0123456789ABCDEF, clock_hz=0)


def bench(
    name: str, simulator: str, tests: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cocotbext.axi", reason="cocotbext-axi is not installed")
    try:
        runner.find_simulator(simulator)
    except ToolError as error:
        pytest.skip(str(error))
    top = case(name).top()
    if simulator == runner.VERILATOR:
        text = {"axi.sv": emit_verilog(top, "ohmtwin_axi")}
    else:
        text = {"axi.v": plain.plain_verilog(top, "ohmtwin_axi")}
    public = {"ohmtwin_axi": ["aclk", "aresetn", "s_axi*", "m_axi*"]}
    built = runner.build(simulator, [], "ohmtwin_axi", verilog=text, public=public)
    monkeypatch.syspath_prepend(str(HERE))
    runner.run(built, "axi_bench", folder, tests=tests, seed=1, parameters={"case": name})


@pytest.mark.parametrize("simulator", runner.SIMULATORS)
def test_the_buses(simulator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench("tiny", simulator, ["registers", "words", "network"], tmp_path, monkeypatch)


def test_digits_through_axi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    bench("digits", runner.VERILATOR, ["network"], tmp_path, monkeypatch)


class Echo(wiring.Component):
    """In the place of a fabric: gives back what it takes, without a register in between."""

    def __init__(self) -> None:
        word = stream.Signature(64)
        super().__init__({"i": In(word), "o": Out(word), "held": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        wiring.connect(m, wiring.flipped(self.i), wiring.flipped(self.o))
        return m


def test_no_path_leads_from_an_input_to_an_output() -> None:
    """Whatever state the buses are in: inputs that change within a cycle change no output."""
    dut = AxiFabric(fabric=Echo(), ident=IDENT)
    members = dut.signature.members
    inputs = [getattr(dut, name) for name in members if members[name].flow == In]
    outputs = [(name, getattr(dut, name)) for name in members if members[name].flow == Out]
    numbers = Random("paths")
    print("seed 'paths'")
    busy: set[str] = set()

    async def bench(ctx: SimulatorContext) -> None:
        def draw() -> None:
            for one in inputs:
                # Handshakes are seldom missed, and addresses often meet a register.
                ctx.set(one, numbers.getrandbits(len(one)) & ~(0xFC0 if len(one) == 12 else 0))

        for _ in range(400):
            draw()
            before = [(name, ctx.get(one)) for name, one in outputs]
            for _ in range(3):
                await ctx.delay(1e-8)
                draw()
                assert [(name, ctx.get(one)) for name, one in outputs] == before
            busy.update(name for name, value in before if value)
            await ctx.tick()

    simulate(dut, bench, cycles=5000)  # steps within cycles are counted, too
    assert {"s_axil_awready", "s_axil_bvalid", "s_axil_rvalid", "s_axis_tready"} < busy
    assert {"m_axis_tvalid", "m_axis_tlast", "s_axil_rdata"} < busy


def drive(dut: Any, words: list[int], numbers: Random, found: list[Any], field: Any = None) -> None:
    """Put words through a stream, both sides pausing, and look at what comes out."""
    there: list[int] = list(words)

    async def bench(ctx: SimulatorContext) -> None:
        offered = None
        taking = False
        while len(found) < len(words):
            if not taking:
                taking = bool(there) and numbers.random() < 0.7
            ctx.set(dut.i.valid, taking)
            ctx.set(dut.i.payload, there[0] if taking else 0)
            ready = numbers.random() < 0.6
            ctx.set(dut.o.ready, ready)
            _, _, went, valid, payload = await ctx.tick().sample(
                dut.i.ready, dut.o.valid, dut.o.payload
            )
            if taking and went:
                del there[0]
                taking = False
            assert offered is None or (valid and payload == offered)
            offered = payload if valid and not ready else None
            if valid and ready:
                found.append(payload)

    simulate(dut, bench, cycles=50 * len(words) + 100)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_slice_keeps_words_in_order(seed: int) -> None:
    numbers = Random(f"slice {seed}")
    words = [numbers.getrandbits(8) for _ in range(300)]
    found: list[Any] = []
    drive(RegisterSlice(shape=8), words, numbers, found)
    assert found == words


def test_a_slice_moves_a_word_a_cycle() -> None:
    dut = RegisterSlice(shape=8)
    found: list[int] = []

    async def bench(ctx: SimulatorContext) -> None:
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.i.valid, 1)
        for word in range(20):
            ctx.set(dut.i.payload, word)
            _, _, ready, valid, payload = await ctx.tick().sample(
                dut.i.ready, dut.o.valid, dut.o.payload
            )
            assert ready
            if valid:
                found.append(payload)

    simulate(dut, bench, cycles=100)
    assert found == list(range(19))


def test_packets_end_with_their_messages() -> None:
    numbers = Random("packets")
    words: list[int] = []
    ends: list[bool] = []
    for _ in range(60):
        length = numbers.choice([0, 1, 2, 5])
        words += [length << 16 | numbers.getrandbits(8)]
        words += [numbers.getrandbits(64) for _ in range(length)]
        ends += [False] * length + [True]
    found: list[Any] = []
    drive(Packets(), words, numbers, found)
    assert [one.word for one in found] == words
    assert [bool(one.last) for one in found] == ends


def test_the_command(tmp_path: Path) -> None:
    path = tmp_path / "axi.v"

    def run(*options: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["fpga", "axi", "--chip", "icebreaker", *options])
        return result.exit_code, result.output

    assert run("-o", str(path), "--columns", "8")[0] == 0
    text = path.read_text(encoding="utf-8")
    assert text.startswith("// Tile of chip icebreaker, configuration hash ")
    assert "0x1c WORDS_OUT read  words given since the reset" in text
    top = text[text.index("module ohmtwin_axi(") :]
    for port in ("aclk", "aresetn", "s_axil_awaddr", "s_axis_tdata", "m_axis_tlast"):
        assert port in top.partition(");")[0]
    for columns in ("0", "3", "64"):
        code, output = run("-o", str(path), "--columns", columns)
        assert (code, "that divides the 32 columns of chip 'icebreaker'" in output) == (2, True)
    code, output = run("-o", str(tmp_path / "no" / "axi.v"))
    assert (code, "there is no folder" in output) == (2, True)
