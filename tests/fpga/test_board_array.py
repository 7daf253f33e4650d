# SPDX-License-Identifier: Apache-2.0
"""The fabric that is one array: its codes, and what it does with other messages."""

import numpy as np
import pytest
from amaranth.sim import SimulatorContext
from images import device_image, random_masks
from simulate import simulate
from streams import stream_get, stream_put

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.errors import ConfigError
from ohmtwin.arch.messages import Header, Kind
from ohmtwin.behavioral.cengine import CCrossbar
from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.fpga.array import ArrayFabric
from ohmtwin.fpga.crossbar.image import EmulatorConfig, Noise, image_words
from ohmtwin.fpga.loading import image_messages
from ohmtwin.host.board_sim import SIMULATED_BAUD, BoardSimulation, build_board
from ohmtwin.host.link.faults import FaultInjector, FaultRates
from ohmtwin.host.link.port import SerialPort
from ohmtwin.host.link.pty import PtyBoard
from ohmtwin.host.remote_array import RemoteArray

pytest.importorskip("serial", reason="pyserial is not installed")

CHIP = Chip(cores=1, rows=72, cols=16, lanes=4, adc_bits=6, rows_per_read=8)
SMALL = Chip(cores=1, rows=16, cols=16, lanes=2, adc_bits=6, rows_per_read=8)
CONFIG = EmulatorConfig(columns=2, noise=Noise.ITERATIVE)


def test_reads_over_the_link() -> None:
    image = device_image(CHIP, "rram")
    crossbar = Crossbar(image, 7, 0)
    dut = ArrayFabric(chip=CHIP, config=CONFIG)
    masks = random_masks(np.random.default_rng(1), 6, CHIP.rows)

    async def bench(ctx: SimulatorContext) -> None:
        words = image_words(image, CHIP, CONFIG, seed=7, array=0)
        for word in image_messages(words, 0).tolist():
            await stream_put(ctx, dut.i, word)
        for number, mask in enumerate(masks):
            bits = sum(int(bit) << r for r, bit in enumerate(mask))
            beats = CHIP.beats if number % 2 else 2
            # A message that means nothing here changes nothing.
            for word in (
                Header(Kind.INPUT, 1).encode(), 5,
                Header(Kind.READ_ARRAY, 2, beats).encode(), bits & ((1 << 64) - 1), bits >> 64,
            ):  # fmt: skip
                await stream_put(ctx, dut.i, word)
            header = Header.decode(await stream_get(ctx, dut.o))
            assert (header.kind, header.length) == (Kind.CODES, beats)
            expected = crossbar.read(mask).reshape(-1, CHIP.lanes)[:beats]
            for codes in expected:
                word = await stream_get(ctx, dut.o)
                assert [word >> 6 * lane & 63 for lane in range(CHIP.lanes)] == codes.tolist()

    simulate(dut, bench, cycles=200_000)


def test_a_board_that_is_one_array() -> None:
    """Hundreds of noisy reads over a line that fails now and then, as of the model."""
    numbers = np.random.default_rng(3)
    image = device_image(SMALL, "rram")
    masks = random_masks(numbers, 200, SMALL.rows)
    rates = FaultRates.bytes_and_frames(1e-4, 0.002)
    simulation = BoardSimulation(build_board(SMALL, CONFIG, array_only=True))
    with PtyBoard(simulation, FaultInjector(rates, 1), FaultInjector(rates, 2)) as line:
        port = SerialPort.open(line.device, SIMULATED_BAUD, chip_hash=SMALL.structure_hash)
        array = RemoteArray(port, SMALL, image, seed=9, array=4)
        expected = CCrossbar(image, 9, 4).read_many(masks)
        np.testing.assert_array_equal(array.read_many(masks[:7]), expected[:7])
        np.testing.assert_array_equal(array.read_many(masks[7:]), expected[7:])
        array.close()
    simulation.close()


def test_beats_must_fit_a_word() -> None:
    with pytest.raises(
        ConfigError, match=r"16 codes of 6 bits do not fit .* take 10 lanes or less"
    ):
        ArrayFabric(chip=CHIP.with_(lanes=16))
