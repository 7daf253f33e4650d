# SPDX-License-Identifier: Apache-2.0
"""What a network interface counts, what it says that it waits for, and what it refuses."""

from amaranth.sim import SimulatorContext
from noc_bare import CHIP, HERE, Bare
from noc_bench import control_packets
from simulate import simulate

from ohmtwin.arch.messages import Header as Message
from ohmtwin.arch.messages import Kind, message
from ohmtwin.arch.noc import Header
from ohmtwin.arch.noc_interface import (
    OUTPUT_LIST,
    ROUTE_WORDS,
    ControlKind,
    ControlUser,
    DataUser,
    Leg,
    Route,
)
from ohmtwin.rtl.noc.control import HOST_FIFO
from ohmtwin.rtl.noc.feeder import FeedWait
from ohmtwin.rtl.noc.interface import NetworkInterface
from ohmtwin.rtl.noc.sender import SendWait

P = CHIP.packet_words
ROUTE = Route(number=5, legs=(Leg(0, 1),), channel=2, consumers=1)


def test_waits_of_the_feeder_are_counted_and_named() -> None:
    dut = NetworkInterface(chip=CHIP)

    async def bench(ctx: SimulatorContext) -> None:
        bare = Bare(ctx, dut)
        await bare.begin(takes=[(3, 2), (4, 6)])
        assert ctx.get(dut.idle)
        await bare.tick(20)
        assert bare.counts() == {"wait_slot": 20}
        assert bare.state("feed_wait") == FeedWait.SLOT
        assert (bare.state("feed_channel"), bare.state("feed_words")) == (3, 2)

        ctx.set(dut.in_free, 1)
        await bare.message([1, 2], channel=3, slot=0)
        await bare.strobe("clear")
        await bare.tick(7)
        assert bare.counts() == {"wait_room": 7}
        assert bare.state("feed_wait") == FeedWait.ROOM

        # Two words fit; no acknowledgment leaves, so that the next message waits.
        bare.link_ready = 1
        ctx.set(dut.in_free, 2)
        await bare.strobe("clear")
        ctx.set(dut.in_free, 6)
        await bare.message([0] * 6, channel=4, slot=0)
        await bare.tick(10)
        counts = bare.counts()
        assert counts["data_in"] == 1 + 6 + 1
        assert counts["messages_in"] == 1
        assert bare.state("feed_wait") == FeedWait.PORT
        assert not ctx.get(dut.idle)
        assert counts["wait_slot"] + counts["wait_port"] == counts["wait_control"]
        bare.link_ready = 3
        await bare.tick(20)
        assert bare.counts()["control_out"] == 2
        assert [word for _, word in bare.fed if word != 0][1:3] == [1, 2]

    simulate(dut, bench, cycles=300)


def test_waits_of_the_sender_are_counted_and_named() -> None:
    dut = NetworkInterface(chip=CHIP)

    async def bench(ctx: SimulatorContext) -> None:
        bare = Bare(ctx, dut)
        await bare.begin([ROUTE], gives=[(5, 6)])
        bare.out = [Message(Kind.OUTPUT, 5).encode(), *range(5)]
        await bare.tick(20)
        assert bare.state("send_wait") == SendWait.WORDS
        fields = ("send_route", "send_words", "send_filled", "send_missing")
        assert [bare.state(name) for name in fields] == [5, 6, 5, 1]
        assert ctx.get(dut.idle)
        counts = bare.counts()
        # Of the six words one is missing: it waits since it might have sent the second packet.
        sent = bare.flits[-1][0] + 1
        assert counts == {"data_out": 1 + P, "wait_words": bare.cycle - sent + 1}

        bare.out = [Message(Kind.OUTPUT, 7 + 12).encode(), *range(7 + 12)]
        await bare.tick(40)
        # The second message has slot 1; the third waits for slot 0, the words of the fourth have
        # come too, and those of the fifth wait in the tile.
        assert bare.counts()["messages_out"] == 2
        assert bare.state("send_wait") == SendWait.ACKS
        assert [bare.state(name) for name in fields] == [5, 6, 6, 1]
        assert len(bare.out) == 19 - 1 - 6 - 12
        bare.out += [99]
        await bare.strobe("clear")
        await bare.tick(9)
        assert bare.counts() == {"wait_acks": 9}
        bare.link_ready = 2
        await bare.acknowledge(5, 0)
        await bare.strobe("clear")
        await bare.tick(9)
        assert bare.counts() == {"wait_link": 9}
        assert bare.state("send_wait") == SendWait.LINK
        bare.link_ready = 3
        await bare.tick(20)
        assert bare.counts()["data_out"] == 2 + 6
        assert bare.state("send_wait") == SendWait.ACKS

        # A word that finds both halves in use.
        bare.out = [Message(Kind.OUTPUT, 9).encode(), *range(9)]
        await bare.tick(20)
        await bare.strobe("clear")
        await bare.tick(5)
        assert bare.counts() == {"wait_acks": 5, "wait_half": 5}

    simulate(dut, bench, cycles=400)


def test_a_class_that_is_refused_lets_the_other_pass() -> None:
    dut = NetworkInterface(chip=CHIP)

    async def bench(ctx: SimulatorContext) -> None:
        bare = Bare(ctx, dut)
        await bare.begin([ROUTE], [(1, 1)], [(5, 8)])
        for ready, passes in ((1, 0), (2, 1)):
            bare.link_ready = 0
            await bare.message([7], channel=1, slot=passes)
            bare.out = [Message(Kind.OUTPUT, 8).encode(), *range(8)]
            await bare.tick(20)
            bare.flits.clear()
            bare.link_ready = ready
            await bare.tick(30)
            count = 8 + 2 if passes == 0 else 1
            assert [kind for _, _, kind in bare.flits] == [passes] * count
            bare.link_ready = 3
            await bare.tick(20)
            assert len(bare.flits) == 8 + 2 + 1

    simulate(dut, bench, cycles=400)


def test_the_host_is_answered() -> None:
    """Its words pass whole; registers come back in packets; a confirmed packet is answered."""
    dut = NetworkInterface(chip=CHIP)

    async def bench(ctx: SimulatorContext) -> None:
        bare = Bare(ctx, dut)
        await bare.begin()
        words = message(Kind.WRITE_DATA, list(range(10)), 5)
        for packet in control_packets(words, HERE, P, ControlKind.CONFIRMED):
            bare.send(1, packet)
        await bare.tick(40)
        assert [word for _, word in bare.fed] == words
        taken = ControlUser(kind=ControlKind.TAKEN).encode()
        answer = Header(dst_x=0, dst_y=0, host=1, src_x=HERE.x, src_y=HERE.y, user=taken).encode()
        assert [flit[1:] for flit in bare.flits] == [(answer, 1)] * 3

        bare.flits.clear()
        reply = message(Kind.REPLY, list(range(100, 106)), 8)
        bare.out = list(reply)
        await bare.tick(30)
        got = [word for _, word, _ in bare.flits]
        for index, size in enumerate((P, len(reply) - P)):
            header = Header.decode(got.pop(0))
            user = DataUser.decode(header.user)
            assert (header.host, header.length) == (1, size)
            assert (user.channel, user.route, user.index) == (0, 0, index)
            assert [got.pop(0) for _ in range(size)] == reply[index * P : index * P + size]
        assert not got

    simulate(dut, bench, cycles=300)


def test_words_of_the_host_wait_for_room() -> None:
    """More of them than the FIFO in front of the tile holds, while the tile takes none."""
    dut = NetworkInterface(chip=CHIP)

    async def bench(ctx: SimulatorContext) -> None:
        bare = Bare(ctx, dut)
        await bare.begin()
        bare.tile_ready = False
        words = message(Kind.WRITE_DATA, list(range(100, 100 + 3 * HOST_FIFO)))
        for packet in control_packets(words, HERE, P):
            bare.send(1, packet)
        await bare.tick(4 * HOST_FIFO)
        assert bare.link, "the FIFO was never full"
        assert not bare.fed
        bare.tile_ready = True
        await bare.tick(10 * HOST_FIFO)
        assert [word for _, word in bare.fed] == words

    simulate(dut, bench, cycles=400)


def test_an_acknowledgment_goes_before_an_answer() -> None:
    """Both wait for the link; none is taken for the other."""
    dut = NetworkInterface(chip=CHIP)

    async def bench(ctx: SimulatorContext) -> None:
        bare = Bare(ctx, dut)
        await bare.begin(takes=[(1, 1)])
        bare.link_ready = 1
        await bare.message([7], channel=1, slot=0)
        await bare.tick(10)
        words = message(Kind.WRITE_DATA, [5], 3)
        for packet in control_packets(words, HERE, P, ControlKind.CONFIRMED):
            bare.send(1, packet)
        await bare.tick(20)
        assert [word for _, word in bare.fed][-2:] == words
        assert not bare.flits
        bare.link_ready = 3
        await bare.tick(10)
        kinds = [ControlUser.decode(Header.decode(word).user).kind for _, word, _ in bare.flits]
        assert kinds == [ControlKind.ACK, ControlKind.TAKEN]

    simulate(dut, bench, cycles=300)


def test_acknowledgments_wait_for_one_message_at_most() -> None:
    """The host's words wait while a message is fed, and an ACK behind them."""
    dut = NetworkInterface(chip=CHIP)

    async def bench(ctx: SimulatorContext) -> None:
        bare = Bare(ctx, dut)
        await bare.begin([ROUTE], [(1, CHIP.slot_words)], [(5, 1)])
        await bare.message(range(CHIP.slot_words), channel=1, slot=0)
        for packet in control_packets(message(Kind.WRITE_DATA, list(range(11))), HERE, P):
            bare.send(1, packet)
        put = len(bare.put)
        await bare.acknowledge(5, 0)
        most = max(b - a for a, b in zip(bare.put[put - 1 :], bare.put[put:], strict=False))
        assert CHIP.slot_words // 2 < most <= CHIP.slot_words + 2

    simulate(dut, bench, cycles=300)


def test_lists_go_on_where_they_are_unless_they_were_stopped() -> None:
    """A program that has ended and is run again goes on with the next message."""
    dut = NetworkInterface(chip=CHIP)

    async def bench(ctx: SimulatorContext) -> None:
        bare = Bare(ctx, dut)
        await bare.begin(takes=[(1, 1), (2, 1)])
        await bare.message([70], channel=1, slot=0)
        await bare.tick(10)
        await bare.strobe("start")
        await bare.message([71], channel=2, slot=0)
        await bare.tick(10)
        assert [word for _, word in bare.fed][1::2] == [70, 71]
        await bare.message([72], channel=1, slot=1)
        await bare.tick(10)
        await bare.strobe("stop", "start")
        for word in (80, 81):
            await bare.message([word], channel=word - 79, slot=0)
            await bare.tick(10)
        assert [word for _, word in bare.fed][1::2] == [70, 71, 72, 80, 81]

    simulate(dut, bench, cycles=300)


def test_a_message_of_the_host_is_not_broken_into() -> None:
    """One that is cut into packets, with a message to feed between them."""
    dut = NetworkInterface(chip=CHIP)

    async def bench(ctx: SimulatorContext) -> None:
        bare = Bare(ctx, dut)
        await bare.begin(takes=[(1, 3)])
        words = message(Kind.WRITE_DATA, [50, 51, 52, 53, 54])
        first, second = control_packets(words, HERE, P)
        bare.send(1, first)
        await bare.tick(12)
        await bare.message([1, 2, 3], channel=1, slot=0)
        await bare.tick(12)
        assert bare.state("feed_wait") == FeedWait.PORT
        bare.send(1, second)
        await bare.tick(20)
        expected = [*words, Message(Kind.INPUT, 3).encode(), 1, 2, 3]
        assert [word for _, word in bare.fed] == expected

    simulate(dut, bench, cycles=300)


def test_what_nobody_may_send_is_dropped_and_remembered() -> None:
    dut = NetworkInterface(chip=CHIP)

    async def bench(ctx: SimulatorContext) -> None:
        bare = Bare(ctx, dut)
        await bare.begin([ROUTE], [(1, 2)], [(5, 1)])

        async def faults() -> list[int]:
            found = [bare.state(name) for name in ("stray", "overrun", "bad_address")]
            await bare.strobe("stop")
            assert [bare.state(name) for name in ("stray", "overrun", "bad_address")] == [0, 0, 0]
            return found

        await bare.message([1, 2], channel=CHIP.channels + 1, slot=0)
        await bare.tick(9)
        assert await faults() == [1, 0, 0]
        await bare.acknowledge(5, 0)
        await bare.tick()
        assert await faults() == [1, 0, 0]
        for words in ([1, 2], [3, 4]):
            await bare.message(words, channel=1, slot=0)
        await bare.strobe("start")
        await bare.tick(20)
        assert [word for _, word in bare.fed][1:] == [1, 2], "a full slot was overwritten"
        assert await faults() == [0, 1, 0]
        for kind, address in ((Kind.WRITE_ROUTE, 16 * ROUTE_WORDS), (Kind.WRITE_LIST, 256)):
            for packet in control_packets(message(kind, [1], address), HERE, P):
                bare.send(1, packet)
            await bare.tick(20)
            assert await faults() == [0, 0, 1]
        for packet in control_packets(message(Kind.WRITE_LIST, [1], OUTPUT_LIST + 1), HERE, P):
            bare.send(1, packet)
        await bare.tick(20)
        assert await faults() == [0, 0, 0]

    simulate(dut, bench, cycles=400)
