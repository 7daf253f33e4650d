# SPDX-License-Identifier: Apache-2.0
"""Every algorithm, pulse scheme and kind of cell on the Verilated core: 1000 samples of digits,
64-32-10, each, and every cell, word, register and generator compared with level fast.

    python tests/host/soak_training.py [--samples N]

raises at the first case that differs.
"""

import argparse
import sys
from typing import Any

from ohmtwin.arch.tomlconfig import build_model
from ohmtwin.host.training.config import TrainConfig
from ohmtwin.host.training.replay import replay

__all__ = ["CASES", "main"]

SCHEMES: tuple[dict[str, Any], ...] = (
    {"scheme": "stochastic"},
    {"scheme": "shared"},
    {"scheme": "overlap", "slots": 100},
    {"scheme": "overlap", "slots": 200, "period": 20},
    {"scheme": "manhattan"},
    {"scheme": "serial", "rows": 8},
)

CASES: list[dict[str, Any]] = [
    *({"train": {"algorithm": a} | s} for a in ("sgd", "fa", "dfa") for s in SCHEMES),
    *(
        {"train": {"algorithm": "tiki_taka"} | s, "device": {"base": "rram"}}
        for s in SCHEMES
        if s["scheme"] not in ("manhattan", "serial")
    ),
    {"train": {"algorithm": "mixed"}, "device": {"base": "rram"}},
    {"cells": {"kind": "pair"}, "device": {"base": "pcm"}},
    {"cells": {"kind": "multi"}},
    {"cells": {"kind": "significance"}},
    {"cells": {"kind": "transfer"}, "device": {"base": "pcm"}},
    {"cells": {"last": "sram"}},
    {"network": {"activation": "tanh", "layers": [64, 24, 16, 10]}, "cells": {"kind": "pair"}},
]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1000)
    count = parser.parse_args(arguments).samples
    for case in CASES:
        config = build_model({"device": {"base": "rpu"}} | case, TrainConfig, "soak")
        found = replay(config, samples=count)
        told = (
            f"{case}: {found.pulses} pulses on {found.cells} cells, {found.cycles} cycles,"
            f" {found.seconds:.1f} s"
        )
        if not found.agree:
            raise SystemExit(f"{told}: {dict(found.differing)} differ")
        print(f"{told}: nothing differs", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
