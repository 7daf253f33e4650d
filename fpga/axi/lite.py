# SPDX-License-Identifier: Apache-2.0
"""AXI4-Lite: the registers that a fabric is found and reset by."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

from ...arch.axi import AXI_ADDRESS_BITS, AxiControl, AxiRegister, AxiStatus
from ...arch.link import Ident

__all__ = ["LiteRegisters", "Response", "lite_ports"]

_RESET_CYCLES = 4
_RESET_BIT = AxiControl.RESET.bit_length() - 1
_WORD = 32
_STATUS_BITS = max(AxiStatus).bit_length()


class Response(enum.Enum, shape=2):
    """AMBA AXI (IHI 0022), table of RRESP and BRESP."""

    OKAY = 0
    SLVERR = 2


class LiteRegisters(wiring.Component):
    """The registers of :mod:`ohmtwin.arch.axi` behind AXI4-Lite.

    Address and data of a write may come in any order and at any time. One write and one read are
    under way at a time; each is answered two cycles after all of it is there. Every output is a
    register. An address that is no register, and a write to one that cannot be written, are
    answered with SLVERR and do nothing. The two low bits of an address are not looked at.

    Parameters
    ----------
    ident : Ident
        Who the fabric is.

    Members
    -------
    awaddr, awprot, awvalid, awready, wdata, wstrb, wvalid, wready, bresp, bvalid, bready : bus
        Writes; directions as of a subordinate.
    araddr, arprot, arvalid, arready, rdata, rresp, rvalid, rready : bus
        Reads.
    reset : Out(1)
        The fabric is to be reset.
    status : In(4)
        What STATUS tells.
    words_in, words_out : In(32), In(32)
    """

    def __init__(self, *, ident: Ident) -> None:
        self._ident = ident
        super().__init__(
            {
                **lite_ports(),
                "reset": Out(1),
                "status": In(_STATUS_BITS),
                "words_in": In(_WORD),
                "words_out": In(_WORD),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._scratch = Signal(_WORD)
        left = Signal(range(_RESET_CYCLES + 1), init=_RESET_CYCLES)
        m.d.comb += self.reset.eq(left != 0)
        with m.If(left != 0):
            m.d.sync += left.eq(left - 1)
        self._write(m, left)
        self._read(m)
        return m

    def _write(self, m: Module, left: Signal) -> None:
        address = Signal(AXI_ADDRESS_BITS - 2)
        data, strobes = Signal(_WORD), Signal(_WORD // 8)
        has_address, has_data = Signal(), Signal()
        m.d.comb += [self.awready.eq(~has_address), self.wready.eq(~has_data)]
        with m.If(self.awvalid & self.awready):
            m.d.sync += [has_address.eq(1), address.eq(self.awaddr[2:])]
        with m.If(self.wvalid & self.wready):
            m.d.sync += [has_data.eq(1), data.eq(self.wdata), strobes.eq(self.wstrb)]
        with m.If(self.bready):
            m.d.sync += self.bvalid.eq(0)
        with m.If(has_address & has_data & ~self.bvalid):
            m.d.sync += [
                has_address.eq(0),
                has_data.eq(0),
                self.bvalid.eq(1),
                self.bresp.eq(Response.OKAY),
            ]
            with m.Switch(address):
                with m.Case(AxiRegister.CONTROL >> 2), m.If(strobes[0] & data[_RESET_BIT]):
                    m.d.sync += left.eq(_RESET_CYCLES)
                with m.Case(AxiRegister.SCRATCH >> 2):
                    for byte in range(_WORD // 8):
                        with m.If(strobes[byte]):
                            m.d.sync += self._scratch.word_select(byte, 8).eq(
                                data.word_select(byte, 8)
                            )
                with m.Default():
                    m.d.sync += self.bresp.eq(Response.SLVERR)

    def _read(self, m: Module) -> None:
        ident = self._ident
        held: dict[AxiRegister, Value] = {
            AxiRegister.ID: Const(ident.magic, _WORD),
            AxiRegister.VERSION: Const(ident.version | ident.features << 16, _WORD),
            AxiRegister.HASH_LOW: Const(ident.chip_hash & 0xFFFFFFFF, _WORD),
            AxiRegister.HASH_HIGH: Const(ident.chip_hash >> 32, _WORD),
            AxiRegister.CONTROL: Cat(self.reset),
            AxiRegister.STATUS: Cat(self.status),
            AxiRegister.WORDS_IN: Cat(self.words_in),
            AxiRegister.WORDS_OUT: Cat(self.words_out),
            AxiRegister.SCRATCH: Cat(self._scratch),
        }
        address = Signal(AXI_ADDRESS_BITS - 2)
        has_address = Signal()
        m.d.comb += self.arready.eq(~has_address)
        with m.If(self.arvalid & self.arready):
            m.d.sync += [has_address.eq(1), address.eq(self.araddr[2:])]
        with m.If(self.rready):
            m.d.sync += self.rvalid.eq(0)
        with m.If(has_address & ~self.rvalid):
            m.d.sync += [
                has_address.eq(0),
                self.rvalid.eq(1),
                self.rresp.eq(Response.OKAY),
            ]
            with m.Switch(address):
                for register, value in held.items():
                    with m.Case(register >> 2):
                        m.d.sync += self.rdata.eq(value)
                with m.Default():
                    m.d.sync += [self.rresp.eq(Response.SLVERR), self.rdata.eq(0)]


def lite_ports() -> dict[str, Any]:
    """The signals of a subordinate's AXI4-Lite port, 32 bits wide."""
    address = AXI_ADDRESS_BITS
    return {
        "awaddr": In(address),
        "awprot": In(3),
        "awvalid": In(1),
        "awready": Out(1),
        "wdata": In(_WORD),
        "wstrb": In(_WORD // 8),
        "wvalid": In(1),
        "wready": Out(1),
        "bresp": Out(Response),
        "bvalid": Out(1),
        "bready": In(1),
        "araddr": In(address),
        "arprot": In(3),
        "arvalid": In(1),
        "arready": Out(1),
        "rdata": Out(_WORD),
        "rresp": Out(Response),
        "rvalid": Out(1),
        "rready": In(1),
    }
