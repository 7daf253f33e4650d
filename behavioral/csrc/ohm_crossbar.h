/* SPDX-License-Identifier: Apache-2.0
 *
 * A noisy resistive crossbar, in integers, bit for bit equal to behavioral/crossbar.py.
 *
 * Plain C11 for gcc and clang on little-endian machines, also valid as C++. There is no global
 * state: an array is an object, and one thread at a time may use it. Functions that return int give
 * OHM_OK or a negative error and change nothing on an error.
 *
 * A row mask is (rows + 31) / 32 words, row 0 in bit 0 of word 0; bits past the last row are
 * ignored.
 */
#ifndef OHM_CROSSBAR_H
#define OHM_CROSSBAR_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    OHM_MAX_ROWS = 256,
    OHM_MAX_COLS = 512,
    OHM_MAX_DIGITS = 16,
    OHM_MAX_COLUMNS = 16, /* of an output */
    OHM_MAX_CODE = 257,   /* A * B of an AN code */
    OHM_MAX_PASSES = 255,
    OHM_MAX_BUDGETS = 256, /* two passes a plane, 16 slices each */
    OHM_OK = 0,
    OHM_EINVAL = -1, /* an argument is out of range */
    OHM_ENOMEM = -2
};

typedef struct ohm_array ohm_array;

/* An array whose cells are all zero, without noise, with one ideal 6-bit ADC.
 * rows: 8 to 256, cols: 8 to 512, multiples of 8. NULL if out of range or out of memory. */
ohm_array *ohm_array_new(int rows, int cols, uint32_t seed, uint32_t array);
void ohm_array_free(ohm_array *a);

/* Load an image: g [rows][cols] (|g| < 2**22), ref [rows] (|ref| < 2**30), q [rows][cols] or NULL,
 * v0 below 2**52, v1 below 2**32; no read's variance may reach 2**52. */
int ohm_array_program(ohm_array *a, const int32_t *g, const int32_t *ref, const int32_t *q,
                      int64_t v0, int64_t v1);

/* bits: 1 to 16; lanes: 1 to cols; table [lanes][1 << bits] or NULL for ideal ADCs. */
int ohm_array_set_adc(ohm_array *a, int bits, int lanes, const uint16_t *table);

/* How sums become codes: a code counts 1 << step_bits level steps (at most 8 bits), a beat converts
 * columns span apart, and the code of column c is 1 or more from thresholds[c] on (in such steps;
 * NULL: from 1 on). At first 0, 1, NULL. Before ohm_array_set_adc. */
int ohm_array_set_sensing(ohm_array *a, int step_bits, int span, const int32_t *thresholds);

/* Effective voltage of every digit of an input, 4096 to the read voltage; |drive| < 2**16, at most
 * 16 digits, 0 of them: reads of digits are refused. The caller sees to it that no read of digits
 * has a variance of 2**52 or more, and that v1 times its current stays below 2**63. */
int ohm_array_set_drive(ohm_array *a, int digits, const int32_t *drive);

int ohm_array_rows(const ohm_array *a);
int ohm_array_cols(const ohm_array *a);

/* The number of the next read. */
uint64_t ohm_array_reads(const ohm_array *a);
void ohm_array_set_reads(ohm_array *a, uint64_t number);

/* Rows driven by all reads since the array was made: a count, no part of its state. */
uint64_t ohm_array_driven(const ohm_array *a);

/* 1 if the loaded image is computed in 32 bits, 0 if it needs 64. */
int ohm_array_is_narrow(const ohm_array *a);

/* Drive rows and convert the first `columns` columns; advances the read number. */
int ohm_array_read(ohm_array *a, const uint32_t *row_words, int columns, uint16_t *codes);

/* n reads in order: row_words [n][words], codes [n][columns]. */
int ohm_array_read_many(ohm_array *a, int64_t n, const uint32_t *row_words, int columns,
                        uint16_t *codes);

/* n reads in order with a digit a row in place of a bit: digits [n][rows], codes [n][columns]. */
int ohm_array_read_digits(ohm_array *a, int64_t n, const uint8_t *digits, int columns,
                          uint16_t *codes);

/* A read whose ADCs take 2**fine codes to a level step, fine 0 to 12: to verify cells with. */
int ohm_array_read_fine(ohm_array *a, const uint32_t *row_words, int columns, int fine,
                        uint16_t *codes);

/* What a write pulse does to a cell (PulseModel in behavioral/pulsed.py). */
enum { OHM_PULSE_SEGMENTS = 64 };
typedef struct {
    int32_t low, high, shift, spread;
    int32_t up[OHM_PULSE_SEGMENTS + 1], down[OHM_PULSE_SEGMENTS + 1];
} ohm_pulse_model;

/* Cells that pulses move, in place of the conductances of the image, which must be the largest that
 * they can have; loading an image ends it, and so does model NULL. All are [rows][cols]: state
 * (2**20 to a level step), scale (65536 to 1), fixed, and the number of each cell's next pulse. */
int ohm_array_set_cells(ohm_array *a, const ohm_pulse_model *model, const int32_t *state,
                        const int32_t *scale, const uint8_t *fixed, const uint32_t *numbers);
int ohm_array_get_cells(const ohm_array *a, int32_t *state, uint32_t *numbers);

/* Pulses to the cells where a chosen row meets a column whose sign (signs [cols]) is not 0: up
 * where it is above 0, down where it is below. */
int ohm_array_pulse(ohm_array *a, const uint32_t *row_words, const int8_t *signs, int pulses);

/* What the next read would see before the ADC, without making it; each output [columns]:
 * x = current + noise - reference. */
int ohm_array_analog(ohm_array *a, const uint32_t *row_words, int columns, int64_t *current,
                     int64_t *noise, int64_t *reference, int64_t *x);

/* What a pass puts on the rows; see behavioral/inputs.py. */
enum ohm_drive {
    OHM_BITS, OHM_SIGNED_BITS, OHM_SIGN_MAGNITUDE, OHM_DIGITS, OHM_UNARY, OHM_STOCHASTIC
};

/* Parameters of a core's matrix-vector product; see MvmConfig in behavioral/core.py. The product
 * is in ohm_core.c, which a simulator that only makes reads can leave out. */
typedef struct {
    int32_t rows_used, outputs, zero_skip, group, beats, planes, tail;
    int32_t step;       /* levels that a code counts */
    int32_t top;        /* the code that counts as saturated, or 0 */
    int32_t slices;  /* 1, or columns of an output, of which a read converts one */
    int32_t complement; /* inputs have two rows, of which a read drives one */
    int32_t cell_top;   /* flipped columns hold the complement to it */
    int32_t zero;       /* what LOAD takes off, with sign and magnitude */
    int32_t columns; /* of an output */
    int32_t weights[OHM_MAX_COLUMNS];
    int32_t budgets[OHM_MAX_BUDGETS]; /* rows of a read, by pass and slice */
    int32_t code; /* A * B of the code under which weights are stored, 0 without */
    /* What a sum of code * n + r becomes is n + steps[r], with these events (bits of 1 << event). */
    int32_t steps[OHM_MAX_CODE], flags[OHM_MAX_CODE];
    int32_t drive;                        /* ohm_drive */
    int32_t pass_weights[OHM_MAX_PASSES]; /* `planes` of them are made */
    uint8_t thresholds[OHM_MAX_PASSES];   /* codes from which on a row is driven */
} ohm_mvm_config;

/* Of behavioral/core.py. */
enum ohm_event {
    OHM_SATURATED, OHM_CORRECTED, OHM_DETECTED, OHM_MISCORRECTED, OHM_MISSED,
    OHM_EVENTS
};

/* x [batch][rows]; flips [cols] 1 for a flipped column, or NULL; acc [batch][outputs] modulo 2**32;
 * reads, active, stall [batch].
 * words, unless NULL: [rows][columns of the array / columns of an output] what the cells of an
 * output are meant to hold, without the factor of the code. events [OHM_EVENTS] is added to. */
int ohm_core_mvm(ohm_array *a, const ohm_mvm_config *config, const uint8_t *flips, int64_t batch,
                 const uint8_t *x, const int32_t *words, int32_t *acc, uint32_t *reads,
                 uint32_t *active, uint32_t *stall, int64_t *events);

/* The parts, for tests and for other models. */
int ohm_threefry2x32(int rounds, uint32_t k0, uint32_t k1, uint32_t c0, uint32_t c1,
                     uint32_t out[2]);
void ohm_gaussian(int64_t n, const uint32_t *words, int32_t *z);
void ohm_isqrt31(int64_t n, const uint32_t *values, uint32_t *roots); /* values below 2**31 */

#ifdef __cplusplus
}
#endif

#endif
