# SPDX-License-Identifier: Apache-2.0
"""Proofs about the buffered router and its parts, and that they notice bugs."""

from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from noc_specs import ArbiterSpec, BufferSpec, LookupSpec, RouterSpec, ShareSpec
from proving import verdict as verdict_of

from ohmtwin.arch.noc import Port
from ohmtwin.rtl.noc.arbiter import PacketArbiter
from ohmtwin.rtl.noc.buffer import FlitBuffer
from ohmtwin.rtl.noc.lookup import RouteLookup
from ohmtwin.rtl.noc.router import Router
from ohmtwin.rtl.noc.share import ClassShare


def verdict(spec: wiring.Component, mode: str, depth: int, folder: Path) -> str:
    """PASS or FAIL. Small memories are solved faster as registers."""
    return verdict_of(spec, mode, depth, folder, passes="memory_map; opt -full")


def test_arbiter(tmp_path: Path) -> None:
    """For all time: an offer stays, a packet is not broken, nobody is passed over twice."""
    assert verdict(ArbiterSpec(), "prove", 3, tmp_path) == "PASS"


def test_share(tmp_path: Path) -> None:
    """For all time: a class that can go does, within three cycles."""
    assert verdict(ShareSpec(), "prove", 3, tmp_path) == "PASS"


@pytest.mark.parametrize("host", [False, True])
def test_lookup(host: bool, tmp_path: Path) -> None:
    """For every place and header."""
    assert verdict(LookupSpec(host=host), "prove", 1, tmp_path) == "PASS"


@pytest.mark.parametrize(("depth", "cycles"), [(2, 10), (4, 9)])
def test_buffer(depth: int, cycles: int, tmp_path: Path) -> None:
    """Every sequence of flits and packets that fits into so many cycles."""
    assert verdict(BufferSpec(depth=depth), "bmc", cycles, tmp_path) == "PASS"


@pytest.mark.parametrize(
    ("port", "rival"),
    [(Port.WEST, Port.LOCAL), (Port.LOCAL, Port.NORTH), (Port.SOUTH, Port.EAST)],
    ids=lambda port: port.name,
)
def test_router(port: Port, rival: Port, tmp_path: Path) -> None:
    """No flit is lost, doubled, changed, misrouted, or comes out of order or between others."""
    assert verdict(RouterSpec(port=port, rival=rival), "bmc", 5, tmp_path) == "PASS"


def test_router_with_a_free_path(tmp_path: Path) -> None:
    """A flit leaves in the cycle after the one in which it came."""
    assert (
        verdict(RouterSpec(port=Port.LOCAL, rival=Port.WEST, alone=True), "bmc", 6, tmp_path)
        == "PASS"
    )


class FixedArbiter(PacketArbiter):
    """The lowest always comes first."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.sync += self.after.eq(0)
        return m


class RestlessArbiter(PacketArbiter):
    """Gives the output away in the middle of a packet."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.taken):
            m.d.sync += self.held.eq(0)
        return m


@pytest.mark.parametrize("dut", [FixedArbiter, RestlessArbiter])
def test_bugs_of_the_arbiter_are_noticed(dut: type[PacketArbiter], tmp_path: Path) -> None:
    assert verdict(ArbiterSpec(dut), "bmc", 8, tmp_path) == "FAIL"


class UnfairShare(ClassShare):
    """Data goes first whenever it can."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.sync += self.prefer.eq(0)
        return m


def test_bugs_of_the_share_are_noticed(tmp_path: Path) -> None:
    assert verdict(ShareSpec(UnfairShare), "bmc", 6, tmp_path) == "FAIL"


class TurningLookup(RouteLookup):
    """Leaves by the local port of the wrong column."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.header.dst_y == self.y):
            m.d.comb += self.outputs[Port.LOCAL].eq(1)
        return m


def test_bugs_of_the_lookup_are_noticed(tmp_path: Path) -> None:
    assert verdict(LookupSpec(host=False, dut=TurningLookup), "bmc", 1, tmp_path) == "FAIL"


class ForgetfulBuffer(FlitBuffer):
    """Looks at one cursor only to tell whether there is room."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.comb += self.ready.eq((self.write ^ self.onward_at) != 2)
        return m


class HastyBuffer(FlitBuffer):
    """Begins a copy whose tail is not here."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If((self.write != self.local_at) & ~self.local_done):
            m.d.comb += self.local_valid.eq(self.local.outputs[Port.LOCAL])
        return m


class DoublingBuffer(FlitBuffer):
    """The cursor that is through with a packet does not wait for the other."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.sync += self.onward_done.eq(0)
        return m


@pytest.mark.parametrize("dut", [ForgetfulBuffer, HastyBuffer, DoublingBuffer])
def test_bugs_of_the_buffer_are_noticed(dut: type[FlitBuffer], tmp_path: Path) -> None:
    assert verdict(BufferSpec(depth=2, dut=dut), "bmc", 8, tmp_path) == "FAIL"


class MixingRouter(Router):
    """An output takes flits of two packets in turn."""

    def elaborate(self, platform: object) -> Module:
        for pair in self.arbiters:
            for arbiter in pair:
                arbiter.__class__ = RestlessArbiter
        return super().elaborate(platform)


def test_bugs_of_the_router_are_noticed(tmp_path: Path) -> None:
    assert (
        verdict(RouterSpec(port=Port.LOCAL, rival=Port.WEST, dut=MixingRouter), "bmc", 5, tmp_path)
        == "FAIL"
    )
