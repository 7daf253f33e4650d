# SPDX-License-Identifier: Apache-2.0
"""What a core that learns refuses to be built of; ``tests/host/test_learning_sim.py`` runs it."""

import dataclasses

import pytest

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.learning import LearnChip
from ohmtwin.rtl.learning.codes import CodeBuffer
from ohmtwin.rtl.learning.core import LearningCore
from ohmtwin.rtl.learning.macro import LearnMacro
from ohmtwin.rtl.learning.plan import Planner
from ohmtwin.rtl.learning.pulses import PulseSink
from ohmtwin.rtl.learning.trains import PulseGenerator

CHIP = LearnChip(rows=6, cols=4, arrays=1, lanes=4)
BUILT = (LearningCore, LearnMacro, PulseGenerator, PulseSink, CodeBuffer, Planner)


@pytest.mark.parametrize("component", BUILT)
def test_refuses_what_is_no_chip_that_learns(component: type) -> None:
    with pytest.raises(TypeError, match=r"^Chip must be a LearnChip, not Chip\("):
        component(chip=Chip())


@pytest.mark.parametrize("component", BUILT)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lanes": 7}, r"^A core of 6 rows and 4 columns can use 6 lanes, not 7$"),
        (
            {"lanes": 5, "transposed_lanes": 3},
            r"^A core of 6 rows and 4 columns can use 4 lanes, not 5$",
        ),
        ({"transposed_lanes": 7}, r"^A core of 6 rows can use as many transposed lanes, not 7$"),
    ],
)
def test_refuses_converters_that_no_line_has(
    component: type, changes: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        component(chip=dataclasses.replace(CHIP, **changes))


def test_a_beat_holds_the_codes_of_either_direction() -> None:
    for lanes, transposed, width in ((4, 0, 64), (4, 6, 96), (4, 2, 64)):
        chip = dataclasses.replace(CHIP, lanes=lanes, transposed_lanes=transposed)
        assert len(LearnMacro(chip=chip).codes.payload) == width
