# SPDX-License-Identifier: Apache-2.0
"""What a simulation need not compute."""

from contextlib import AbstractContextManager
from typing import Any

from amaranth.hdl import Module, ValueLike

__all__ = ["idle_skips"]


def idle_skips(m: Module, used: ValueLike, platform: object) -> AbstractContextManager[Any]:
    """A block whose signals are of no interest unless ``used``.

    A simulator then skips it. Gates compute in every cycle anyway, and where ``used`` comes late,
    or goes to many bits, it would cost time: on an FPGA, and for proofs, the block is computed
    always. So whoever reads its signals must not mind what they are in other cycles.

    Parameters
    ----------
    m : Module
    used : Value
    platform : object
        As ``elaborate`` has it: None for a simulation.
    """
    block: AbstractContextManager[Any] = m.If(used if platform is None else 1)
    return block
