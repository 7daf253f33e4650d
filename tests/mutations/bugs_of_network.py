# SPDX-License-Identifier: Apache-2.0
"""Bugs of chips with many tiles, and of cores with several arrays."""

from plant import Mutation, named

__all__ = [
    "DEFLECTION",
    "INTERFACE",
    "LOCK_STEP",
    "PLANNER",
    "ROTATION",
    "ROTATION_C",
    "ROTATION_HOST",
    "ROTATION_MAP",
    "ROUTER",
    "SLOTS",
]

SLOTS = named(
    Mutation(
        "packets of a message are not added up",
        "ohmtwin.rtl.noc.slots",
        "arrived.eq(Mux(self.begun.bit_select(self.index, 1), count.data, 0) + length)",
        "arrived.eq(length)",
    ),
    Mutation(
        "a channel stays with the slot that was read",
        "ohmtwin.rtl.noc.slots",
        "self.turn.eq(self.turn ^ (C(1, len(self.turn)) << self.channel))",
        "self.turn.eq(self.turn)",
    ),
    Mutation(
        "the other slot is acknowledged",
        "ohmtwin.rtl.noc.feeder",
        "self.ack.slot.eq(self.slot)",
        "self.ack.slot.eq(~self.slot)",
    ),
    Mutation(
        "all packets of a message have the same number",
        "ohmtwin.rtl.noc.sender",
        "index.eq(index + 1),",
        "index.eq(index),",
    ),
    Mutation(
        "a message leaves on its first leg only",
        "ohmtwin.rtl.noc.sender",
        "leg >= self.config.legs",
        "leg >= 1",
    ),
)

INTERFACE = named(
    Mutation(
        "every acknowledgment goes to the host",
        "ohmtwin.rtl.noc.interface",
        "header.host.eq(source.route == 0)",
        "header.host.eq(1)",
    ),
    Mutation(
        "an acknowledgment names another route",
        "ohmtwin.rtl.noc.interface",
        "user.route.eq(source.route)",
        "user.route.eq(source.route ^ 1)",
    ),
    Mutation(
        "a control flit that is refused holds up data",
        "ohmtwin.rtl.noc.interface",
        "is_control.eq(has_control & ~(step_back & sender.valid))",
        "is_control.eq(has_control)",
    ),
    Mutation(
        "data is taken for sent when there is room for control",
        "ohmtwin.rtl.noc.interface",
        "~is_control & self.link_o.ready[Kind.DATA]",
        "~is_control & self.link_o.ready[Kind.CONTROL]",
    ),
    Mutation(
        "a control flit ends the data packet behind it",
        "ohmtwin.rtl.noc.interface",
        "self.link_o.flit.last.eq(is_control | sender.flit.last)",
        "self.link_o.flit.last.eq(has_control | sender.flit.last)",
    ),
    Mutation(
        "host words are taken when there is no room for them",
        "ohmtwin.rtl.noc.interface",
        "(incoming.flit.kind == Kind.CONTROL) & control.ready)",
        "(incoming.flit.kind == Kind.CONTROL))",
    ),
    Mutation(
        "an answer to the host is taken for the acknowledgment before it",
        "ohmtwin.rtl.noc.interface",
        "taken[Kind.CONTROL] & ~feeder.ack_valid",
        "taken[Kind.CONTROL]",
    ),
    Mutation(
        "both lists are written at once",
        "ohmtwin.rtl.noc.interface",
        "control.write_list & (control.address[bit] == is_output)",
        "control.write_list",
    ),
)

ROUTER = named(
    Mutation(
        "packets on a link are mixed",
        "ohmtwin.rtl.noc.arbiter",
        "self.held.eq(~(self.taken & self.last))",
        "self.held.eq(0)",
    ),
    Mutation(
        "a buffer takes a flit over one that the tile has not had",
        "ohmtwin.rtl.noc.buffer",
        "((self.write ^ self.onward_at) != depth) & ((self.write ^ self.local_at) != depth)",
        "(self.write ^ self.onward_at) != depth",
    ),
    Mutation(
        "a packet for two outputs is never given to the tile",
        "ohmtwin.rtl.noc.buffer",
        "(~local_forks | (self.tails != 0))",
        "~local_forks",
    ),
    Mutation(
        "a packet turns before its column",
        "ohmtwin.rtl.noc.lookup",
        "here_x & (header.dst_y > self.y)",
        "header.dst_y > self.y",
    ),
    Mutation(
        "what goes along y is absorbed on its way along x",
        "ohmtwin.rtl.noc.lookup",
        "header.absorb.bit_select(position, 1) & (~last_is_y | here_x)",
        "header.absorb.bit_select(position, 1)",
    ),
    Mutation(
        "words of a packet are taken for headers",
        "ohmtwin.rtl.noc.router",
        "Mux(inside, outputs, lookup.outputs)",
        "lookup.outputs",
    ),
    Mutation(
        "a flit is put into a buffer that is full",
        "ohmtwin.rtl.noc.router",
        "buffer.push.eq(link.valid & (link.flit.kind == kind) & buffer.ready)",
        "buffer.push.eq(link.valid & (link.flit.kind == kind))",
    ),
)

DEFLECTION = named(
    Mutation(
        "a flit is put in wherever there is room",
        "ohmtwin.rtl.noc.deflection",
        "free = free & ~empty",
        "free = free | empty",
    ),
    Mutation(
        "what is for the host goes to the tile before it",
        "ohmtwin.rtl.noc.deflection",
        " & (flit.dst.host == self.host)",
        "",
    ),
    Mutation(
        "a flit that has come stays in the network too",
        "ohmtwin.rtl.noc.deflection",
        "leaves = found & (best == p)",
        "leaves = found & (best == p) & free",
    ),
)

ROTATION = named(
    Mutation(
        "the number of the array is dropped",
        "ohmtwin.rtl.core",
        "self.cmd.payload.array.eq(array)",
        "self.cmd.payload.array.eq(0)",
    ),
    Mutation(
        "reads go to the array of the instruction that executes now",
        "ohmtwin.rtl.core",
        "self.cmd.payload.array.eq(array)",
        "self.cmd.payload.array.eq(self.array)",
    ),
    Mutation(
        "a turn forgets the sums of those before",
        "ohmtwin.rtl.core",
        "afresh.eq(self.start & ~self.keep)",
        "afresh.eq(self.start)",
    ),
    Mutation(
        "the sum of activations starts with every turn",
        "ohmtwin.rtl.tile",
        "loader.sum_first & ~controller.keep",
        "loader.sum_first",
    ),
    Mutation(
        "the sum of activations holds those of one array",
        "ohmtwin.rtl.rotation",
        "+ 1 if chip.array_bits else 16",
        "+ 1 if chip.rows == 0 else 16",
    ),
    Mutation(
        "KEEP outlives its program",
        "ohmtwin.rtl.rotation",
        "owner.keep.eq(0)",
        "owner.keep.eq(owner.keep)",
    ),
    Mutation(
        "SET adds to KEEP",
        "ohmtwin.rtl.rotation",
        "Mux(add, owner.keep, 0) + value",
        "owner.keep + value",
    ),
    Mutation(
        "ADD sets KEEP",
        "ohmtwin.rtl.rotation",
        "Mux(add, owner.keep, 0) + value",
        "value",
    ),
    Mutation(
        "every SET changes KEEP",
        "ohmtwin.rtl.rotation",
        "changes & (word[reg.lsb : reg.lsb + reg.width] == Reg.KEEP)",
        "changes",
    ),
    Mutation(
        "the number of the array is taken a bit too high",
        "ohmtwin.rtl.rotation",
        "word[array.lsb : array.lsb + array.width]",
        "word[array.lsb + 1 : array.lsb + array.width]",
    ),
)

ROTATION_C = named(
    Mutation(
        "the first array of a core is read",
        "ohm_tile.c",
        "at * t->per_core + s->place",
        "at * t->per_core",
    ),
    Mutation(
        "a turn forgets the sums of those before, in C",
        "ohm_tile.c",
        "acc[j] = ohm_signed((uint32_t)acc[j] + (uint32_t)kept[j]);",
        "acc[j] = ohm_signed((uint32_t)acc[j] + 0 * (uint32_t)kept[j]);",
    ),
    Mutation(
        "the sum of activations starts with every turn, in C",
        "ohm_tile.c",
        "s->place || s->mode ?",
        "s->place ?",
    ),
)

ROTATION_HOST = named(
    Mutation(
        "the arrays of a core share one noise key",
        "ohmtwin.host.tiles",
        "compiled.array_base + number, lib)",
        "compiled.array_base + number // 2 * 2, lib)",
    ),
    Mutation(
        "two arrays of a core have changed images",
        "ohmtwin.host.tiles",
        "CCrossbar(used[number], compiled.seed",
        "CCrossbar(used.get(number ^ 1, used[number]), compiled.seed",
    ),
)

ROTATION_MAP = named(
    Mutation(
        "rows of a later turn are not loaded for the next round",
        "ohmtwin.host.compiler.turns",
        "None if number else rows",
        "rows",
    ),
    Mutation(
        "the products of a later turn start afresh",
        "ohmtwin.host.compiler.turns",
        "fresh, number > 0)",
        "fresh, number > 1)",
    ),
)

PLANNER = named(
    Mutation(
        "the check lets a producer send over what is unread",
        "ohmtwin.host.compiler.mesh_check",
        "if self.output < words or not line.free():",
        "if self.output < words:",
    ),
    Mutation(
        "a channel that nobody sends on passes the check",
        "ohmtwin.host.compiler.mesh_check",
        "if channel not in heard[place]:",
        "if channel in ():",
    ),
    Mutation(
        "copies of a stage share their noise",
        "ohmtwin.host.compiler.mesh",
        "array_base=tile * own,",
        "array_base=part.tiles[0] * own,",
    ),
    Mutation(
        "messages of a tensor begin where the first one did",
        "ohmtwin.host.compiler.mesh_routes",
        "yield replace(run, start=at, words=words)\n                at += words",
        "yield replace(run, start=at, words=words)",
    ),
    Mutation(
        "all samples go to the first copy of a stage",
        "ohmtwin.host.compiler.mesh_routes",
        "return tiles[sample % len(tiles)]",
        "return tiles[0]",
    ),
    Mutation(
        "two senders have one channel",
        "ohmtwin.host.compiler.mesh_routes",
        "self.used[tile].add(channel)",
        "self.used[tile].discard(channel)",
    ),
)

LOCK_STEP = named(
    Mutation(
        "routers send into full buffers",
        "mesh_parts.cpp",
        "ready |= (*routers_[router.there[port]].model->in_ready >> 2 * (port ^ 2) & 3)",
        "ready |= 3u",
    ),
    Mutation(
        "tiles send into full buffers",
        "mesh_parts.cpp",
        "*tile.out_ready = ready;",
        "*tile.out_ready = 3;",
    ),
    Mutation(
        "a router that holds flits sleeps when none comes",
        "mesh_parts.cpp",
        "router.valid || !*model.idle || !skip_",
        "router.valid || !skip_",
    ),
    Mutation(
        "a tile goes on seeing a flit that has been taken",
        "mesh_parts.cpp",
        "changed[at] = valid | *tile.in_valid | (ready ^ *tile.out_ready);",
        "changed[at] = valid | (ready ^ *tile.out_ready);",
    ),
    Mutation(
        "the host sends into full buffers",
        "mesh_parts.cpp",
        "link.in_ready = *model.in_ready >> 2 * WEST & 3;",
        "link.in_ready = 3;",
    ),
    Mutation(
        "the host does not wait for acknowledgments",
        "mesh_host.cpp",
        "if (feed.waiting.empty() || feed.unread[feed.slot]) continue;",
        "if (feed.waiting.empty()) continue;",
    ),
    Mutation(
        "the host sends on its first leg only",
        "mesh_host.cpp",
        "if (++data_.leg == feed.legs.size()) {",
        "if (++data_.leg == 1) {",
    ),
)
