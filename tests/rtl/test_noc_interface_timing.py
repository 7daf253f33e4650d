# SPDX-License-Identifier: Apache-2.0
"""Cycles of a network interface that nobody holds up are those of ``arch/noc_interface.py``."""

from amaranth.sim import SimulatorContext
from noc_bare import CHIP, HERE, THERE, Bare
from simulate import simulate

from ohmtwin.arch.messages import Header as Message
from ohmtwin.arch.messages import Kind as MessageKind
from ohmtwin.arch.noc import Header
from ohmtwin.arch.noc_interface import (
    ACK_SEEN,
    FEED_ACK,
    FEED_HEADER,
    HALF_FREE,
    PACKET_HEADER,
    SLOT_FULL,
    START,
    WORD_SEEN,
    ControlKind,
    ControlUser,
    DataUser,
    Leg,
    Route,
    feed_cycles,
    packets,
    send_cycles,
)
from ohmtwin.rtl.noc.interface import NetworkInterface

P = CHIP.packet_words


def test_feeding() -> None:
    """From the flits of messages to the tile's words and the acknowledgments."""
    sizes = [7, 1, 4, 16]
    dut = NetworkInterface(chip=CHIP)

    async def bench(ctx: SimulatorContext) -> None:
        bare = Bare(ctx, dut)
        await bare.begin([], [(2, size) for size in sizes], [])
        payload = iter(range(100, 200))
        tails = []
        for slot, size in enumerate(sizes[:2]):
            await bare.message([next(payload) for _ in range(size)], channel=2, slot=slot)
            tails.append(bare.put[-1])
        await bare.tick(30)
        decided = [tails[0] + SLOT_FULL]
        decided.append(max(decided[0] + feed_cycles(sizes[0]), tails[1] + SLOT_FULL))
        expected, acks = [], []
        payload = iter(range(100, 200))
        for slot, (size, at) in enumerate(zip(sizes, decided, strict=False)):
            header = Message(MessageKind.INPUT, size).encode()
            first = at + FEED_HEADER
            expected += [(first, header)]
            expected += [(first + 1 + k, next(payload)) for k in range(size)]
            user = ControlUser(kind=ControlKind.ACK, slot=slot, route=3, channel=2).encode()
            back = Header(
                dst_x=THERE.x, dst_y=THERE.y, src_x=HERE.x, src_y=HERE.y, user=user
            ).encode()
            acks.append((first + size + FEED_ACK, back, 1))
        assert bare.fed == expected
        assert bare.flits == acks
        assert decided[1] == decided[0] + feed_cycles(sizes[0]), "the second did not wait"

    simulate(dut, bench, cycles=300)


def test_sending() -> None:
    """From the tile's words to packets on two legs; words wait for a half, headers for ACKs."""
    route = Route(number=5, legs=(Leg(0, 1), Leg(0, 0)), channel=2, consumers=2)
    sizes = [10, 1, 3, 5]
    dut = NetworkInterface(chip=CHIP)

    async def bench(ctx: SimulatorContext) -> None:
        bare = Bare(ctx, dut)
        start = await bare.begin([route], [], [(5, size) for size in sizes])
        total = sum(sizes)
        bare.out = [Message(MessageKind.OUTPUT, total).encode(), *range(total)]
        await bare.tick(60)
        expected = []
        # The header of the first packet of each message, where no acknowledgment is waited for.
        header_taken = start + START
        assert bare.given[0] == header_taken
        words = bare.given[1:]  # cycles
        decided = words[P - 1] + WORD_SEEN
        first = 0
        offers = []
        for slot, size in enumerate(sizes[:2]):
            legs_done = decided
            for leg in route.legs:
                at = legs_done
                for index in range(packets(size, P)):
                    count = min(P, size - index * P)
                    ready = words[first + index * P + count - 1] + WORD_SEEN
                    at = max(at, ready)
                    user = DataUser(channel=2, slot=slot, route=5, index=index, words=size)
                    header = leg.header(HERE, count, user.encode()).encode()
                    offers.append((at + PACKET_HEADER, header, 0))
                    offers += [
                        (at + PACKET_HEADER + 1 + k, first + index * P + k, 0) for k in range(count)
                    ]
                    at += count + 1
                legs_done = at
            expected.append(legs_done)
            first += size
            decided = legs_done
        assert bare.flits == offers
        leg_cycles = send_cycles(sizes[0], P)
        assert expected[0] - leg_cycles >= words[P - 1] + WORD_SEEN
        # Words of the first two messages come a cycle each; the third finds both halves in use
        # until the first message's last flit is offered; the fourth waits for the second's.
        assert words[: sizes[0] + sizes[1]] == list(range(words[0], words[0] + 11))
        freed = [expected[0] - 1 + PACKET_HEADER, expected[1] - 1 + PACKET_HEADER]
        assert words[11] == freed[0] + HALF_FREE
        assert words[14] == max(words[13] + 1, freed[1] + HALF_FREE)

        # Slot 0 is free when both consumers have read it.
        assert ctx.get(dut.state.send_missing) == 2
        bare.flits.clear()
        for _ in range(2):
            await bare.acknowledge(5, 0)
            await bare.tick(5)
        assert bare.flits[0][0] == bare.put[-1] + ACK_SEEN + PACKET_HEADER
        await bare.tick(20)
        assert len(bare.flits) == 2 * (1 + 3)

    simulate(dut, bench, cycles=300)


def test_start_with_a_message_there() -> None:
    dut = NetworkInterface(chip=CHIP)

    async def bench(ctx: SimulatorContext) -> None:
        bare = Bare(ctx, dut)
        await bare.message([1, 2], channel=1, slot=0)
        start = await bare.begin(takes=[(1, 2)])
        await bare.tick(10)
        assert bare.fed[0][0] == start + START + FEED_HEADER

    simulate(dut, bench, cycles=100)
