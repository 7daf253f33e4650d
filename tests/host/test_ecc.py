# SPDX-License-Identifier: Apache-2.0
"""Networks on chips with an AN code: every level, every counter, and what the code is good for."""

from pathlib import Path

import numpy as np
import pytest
from network_cases import FILES, case_of
from numpy.typing import NDArray
from typer.testing import CliRunner

import ohmtwin as ot
from ohmtwin.arch.ancode import ErrorModel
from ohmtwin.arch.chip import Chip, RowSchedule
from ohmtwin.arch.registers import CoreEvent
from ohmtwin.behavioral.cengine import CCrossbar
from ohmtwin.behavioral.core import Event
from ohmtwin.behavioral.devices import Device
from ohmtwin.behavioral.image import ArrayImage
from ohmtwin.behavioral.machine import Counters, Machine
from ohmtwin.host.cli import app

DIGITS = next(path for path in FILES if path.stem == "digits_qdq")
SLICES = Chip(cores=4, code_a=69, code_b=3)
POWERS = Chip(cores=4, code_a=37, code_b=5, code_errors=ErrorModel.POWER_OF_TWO)


def samples(count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    x, y = case_of(DIGITS).samples(count)
    assert y is not None
    return x, y


def compiled(chip: Chip, device: Device | str, seed: int = 3) -> ot.CompiledNetwork:
    return ot.compile(case_of(DIGITS).network(DIGITS), chip=chip, device=device, seed=seed)


def counted(net: ot.CompiledNetwork, level: str, count: int) -> Counters:
    with ot.connect(level, net) as target:
        target.run(net.network.quantize_input(samples(count)[0]))
        counters = target.counters
    assert isinstance(counters, Counters)
    return counters


@pytest.mark.chips
def test_ideal_arrays() -> None:
    """Nothing is corrected, and every value is that of the network; 16 columns hold 2 words."""
    net = compiled(SLICES, "ideal")
    report = ot.verify(net, *samples(4), levels=("golden", "fast", "verilator"))
    assert report.agree, str(report)
    assert net.chip.slices == 2 * Chip().slices
    counters = counted(net, "fast", 4)
    for name in ("corrected", "detected", "miscorrected", "missed"):
        assert getattr(counters, f"core_{name}") == (0,) * 4


@pytest.mark.chips
def test_noisy_arrays() -> None:
    """Fast and RTL are equal in every value and counter, and the code has much to do."""
    net = compiled(SLICES, ot.devices.rram(spread=0.05))
    report = ot.verify(net, *samples(4), levels=("golden", "fast", "verilator"))
    assert report.agree, str(report)
    fast, clocked = (counted(net, level, 4) for level in ("fast", "verilator"))
    assert fast == clocked
    assert sum(clocked.core_corrected) > 100
    assert sum(clocked.core_detected) > 100
    assert sum(fast.core_miscorrected) > 0
    assert clocked.core_miscorrected == (), "no hardware knows"


@pytest.mark.chips
def test_adcs_stay_busy() -> None:
    """In baseline, noisy and corrected, the converters do not wait for the unit."""
    chip = SLICES.with_(row_schedule=RowSchedule.BASELINE)
    counters = counted(compiled(chip, "rram"), "verilator", 2)
    assert counters.adc_busy >= 0.90


@pytest.mark.chips
def test_a_table_of_ones_own() -> None:
    """What is loaded decides, at both levels alike, on the same model: no other RTL is built."""
    known = SLICES.an_code
    assert known is not None
    small = tuple(e if abs(e) < 64 else 0 for e in known.error_table)
    chip = SLICES.with_(code_table=small)
    assert chip.structure_hash == SLICES.structure_hash
    device = ot.devices.rram(spread=0.05)
    fast, clocked = (counted(compiled(chip, device), level, 2) for level in ("fast", "verilator"))
    assert fast == clocked
    full = counted(compiled(SLICES, device), "fast", 2)
    assert sum(fast.core_corrected) < sum(full.core_corrected)
    assert sum(fast.core_detected) > sum(full.core_detected)


@pytest.mark.parametrize("chip", [SLICES, POWERS], ids=["slices", "powers of two"])
def test_single_errors_are_harmless(chip: Chip) -> None:
    """Every word has one cell that is off by a level; read one row at a time, all come out right.

    Without the code hardly a sum is right.
    """
    chip = chip.with_(rows_per_read=1)
    rng = np.random.default_rng(4)
    program = compiled(chip, "ideal").program

    def machine(errors: bool) -> Machine:
        arrays = []
        for spec in program.arrays:
            words = spec.levels.astype(np.int32).reshape(chip.rows, chip.outputs, chip.slices)
            if errors:
                at = rng.integers(0, chip.slices, words.shape[:2])
                place = (*np.indices(at.shape), at)
                top = (1 << chip.cell_bits) - 1
                words[place] += np.where(words[place] < top, 1, -1)
            image = ArrayImage(
                g=np.ascontiguousarray(words.reshape(spec.levels.shape) << 12, np.int32),
                ref=np.zeros(chip.rows, dtype=np.int32),
                adc_bits=chip.adc_bits,
                lanes=chip.lanes,
            )
            arrays.append(CCrossbar(image, 1, spec.core))
        return Machine(program, arrays)

    words = program.pack_inputs(compiled(chip, "ideal").network.quantize_input(samples(3)[0]))
    right, wrong = machine(errors=False), machine(errors=True)
    np.testing.assert_array_equal(wrong.run(words), right.run(words))
    assert right.counters.core_corrected == (0,) * chip.cores
    found = wrong.counters
    # Columns without a weight hold a word as well: 0, now with an error.
    assert sum(found.core_corrected) == found.beats * chip.outputs_per_beat // chip.beats_per_word
    for name in ("detected", "miscorrected", "missed"):
        assert getattr(found, f"core_{name}") == (0,) * chip.cores


def test_events_of_the_fast_machine_are_those_of_registers() -> None:
    assert {event.name: int(event) for event in CoreEvent}.items() <= {
        event.name: int(event) for event in Event
    }.items()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"code_a": 70},
            "A = 70 does not tell an error of -12 from one of +128: both leave 58 modulo 70; the "
            "nearest A that is valid for 'slice' errors of 16-bit words in 2-bit cells is 71",
        ),
        (
            {"code_a": 69, "cell_bits": 4, "adc_bits": 8},
            "A = 69 does not tell an error of -5 from one of +64: both leave 64 modulo 69; no A up "
            "to 257, the largest that fits, is valid for 'slice' errors of 16-bit words in 4-bit "
            "cells; 'power_of_two' errors take 69",
        ),
        (
            {"code_a": 85, "code_b": 3},
            "A = 85 does not tell an error of +1 from one of +256: both leave 1 modulo 85; the "
            "nearest A that is valid for 'slice' errors of 16-bit words in 2-bit cells is 81",
        ),
        (
            {"code_a": 69, "code_b": 5},
            "code_a * code_b is 345; 16-bit words hold 8-bit weights times 257 at most; with "
            "code_a = 69 code_b may be 3",
        ),
        (
            {"code_a": 300},
            "code_a * code_b is 300; 16-bit words hold 8-bit weights times 257 at most; the "
            "nearest A that is valid for 'slice' errors of 16-bit words in 2-bit cells is 251",
        ),
        (
            {"code_a": 16, "weight_bits": 4},
            "A = 16 does not tell an error of +8 from one of -8: both leave 8 modulo 16; no A up "
            "to 17, the largest that fits, is valid for 'slice' errors of 8-bit words in 2-bit "
            "cells; take weights of 8 bits and a smaller B, or no code",
        ),
        ({"code_b": 3}, "code_b is for chips with an AN code; give code_a as well"),
        (
            {"code_a": 69, "code_table": [0, 1, 2]},
            "The table of corrections has 3 entries, A = 69 needs 69, one for each remainder",
        ),
        (
            {"code_a": 69, "code_table": [0, 2, *[0] * 67]},
            "Entry 1 of the table of corrections takes off 2, which leaves 2 modulo 69; it must "
            "leave 1, or be 0 for a remainder that is only detected",
        ),
    ],
)
def test_bad_codes(fields: dict[str, object], message: str, tmp_path: Path) -> None:
    """One sentence that says what is wrong and what will do, and exit 2."""
    path = tmp_path / "chip.toml"
    path.write_text("".join(f"{key} = {value}\n" for key, value in fields.items()))
    result = CliRunner().invoke(app, ["compile", str(DIGITS), "--chip", str(path)])
    assert result.exit_code == 2
    assert message in " ".join(result.output.split()), result.output
