# SPDX-License-Identifier: Apache-2.0
"""Bugs of arrays that are emulated for a board."""

from plant import Mutation, named

__all__ = ["SHARED"]

SHARED = named(
    Mutation(
        "every array has the cells of the first",
        "ohmtwin.fpga.crossbar.sums",
        "Cat(row, address_group, self.array)",
        "Cat(row, address_group)",
    ),
    Mutation(
        "every array has the reference column of the first",
        "ohmtwin.fpga.crossbar.sums",
        "read.addr.eq(Cat(row, self.array))",
        "read.addr.eq(row)",
    ),
    Mutation(
        "every array has the converters of the first",
        "ohmtwin.fpga.crossbar.column",
        "Cat(code, lane, self.array)",
        "Cat(code, lane)",
    ),
    Mutation(
        "registers are written for all arrays",
        "ohmtwin.fpga.crossbar.emulator",
        "registers.load.en.eq(en & (loaded == k))",
        "registers.load.en.eq(en)",
    ),
    Mutation(
        "a read counts for all arrays",
        "ohmtwin.fpga.crossbar.emulator",
        "registers.next.eq(store.counted)",
        "registers.next.eq(start)",
    ),
    Mutation(
        "codes go to all arrays",
        "ohmtwin.fpga.crossbar.emulator",
        "converter.o.valid & (array == k)",
        "converter.o.valid",
    ),
    Mutation(
        "a read begins while another is under way",
        "ohmtwin.fpga.crossbar.emulator",
        "store.go.eq(~busy & (chosen == k))",
        "store.go.eq(chosen == k)",
    ),
)
