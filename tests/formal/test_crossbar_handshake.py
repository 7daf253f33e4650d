# SPDX-License-Identifier: Apache-2.0
"""Proofs of the emulated crossbar's handshake, and that they notice bugs."""

from pathlib import Path

import pytest
from amaranth.hdl import Module
from crossbar_handshake import Emulator, Handshake, Held, Shared
from proving import verdict

from ohmtwin.fpga.crossbar.emulator import CrossbarEngine
from ohmtwin.fpga.crossbar.seam import CrossbarSeam


def test_handshake(tmp_path: Path) -> None:
    """For all time, with resets at any moment."""
    assert verdict(Handshake(), "prove", 4, tmp_path) == "PASS"


@pytest.mark.parametrize("mode", ["prove", "cover"])
def test_held(mode: str, tmp_path: Path) -> None:
    """For all time, with resets at any moment; and reads get through."""
    assert verdict(Held(), mode, 20 if mode == "cover" else 4, tmp_path) == "PASS"


def test_emulator(tmp_path: Path) -> None:
    """Codes are as many as are due, for all time: what the proof above takes for granted."""
    assert verdict(Emulator(), "prove", 3, tmp_path) == "PASS"


def test_emulator_gets_somewhere(tmp_path: Path) -> None:
    """A whole read can be made, and a second one taken."""
    assert verdict(Emulator(resets=False), "cover", 40, tmp_path) == "PASS"


def test_a_shared_engine(tmp_path: Path) -> None:
    """Each of two arrays gets the codes of its reads, and no others, for all time."""
    assert verdict(Shared(), "prove", 3, tmp_path) == "PASS"


def test_a_shared_engine_serves_both(tmp_path: Path) -> None:
    assert verdict(Shared(resets=False), "cover", 40, tmp_path) == "PASS"


class GreedyEngine(CrossbarEngine):
    """Begins a read while that of the other array is under way."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        for store in self.stores:
            m.d.comb += store.go.eq(1)
        return m


class GenerousEngine(CrossbarEngine):
    """Gives codes to every array that waits for some."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        for store in self.stores:
            m.d.comb += store.codes.valid.eq(self.converter.o.valid)
        return m


@pytest.mark.parametrize("engine", [GreedyEngine, GenerousEngine])
def test_an_engine_that_mixes_reads_is_noticed(
    engine: type[CrossbarEngine], tmp_path: Path
) -> None:
    assert verdict(Shared(engine), "bmc", 20, tmp_path) == "FAIL"


class EarlySeam(CrossbarSeam):
    """Takes a read with the last beat on offer, taken or not."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.comb += self.cmd.ready.eq(self.left < 2)
        return m


class StaleSeam(CrossbarSeam):
    """Offers whatever beat is there, of the read before too."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.comb += self.codes.valid.eq(self.left != 0)
        return m


class EagerSeam(CrossbarSeam):
    """Offers beats that nobody asked for."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.comb += self.codes.valid.eq(self.link.ready)
        return m


@pytest.mark.parametrize("seam", [EarlySeam, StaleSeam, EagerSeam])
def test_bugs_are_noticed(seam: type[CrossbarSeam], tmp_path: Path) -> None:
    assert verdict(Handshake(seam), "bmc", 20, tmp_path) == "FAIL"


class HopefulSeam(CrossbarSeam):
    """Takes it that the beat behind the one that is there will be there as well."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.codes.valid & self.codes.ready & ~self.cmd.ready):
            m.d.comb += self.soon.eq(1)
        return m


class HastySeam(CrossbarSeam):
    """Runs on when a read has been taken."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.cmd.valid & self.cmd.ready):
            m.d.comb += self.soon.eq(1)
        return m


@pytest.mark.parametrize("seam", [HopefulSeam, HastySeam])
def test_a_clock_that_runs_on_is_noticed(seam: type[CrossbarSeam], tmp_path: Path) -> None:
    assert verdict(Held(seam), "bmc", 20, tmp_path) == "FAIL"
