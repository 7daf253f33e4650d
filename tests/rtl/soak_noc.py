# SPDX-License-Identifier: Apache-2.0
"""A million packets through Verilated meshes, with random back-pressure; each flit is checked.

python tests/rtl/soak_noc.py --packets 1000000
"""

import argparse
import time

from ohmtwin.arch.noc import parse_mesh
from ohmtwin.host.noc_build import check_router
from ohmtwin.host.noc_sim import Network

CASES = (
    ("4x4", (0, 3), "buffered", 8, 0.3),
    ("8x8", (2,), "buffered", 4, 0.1),
    ("16x16", (0, 15), "buffered", 16, 0.2),
    ("4x4", (1,), "deflection", 8, 0.3),
)


def main() -> None:
    """Run all cases; the first packet that is lost, changed or misrouted ends it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print(f"seed {given.seed}")
    for size, hosts, router, depth, stall in CASES:
        shape = parse_mesh(size, hosts=hosts, depth=depth)
        begin = time.perf_counter()
        run = Network(shape, check_router(router)).run(
            load=0.6 if router == "buffered" else 0.3,
            flits=20,
            seed=given.seed,
            random_length=True,
            control=0.4,
            multicast=0.3,
            to_host=0.02,
            stall=stall,
            pause=0.1,
            packets=given.packets,
            drain=100 * given.packets + 10000,
        )
        if run.missing or run.made != given.packets:
            raise SystemExit(f"{size} {router}: {run.missing} of {run.made} packets are missing")
        print(
            f"{size} {router}: {run.made:,} packets, {run.copies:,} came out as they should, "
            f"{run.cycles:,} cycles, {time.perf_counter() - begin:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
