# SPDX-License-Identifier: Apache-2.0
"""How much memory this process has used at most."""

import resource
import sys
from pathlib import Path

__all__ = ["peak_gib"]

_STATUS = Path("/proc/self/status")


def peak_gib() -> float:
    """The peak of this process alone, in GiB.

    Linux counts in ``ru_maxrss`` what the process that started this one held; ``VmHWM`` begins
    anew with the program.
    """
    if _STATUS.exists():
        for line in _STATUS.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name == "VmHWM":
                return int(value.split()[0]) / (1 << 20)
    # Kilobytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / (1 << 30)
