/* SPDX-License-Identifier: Apache-2.0
 *
 * A tile that runs the steps of a program; the same results as behavioral/machine_execute.py and
 * behavioral/machine_timing.py. Whoever makes the steps has checked every address in them.
 */
#ifndef OHM_TILE_H
#define OHM_TILE_H

#include "ohm_crossbar.h"

enum { OHM_MAX_CORES = 32, OHM_VECTOR_ELEMENTS = 256 };

enum ohm_kind {
    OHM_NONE, OHM_LOAD_HOST, OHM_LOAD, OHM_VEC, OHM_RECV, OHM_SEND, OHM_MVM, OHM_REQ,
    OHM_SYNC
};

enum ohm_vec_op { OHM_PUT, OHM_ADD, OHM_MUL, OHM_MAX, OHM_MIN, OHM_PUT32, OHM_ADD32 };

/* One executed instruction: a record of STEP in behavioral/machine_steps.py, which says what each
 * kind makes of the fields. */
typedef struct {
    int32_t kind;
    uint32_t cores;
    int32_t waits_vector, cycles, issue, source, place, count, runs, pitch, mode, scale, offset,
        quant, table, tap;
} ohm_step;

/* What a program and its chip fix, and the memories that live on from sample to sample. */
typedef struct {
    int32_t cores, rows, outputs, lanes; /* lanes: outputs of an accumulator word */
    int32_t latency;                     /* of the vector unit */
    int32_t sum_weight; /* taken off a sum for each unit of the sum of activations */
    int32_t per_core;   /* arrays of a core */
    ohm_array *const *arrays;    /* [cores][per_core], NULL where there is none */
    const uint8_t *const *flips; /* [cores]: flags of flipped columns [cols], or NULL */
    const uint8_t *counts;               /* [256] what a code adds to the sum of activations */
    const uint64_t *params;
    const uint8_t *tables; /* [tables][256] */
    uint8_t *data;
    uint8_t *row;  /* [cores][rows] */
    int32_t *sums; /* [cores] */
    int32_t *acc;  /* [cores][outputs] */
    int32_t *vec;  /* [OHM_VECTOR_ELEMENTS] */
    const int32_t *const *words; /* as arrays, NULL where nobody knows them: see ohm_core_mvm */
    int64_t *events;             /* [OHM_EVENTS][cores], added to */
} ohm_tile;

/* Run a pass for each of so many samples, one after another.
 * in [samples][in_bytes], out [samples][out_bytes]; configs are those that MVM steps name.
 * first: the pass from reset, in which the first instruction is yet to be fetched.
 * Added to: tile [3] cycles, stalls for cores, stalls for the vector unit;
 * core [4][cores] reads, beats, active cycles, stalls of the ADCs.
 * starts, unless NULL: [samples][steps that touch a FIFO] the cycle of the pass in which each of
 * them executes, a SYNC as if it never waited for the host (behavioral/machine_times.py). */
int ohm_tile_run(const ohm_tile *t, const ohm_mvm_config *configs, const ohm_step *steps,
                 int64_t count, int first, int64_t samples, const uint8_t *in, int64_t in_bytes,
                 uint8_t *out, int64_t out_bytes, int64_t *tile, int64_t *core,
                 int64_t *starts);

#endif
