# SPDX-License-Identifier: Apache-2.0
"""Someone else's program-and-verify RTL around the macro: every cell, pulse for pulse."""

from pathlib import Path

import pytest

from ohmtwin.tb import runner
from ohmtwin.tb.dpi import COCOTB_MACRO, DPI_ARGS, DPI_SOURCES, WRITE_PORT

HERE = Path(__file__).parent

PORTS = ["clk", "rst", "start", "array", "row", "column", "target", "done", "right", "given"]


@pytest.mark.parametrize(("engine", "stalls"), [("numpy", "never"), ("c", "often")])
def test_a_controller_in_verilog(simulator: str, engine: str, stalls: str, tmp_path: Path) -> None:
    sources = [HERE / "user_writer.v", COCOTB_MACRO]
    built = runner.build(
        simulator, sources, "user_writer", public={"user_writer": PORTS}, defines=dict(WRITE_PORT)
    )
    given = {"engine": engine, "stalls": stalls}
    runner.run(built, "user_writer_bench", tmp_path, seed=5, parameters=given)


def test_with_the_macro_in_c(tmp_path: Path) -> None:
    built = runner.build(
        "verilator",
        [HERE / "user_writer.v", *DPI_SOURCES],
        "user_writer",
        public={"user_writer": PORTS},
        defines=dict(WRITE_PORT),
        args=DPI_ARGS,
    )
    given = {"engine": "dpi", "stalls": "never"}
    runner.run(built, "user_writer_bench", tmp_path, seed=5, parameters=given)
