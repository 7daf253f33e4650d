# SPDX-License-Identifier: Apache-2.0
"""The parts of the endpoint, each against the host's codec."""

from random import Random
from typing import Any

import pytest
from amaranth.sim import SimulatorContext
from simulate import simulate
from streams import stream_collect

from ohmtwin.arch.link import CRC_CHECK, FrameKind, Ident
from ohmtwin.fpga.link.crc32 import CRC32
from ohmtwin.fpga.link.endpoint import LinkEndpoint
from ohmtwin.fpga.link.header import HEADER
from ohmtwin.fpga.link.inbox import Inbox
from ohmtwin.fpga.link.outbox import Outbox
from ohmtwin.fpga.link.receiver import Receiver
from ohmtwin.fpga.link.transmitter import Transmitter
from ohmtwin.host.link.codec import Frame, FrameDecoder, cobs_encode, encode

SESSION = 0x89ABCDEF


def random_frame(random: Random, words: int | None = None) -> Frame:
    n = random.randrange(17) if words is None else words
    # Words of zeros and few ones, where COBS has most to do.
    payload = b"".join(
        random.choice([bytes(8), random.randbytes(8), b"\1" * 8, b"\0\1" * 4]) for _ in range(n)
    )
    return Frame(
        random.choice(list(FrameKind)),
        payload,
        random.getrandbits(16),
        random.getrandbits(16),
        random.getrandbits(8),
        random.getrandbits(4),
        random.getrandbits(4),
        random.random() < 0.5,
        random.random() < 0.5,
    )


def header_value(frame: Frame) -> dict[str, int]:
    return {
        "kind": frame.kind,
        "gap": frame.gap,
        "poll": frame.poll,
        "length": len(frame.payload) // 8,
        "credit": frame.credit,
        "round": frame.round,
        "heard": frame.heard,
        "seq": frame.seq,
        "ack": frame.ack,
    }


def test_the_crc_is_the_published_one() -> None:
    assert CRC32.compute(b"123456789") == CRC_CHECK
    dut = CRC32.create()

    async def bench(ctx: SimulatorContext) -> None:
        ctx.set(dut.start, 1)
        ctx.set(dut.valid, 1)
        for byte in b"123456789":
            ctx.set(dut.data, byte)
            await ctx.tick()
            ctx.set(dut.start, 0)
        assert ctx.get(dut.crc) == CRC_CHECK

    simulate(dut, bench, cycles=20)


def receive(data: bytes, pace: int = 1) -> list[Frame | None]:
    """What the receiver makes of bytes: frames, and None for what was damaged."""
    dut = Receiver()
    found: list[Frame | None] = []
    words: dict[int, int] = {}

    async def bench(ctx: SimulatorContext) -> None:
        ctx.set(dut.session, SESSION)
        for byte in data:
            ctx.set(dut.i.payload, byte)
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
            if pace > 1:
                await ctx.tick().repeat(pace - 1)
        await ctx.tick().repeat(3)

    async def monitor(ctx: SimulatorContext) -> None:
        outputs = (dut.good, dut.damaged, dut.word_valid, dut.index, dut.word, dut.header)
        while True:
            _, _, good, damaged, valid, index, word, header = await ctx.tick().sample(*outputs)
            assert not (good and damaged)
            if valid:
                words[index] = word
            if good:
                payload = b"".join(words[k].to_bytes(8, "little") for k in range(header.length))
                frame = Frame(FrameKind(header.kind), payload)
                for name in ("seq", "ack", "credit", "round", "heard"):
                    setattr(frame, name, getattr(header, name))
                frame.gap, frame.poll = bool(header.gap), bool(header.poll)
                found.append(frame)
            if damaged:
                found.append(None)
            if good or damaged:
                words.clear()

    simulate(dut, bench, cycles=pace * len(data) + 100, background=[monitor])
    return found


@pytest.mark.parametrize("pace", [1, 3])
def test_the_receiver_understands_the_host(pace: int) -> None:
    random = Random(pace)
    wanted = [random_frame(random) for _ in range(25)] + [random_frame(random, 16)]
    assert receive(b"".join(encode(f, SESSION) for f in wanted), pace) == wanted


def test_the_receiver_agrees_with_the_host_on_damage() -> None:
    """Bytes flipped, lost, made up; delimiters too: the same verdicts in the same order."""
    random = Random(3)
    data = bytearray()
    for _ in range(60):
        frame = bytearray(encode(random_frame(random, random.randrange(4)), SESSION))
        for _ in range(random.randrange(3)):
            at = random.randrange(len(frame))
            kind = random.randrange(4)
            if kind == 0:
                frame[at] ^= random.randrange(1, 256)
            elif kind == 1:
                del frame[at]
            elif kind == 2:
                frame.insert(at, random.randrange(256))
            else:
                del frame[at:]
            if not frame:
                break
        data += frame
    data += b"\0\0" + bytes([200]) * 700 + b"\0" + encode(random_frame(random, 2), SESSION)
    decoder = FrameDecoder()
    decoder.session = SESSION
    wanted = [decoder.decode(chunk) for chunk in decoder.feed(bytes(data))]
    assert 15 < wanted.count(None) < 50
    assert receive(bytes(data)) == wanted


def test_the_receiver_takes_no_frame_of_another_length_or_session() -> None:
    frame = random_frame(Random(1), 2)
    frame.kind = FrameKind.DATA
    good = encode(frame, SESSION)
    other = encode(frame, SESSION ^ 1)
    body = bytearray(20)
    body[:8] = bytes([4, 3, 0, 0, 0, 0, 0, 0])  # three words announced, one there
    check = CRC32.compute(bytes(body[:16])) ^ SESSION
    body[16:] = check.to_bytes(4, "little")
    short = cobs_encode(bytes(body)) + b"\0"
    assert receive(good + other + short + good) == [frame, None, None, frame]


def test_the_transmitter_is_understood_by_the_host() -> None:
    random = Random(2)
    wanted = [random_frame(random) for _ in range(20)] + [random_frame(random, 16)]
    dut = Transmitter()
    sent: list[int] = []
    current: list[Frame] = []

    async def bench(ctx: SimulatorContext) -> None:
        for frame in wanted:
            current[:] = [frame]
            ctx.set(dut.header, header_value(frame))
            ctx.set(dut.key, SESSION if frame.kind in (FrameKind.DATA, FrameKind.ACK) else 0)
            ctx.set(dut.start, 1)
            await ctx.tick().until(dut.ready)
            ctx.set(dut.start, 0)
            await ctx.tick().until(dut.ready)

    async def memory(ctx: SimulatorContext) -> None:
        """Words stand two cycles after they were asked for."""
        while True:
            _, _, index = await ctx.tick().sample(dut.index)
            words = current[0].words
            ctx.set(dut.word, words[index] if index < len(words) else 0)

    async def sink(ctx: SimulatorContext) -> None:
        await stream_collect(ctx, dut.o, sent, Random(4), 0.3)

    simulate(dut, bench, cycles=20_000, background=[memory, sink])
    decoder = FrameDecoder()
    decoder.session = SESSION
    data = bytes(sent)
    assert data.startswith(b"\0"), "a delimiter goes ahead after silence"
    assert [decoder.decode(chunk) for chunk in decoder.feed(data)] == wanted


class InboxBench:
    """Puts checked frames into an inbox of 4 frames of 4 words."""

    def __init__(self) -> None:
        self.dut = Inbox(payload_words=4, window=4)
        self.taken: list[int] = []

    async def put(
        self, ctx: SimulatorContext, seq: int, words: list[int], good: bool = True
    ) -> bool:
        dut = self.dut
        for index, word in enumerate(words):
            ctx.set(dut.word, word)
            ctx.set(dut.index, index)
            ctx.set(dut.word_valid, 1)
            await ctx.tick()
        ctx.set(dut.word_valid, 0)
        ctx.set(dut.header, {"seq": seq, "length": len(words), "round": seq % 16})
        ctx.set(dut.data if good else dut.damaged, 1)
        _, _, accepted = await ctx.tick().sample(dut.accepted)
        ctx.set(dut.data, 0)
        ctx.set(dut.damaged, 0)
        return bool(accepted)

    def run(self, bench: Any, *, stall: float = 0.3) -> None:
        async def sink(ctx: SimulatorContext) -> None:
            await stream_collect(ctx, self.dut.o, self.taken, Random(1), stall)

        simulate(self.dut, bench, cycles=6000, background=[sink])


def test_the_inbox_takes_each_frame_once_and_in_order() -> None:
    inbox = InboxBench()
    verdicts = []

    async def bench(ctx: SimulatorContext) -> None:
        for seq, words, good in [
            (0, [10, 11], True),
            (0, [10, 11], True),  # again
            (2, [30], True),  # 1 is missing
            (1, [20, 21, 22, 23], False),
            (1, [20, 21, 22, 23], True),
            (2, [30], True),
            (0, [10, 11], True),  # late
            (65_535, [9], True),
            (3, [], True),
            (3, [40], True),
        ]:
            verdicts.append(await inbox.put(ctx, seq, words, good))
            gap = ctx.get(inbox.dut.gap)
            verdicts.append(bool(gap))
        assert ctx.get(inbox.dut.expected) == 4
        assert ctx.get(inbox.dut.heard) == 3
        await ctx.tick().repeat(50)

    inbox.run(bench)
    assert inbox.taken == [10, 11, 20, 21, 22, 23, 30, 40]
    accepted, gaps = verdicts[::2], verdicts[1::2]
    assert accepted == [k in (0, 4, 5, 9) for k in range(10)]
    assert gaps == [k in (2, 3, 8) for k in range(10)]


def test_the_inbox_has_room_for_its_window_and_no_more() -> None:
    inbox = InboxBench()

    async def bench(ctx: SimulatorContext) -> None:
        accepted = [await inbox.put(ctx, seq, [seq] * 4) for seq in range(6)]
        # One word stands at the output, outside the ring.
        assert accepted == [True] * 4 + [False] * 2
        assert ctx.get(inbox.dut.credit) == 0
        assert ctx.get(inbox.dut.expected) == 4

    inbox.run(bench, stall=1.0)

    inbox = InboxBench()

    async def later(ctx: SimulatorContext) -> None:
        for seq in range(40):
            while not await inbox.put(ctx, seq, [seq] * 4):
                await ctx.tick().repeat(3)
        await ctx.tick().repeat(500)
        assert ctx.get(inbox.dut.credit) == 4

    inbox.run(later, stall=0.9)
    assert inbox.taken == [seq for seq in range(40) for _ in range(4)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Inbox(payload_words=3), "payload_words must be a power of two from 2 up, not 3"),
        (lambda: Inbox(window=1), "window must be a power of two from 2 up, not 1"),
        (lambda: Outbox(timeout=0, linger=1), "from 1 cycle up, not 0 and 1"),
        (lambda: Receiver(payload_words=0), "at least one word, not 0"),
        (
            lambda: LinkEndpoint(ident=Ident(0, 0, session=1), timeout=9),
            "are its own: leave them 0",
        ),
    ],
)
def test_parameters_are_checked(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_an_endpoint_needs_an_ident() -> None:
    with pytest.raises(TypeError, match="Ident must be an Ident, not 5"):
        LinkEndpoint(ident=5, timeout=9)


def test_the_header_is_a_word() -> None:
    assert HEADER.size == 64
