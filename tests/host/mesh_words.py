# SPDX-License-Identifier: Apache-2.0
"""Runs the tiles of a mesh on the very words that they send each other, one tile after another."""

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ohmtwin.behavioral.cengine import CCrossbar
from ohmtwin.behavioral.machine import Machine
from ohmtwin.host.compiler.network import CompiledNetwork

__all__ = ["run_words"]

Words = NDArray[np.uint64]


def run_words(
    net: CompiledNetwork, codes: dict[str, NDArray[np.uint8]], first: int = 0
) -> dict[str, NDArray[Any]]:
    """Tensors of a run by name; every message must find the channel and the length expected.

    ``first``: samples that have run before.
    """
    plan = net.mesh
    assert plan is not None
    samples = len(next(iter(codes.values())))
    channels: dict[tuple[int, int], deque[Words]] = {}

    def deliver(tile: int, channel: int, words: Words) -> None:
        channels.setdefault((tile, channel), deque()).append(words)

    for feed in plan.host_in:
        own = list(feed.indices(samples, first))
        sent = feed.words(codes[feed.tensor][own]) if own else np.zeros((0, 0), np.uint64)
        for row in sent:
            at = 0
            for words in feed.messages:
                for tile in feed.tiles:
                    deliver(tile, feed.channel, row[at : at + words])
                at += words
    found: dict[str, list[tuple[int, str, list[int], NDArray[Any]]]] = {}
    assert net.partition is not None
    pieces = {piece.layer.name: piece for piece in net.partition.pieces}
    for tile, result in zip(plan.tiles, plan.host_out, strict=True):
        part = net.tiles[tile.tile]
        program = part.program
        own = list(tile.indices(samples, first))
        if not own:
            continue
        # How many of its samples have run before this run.
        before = len(tile.indices(first))
        taken = np.zeros((len(own), program.input_words), np.uint64)
        for at, row in enumerate(taken):
            for message in tile.takes[(before + at) % len(tile.takes)]:
                words = channels[tile.tile, message.number].popleft()
                assert len(words) == message.words
                row[message.start : message.start + message.words] = words
        arrays = [
            CCrossbar(image, part.seed, part.array_base + spec.core)
            for spec, image in zip(program.arrays, part.images, strict=True)
        ]
        given = Machine(program, arrays).run(taken)
        covered = np.zeros_like(given)
        for at, row in enumerate(given):
            turn = (before + at) % len(tile.gives)
            assert sum(m.words for m in tile.gives[turn]) == program.output_words
            for message in tile.gives[turn]:
                route = tile.routes[message.number - 1]
                words = row[message.start : message.start + message.words]
                for consumer in plan.consumers(tile, route):
                    deliver(consumer.tile, route.channel, words)
            for message in result.takes[turn % len(result.takes)]:
                span = slice(message.start, message.start + message.words)
                covered[at, span] = row[span]
        # The host unpacks what it got; what it did not get is zero here.
        tensors = program.unpack_outputs(covered)
        for name in result.tensors:
            layer, suffix = (name, "") if name in pieces else (name.removesuffix(".acc"), ".acc")
            piece = pieces[layer]
            full = f"{piece.origin.name}{suffix}"
            found.setdefault(full, []).append((tile.part, layer, own, tensors[name]))
    assert not any(channels.values())
    joined = {}
    for name, parts in found.items():
        by_piece: dict[str, NDArray[Any]] = {}
        for _, layer, own, array in parts:
            whole = by_piece.setdefault(layer, np.zeros((samples, *array.shape[1:]), array.dtype))
            whole[own] = array
        order = [layer for layer in pieces if layer in by_piece]
        axis = 1 if pieces[order[0]].axis == 0 else -1
        joined[name] = np.concatenate([by_piece[layer] for layer in order], axis)
    return joined
