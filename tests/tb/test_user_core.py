# SPDX-License-Identifier: Apache-2.0
"""Someone else's RTL around the macro: the same sums from every engine, whatever stalls."""

from pathlib import Path

import pytest

from ohmtwin.tb import runner
from ohmtwin.tb.dpi import COCOTB_MACRO

HERE = Path(__file__).parent

# The macro's ports are public by themselves.
PUBLIC = {"user_core": ["clk", "rst", "start", "x", "done", "sums"]}


@pytest.mark.parametrize("engine", ["numpy", "c"])
@pytest.mark.parametrize("stalls", ["never", "often", "bursts"])
def test_products_equal_the_reference(
    simulator: str, engine: str, stalls: str, tmp_path: Path
) -> None:
    sources = [HERE / "user_core.v", COCOTB_MACRO]
    built = runner.build(simulator, sources, "user_core", public=PUBLIC)
    runner.run(
        built, "user_bench", tmp_path, seed=3, parameters={"engine": engine, "stalls": stalls}
    )
