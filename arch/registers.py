# SPDX-License-Identifier: Apache-2.0
"""The register map of a tile: one table for the RTL, the driver and the manual.

Registers are 64 bits wide and addressed one by one. Counters are cleared by CONTROL.clear and stop
while the tile waits for the host, so that they do not depend on the speed of the link.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

__all__ = [
    "CORE_BASE",
    "CORE_STRIDE",
    "EVENT_BASE",
    "EVENT_STRIDE",
    "ID_MAGIC",
    "ID_VERSION",
    "REGISTERS",
    "Access",
    "Control",
    "CoreCounter",
    "CoreEvent",
    "Register",
    "Status",
    "TileRegister",
    "core_address",
    "event_address",
    "manual",
]

ID_MAGIC = 0x4F484D54  # "OHMT"
ID_VERSION = 1


class Access(StrEnum):
    READ = "read"
    WRITE = "write"


class TileRegister(IntEnum):
    ID = 0
    CHIP_HASH = 1
    CONTROL = 2
    STATUS = 3
    PC = 4
    CYCLES = 8
    INSTRUCTIONS = 9
    HOST_IN_STALLS = 10
    HOST_OUT_STALLS = 11
    CORE_STALLS = 12
    VECTOR_STALLS = 13
    # Of program-and-verify; they read as zero where a tile has none.
    WRITE_PULSES = 32
    WRITE_VERIFIES = 33
    WRITE_FAILURES = 34
    WRITE_CYCLES = 35


class CoreCounter(IntEnum):
    READS = 0
    BEATS = 1
    ACTIVE = 2
    ADC_STALLS = 3


class CoreEvent(IntEnum):
    """Counters of a core that only some chips have (:attr:`~.chip.Chip.events`)."""

    SATURATED = 0
    CORRECTED = 1
    DETECTED = 2


class Control(IntEnum):
    """Bits of CONTROL."""

    RUN = 1
    """Start the program at instruction 0."""
    CLEAR = 2
    """Clear all counters."""
    STOP = 4
    """Stop the program where it is, empty the FIFOs, forget loops and accumulators."""


class Status(IntEnum):
    """Bits of STATUS."""

    RUNNING = 1
    WAITING = 2
    """At a SYNC that waits for the host; cores and vector unit are idle."""
    FAULT = 4
    """The program ended in an instruction that cannot be executed; PC holds where."""
    LINK_FAULT = 8
    """A message was dropped, whole or in part: an unknown kind, an address outside its memory, a
    register that cannot be written, or data memory while the tile runs. CONTROL.stop clears it."""


CORE_BASE = 64
CORE_STRIDE = len(CoreCounter)

EVENT_BASE = 512
EVENT_STRIDE = 4


@dataclass(frozen=True)
class Register:
    name: str
    address: int
    access: Access
    doc: str


_TILE = {
    TileRegister.ID: (Access.READ, "magic 'OHMT' in bits 63:32, version in 15:0"),
    TileRegister.CHIP_HASH: (Access.READ, "hash of the configuration the RTL was made with"),
    TileRegister.CONTROL: (Access.WRITE, "bit 0 run, bit 1 clear counters, bit 2 stop"),
    TileRegister.STATUS: (
        Access.READ,
        "bit 0 running, bit 1 waiting for the host, bit 2 fault, bit 3 link fault",
    ),
    TileRegister.PC: (Access.READ, "address of the current instruction"),
    TileRegister.CYCLES: (Access.READ, "cycles of the program, waits for the host left out"),
    TileRegister.INSTRUCTIONS: (Access.READ, "instructions completed"),
    TileRegister.HOST_IN_STALLS: (Access.READ, "cycles a SYNC waited for input words"),
    TileRegister.HOST_OUT_STALLS: (
        Access.READ,
        "cycles a SYNC that had its input waited for room in the output FIFO",
    ),
    TileRegister.CORE_STALLS: (Access.READ, "cycles an instruction waited for cores"),
    TileRegister.VECTOR_STALLS: (
        Access.READ,
        "cycles an instruction whose cores were idle waited for the vector unit",
    ),
    TileRegister.WRITE_PULSES: (Access.READ, "write pulses, summed over cells"),
    TileRegister.WRITE_VERIFIES: (Access.READ, "verifying reads of a row"),
    TileRegister.WRITE_FAILURES: (Access.READ, "cells that were given up"),
    TileRegister.WRITE_CYCLES: (Access.READ, "cycles in which rows were programmed"),
}

_CORE = {
    CoreCounter.READS: "reads of the array",
    CoreCounter.BEATS: "beats of conversion, each one sample of every lane",
    CoreCounter.ACTIVE: "cycles from the start of a product to its last sum",
    CoreCounter.ADC_STALLS: "cycles between two reads of a product in which the ADCs waited",
}


_EVENT = {
    CoreEvent.SATURATED: "conversions at full scale",
    CoreEvent.CORRECTED: "sums of a read from which the AN-code unit took an error off",
    CoreEvent.DETECTED: "sums of a read in which it found an error that it cannot correct",
}


def event_address(core: int, event: CoreEvent) -> int:
    """Address of a counter of events of a core."""
    return EVENT_BASE + core * EVENT_STRIDE + int(event)


def core_address(core: int, counter: CoreCounter) -> int:
    """Address of a counter of a core."""
    return CORE_BASE + core * CORE_STRIDE + int(counter)


REGISTERS: tuple[Register, ...] = tuple(
    Register(reg.name, int(reg), access, doc) for reg, (access, doc) in _TILE.items()
)


def manual() -> str:
    """The register map as a Markdown table."""
    lines = ["| address | name | access | what it holds |", "|---|---|---|---|"]
    lines += [f"| {r.address} | {r.name} | {r.access} | {r.doc} |" for r in REGISTERS]
    lines += [
        f"| {CORE_BASE} + {CORE_STRIDE} * core + {int(c)} | {c.name} | read | {doc} |"
        for c, doc in _CORE.items()
    ]
    lines += [
        f"| {EVENT_BASE} + {EVENT_STRIDE} * core + {int(e)} | {e.name} | read | {doc} |"
        for e, doc in _EVENT.items()
    ]
    return "\n".join(lines) + "\n"
