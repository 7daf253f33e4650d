# SPDX-License-Identifier: Apache-2.0
"""Noisy networks on the Verilated tile of every weight encoding, a model each, against fast.

    python tests/host/soak_encodings.py [NAME ...]

raises at the first tensor or counter that differs.
"""

import sys

from encoded_networks import ENCODED, assert_clocked

__all__ = ["main"]


def main(names: list[str]) -> int:
    for name in names or ENCODED:
        for seed in range(1, 4):
            assert_clocked(ENCODED[name], seed)
        print(f"{name}: 3 networks, no difference", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
