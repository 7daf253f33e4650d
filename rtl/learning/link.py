# SPDX-License-Identifier: Apache-2.0
"""The messages of a core that learns: what they load, ask for, and run."""

from amaranth.hdl import Module, Signal
from amaranth.lib import enum, stream, wiring
from amaranth.lib.wiring import In, Out

from ...arch.learning import LearnKind
from .alu import WORD_BITS

__all__ = ["LINK_BITS", "SAMPLE_BITS", "CoreLink"]

LINK_BITS = 64
SAMPLE_BITS = 24


class _State(enum.Enum, shape=3):
    HEADER = 0
    LOAD = 1
    LOOK = 2
    GIVE = 3
    RUN = 4
    END = 5


class CoreLink(wiring.Component):
    """Takes messages apart. A word a cycle comes in; one in two cycles is given out.

    Members
    -------
    i, o : In(stream of 64), Out(stream of 64)
        Of the core.
    kind, at : Out(8), Out(32)
        Of the message, and the address of its word.
    load, word : Out(1), Out(64)
        A strobe: a word for that address.
    look, seen : Out(1), In(32)
        What stands at the address is wanted; and that, from the next cycle on.
    run, samples : Out(1), Out(24)
        A strobe: run so many samples.
    ended, last : In(1), In(64)
        A strobe: they have been run, and a word that says so.
    given, results : Out(stream of 64), In(stream of 64)
        Words of the samples that are run.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(LINK_BITS)),
                "o": Out(stream.Signature(LINK_BITS)),
                "kind": Out(8),
                "at": Out(32),
                "load": Out(1),
                "word": Out(LINK_BITS),
                "look": Out(1),
                "seen": In(WORD_BITS),
                "run": Out(1),
                "samples": Out(SAMPLE_BITS),
                "ended": In(1),
                "last": In(LINK_BITS),
                "given": Out(stream.Signature(LINK_BITS)),
                "results": In(stream.Signature(LINK_BITS)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        state = Signal(_State)
        count = Signal(SAMPLE_BITS)
        last = Signal(LINK_BITS)
        header = self.i.payload
        m.d.comb += [
            self.word.eq(self.i.payload),
            self.given.payload.eq(self.i.payload),
            self.samples.eq(count),
            self.o.payload.eq(self.results.payload),
        ]
        with m.Switch(state):
            with m.Case(_State.HEADER):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    self.kind.eq(header),
                    count.eq(header[8:]),
                    self.at.eq(header[32:]),
                    self.run.eq(self.i.valid & (header[:8] == LearnKind.RUN)),
                ]
                with m.If(self.i.valid & (header[:8] == LearnKind.RUN)):
                    m.d.sync += state.eq(_State.RUN)
                with m.Elif(self.i.valid & (header[8:32] != 0)), m.Switch(header[:8]):
                    with m.Case(*range(LearnKind.PROGRAM, LearnKind.RUN)):
                        m.d.sync += state.eq(_State.LOAD)
                    with m.Case(*range(LearnKind.DUMP_MEMORY, LearnKind.DUMP_REGISTERS + 1)):
                        m.d.sync += state.eq(_State.LOOK)
            with m.Case(_State.LOAD):
                m.d.comb += [self.i.ready.eq(1), self.load.eq(self.i.valid)]
                with m.If(self.i.valid):
                    m.d.sync += [self.at.eq(self.at + 1), count.eq(count - 1)]
                    with m.If(count == 1):
                        m.d.sync += state.eq(_State.HEADER)
            with m.Case(_State.LOOK):
                m.d.comb += self.look.eq(1)
                m.d.sync += state.eq(_State.GIVE)
            with m.Case(_State.GIVE):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(self.seen)]
                with m.If(self.o.ready):
                    m.d.sync += [
                        self.at.eq(self.at + 1),
                        count.eq(count - 1),
                        state.eq(_State.LOOK),
                    ]
                    with m.If(count == 1):
                        m.d.sync += state.eq(_State.HEADER)
            with m.Case(_State.RUN):
                m.d.comb += [
                    self.given.valid.eq(self.i.valid),
                    self.i.ready.eq(self.given.ready),
                    self.o.valid.eq(self.results.valid),
                    self.results.ready.eq(self.o.ready),
                ]
                m.d.sync += self.run.eq(0)
                with m.If(self.ended):
                    m.d.sync += [last.eq(self.last), state.eq(_State.END)]
            with m.Case(_State.END):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(last)]
                with m.If(self.o.ready):
                    m.d.sync += state.eq(_State.HEADER)
        return m
