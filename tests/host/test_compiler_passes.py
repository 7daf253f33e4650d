# SPDX-License-Identifier: Apache-2.0
"""What lies under the compiler: loops in addresses, memory, register writes, waits."""

from collections.abc import Sequence

import numpy as np
import pytest
from graph_cases import GRAPH_CHIP
from numpy.typing import NDArray

from ohmtwin.arch.errors import CapacityError
from ohmtwin.arch.isa import Instruction, Opcode, Reg, Source
from ohmtwin.host.compiler.affine import Run, nests, runs
from ohmtwin.host.compiler.flatten import flatten, place_syncs
from ohmtwin.host.compiler.memory import Life, check_memory, plan_memory
from ohmtwin.host.compiler.peephole import optimise
from ohmtwin.host.compiler.tensors import Buffer, Buffers, channels_last, padded
from ohmtwin.host.compiler.tree import Builder, Loop, Node, Operation

Ints = NDArray[np.int64]


# Loops in lists of addresses


def walked(addresses: Ints) -> Ints:
    """What the nests of a list walk through."""
    out = []
    for nest in nests(addresses):
        grid = np.indices(nest.counts).reshape(len(nest.counts), -1)
        strides = np.array([dim.strides for dim in nest.dims]).reshape(len(nest.dims), -1)
        out.append(addresses[:, nest.start : nest.start + 1] + strides.T @ grid)
    return np.concatenate(out, axis=1)


@pytest.mark.parametrize("seed", range(20))
def test_nests_walk_through_the_list(seed: int) -> None:
    random = np.random.default_rng(seed)
    grid = np.indices(random.integers(1, 5, 3)).reshape(3, -1)
    parts = [random.integers(-50, 50, (2, 3)) @ grid + random.integers(0, 99, (2, 1)) for _ in "ab"]
    addresses = np.concatenate(parts, axis=1)
    np.testing.assert_array_equal(walked(addresses), addresses)


def test_regular_lists_are_one_nest() -> None:
    y, x, c = np.indices((5, 7, 3)).reshape(3, -1)
    (nest,) = nests(np.stack([y * 40 + x * 4 + c, y * 21 + x * 3 + c]))
    assert nest.counts == (5, 7, 3)
    assert [dim.strides for dim in nest.dims] == [(40, 21), (4, 3), (1, 1)]
    (flat,) = nests(np.arange(24)[None])
    assert flat.counts == (24,)
    (single,) = nests(np.zeros((2, 1), np.int64))
    assert single.dims == ()


@pytest.mark.parametrize("seed", range(20))
def test_runs_gather_the_bytes_in_order(seed: int) -> None:
    random = np.random.default_rng(seed)
    steps = random.choice([1, 1, 1, 9, 20, -7, 300], 400)
    wanted = np.cumsum(steps)
    found = [
        run.address + k * run.pitch + np.arange(run.bytes)
        for run in runs(wanted)
        for k in range(run.repeats + 1)
    ]
    np.testing.assert_array_equal(np.concatenate(found), wanted)
    assert all(r.bytes <= 256 and r.repeats <= 31 for r in runs(wanted))


def test_runs_of_a_window_are_one_gather() -> None:
    row, byte = np.indices((5, 15)).reshape(2, -1)
    assert runs(row * 96 + byte) == [Run(0, 15, 4, 96)]
    assert runs(np.arange(600)) == [Run(0, 256, 1, 256), Run(512, 88)]


# Images and memory


def test_halos_are_where_readers_look() -> None:
    buffers = Buffers()
    image = channels_last((3, 4, 5), (1, 2, 1, 1), 77)
    made = buffers.new("t", "made", image.fill, image.pitch, image.pixel)
    view = made.base + image.offsets
    assert len(np.unique(view)) == 60
    assert image.pitch == (5 + 2) * 3  # the right halo is the next row's left one
    for pads in ((1, 2, 1, 1), (0, 1, 1, 0)):
        found = padded(view, pads, 77, buffers)
        assert found is not None
        inner = found[:, pads[0] : pads[0] + 4, pads[1] : pads[1] + 5]
        np.testing.assert_array_equal(inner, view)
        offsets = np.delete(found.ravel(), np.flatnonzero(np.isin(found.ravel(), view)))
        assert (image.fill[offsets - made.base] == 77).all()
    assert padded(view, (1, 2, 1, 1), 76, buffers) is None
    assert padded(view, (2, 0, 0, 0), 77, buffers) is None
    assert padded(view[:, ::-1], (1, 1, 1, 1), 77, buffers) is not None
    assert padded(view[:, :, :3], (1, 1, 1, 1), 77, buffers) is None


@pytest.mark.parametrize("seed", range(10))
def test_buffers_in_use_at_once_lie_apart(seed: int) -> None:
    random = np.random.default_rng(seed)
    buffers = Buffers()
    lives = []
    for _ in range(30):
        first = int(random.integers(0, 20))
        made = buffers.new("b", "made", int(random.integers(1, 200)))
        lives.append(Life(made, first, first + int(random.integers(0, 6))))
    bases, words = plan_memory(lives)
    for at, one in enumerate(lives):
        begin = bases[one.buffer.number]
        assert begin % 8 == 0
        assert begin + one.buffer.size <= 8 * words
        for other in lives[:at]:
            start = bases[other.buffer.number]
            apart = begin + one.buffer.size <= start or start + other.buffer.size <= begin
            assert apart or not one.meets(other)
    assert 8 * words < sum(life.buffer.size for life in lives)


def test_what_fills_memory_is_named() -> None:
    def life(name: str, size: int, first: int, last: int) -> Life:
        return Life(Buffer(len(name), name, "made", np.full(size, -1, np.int16)), first, last)

    lives = [life("a", 8000, 0, 1), life("bb", 900, 1, 2), life("ccc", 7000, 3, 3)]
    _, words = plan_memory(lives)
    with pytest.raises(
        CapacityError, match=r"'net' take 1113 words.*a 8000 bytes, bb 900.*data_words to 2048"
    ):
        check_memory(words, lives, GRAPH_CHIP, "net")


# Passes


def execute(nodes: Sequence[Node]) -> list[tuple[Opcode, tuple[tuple[str, int], ...]]]:
    """What is loaded, drained and combined, with all that it depends on."""
    seen = []
    registers = dict.fromkeys(range(16), 0)

    def run(inner: Sequence[Node]) -> None:
        for node in inner:
            if isinstance(node, Loop):
                for _ in range(node.count):
                    run(node.body)
                continue
            fields = node.fields
            if node.op is Opcode.SET:
                registers[fields["reg"]] = fields["value"]
            elif node.op is Opcode.ADD:
                registers[fields["reg"]] += fields["value"]
            elif node.op is Opcode.LOAD:
                seen.append((node.op, (("at", registers[fields["addr"]]), ("p", registers[12]))))
                if fields.get("addr_step"):
                    registers[fields["addr"]] += fields["bytes"]
            elif node.op is Opcode.REQ:
                state = (registers[fields["dest"]], registers[fields["param"]], registers[11])
                seen.append((node.op, (("dest", hash(state)),)))
                if fields.get("dest_step"):
                    registers[fields["dest"]] += fields["outputs"]

    run(nodes)
    return seen


def random_tree(builder: Builder, random: np.random.Generator, depth: int) -> None:
    for _ in range(int(random.integers(2, 7))):
        kind = random.integers(0, 6)
        reg = int(random.choice([0, 1, 2]))
        if kind == 0 and depth < 3:
            with builder.loop(int(random.integers(1, 4))):
                random_tree(builder, random, depth + 1)
        elif kind == 1:
            builder.set(int(random.choice([0, 1, 2, 11, 12])), int(random.integers(0, 3)))
        elif kind == 2:
            builder.emit(Opcode.ADD, reg=reg, value=int(random.choice([-8, 0, 4, 8])))
        elif kind in (3, 4):
            builder.emit(Opcode.LOAD, addr=reg, source=Source.DATA, bytes=8, repeats=1, cores=1)
        else:
            builder.emit(Opcode.REQ, dest=reg, param=(reg + 1) % 3, outputs=4, cores=1)
    builder.emit(Opcode.LOAD, addr=0, source=Source.DATA, bytes=8, repeats=1, cores=1)


@pytest.mark.parametrize("seed", range(200))
def test_register_writes_that_go_change_nothing(seed: int) -> None:
    plain, optimised = Builder(GRAPH_CHIP), Builder(GRAPH_CHIP)
    for builder in (plain, optimised):
        random_tree(builder, np.random.default_rng(seed), 0)
    assert execute(optimise(optimised.root)) == execute(plain.root)


def test_register_writes_leave_loops() -> None:
    builder = Builder(GRAPH_CHIP)
    with builder.loop(5):
        builder.quant(1, 0, 255)
        with builder.loop(4):
            builder.set(Reg.PITCH, 16)
            builder.emit(Opcode.LOAD, addr=0, source=Source.DATA, bytes=8, repeats=1, cores=1)
            builder.emit(Opcode.ADD, reg=0, value=8)
        builder.emit(Opcode.REQ, dest=1, param=2, outputs=4, cores=1)
    found = flatten(optimise(builder.root)).instructions
    ops = [i.op for i in found]
    assert ops == [Opcode.SET, Opcode.SET, Opcode.LOOP, Opcode.LOOP, Opcode.LOAD, Opcode.REQ]
    assert found[4]["addr_step"] == 1


def moves(op: Opcode, **changes: object) -> Operation:
    return Operation(op, {}, **changes)


def test_readers_wait_for_what_a_req_stores() -> None:
    store = moves(Opcode.REQ, writes=((0, 16),))
    apart = moves(Opcode.VEC, reads=((16, 32),))
    reader = moves(Opcode.VEC, reads=((8, 24),))
    begin = moves(Opcode.RECV, in_words=1)
    found = place_syncs([begin, store, apart, reader, reader], GRAPH_CHIP)
    assert [n.op.name for n in found if isinstance(n, Operation)] == [
        "SYNC", "RECV", "REQ", "VEC", "SYNC", "VEC", "VEC"
    ]  # fmt: skip


def test_waits_stand_outside_of_loops_unless_a_pass_reads_what_the_one_before_stored() -> None:
    store = moves(Opcode.REQ, writes=((0, 16),))
    outside = Loop(4, [moves(Opcode.LOAD, reads=((0, 8),)), moves(Opcode.REQ, writes=((64, 72),))])
    found = place_syncs([moves(Opcode.RECV, in_words=1), store, outside], GRAPH_CHIP)
    assert [type(n).__name__ for n in found] == ["Operation"] * 4 + ["Loop"]
    assert len(outside.body) == 2
    carried = Loop(4, [moves(Opcode.LOAD, reads=((0, 8),)), moves(Opcode.REQ, writes=((0, 8),))])
    place_syncs([moves(Opcode.RECV, in_words=1), carried], GRAPH_CHIP)
    assert [n.op.name for n in carried.body if isinstance(n, Operation)] == ["SYNC", "LOAD", "REQ"]


def test_words_of_the_host_are_waited_for_in_stretches_that_fit() -> None:
    limit = GRAPH_CHIP.fifo_words
    small = moves(Opcode.RECV, in_words=limit // 2)
    large = Loop(8, [moves(Opcode.SEND, out_words=limit // 4)])
    found = place_syncs([small, small, small, large], GRAPH_CHIP)
    syncs = [
        (n.fields["in_words"], n.fields["out_words"])
        for n in found
        if isinstance(n, Operation) and n.op is Opcode.SYNC
    ]
    assert syncs == [(limit, 0), (limit // 2, 0)]
    first = large.body[0]
    assert isinstance(first, Operation)
    assert (first.op, first.fields["out_words"]) == (Opcode.SYNC, limit // 4)
    wide = Operation(Opcode.SEND, {"addr": 0, "words": 65}, out_words=65)
    with pytest.raises(CapacityError, match="moves 65 words at once"):
        place_syncs([small, wide], GRAPH_CHIP)


def test_two_loops_do_not_end_together() -> None:
    inner = Loop(2, [moves(Opcode.NOP)])
    found = flatten([Loop(3, [inner])]).instructions
    assert [i.op.name for i in found] == ["LOOP", "LOOP", "NOP", "NOP"]
    assert found[0] == Instruction.make(Opcode.LOOP, body=3, count=3)
