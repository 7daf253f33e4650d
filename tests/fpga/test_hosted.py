# SPDX-License-Identifier: Apache-2.0
"""Messages of a tile that asks its host for reads: none leaves before all of it is there."""

from random import Random

from amaranth.sim import SimulatorContext
from simulate import simulate
from streams import stream_put

from ohmtwin.arch.messages import Header, Kind
from ohmtwin.fpga.hosted import MessageFifo


def messages(random: Random, count: int) -> list[list[int]]:
    """Of any length, payloads that look like headers among them."""
    found = []
    for length in [0, 1, 2, 40, *(random.randrange(12) for _ in range(count))]:
        trap = Header(Kind.OUTPUT, random.randrange(1, 60)).encode()
        payload = [random.choice((trap, random.getrandbits(64))) for _ in range(length)]
        found.append([Header(Kind.OUTPUT, length).encode(), *payload])
    return found


def test_a_message_leaves_when_all_of_it_is_in() -> None:
    """The tile may hold still in the middle of one; what it then asks for must get out."""
    random = Random(3)
    sent = messages(random, 20)
    whole = [0]  # words of the messages that are in as a whole
    taken: list[tuple[int, int]] = []
    dut = MessageFifo()

    async def feed(ctx: SimulatorContext) -> None:
        for number, message in enumerate(sent):
            for word in message[:-1]:
                await stream_put(ctx, dut.i, word)
            # The tile holds still: nothing of this message may leave, all before it must.
            await ctx.tick().repeat(200 if number % 3 == 0 else 1 + random.randrange(3))
            if number % 3 == 0:
                assert len(taken) == whole[-1]
            whole.append(whole[-1] + len(message))
            await stream_put(ctx, dut.i, message[-1])
        await ctx.tick().repeat(300)

    async def drain(ctx: SimulatorContext) -> None:
        while True:
            ctx.set(dut.o.ready, int(random.random() < 0.7))
            _, _, valid, ready, word, last = await ctx.tick().sample(
                dut.o.valid, dut.o.ready, dut.o.payload, dut.last
            )
            if valid and ready:
                taken.append((word, last))
                assert len(taken) <= whole[-1], "a part of a message has left"

    simulate(dut, feed, background=[drain], cycles=20_000)
    wanted = [(word, int(k == len(m) - 1)) for m in sent for k, word in enumerate(m)]
    assert taken == wanted
