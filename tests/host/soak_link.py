# SPDX-License-Identifier: Apache-2.0
"""The link for a long time: frames over a line that fails, and far ends that are killed.

    python soak_link.py [--frames 10000] [--kills 20]

Real time, through a pseudo-terminal and pyserial, as with a board. Prints a line a case; ends with
1 if a result is wrong, a word was done twice, or an error took longer than it may.
"""

import argparse
import sys
import time
from random import Random

import numpy as np
from link_words import IDENT, Adder
from test_driver import samples
from test_link_resume import Bench, expected

from ohmtwin.host.driver import LinkError
from ohmtwin.host.link.board import BoardModel
from ohmtwin.host.link.faults import FaultInjector, FaultRates
from ohmtwin.host.link.port import SerialPort
from ohmtwin.host.link.pty import PtyBoard
from ohmtwin.host.link.resume import ResumingDriver

__all__ = ["frames_at", "killed", "main"]

BAUD = 3_000_000
RATES = (0.0, 0.001, 0.01)
FRAME_FAULTS = 0.005
"""Of each kind: dropped, repeated, cut, late."""

TOLD_WITHIN = 2.0


def frames_at(byte_errors: float, frames: int, seed: int = 1) -> bool:
    """Small frames until there were so many; every answer is the sum of all words so far."""
    rates = FaultRates.bytes_and_frames(byte_errors, FRAME_FAULTS)
    there, back = FaultInjector(rates, seed), FaultInjector(rates, seed + 1)
    adder = Adder()
    model = BoardModel(IDENT, adder)
    words = np.frombuffer(Random(seed).randbytes(16 * frames), "<u8").astype(np.uint64)
    sums = np.cumsum(words, dtype=np.uint64)
    began = time.monotonic()
    right = True
    with PtyBoard(model, there, back) as line:
        port = SerialPort.open(line.device, BAUD, patience=30.0)
        flow = port.link.flow
        at, some = 0, 8
        while flow.sent - flow.repeated < frames:
            # Most writes leave as frames of their own; a few wait for their answers.
            for word in words[at : at + some]:
                port.write(np.array([word], np.uint64))
            found = port.read(some)
            right = right and np.array_equal(found, sums[at : at + some])
            at += some
        sent, repeated = flow.sent, flow.repeated
        port.close()
    once = adder.taken == at
    print(
        f"{byte_errors:.1%} byte errors: {at} words in {sent - repeated} frames, {repeated} "
        f"sent again, {there.faults + back.faults} faults, "
        f"{'all results right' if right else 'WRONG RESULTS'}, {adder.taken} words done "
        f"{'once each' if once else 'NOT ONCE EACH'}, {time.monotonic() - began:.1f} s"
    )
    return right and once


def killed(kills: int, seed: int = 1) -> bool:
    """A board restarted in the middle of a run: an error in time; and, if asked, the same results.

    The line fails, too.
    """
    numbers = Random(seed)
    slowest = 0.0
    resumed = 0
    for number in range(kills):
        for resume in (False, True):
            bench = Bench([numbers.randrange(60)], FaultRates.bytes_and_frames(0.001, FRAME_FAULTS))
            x = samples(bench.program, 60)
            driver = ResumingDriver(bench.connect, resume=resume)
            began = time.monotonic()
            try:
                found = driver.run(x)
            except LinkError:
                slowest = max(slowest, time.monotonic() - began)
                if resume:
                    print(f"kill {number}: NOT RESUMED")
                    return False
            else:
                if not resume or not np.array_equal(found, expected(bench.program, x)):
                    print(f"kill {number}: {'WRONG RESULTS' if resume else 'NO ERROR'}")
                    return False
                resumed += 1
            finally:
                driver.close()
                bench.running.close()
    print(
        f"killed and restarted {2 * kills} times: a typed error {slowest:.2f} s after the run "
        f"began at most, {resumed} of {kills} resumed with the same results"
    )
    return slowest <= TOLD_WITHIN and resumed == kills


def main() -> None:
    """Run all cases."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args()
    good = [frames_at(rate, options.frames) for rate in RATES]
    good.append(killed(options.kills))
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
