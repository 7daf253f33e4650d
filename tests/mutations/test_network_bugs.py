# SPDX-License-Identifier: Apache-2.0
"""Bugs of routers, interfaces, the lock-step simulation, the planner of meshes, and rotation."""

import importlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from bugs_of_network import (
    DEFLECTION,
    INTERFACE,
    LOCK_STEP,
    PLANNER,
    ROTATION,
    ROTATION_C,
    ROTATION_HOST,
    ROTATION_MAP,
    ROUTER,
    SLOTS,
)
from plant import Mutation, planted, planted_in_c
from test_blocks import FOUND, check

from ohmtwin.arch.errors import CapacityError, ToolError
from ohmtwin.arch.noc import MeshShape
from ohmtwin.host import mesh_build
from ohmtwin.host.driver import LinkError

SATURATED = range(4)
"""Seeds of meshes whose programs send as fast as they can."""


def slot_checks() -> None:
    importlib.import_module("test_noc_interface_timing").test_sending()
    module = importlib.import_module("test_noc_interface")
    module.test_words_arrive_by_the_lists(1, False, False, 1.0)


def interface_checks() -> None:
    """The quickest first: a bug ends it."""
    state = importlib.import_module("test_noc_interface_state")
    state.test_waits_of_the_feeder_are_counted_and_named()
    state.test_a_class_that_is_refused_lets_the_other_pass()
    state.test_the_host_is_answered()
    state.test_words_of_the_host_wait_for_room()
    state.test_an_acknowledgment_goes_before_an_answer()
    module = importlib.import_module("test_noc_interface")
    module.test_words_arrive_by_the_lists(2, False, False, 0.6)
    module.test_words_arrive_by_the_lists(7, False, True, 0.7)


def router_checks() -> None:
    module = importlib.import_module("test_noc_mesh")
    module.test_packets_turn_in_their_column()
    module.test_every_packet_arrives(MeshShape(width=1, height=3, hosts=(), depth=2), 0.1)
    module.test_every_packet_arrives(MeshShape(width=3, height=2, hosts=(0, 1), depth=4), 0.5)


def rotation_checks() -> None:
    module = importlib.import_module("test_rotation")
    module.test_keep_is_set_and_added_to()
    module.test_sums_over_many_turns()
    module.test_sums_go_past_sixteen_bits()
    module.test_a_program_begins_without_keep()


def shared_key_checks() -> None:
    """The RTL of one core with five arrays against level fast."""
    module = importlib.import_module("test_rotation_networks")
    library = importlib.import_module("ohmtwin.host.verilator_build").build_model(module.ONE)
    module.test_one_tile("digits", "rram", "fast", {"digits": library})


def turn_checks() -> None:
    importlib.import_module("test_turns").test_rows_of_a_later_turn_are_loaded_again()
    module = importlib.import_module("test_rotation_networks")
    for case in ("mlp", "residual"):
        module.test_meshes_compute_what_networks_do(case, False, (2, 5))


def planner_checks() -> None:
    checks = importlib.import_module("test_mesh_check")
    net = checks.make_net()
    checks.test_a_message_that_nobody_sends(net)
    checks.test_an_order_in_which_tiles_wait_for_each_other(net)
    checks.test_slots_hold_what_is_unread()
    module = importlib.import_module("test_mesh_compiler")
    module.test_a_mesh_computes_what_the_network_does("images", True, True)
    module.test_copies_take_turns_and_have_noise_of_their_own()


BLOCKS: Mapping[str, tuple[Mapping[str, Mutation], Callable[[], None]]] = {
    "slots": (SLOTS, slot_checks),
    "interface": (INTERFACE, interface_checks),
    "router": (ROUTER, router_checks),
    "deflection": (DEFLECTION, check("test_noc_mesh", "test_every_packet_arrives_without_buffers")),
    "rotation": (ROTATION, rotation_checks),
    "arrays of a core": (ROTATION_HOST, shared_key_checks),
    "turns": (ROTATION_MAP, turn_checks),
    "planner": (PLANNER, planner_checks),
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
    # A plan with a bug in it is refused by the compiler's own check, or one that should be is not.
    more = (CapacityError, pytest.fail.Exception) if block == "planner" else ()
    with planted(bugs[bug]), pytest.raises((*FOUND, *more)):
        run()


@pytest.mark.parametrize("bug", ROTATION_C)
def test_c_and_numpy_differ_on_arrays_that_take_turns(bug: str, tmp_path: Path) -> None:
    module = importlib.import_module("test_options")
    module.test_model_numpy_and_c("three arrays a core")
    with planted_in_c(ROTATION_C[bug], tmp_path), pytest.raises(AssertionError):
        module.test_model_numpy_and_c("three arrays a core")


@contextmanager
def planted_in_harness(mutation: Mutation, folder: Path) -> Iterator[None]:
    """Meshes are built from C++ with a bug in it; the Verilated models are the same."""
    sources = folder / "sv"
    shutil.copytree(mesh_build.SV, sources)
    path = sources / mutation.source
    path.write_text(mutation.apply(path.read_text()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mesh_build, "SV", sources)
        yield


def lock_step_checks() -> None:
    """Saturated meshes, where nobody is ever ready for long: words, flits and cycles."""
    module = importlib.import_module("test_mesh_timing_rtl")
    library = mesh_build.build_mesh(module.CHIP)
    module.test_a_chain_is_exact(library)
    for seed in SATURATED:
        plan, programs = module.random_mesh(module.CHIP, seed, 0)
        driver = module.measure(library, module.CHIP, plan, programs)
        try:
            run = module.predict(module.CHIP, plan, module.machines(programs), module.SAMPLES)
            assert module.check(run, driver, seed) == 0
        finally:
            driver.close()


def test_lock_step_is_exact_without_a_bug() -> None:
    lock_step_checks()


@pytest.mark.parametrize("bug", LOCK_STEP)
def test_a_bug_in_the_lock_step_is_found(bug: str, tmp_path: Path) -> None:
    # A flit that is lost shows in the counters, or whoever waits for it is reported.
    with (
        planted_in_harness(LOCK_STEP[bug], tmp_path),
        pytest.raises((AssertionError, LinkError, ToolError)),
    ):
        lock_step_checks()
