// SPDX-License-Identifier: Apache-2.0
// A Verilated tile as a shared library: one coarse call pushes words, runs, or pops words.
//
// Any number of simulations live in a process at once and are independent; one simulation is used
// from one thread at a time. No function here ends the process: what goes wrong inside the model
// is kept, and sim_error() tells it.
#ifndef OHMTWIN_SIM_HARNESS_H
#define OHMTWIN_SIM_HARNESS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// The rest of the library is hidden: models that are loaded together share nothing.
#pragma GCC visibility push(default)

typedef struct ohm_array ohm_array;
typedef struct ohm_sim sim_t;

enum sim_status {
    SIM_DONE = 0,  // the words that were asked for are there
    SIM_IDLE = 1,  // no word went in or out for max_idle cycles
    SIM_ERROR = 2, // see sim_error()
};

// A tile behind its reset. Core i reads arrays[i]; the arrays stay the caller's, and must outlive
// the simulation. Never NULL unless memory is short; look at sim_error() before use.
sim_t *sim_new(ohm_array **arrays, int n);
void sim_free(sim_t *sim);

// What went wrong, or NULL. Valid until sim_free(). A simulation with an error no longer runs.
const char *sim_error(const sim_t *sim);

// Queues words for the tile; they are copied.
void sim_push(sim_t *sim, const uint64_t *words, size_t n);

// Runs until `wanted` words from the tile are queued, or no word has gone in or out for at least
// `max_idle` cycles (seen within 1024 cycles).
int sim_run(sim_t *sim, size_t wanted, uint64_t max_idle);

// Runs exactly n cycles, whatever they bring: the bare clock loop.
int sim_step(sim_t *sim, uint64_t n);

// Words of the tile that are queued; takes up to n of them, oldest first, and tells how many.
size_t sim_available(const sim_t *sim);
size_t sim_pop(sim_t *sim, uint64_t *words, size_t n);

// Clock cycles since time 0.
uint64_t sim_cycles(const sim_t *sim);

// 1 if this build evaluates the model once a cycle, 2 if at both edges.
int sim_evaluations_per_cycle(void);

// Starts a waveform file; 0, or -1 if the build has no tracing or a trace runs already. It holds
// the next `cycles` cycles, then it is closed.
int sim_trace(sim_t *sim, const char *path, uint64_t cycles);

// Flips a bit of a word of a memory, or of a register (word 0), `after` cycles from now, before the
// edge that ends that cycle. The scope is the instance that holds it, as "TOP.ohmtwin_top.tile".
// 0, or -1 if the build has no faults, or no such bit.
int sim_flip(sim_t *sim, const char *scope, const char *name, uint64_t word, uint64_t bit,
             uint64_t after);

// A bit as it is now: 0 or 1, or -1 as sim_flip() has it.
int sim_bit(sim_t *sim, const char *scope, const char *name, uint64_t word, uint64_t bit);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
