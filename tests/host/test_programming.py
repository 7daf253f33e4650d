# SPDX-License-Identifier: Apache-2.0
"""Arrays that the chip programs itself: the RTL and its specification leave the same cells."""

from pathlib import Path
from typing import Any

import numpy as np
from networks import SMALL_CHIP, random_codes, random_network

from ohmtwin.behavioral import devices
from ohmtwin.behavioral.devices import Device
from ohmtwin.host.compiler.network import CompiledNetwork, compile_network
from ohmtwin.host.programming import ProgramOptions, program_arrays
from ohmtwin.host.targets import Target, connect

CHIP = SMALL_CHIP.with_(name="writes", program_verify=True)


def device(**more: Any) -> Device:
    """RRAM whose pulses shrink, with everything that stands between a cell and its read."""
    write = {
        "voltage": 3.0,
        "time": 1e-8,
        "energy": 1e-11,
        "response": {"pulses": 80, "nonlinearity": 1.5, "spread": 0.3},
    }
    given: dict[str, Any] = {
        "write": write,
        "faults": {"stuck_on": 0.01, "stuck_off": 0.01},
        "driver": {"gain_spread": 0.01},
        "drift": {"nu": 0.05, "t0": 1.0},
        "endurance": {"cycles": 1e6},
    }
    return devices.rram(**(given | more))


def compiled(kind: Device | None = None, **more: Any) -> CompiledNetwork:
    network = random_network(1, (21, 7, 5), table_after=0)
    return compile_network(network, chip=CHIP, device=kind or device(), seed=3, **more)


def assert_equal_state(fast: Target, clocked: Target) -> None:
    assert fast.state is not None
    assert clocked.state is not None
    for number, state in fast.state.arrays.items():
        for name, array in state.to_arrays().items():
            np.testing.assert_array_equal(clocked.state.arrays[number].to_arrays()[name], array)
    assert {n: c.reads for n, c in clocked.crossbars().items()} == {
        n: c.reads for n, c in fast.crossbars().items()
    }


def test_rtl_programs_as_specified(tmp_path: Path) -> None:
    """Pulses, cells, counters and all tensors: first written, run, refreshed, restored, run."""
    net = compiled()
    options = ProgramOptions(tolerance=0.03, limit=30)
    codes = [random_codes(n, 4, 21) for n in range(3)]
    with connect("fast", net) as fast, connect("verilator", net) as clocked:
        for step, options in enumerate((options, ProgramOptions(tolerance=0.05, erase=False))):
            reports = [program_arrays(target, options) for target in (fast, clocked)]
            assert reports[0].counts == reports[1].counts
            assert reports[0].pulses > 1000 if step == 0 else reports[0].pulses > 0
            for number, want in reports[0].arrays.items():
                found = reports[1].arrays[number]
                np.testing.assert_array_equal(found.pulses, want.pulses)
                np.testing.assert_array_equal(found.iterations, want.iterations)
                np.testing.assert_array_equal(found.failed, want.failed)
                np.testing.assert_array_equal(found.error, want.error)
            assert_equal_state(fast, clocked)
            want_codes, found_codes = fast.run(codes[step]), clocked.run(codes[step])
            for name, tensor in want_codes.items():
                np.testing.assert_array_equal(found_codes[name], tensor, err_msg=name)
            assert clocked.counters == fast.counters
            for target in (fast, clocked):
                target.advance(seconds=1e4)
        clocked.save_state(tmp_path / "state.npz")
        fast.run(codes[2])  # forgotten by the restore
        fast.restore_state(tmp_path / "state.npz")
        for name, tensor in fast.run(codes[2]).items():
            if name in net.tensors:
                np.testing.assert_array_equal(clocked.run(codes[2])[name], tensor)
                break
        assert_equal_state(fast, clocked)
