# SPDX-License-Identifier: Apache-2.0
"""Rounds and turns of layers whose blocks share cores, worked by hand."""

from ohmtwin.arch.chip import Chip
from ohmtwin.host.compiler.mapping import Block
from ohmtwin.host.compiler.turns import FreeArrays, Load, Round, loads_again, plan_rounds

LOW, HIGH = range(8), range(8, 16)
LEFT, RIGHT = range(4), range(4, 8)

Told = list[tuple[list[tuple[range, set[int], set[int], bool]], tuple[int, ...]]]


def told(rounds: list[Round[Block]]) -> Told:
    """Rows, cores, cores that load, and whether sums are kept: of each load of each round."""

    def one(load: Load[Block]) -> tuple[range, set[int], set[int], bool]:
        cores = {block.core for block in load.blocks}
        return load.blocks[0].rows, cores, set(load.fresh), load.keep

    return [([one(load) for load in r.loads], r.parts) for r in rounds]


def test_column_parts_with_cores_of_their_own_make_one_round() -> None:
    parts = [
        [Block(0, LOW, LEFT), Block(1, HIGH, LEFT)],
        [Block(2, LOW, RIGHT), Block(3, HIGH, RIGHT)],
    ]
    assert told(plan_rounds(parts)) == [
        ([(LOW, {0, 2}, {0, 2}, False), (HIGH, {1, 3}, {1, 3}, False)], (0, 1))
    ]
    assert not loads_again(parts)


def test_a_core_that_holds_its_rows_does_not_load_them_again() -> None:
    parts = [[Block(0, LOW, LEFT, 0)], [Block(0, LOW, RIGHT, 1)]]
    assert told(plan_rounds(parts)) == [
        ([(LOW, {0}, {0}, False)], (0,)),
        ([(LOW, {0}, set(), False)], (1,)),
    ]
    assert not loads_again(parts)


def test_rows_of_a_later_turn_are_loaded_again() -> None:
    """The row registers hold them still, but the sum of activations holds those before too."""
    parts = [[Block(0, LOW, LEFT, 0), Block(0, HIGH, LEFT, 1)], [Block(0, HIGH, RIGHT, 2)]]
    assert told(plan_rounds(parts)) == [
        ([(LOW, {0}, {0}, False), (HIGH, {0}, {0}, True)], (0,)),
        ([(HIGH, {0}, {0}, False)], (1,)),
    ]
    assert loads_again(parts)


def test_arrays_are_taken_from_the_emptiest_cores() -> None:
    chip = Chip(cores=2, arrays_per_core=3)
    free = FreeArrays(chip)
    assert free.take([(LOW, LEFT)]) == [(0, 0)]
    # The other core has more free ones now.
    assert free.take([(LOW, LEFT), (HIGH, LEFT)]) == [(1, 0), (0, 1)]
    assert free.take([(LOW, LEFT)], spare_first=True) == [(1, 1)]
    grid = [(LOW, LEFT), (HIGH, LEFT), (LOW, RIGHT)]
    # Two are left; what is beyond stands on a core that the chip lacks.
    assert sorted(free.take(grid)) == [(0, 2), (1, 2), (2, 0)]
