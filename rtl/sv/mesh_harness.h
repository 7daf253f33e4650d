// SPDX-License-Identifier: Apache-2.0
// A chip of many tiles as a shared library: one Verilated model of a tile and one of a
// router, instantiated as often as the mesh has them, in lock step; and the host's end of the mesh.
// Coarse calls, as in sim_harness.h: push messages, run, take messages.
//
// Any number of simulations live in a process at once and are independent; one simulation is used
// from one thread at a time. No function here ends the process: what goes wrong inside a model is
// kept, and mesh_error() tells it.
#ifndef OHMTWIN_MESH_HARNESS_H
#define OHMTWIN_MESH_HARNESS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

typedef struct ohm_array ohm_array;
typedef struct ohm_mesh mesh_t;

enum mesh_status {
    MESH_DONE = 0,  // what was asked for is there
    MESH_IDLE = 1,  // no flit has moved for max_idle cycles
    MESH_ERROR = 2, // see mesh_error()
};

typedef struct mesh_config {
    int columns, rows;
    uint32_t hosts; // bit y: tile (0, y) has a host port
    int cores;      // arrays a tile
    int packet_words;
    int skip_idle; // do not evaluate routers in which nothing happens
    int confirm;   // packets may come out of order
    int digest;    // see mesh_digest()
} mesh_config;

// Tiles behind their reset, tile (x, y) at number y * columns + x. Core i of tile t reads
// arrays[t * cores + i]; the arrays stay the caller's, and must outlive the simulation. Never NULL
// unless memory is short; look at mesh_error() before use.
mesh_t *mesh_new(const mesh_config *config, ohm_array **arrays, int n);
void mesh_free(mesh_t *mesh);

// What went wrong, or NULL. Valid until mesh_free(). A simulation with an error no longer runs.
const char *mesh_error(const mesh_t *mesh);

// A route of the host from the host port in row `row`: the channel at its consumers, the numbers of
// these tiles, and its legs, three ints each: x, y, absorb. Gives the number to send by, or -1.
int mesh_add_feed(mesh_t *mesh, int row, int channel, const int *consumers, int n_consumers,
                  const int *legs, int n_legs);

// Queues messages of lengths[i] words each, one after the other in `words`.
void mesh_send(mesh_t *mesh, int feed, const uint64_t *words, const uint32_t *lengths, size_t n);

// Queues words for the word stream of a tile, as control packets from the first host port.
void mesh_control(mesh_t *mesh, int tile, const uint64_t *words, size_t n);

// Runs until `messages` messages have come to the host, ever, and `replies` words of replies wait
// to be taken, and (if drained) all that was queued has left the host; or no flit has moved for
// max_idle cycles (seen within 256 cycles).
int mesh_run(mesh_t *mesh, size_t messages, size_t replies, int drained, uint64_t max_idle);

// Runs exactly n cycles.
int mesh_step(mesh_t *mesh, uint64_t n);

// Messages that have come, ever, replies not counted; messages and control packets still to leave.
size_t mesh_messages(const mesh_t *mesh);
size_t mesh_unsent(const mesh_t *mesh);

// Words of replies from a tile; takes up to n of them, oldest first.
size_t mesh_replies(const mesh_t *mesh, int tile);
size_t mesh_take_replies(mesh_t *mesh, int tile, uint64_t *words, size_t n);

// What has come from a tile on one of its routes: messages and their words in all. Taking gives
// the words, the length of each message, and cycles of its first and its last flit, two a message.
size_t mesh_inbox(const mesh_t *mesh, int tile, int route, size_t *words);
void mesh_take(mesh_t *mesh, int tile, int route, uint64_t *words, uint32_t *lengths,
               uint64_t *stamps);

// Messages that a feed has sent, their cycles as above; taking forgets them.
size_t mesh_sent(const mesh_t *mesh, int feed);
size_t mesh_take_sent(mesh_t *mesh, int feed, uint64_t *stamps, size_t n);

// Clock cycles since time 0; flits that moved, over all links.
uint64_t mesh_cycles(const mesh_t *mesh);
uint64_t mesh_moved(const mesh_t *mesh);

// Counters of the link of each router's outputs: 6 numbers a link, 5 links a router (north, east,
// south, west, local), routers by number: flits of data, of control, cycles in which data, control
// was on offer and not taken, cycles in which both classes had a flit, in which a packet waited for
// another. Behind them, 4 numbers each, the links into the local port of each router, then those of
// the host ports, by row, into the mesh.
size_t mesh_link_counts(const mesh_t *mesh, uint64_t *counts, size_t n);

// What a tile shows of itself (ohmtwin_mesh_tile.sv).
size_t mesh_tile_state(const mesh_t *mesh, int tile, uint64_t *words, size_t n);

// A hash of everything on the links of tiles and hosts in every cycle so far, if asked for.
uint64_t mesh_digest(const mesh_t *mesh);

// 1 if this build evaluates the models once a cycle, 2 if at both edges.
int mesh_evaluations_per_cycle(void);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
