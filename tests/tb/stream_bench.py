# SPDX-License-Identifier: Apache-2.0
"""Takes a count from a stream under a monitor; and tests that must fail."""

from typing import Any

import cocotb

from ohmtwin.tb.bench import rng
from ohmtwin.tb.clock import start, within
from ohmtwin.tb.scoreboard import Scoreboard
from ohmtwin.tb.stalls import pattern
from ohmtwin.tb.streams import StreamMonitor, StreamPort, StreamSink


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def count(dut: Any) -> None:
    port = StreamPort.of(dut, "o", dut.clk, separator="_")
    sink = StreamSink(port, pattern("often", rng("stall")))
    monitor = StreamMonitor(port)
    sink.start()
    await start(dut.clk, dut.rst)
    monitor.start()
    await within(dut.clk, 1000, sink.wait_for(20), "20 transfers")
    board = Scoreboard("count")
    board.expect(*range(20))
    for word in sink.words[:20]:
        board.observe(word)
    assert board.check() == 20
    assert monitor.stalled > 0


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def nothing_ready(dut: Any) -> None:
    """Nobody is ready, so nothing is transferred: the watchdog must bark."""
    dut.o_ready.value = 0
    await start(dut.clk, dut.rst)
    sink = StreamSink(StreamPort.of(dut, "o", dut.clk, separator="_"))
    await within(dut.clk, 50, sink.wait_for(1), "a transfer that never comes")
