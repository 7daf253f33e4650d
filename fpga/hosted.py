# SPDX-License-Identifier: Apache-2.0
"""A tile whose arrays are answered by the host, over the link, and which does not notice.

It asks for a read with a message (ASK_READ); until the beats have come (GIVE_CODES) all registers
and memories of the tile hold still, as they do for an emulated array (:mod:`.crossbar.tile`). So
results and counters are those of every other level, at the pace of the link.

While a tile holds still it takes and gives no word. Two memories keep that from blocking the link:
what the host has sent waits before the tile, and a message of the tile leaves when all of it is
there, so that asking never falls into the middle of one.
"""

from amaranth.hdl import Cat, EnableInserter, Module, Mux, ResetSignal, Signal
from amaranth.lib import fifo, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect

from ..arch.chip import Chip
from ..arch.link import Feature
from ..arch.messages import Kind
from ..rtl.checks import check_chip
from ..rtl.tile import Tile
from .crossbar.ports import SERIAL_BITS, LinkSignature
from .crossbar.seam import CrossbarSeam
from .loading import check_beat, row_words

__all__ = ["HostEngine", "HostedFabric", "MessageFifo"]

_WORD = 64
_DEPTH = 512
"""Words before and behind the tile: more than its longest message, and than what a host sends ahead
(no more than the tile's own FIFO holds)."""


class HostEngine(wiring.Component):
    """Stands where an emulated crossbar would: asks for reads, keeps the beats that come.

    Members
    -------
    link : In(LinkSignature)
        From the seam.
    ask, asked : Out(1), In(1)
        The read on the link is to be asked for; that is done.
    give, beat : In(1), In(64)
        The next beat has come.
    """

    def __init__(self, *, chip: Chip) -> None:
        self._chip = check_chip(chip)
        super().__init__(
            {
                "link": In(LinkSignature(chip)),
                "ask": Out(1),
                "asked": In(1),
                "give": In(1),
                "beat": In(_WORD),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        link = self.link
        seen = Signal(SERIAL_BITS, reset_less=True)
        written = Signal.like(link.taken)
        m.submodules.beats = store = memory.Memory(
            shape=len(link.beat), depth=self._chip.beats, init=[]
        )
        put, get = store.write_port(), store.read_port(domain="comb")
        current = link.serial == seen
        m.d.comb += [
            put.addr.eq(written),
            put.data.eq(self.beat),
            put.en.eq(self.give),
            get.addr.eq(link.taken),
            link.beat.eq(get.data),
            link.ready.eq(current & (written != link.taken)),
            link.more.eq(current & (written != link.taken) & (written != link.taken + 1)),
        ]
        with m.If(self.asked):
            m.d.sync += self.ask.eq(0)
        with m.If(self.give):
            m.d.sync += written.eq(written + 1)
        with m.If(~current):
            m.d.sync += [seen.eq(link.serial), written.eq(0), self.ask.eq(1)]
        with m.If(ResetSignal()):
            m.d.sync += seen.eq(link.serial)  # nobody waits for it any more
        return m


class MessageFifo(wiring.Component):
    """Lets a message out when all of it is in.

    Members
    -------
    i, o : In(stream of 64), Out(stream of 64)
    last : Out(1)
        The word at ``o`` is the last of its message.
    """

    def __init__(self) -> None:
        super().__init__(
            {"i": In(stream.Signature(_WORD)), "o": Out(stream.Signature(_WORD)), "last": Out(1)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.words = words = fifo.SyncFIFOBuffered(width=_WORD + 1, depth=_DEPTH)
        left = Signal(16)  # payload words still to come in
        whole = Signal(range(_DEPTH + 1))  # messages that are in
        length = self.i.payload[16:32]
        ends = Signal()
        came, went = Signal(), Signal()
        m.d.comb += [
            ends.eq(Mux(left == 0, length == 0, left == 1)),
            words.w_data.eq(Cat(self.i.payload, ends)),
            words.w_en.eq(self.i.valid),
            self.i.ready.eq(words.w_rdy),
            Cat(self.o.payload, self.last).eq(words.r_data),
            self.o.valid.eq(words.r_rdy & (whole != 0)),
            words.r_en.eq(self.o.valid & self.o.ready),
            came.eq(words.w_en & words.w_rdy & ends),
            went.eq(words.r_en & self.last),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += left.eq(Mux(left == 0, length, left - 1))
        m.d.sync += whole.eq(whole + came - went)
        return m


class HostedFabric(wiring.Component):
    """A tile behind one stream of words, its arrays with the host.

    Parameters
    ----------
    chip : Chip

    Members
    -------
    i, o : In(stream of 64), Out(stream of 64)
        Messages of the tile (``arch/messages.py``), GIVE_CODES and ASK_READ among them.
    held : Out(1)
        The tile waits for a read.

    Raises
    ------
    TypeError
        If ``chip`` is no Chip.
    ConfigError
        If a beat has more bits than a word.
    """

    def __init__(self, *, chip: Chip) -> None:
        self._chip = check_chip(chip)
        check_beat(chip)
        super().__init__(
            {"i": In(stream.Signature(_WORD)), "o": Out(stream.Signature(_WORD)), "held": Out(1)}
        )

    @property
    def chip(self) -> Chip:
        return self._chip

    @property
    def features(self) -> int:
        """Bits of :class:`~ohmtwin.arch.link.Feature`."""
        return int(Feature.HOST_CROSSBARS)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        seams = [CrossbarSeam(chip=self._chip) for _ in range(self._chip.cores)]
        engines = [HostEngine(chip=self._chip) for _ in seams]
        run = Signal(init=1)
        tile = Tile(chip=self._chip, macros=lambda core: seams[core])
        m.submodules.tile = EnableInserter(run)(tile)
        for core, (seam, engine) in enumerate(zip(seams, engines, strict=True)):
            m.submodules[f"engine{core}"] = engine
            connect(m, seam.link, engine.link)
            m.d.comb += seam.run.eq(run)
        m.d.sync += run.eq(Cat(seam.soon for seam in seams).all())
        m.d.comb += self.held.eq(~run)

        m.submodules.before = before = fifo.SyncFIFOBuffered(width=_WORD, depth=_DEPTH)
        m.submodules.behind = behind = MessageFifo()
        m.d.comb += [
            tile.i.payload.eq(before.r_data),
            tile.i.valid.eq(before.r_rdy),
            before.r_en.eq(tile.i.ready & run),
            behind.i.payload.eq(tile.o.payload),
            behind.i.valid.eq(tile.o.valid & run),
            tile.o.ready.eq(behind.i.ready),
        ]
        self._take(m, before, engines)
        self._give(m, behind, seams, engines)
        return m

    def _take(self, m: Module, before: fifo.SyncFIFOBuffered, engines: list[HostEngine]) -> None:
        """Messages of the host: beats to the engines, the rest to the tile."""
        left = Signal(16)  # payload words still to come; 0: a header is next
        codes = Signal()  # they are beats
        core = Signal(range(max(2, len(engines))))
        word = self.i.payload
        header = left == 0
        ours = Signal()
        m.d.comb += [
            ours.eq(Mux(header, word[:8] == Kind.GIVE_CODES, codes)),
            before.w_data.eq(word),
            before.w_en.eq(self.i.valid & ~ours),
            self.i.ready.eq(ours | before.w_rdy),
        ]
        for number, engine in enumerate(engines):
            m.d.comb += [
                engine.beat.eq(word),
                engine.give.eq(self.i.valid & ours & ~header & (core == number)),
            ]
        with m.If(self.i.valid & self.i.ready):
            with m.If(header):
                # A register read has a length but no payload.
                m.d.sync += [
                    left.eq(Mux(word[:8] == Kind.READ_REG, 0, word[16:32])),
                    codes.eq(ours),
                    core.eq(word[32:]),
                ]
            with m.Else():
                m.d.sync += left.eq(left - 1)

    def _give(
        self,
        m: Module,
        behind: MessageFifo,
        seams: list[CrossbarSeam],
        engines: list[HostEngine],
    ) -> None:
        """Messages to the host: what is asked for first, then those of the tile."""
        words = row_words(self._chip)
        core = Signal(range(max(2, len(engines))))
        rows = Signal(_WORD * words)
        beats = Signal(16)
        left = Signal(range(words + 2))
        with m.FSM():
            with m.State("IDLE"):
                with m.If(behind.o.valid):
                    m.next = "PASS"
                for number, (seam, engine) in reversed(
                    [*enumerate(zip(seams, engines, strict=True))]
                ):
                    with m.If(engine.ask):
                        m.d.sync += [
                            core.eq(number),
                            rows.eq(seam.link.rows),
                            beats.eq(seam.link.beats),
                            left.eq(words),
                        ]
                        m.next = "HEADER"
            with m.State("HEADER"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    self.o.payload[:8].eq(Kind.ASK_READ),
                    self.o.payload[16:32].eq(words + 1),
                    self.o.payload[32:].eq(core),
                ]
                with m.If(self.o.ready):
                    m.next = "BEATS"
            with m.State("BEATS"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(beats)]
                with m.If(self.o.ready):
                    for number, engine in enumerate(engines):
                        m.d.comb += engine.asked.eq(core == number)
                    m.next = "ROWS"
            with m.State("ROWS"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(rows)]
                with m.If(self.o.ready):
                    m.d.sync += [rows.eq(rows >> _WORD), left.eq(left - 1)]
                    with m.If(left == 1):
                        m.next = "IDLE"
            with m.State("PASS"):
                m.d.comb += [
                    self.o.valid.eq(behind.o.valid),
                    self.o.payload.eq(behind.o.payload),
                    behind.o.ready.eq(self.o.ready),
                ]
                with m.If(self.o.valid & self.o.ready & behind.last):
                    m.next = "IDLE"
