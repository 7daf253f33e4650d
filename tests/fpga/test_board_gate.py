# SPDX-License-Identifier: Apache-2.0
"""Images on their way to the emulators: messages, and the gate that takes them out."""

from random import Random

import numpy as np
import pytest
from amaranth.sim import SimulatorContext
from images import random_image
from simulate import simulate
from streams import stream_put

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.link import Feature
from ohmtwin.arch.messages import Header, Kind
from ohmtwin.fpga.crossbar.image import EmulatorConfig, Noise, Region, image_words
from ohmtwin.fpga.fabric import ImageGate
from ohmtwin.fpga.loading import emulator_config, features, image_messages

CHIP = Chip(cores=2, rows=16, cols=16, lanes=4, adc_bits=6, rows_per_read=8)


def parsed(words: list[int]) -> list[tuple[int, int, int]]:
    """What messages write: core, address and word, in order, by the manual of ``Kind``."""
    found = []
    while words:
        header = Header.decode(words[0])
        assert header.kind is Kind.WRITE_IMAGE
        core, address = header.address >> 20, header.address & 0xFFFFF
        for word in words[1 : 1 + header.length]:
            for value in (word & 0xFFFFFFFF, word >> 32):
                found.append((core, address, value))
                address += 512 if address >> 17 == Region.REFERENCE else 1
        words = words[1 + header.length :]
    return found


@pytest.mark.parametrize("core", [0, 1])
def test_messages_hold_every_word_once(core: int) -> None:
    config = EmulatorConfig(columns=4)
    words = image_words(
        random_image(CHIP, np.random.default_rng(1)), CHIP, config, seed=7, array=core, reads=5
    )
    found = parsed(image_messages(words, core).tolist())
    assert [(core, int(a), int(w)) for a, w in words] == found
    # Two words each, and a header for every run of addresses.
    assert len(image_messages(words, core)) < 0.7 * len(words)


def test_gate_writes_images_and_passes_the_rest() -> None:
    """Images among other messages, register reads (whose length is no payload) among these."""
    numbers = Random("gate")
    config = EmulatorConfig(columns=4, adc_table=False)
    image = random_image(CHIP, np.random.default_rng(2))
    words = image_words(
        type(image)(g=image.g, ref=image.ref, q=image.q, adc_bits=6, lanes=4),
        CHIP, config, seed=1, array=1,
    )  # fmt: skip
    messages = image_messages(words[:40], 0).tolist(), image_messages(words, 1).tolist()
    # Payload that looks like the header of an image must pass as it is.
    trap = Header(Kind.WRITE_IMAGE, 3, 1).encode()
    others = [
        [Header(Kind.READ_REG, 4, 8).encode()],
        [Header(Kind.INPUT, 2).encode(), trap, trap],
        [Header(Kind.WRITE_DATA, 0).encode()],
        [Header(Kind.WRITE_PROGRAM, 1, 5).encode(), trap],
    ]
    order = [messages[0], others[0], others[1], messages[1], others[2], others[0], others[3]]
    dut = ImageGate()
    written: list[tuple[int, int, int]] = []
    passed: list[int] = []

    async def feed(ctx: SimulatorContext) -> None:
        for word in [word for part in order for word in part]:
            if numbers.random() < 0.2:
                await ctx.tick().repeat(numbers.randrange(1, 4))
            await stream_put(ctx, dut.i, word)
        await ctx.tick().repeat(20)

    async def watch(ctx: SimulatorContext) -> None:
        while True:
            ctx.set(dut.o.ready, int(numbers.random() < 0.6))
            _, _, en, addr, word, core, valid, ready, payload = await ctx.tick().sample(
                dut.load.en, dut.load.addr, dut.load.word, dut.load_core,
                dut.o.valid, dut.o.ready, dut.o.payload,
            )  # fmt: skip
            if en:
                written.append((core, addr, word))
            if valid and ready:
                passed.append(payload)

    simulate(dut, feed, background=[watch], cycles=20_000)
    assert written == parsed(messages[0] + messages[1])
    assert passed == [word for part in order if part not in messages for word in part]


@pytest.mark.parametrize(
    "config",
    [
        EmulatorConfig(),
        EmulatorConfig(noise=Noise.NONE, cell_variance=False),
        EmulatorConfig(noise=Noise.ITERATIVE, adc_table=False),
        EmulatorConfig(cell_variance=False),
    ],
)
def test_a_host_learns_what_it_must_write(config: EmulatorConfig) -> None:
    """The words of an image depend on nothing of the emulators but what their features tell."""
    bits = features(config)
    assert bits & Feature.EMULATED_CROSSBARS
    known = emulator_config(bits)
    quiet = random_image(CHIP, np.random.default_rng(3))
    image = type(quiet)(g=quiet.g, ref=quiet.ref, adc_bits=6, lanes=4)
    there = image_words(image, CHIP, config, seed=1, array=0)
    np.testing.assert_array_equal(there, image_words(image, CHIP, known, seed=1, array=0))
