# SPDX-License-Identifier: Apache-2.0
"""PLLs: a frequency for the fabric from that of the board's oscillator."""

from dataclasses import dataclass
from functools import cached_property

from amaranth.hdl import ClockSignal, Const, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import In, Out

from ...arch.errors import ConfigError

__all__ = ["ECP5_VCO_HZ", "Ecp5Clock", "Ecp5Divisors", "ecp5_divisors"]

ECP5_VCO_HZ = (400_000_000, 800_000_000)
"""Lattice, "ECP5 and ECP5-5G Family Data Sheet" (FPGA-DS-02012), table 3.21."""

_LEAST_PHASE_HZ = 3_125_000
_MOST_OUTPUT_HZ = 400_000_000


@dataclass(frozen=True)
class Ecp5Divisors:
    """``output = source / reference * feedback``; the VCO runs at ``output * post``."""

    source_hz: int
    reference: int
    feedback: int
    post: int

    @cached_property
    def output_hz(self) -> int:
        """Frequency of the fabric, to a hertz."""
        return round(self.source_hz * self.feedback / self.reference)


def ecp5_divisors(source_hz: int, wanted_hz: int) -> Ecp5Divisors:
    """The PLL setting that comes nearest to a frequency.

    Raises
    ------
    ConfigError
        If the PLL makes no frequency within a thousandth of it.
    """
    best: Ecp5Divisors | None = None
    for reference in range(1, 129):
        if source_hz < _LEAST_PHASE_HZ * reference:
            break
        feedback = round(wanted_hz * reference / source_hz)
        if not 1 <= feedback <= 80:
            continue
        output = source_hz * feedback / reference
        low, high = ECP5_VCO_HZ
        post = min(128, int(high // output))
        if post < 1 or output * post < low or output > _MOST_OUTPUT_HZ:
            continue
        found = Ecp5Divisors(source_hz, reference, feedback, post)
        if best is None or abs(found.output_hz - wanted_hz) < abs(best.output_hz - wanted_hz):
            best = found
    if best is None or abs(best.output_hz - wanted_hz) * 1000 > wanted_hz:
        raise ConfigError(
            f"The board's PLL makes no {wanted_hz / 1e6:g} MHz out of {source_hz / 1e6:g} MHz; "
            "choose a clock from 4 to 400 MHz that is a simple fraction of it, as 50 or 60 MHz"
        )
    return best


class Ecp5Clock(wiring.Component):
    """Drives the domain ``sync`` of its parent from an ECP5's PLL, in reset until it has locked.

    Parameters
    ----------
    divisors : Ecp5Divisors

    Members
    -------
    source : In(1)
        The oscillator.
    output : Out(1)
        The clock of ``sync``, for its constraint.
    """

    def __init__(self, *, divisors: Ecp5Divisors) -> None:
        self._divisors = divisors
        super().__init__({"source": In(1), "output": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        d = self._divisors
        locked = Signal()
        m.submodules.pll = Instance(
            "EHXPLLL",
            p_CLKI_DIV=d.reference,
            p_CLKFB_DIV=d.feedback,
            p_CLKOP_DIV=d.post,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_CPHASE=d.post // 2,
            p_CLKOP_FPHASE=0,
            p_FEEDBK_PATH="CLKOP",
            p_OUTDIVIDER_MUXA="DIVA",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_PLLRST_ENA="DISABLED",
            i_CLKI=self.source,
            i_CLKFB=self.output,
            o_CLKOP=self.output,
            o_LOCK=locked,
            i_RST=Const(0),
            i_STDBY=Const(0),
            i_PHASESEL0=Const(0),
            i_PHASESEL1=Const(0),
            i_PHASEDIR=Const(1),
            i_PHASESTEP=Const(1),
            i_PHASELOADREG=Const(1),
            i_PLLWAKESYNC=Const(0),
            i_ENCLKOP=Const(0),
            a_FREQUENCY_PIN_CLKI=str(d.source_hz / 1e6),
            a_FREQUENCY_PIN_CLKOP=str(d.output_hz / 1e6),
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
        )
        m.d.comb += ClockSignal("sync").eq(self.output)
        m.submodules.reset = ResetSynchronizer(~locked, domain="sync")
        return m
