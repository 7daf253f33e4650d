# SPDX-License-Identifier: Apache-2.0
"""Input encodings on the demo networks under noise: fast = verilator at every tensor and counter.

Run by ``make soak``: a Verilated model an encoding and a network.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

import ohmtwin as ot
from ohmtwin.arch.inputs import InputEncoding

sys.path.insert(0, str(Path(__file__).parents[1]))
from network_cases import MODELS, case_of

__all__ = ["differences"]


def differences(name: str, encoding: InputEncoding, samples: int) -> tuple[int, int, bool]:
    """Values compared, those that differ, and whether the counters are alike."""
    path = MODELS / f"{name}_qdq.onnx"
    case = case_of(path)
    chip = ot.load_chip("tile4" if name == "digits" else "tile32")
    changes = {"input_encoding": encoding, "adc_bits": 8}
    if encoding is InputEncoding.STOCHASTIC:
        changes["stream_length"] = 63
    net = ot.compile(
        case.network(path), chip=chip.with_(**changes), device="rram", seed=5, trace=True
    )
    x, _ = case.samples(samples)
    codes = net.network.quantize_input(x)
    with ot.connect("fast", net) as fast, ot.connect("verilator", net) as clocked:
        expected, found = fast.run(codes), clocked.run(codes)
        alike = fast.counters == clocked.counters
    compared = sum(array.size for array in expected.values())
    differing = sum(int(np.count_nonzero(found[k] != expected[k])) for k in expected)
    return compared, differing, alike


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--networks", default="digits,mnist")
    parser.add_argument("--encodings", default=",".join(InputEncoding))
    options = parser.parse_args()
    bad = 0
    for name in options.networks.split(","):
        for text in options.encodings.split(","):
            encoding = InputEncoding(text)
            long = encoding in (InputEncoding.UNARY, InputEncoding.STOCHASTIC)
            begin = time.monotonic()
            compared, differing, alike = differences(
                name, encoding, max(1, options.samples // 10) if long else options.samples
            )
            bad += differing + (not alike)
            print(
                f"{name} {encoding}: {compared} values compared, {differing} differ, counters "
                f"{'alike' if alike else 'DIFFER'}, {time.monotonic() - begin:.0f} s",
                flush=True,
            )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
