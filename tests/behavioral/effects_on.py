# SPDX-License-Identifier: Apache-2.0
"""An array with every effect on, for tests and the soak."""

import numpy as np

from ohmtwin.behavioral import devices
from ohmtwin.behavioral.devices import Device
from ohmtwin.behavioral.state import ArrayState

__all__ = ["EVERYTHING", "aged_array", "full_device"]

EVERYTHING = {
    "variation": {
        "die": 0.02,
        "device": 0.05,
        "cycle": 0.02,
        "correlated": 0.03,
        "correlation_length": 6,
    },
    "verify": {"tolerance": 0.02, "max_iterations": 40, "read_spread": 0.002},
    "faults": {"stuck_on": 0.001, "stuck_off": 0.005},
    "retention": {"time": 3e8, "loss": 0.1, "activation_energy": 1.1, "spread": 0.3},
    "drift": {"nu": 0.02, "nu_off": 0.04, "nu_spread": 0.01, "t0": 1.0},
    "telegraph": {
        "amplitude": 0.05,
        "exponent": 0.5,
        "amplitude_spread": 0.5,
        "capture": 1e-3,
        "emission": 1e-3,
        "time_spread": 3.0,
        "slow_above": 1e-3,
    },
    "flicker": {"coefficient": 1e-6, "f_low": 1.0},
    "disturb": {"rate": 1e-8, "reverse_rate": 8e-9, "alternate": True},
    "temperature_coefficients": {"on": -1e-3, "off": 2e-3},
    "endurance": {"cycles": 1e3, "spread": 2.0},
    "adc": {
        "gain_spread": 0.01,
        "offset_spread": 0.5,
        "dnl_spread": 0.2,
        "comparator_noise": 0.2,
    },
    "driver": {"gain_spread": 0.01, "digits": 4, "compression": 0.05},
    "wires": {"r_row": 0.5, "r_col": 0.5, "r_driver": 50.0, "r_sense": 20.0},
    "reference_noise": True,
}


def full_device() -> Device:
    return devices.rram(**EVERYTHING)


def aged_array(
    shape: tuple[int, int], *, seed: int = 1, array: int = 0, adc_bits: int = 7
) -> ArrayState:
    """An array written twice, then heated, read and left for two days."""
    random = np.random.default_rng([seed, array])
    first, second = random.integers(0, 4, (2, *shape)).astype(np.uint8)
    state = ArrayState(
        first,
        full_device(),
        cell_bits=2,
        seed=seed,
        array=array,
        adc_bits=adc_bits,
        lanes=8,
    )
    state.write(second)
    state.advance(3600.0, 340.0, reads=20_000)
    state.advance(86400.0 * 2, 300.0, reads=1_000_001)
    return state
