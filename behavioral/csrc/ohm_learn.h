/* SPDX-License-Identifier: Apache-2.0
 *
 * Arrays that learn, and the core that trains them, bit for bit equal to behavioral/learning/.
 *
 * As in ohm_crossbar.h: no global state, an array and a core are objects, functions that return
 * int give OHM_OK or a negative error.
 */
#ifndef OHM_LEARN_H
#define OHM_LEARN_H

#include "ohm_crossbar.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    OHM_LEARN_ROWS = 1024,
    OHM_LEARN_COLS = 512,
    OHM_LEARN_LANES = 64,
    OHM_LEARN_SLOTS = 255,
    OHM_LEARN_REGISTERS = 16,
    OHM_LEARN_TABLES = 8,
    OHM_LEARN_SETTINGS = 8,
    OHM_LEARN_PROGRAM = 256
};

typedef struct ohm_learn_array ohm_learn_array;
typedef struct ohm_learn_core ohm_learn_core;

/* LearnNoise and the scalars of LearnCells in behavioral/learning/cells.py. */
typedef struct {
    int64_t v0;
    int32_t rows, cols;
    uint32_t seed, array;
    int32_t v1, v2, adc_bits, rest, rate;
    int32_t lanes, lanes_transposed;
    int32_t gains[OHM_LEARN_LANES], gains_transposed[OHM_LEARN_LANES];
} ohm_learn_config;

/* The arrays of LearnCells, [rows][cols]; all but state and ref may be NULL, in pairs. */
typedef struct {
    const int32_t *state, *ref;
    const uint32_t *numbers;
    const uint8_t *fixed;
    const uint16_t *gain_up, *gain_down;
    const int32_t *low, *high;
    const uint32_t *limit;
    const int32_t *worn;
} ohm_learn_cells;

/* NULL if something is out of range or memory is short. */
ohm_learn_array *ohm_learn_new(const ohm_learn_config *config, const ohm_pulse_model *model,
                               const ohm_learn_cells *cells);
void ohm_learn_free(ohm_learn_array *a);
int ohm_learn_rows(const ohm_learn_array *a);
int ohm_learn_cols(const ohm_learn_array *a);
int ohm_learn_top(const ohm_learn_array *a); /* the highest code */

/* The number of the next read, and what pulses have done. */
uint64_t ohm_learn_reads(const ohm_learn_array *a);
void ohm_learn_get(const ohm_learn_array *a, int32_t *state, uint32_t *numbers);
int ohm_learn_set(ohm_learn_array *a, const int32_t *state, const uint32_t *numbers,
                  uint64_t reads);

/* Drive the first n lines with x, -127 to 127; codes of the first `outputs` lines of the other
 * side, each worth 2**shift. */
int ohm_learn_read(ohm_learn_array *a, int transposed, int n, const int8_t *x, int shift,
                   int outputs, int32_t *codes);

/* Pulses for a cell, of the sign of count; where a chosen row (words of 32) meets a column whose
 * sign is not 0; and what time does. */
int ohm_learn_pulse(ohm_learn_array *a, int row, int col, int count);
int ohm_learn_pulse_rows(ohm_learn_array *a, const uint32_t *row_words, const int8_t *signs,
                         int pulses);
void ohm_learn_relax(ohm_learn_array *a);

/* One word of settings of an update, decoded. */
typedef struct {
    int32_t kx, kd, sx, sd, slots, mode, manage, period;
} ohm_learn_settings;

/* An instruction, decoded; fields as in arch/learning_isa.py. */
typedef struct {
    int32_t op, flags, array, shift, bits, reg, n, k, m, dst, a, b;
} ohm_learn_op;

/* A core of `arrays` arrays with a memory of `words`, OHM_LEARN_REGISTERS registers and a state of
 * the generators of all rows, then columns. All of these stay the caller's. */
ohm_learn_core *ohm_learn_core_new(int rows, int cols, int words, int32_t *memory,
                                   int32_t *registers, uint32_t *lfsr, int arrays,
                                   ohm_learn_array *const *handles);
void ohm_learn_core_free(ohm_learn_core *c);
int ohm_learn_core_load(ohm_learn_core *c, int instructions, const ohm_learn_op *program,
                        int settings, const ohm_learn_settings *setting, int tables,
                        const int16_t *table);

/* Runs the program `samples` times: IN takes from `in`, OUT gives to `out`, of which each sample has
 * as many words as stated. Tells in *at the instruction at which it stopped with an error. */
int ohm_learn_core_run(ohm_learn_core *c, int64_t samples, int64_t per_sample, const int32_t *in,
                       int64_t outs, int32_t *out, int32_t *at);

#ifdef __cplusplus
}
#endif

#endif
