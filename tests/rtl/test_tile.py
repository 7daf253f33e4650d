# SPDX-License-Identifier: Apache-2.0
"""The tile against the model of its manual: results, cycles and every counter."""

import numpy as np
import pytest
from numpy.typing import NDArray
from tile_bench import Host, run_tile, small_chip
from manual_model import TileModel, param_word

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.formats import RequantScale
from ohmtwin.arch.isa import Instruction, Opcode, Reg, Source, assemble
from ohmtwin.arch.messages import Kind
from ohmtwin.arch.registers import (
    ID_MAGIC,
    ID_VERSION,
    Control,
    Status,
    TileRegister,
)


def _levels(chip: Chip, rng: np.random.Generator) -> list[NDArray[np.uint8]]:
    shape = (chip.rows, chip.cols)
    return [
        rng.integers(0, 1 << chip.cell_bits, shape).astype(np.uint8) for _ in range(chip.cores)
    ]


def _params(chip: Chip, rng: np.random.Generator) -> list[int]:
    words = []
    for scale in np.exp2(rng.uniform(-11, -8, chip.param_words)).astype(np.float32):
        part = RequantScale.from_float(float(scale))
        words.append(param_word(int(rng.integers(-20000, 20000)), part.mantissa, part.shift))
    return words


def _compare(
    chip: Chip,
    program: list[Instruction],
    inputs: list[int],
    *,
    seed: int = 0,
    pace: float = 1.0,
) -> TileModel:
    """Run a program on the RTL and on the model; everything visible must be equal."""
    rng = np.random.default_rng(seed)
    levels, params = _levels(chip, rng), _params(chip, rng)
    tables = rng.integers(0, 256, (4, 256)).astype(np.uint8)
    model = TileModel(chip, levels, params, tables, list(inputs))
    model.run(program)

    async def body(host: Host) -> None:
        host.program(program, params, tables)
        host.control(Control.RUN, Control.CLEAR)
        host.send(Kind.INPUT, inputs)
        status = await host.settle()
        assert not status & (Status.FAULT | Status.LINK_FAULT)
        counters, cores = await host.counters()
        assert host.outputs == model.outputs
        assert {name: counters[name] for name in model.names} == model.counters
        assert cores == model.core_counters

    run_tile(chip, levels, body, seed=seed, pace=pace)
    return model


MLP = """
    SET reg=SCHEDULE value=1
    SET reg=ROWS_PER_READ value=8
    LOOP body=14 count=0
      SYNC in_words=2
      LOAD source=HOST bytes=16 cores=3
      MVM rows=16 beats=4 cores=3
      SET reg=A0 value=3
      SET reg=A1 value=0
      SYNC out_words=8
      REQ dest=A0 param=A1 param_step=1 beats=4 cores=1 tap=1
      REQ dest=A0 param=A1 param_step=1 beats=4 cores=3
      LOAD addr=A0 bytes=8 cores=4
      MVM rows=8 beats=4 cores=4
      SET reg=A2 value=7
      REQ dest=A2 param=A1 beats=4 cores=4 table_on=1 table=2 tap=1
      SEND addr=A2 words=1
      NOP
"""


def _named(text: str) -> list[Instruction]:
    """A listing in which address registers may be written A0 to A7."""
    for k in range(8):
        for name in ("dest", "param", "addr"):
            text = text.replace(f"{name}=A{k}", f"{name}={k}")
    return assemble(text)


@pytest.mark.parametrize("pace", [1.0, 0.3])
def test_two_layers(pace: float) -> None:
    rng = np.random.default_rng(1)
    inputs = [int(w) for w in rng.integers(0, 1 << 63, 6)]
    model = _compare(small_chip(cores=3), _named(MLP), inputs, seed=1, pace=pace)
    assert len(model.outputs) == 3 * 9
