# SPDX-License-Identifier: Apache-2.0
"""Registers of an emulated array: what of an image is no memory."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .image import EmulatorConfig, LoadRegister, Region
from .ports import load_signature
from .threefry import block_layout

__all__ = ["READ_BITS", "EmulatorRegisters"]

READ_BITS = 56
"""Bits of a read number that the noise depends on."""


class EmulatorRegisters(wiring.Component):
    """Variances, key and read number; like the image, they survive a reset.

    Parameters
    ----------
    config : EmulatorConfig

    Members
    -------
    load : In({en, addr, word})
    next : In(1)
        A read begins, or is passed over.
    v0, v1, q_shift : Out(v0), Out(v1), Out(5)
    key : Out({low, high})
        Seed and array.
    number : Out(56)
        Number of the read that began last.
    """

    def __init__(self, *, config: EmulatorConfig) -> None:
        super().__init__(
            {
                "load": In(load_signature),
                "next": In(1),
                "v0": Out(config.widths.v0),
                "v1": Out(config.widths.v1),
                "q_shift": Out(5),
                "key": Out(block_layout),
                "number": Out(READ_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Registers of their own: outputs of a component cannot be told to outlive a reset.
        v0 = Signal.like(self.v0, reset_less=True)
        v1 = Signal.like(self.v1, reset_less=True)
        q_shift = Signal.like(self.q_shift, reset_less=True)
        seed = Signal(32, reset_less=True)
        array = Signal(32, reset_less=True)
        low = Signal(32, reset_less=True)
        reads = Signal(READ_BITS, reset_less=True)
        number = Signal(READ_BITS, reset_less=True)
        m.d.comb += [
            self.v0.eq(v0),
            self.v1.eq(v1),
            self.q_shift.eq(q_shift),
            self.key.low.eq(seed),
            self.key.high.eq(array),
            self.number.eq(number),
        ]
        with m.If(self.next):
            m.d.sync += [number.eq(reads), reads.eq(reads + 1)]
        addr, word = self.load.addr, self.load.word
        with m.If(self.load.en & (addr[17:] == Region.REGISTERS)), m.Switch(addr[:4]):
            targets = [
                (LoadRegister.V0_LOW, v0[:32], word),
                (LoadRegister.V0_HIGH, v0[32:], word),
                (LoadRegister.V1, v1, word),
                (LoadRegister.Q_SHIFT, q_shift, word),
                (LoadRegister.SEED, seed, word),
                (LoadRegister.ARRAY, array, word),
                (LoadRegister.READS_LOW, low, word),
            ]
            for register, target, value in targets:
                with m.Case(int(register)):
                    m.d.sync += target.eq(value)
            with m.Case(int(LoadRegister.READS_HIGH)):
                m.d.sync += reads.eq((word << 32) | low)
        return m
