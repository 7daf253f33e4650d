# SPDX-License-Identifier: Apache-2.0
"""Each planted bug makes the ordinary test of its block fail, and leaves no trace behind."""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from bugs import (
    COMBINE,
    CONTROLLER,
    ELEMENTS,
    GATHER,
    LOADER,
    NETWORK,
    NOISE_KEY_C,
    NOISE_KEY_NUMPY,
    REQUANTIZER,
    SCHEDULER,
    STORE,
)
from bugs_of_boards import SHARED
from bugs_of_options import CODE, ENCODINGS, INPUTS, WRITER
from plant import Mutation, StaleMutationError, planted, planted_in_c

# What a check raises when it has found a bug; anything else is a broken check.
FOUND = (AssertionError, TimeoutError)


def check(module: str, name: str, *args: Any) -> Callable[[], None]:
    """The ordinary test, with the parameters it is given there."""
    function = getattr(importlib.import_module(module), name)
    return lambda: function(*args)


def code_checks() -> None:
    importlib.import_module("test_ancode").test_as_the_reference("AB, slices")
    importlib.import_module("test_core").test_products_under_a_code("a beat a word", 0.0)


def encoding_checks() -> None:
    module = importlib.import_module("test_core_encodings")
    for chip in ("differential, an output a beat", "differential, a sign a beat", "binary"):
        module.test_products(chip, 0.0)
    module.test_flags_can_be_written_anew()
    module.test_products("flipped, two beats a word", 0.0)


def input_checks() -> None:
    """The quickest first: a bug ends it."""
    loader = importlib.import_module("test_loader")
    loader.test_signs_and_magnitudes()
    loader.test_sums_of_streams()
    core = importlib.import_module("test_core")
    for chip in ("wide digits", "twos_complement", "sign_magnitude", "short stream", "unary"):
        core.test_products(chip, 0.0)


def requantizer_checks() -> None:
    module = importlib.import_module("test_requantizer")
    for kind in (module._halves, module._near_ties):
        module.test_equals_golden_and_float32(kind, (37, 3, 250))


def loader_checks() -> None:
    module = importlib.import_module("test_loader")
    module.test_rows_and_sums(0)
    module.test_elements()
    module.test_words_of_32_bits()


def elements_checks() -> None:
    module = importlib.import_module("test_elements")
    module.test_operations_and_drain(8)
    module.test_words_of_32_bits()


def store_checks() -> None:
    module = importlib.import_module("test_vector_unit")
    for chip in module._CHIPS[2:]:
        module.test_drains(chip)


def controller_checks() -> None:
    module = importlib.import_module("test_controller")
    module.test_load_then_product()
    module.test_runs()
    module.test_drain_steps_and_waits()
    module.test_load_and_vec_do_not_wait_for_the_vector_unit()


def network_checks() -> None:
    timing = importlib.import_module("test_noc_interface_timing")
    timing.test_feeding()
    timing.test_sending()
    state = importlib.import_module("test_noc_interface_state")
    state.test_waits_of_the_feeder_are_counted_and_named()
    state.test_a_message_of_the_host_is_not_broken_into()


def writer_checks() -> None:
    module = importlib.import_module("test_writer")
    module.test_the_bridge_lets_rows_through_between_samples(True, False)
    module.test_rows_are_written_as_specified("two beats a row", 0.0)


def shared_checks() -> None:
    noise = importlib.import_module("ohmtwin.fpga.crossbar.image").Noise.PIPELINED
    importlib.import_module("test_shared_emulator").test_arrays_take_turns(0.0, noise)


BLOCKS: Mapping[str, tuple[Mapping[str, Mutation], Callable[[], None]]] = {
    "scheduler": (SCHEDULER, check("test_scheduler", "test_reads_and_cycles", 40, 16, 0.7)),
    "slice combine": (COMBINE, check("test_combine", "test_sums", 2, 8)),
    "weight encodings": (ENCODINGS, encoding_checks),
    "AN code": (CODE, code_checks),
    "requantizer": (REQUANTIZER, requantizer_checks),
    "input encodings": (INPUTS, input_checks),
    "gather": (GATHER, check("test_gather", "test_reads_and_cycles")),
    "loader": (LOADER, loader_checks),
    "vector ALU": (ELEMENTS, elements_checks),
    "store": (STORE, store_checks),
    "controller": (CONTROLLER, controller_checks),
    "writer": (WRITER, writer_checks),
    "network interface": (NETWORK, network_checks),
    "shared engine": (SHARED, shared_checks),
    "noise key": (
        NOISE_KEY_NUMPY,
        check("test_threefry", "test_column_words_follow_the_counter_layout"),
    ),
}
CASES = [
    pytest.param(block, bug, id=f"{block}: {bug}")
    for block, (bugs, _) in BLOCKS.items()
    for bug in bugs
]


@pytest.mark.parametrize("block", BLOCKS)
def test_checks_pass_without_a_bug(block: str) -> None:
    BLOCKS[block][1]()


@pytest.mark.parametrize(("block", "bug"), CASES)
def test_a_bug_is_found(block: str, bug: str) -> None:
    bugs, run = BLOCKS[block]
    with planted(bugs[bug]), pytest.raises(FOUND):
        run()


@pytest.mark.parametrize("bug", NOISE_KEY_C)
def test_c_and_numpy_differ_with_another_key(bug: str, tmp_path: Path) -> None:
    """The test that holds C equal to NumPy, with a bug in C."""
    module = importlib.import_module("test_crossbar")
    # Only "native" is the library of cengine; the others are built with flags of their own.
    (native,) = (isa for isa, flags in module.ISAS.items() if flags is None)
    noisy = module.KINDS[-1]
    module.test_c_equals_numpy(native, noisy)
    with planted_in_c(NOISE_KEY_C[bug], tmp_path) as lib, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "library", lambda: lib)
        with pytest.raises(AssertionError):
            module.test_c_equals_numpy(native, noisy)


def test_a_stale_mutation_says_so() -> None:
    gone = Mutation("a bug of old", "ohmtwin.rtl.combine", "text that is not there", "x")
    with (
        pytest.raises(StaleMutationError, match="its text stands 0 times"),
        planted(gone),
    ):
        pass


def test_a_mutation_that_changes_nothing_says_so() -> None:
    idle = Mutation("a comment", "ohmtwin.rtl.combine", "# Second stage: add", "# Stage two: add")
    with pytest.raises(StaleMutationError, match="changes no code"), planted(idle):
        pass
