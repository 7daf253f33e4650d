/* SPDX-License-Identifier: Apache-2.0
 *
 * See ohm_crossbar.h for the interface and behavioral/image.py for the arithmetic.
 */
#include "ohm_crossbar.h"

#include "ohm_noise.h"
#include "ohm_pulses.h"
#include "ohm_rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "ohm_crossbar needs a little-endian machine"
#endif

/* ---------------------------------------------------------------- noise */

int ohm_threefry2x32(int rounds, uint32_t k0, uint32_t k1, uint32_t c0, uint32_t c1,
                     uint32_t out[2]) {
    static const int rotations[8] = {13, 15, 26, 6, 17, 29, 16, 24};
    const uint32_t key[3] = {k0, k1, 0x1BD11BDAu ^ k0 ^ k1};
    uint32_t x0 = c0 + k0, x1 = c1 + k1;
    if (rounds < 1 || rounds > 20) return OHM_EINVAL;
    for (int r = 0; r < rounds; r++) {
        OHM_ROUND(rotations[r % 8])
        if (r % 4 == 3) {
            const uint32_t step = (uint32_t)(r / 4 + 1);
            x0 += key[step % 3];
            x1 += key[(step + 1) % 3] + step;
        }
    }
    out[0] = x0;
    out[1] = x1;
    return OHM_OK;
}

void ohm_gaussian(int64_t n, const uint32_t *words, int32_t *z) {
    ohm_planes planes;
    ohm_split_table(&planes);
    ohm_gaussian_with(&planes, n, words, z);
}

/* z of the first n columns (n a multiple of 16) of a read. */
static void ohm_noise_words(const ohm_array *a, uint64_t read, int n, int32_t *z) {
    OHM_ALIGNED uint32_t u[OHM_MAX_COLS];
    const uint32_t k0 = a->seed, k1 = a->array, k2 = 0x1BD11BDAu ^ k0 ^ k1;
    const uint32_t c0 = (uint32_t)read, high = (uint32_t)(read >> 32) << 8;
    for (int i = 0; i < n / 2; i++)
        ohm_threefry13(k0, k1, k2, c0, high | (uint32_t)i, &u[2 * i], &u[2 * i + 1]);
    ohm_gaussian_with(&a->planes, n, u, z);
}

void ohm_isqrt31(int64_t n, const uint32_t *values, uint32_t *roots) {
    for (int64_t i = 0; i < n; i++) roots[i] = ohm_isqrt31_1(values[i]);
}

/* ---------------------------------------------------------------- making and loading */

ohm_array *ohm_array_new(int rows, int cols, uint32_t seed, uint32_t array) {
    if (rows < 8 || rows > OHM_MAX_ROWS || rows % 8) return NULL;
    if (cols < 8 || cols > OHM_MAX_COLS || cols % 8) return NULL;
    ohm_array *a = (ohm_array *)ohm_words(sizeof *a / 4);
    if (!a) return NULL;
    a->rows = rows;
    a->cols = cols;
    a->stride = (cols + 15) / 16 * 16;
    a->words = (rows + 31) / 32;
    a->seed = seed;
    a->array = array;
    a->narrow = 1;
    a->bits = 6;
    a->lanes = 1;
    a->span = 1;
    a->plain = 1;
    a->g = ohm_words((size_t)rows * (size_t)a->stride);
    if (!a->g) {
        free(a);
        return NULL;
    }
    ohm_split_table(&a->planes);
    return a;
}

void ohm_array_free(ohm_array *a) {
    if (!a) return;
    ohm_drop_tables(a);
    ohm_free_cells(a);
    free(a->g);
    free(a->q);
    free(a->h);
    free(a->adc);
    free(a);
}

/* Largest sum over any choice of rows in any column, and largest sum of magnitudes. */
static void ohm_bounds(const ohm_array *a, const int32_t *m, int64_t *top, int64_t *size) {
    *top = *size = 0;
    for (int c = 0; c < a->cols; c++) {
        int64_t positive = 0, magnitude = 0;
        for (int r = 0; r < a->rows; r++) {
            const int64_t v = m[(size_t)r * (size_t)a->cols + (size_t)c];
            positive += v > 0 ? v : 0;
            magnitude += v < 0 ? -v : v;
        }
        if (positive > *top) *top = positive;
        if (magnitude > *size) *size = magnitude;
    }
}

static void ohm_copy(const ohm_array *a, const int32_t *from, int32_t *to) {
    for (int r = 0; r < a->rows; r++)
        memcpy(to + (size_t)r * (size_t)a->stride, from + (size_t)r * (size_t)a->cols,
               (size_t)a->cols * 4);
}

int ohm_array_program(ohm_array *a, const int32_t *g, const int32_t *ref, const int32_t *q,
                      int64_t v0, int64_t v1) {
    const size_t cells = (size_t)a->rows * (size_t)a->cols;
    const int64_t limit = (int64_t)1 << 52, int32 = (int64_t)1 << 31;
    int64_t g_top, g_size, q_top = 0, q_size = 0, ref_size = 0;
    for (size_t i = 0; i < cells; i++)
        if (g[i] <= -(1 << 22) || g[i] >= 1 << 22) return OHM_EINVAL;
    for (int r = 0; r < a->rows; r++) {
        if (ref[r] <= -(1 << 30) || ref[r] >= 1 << 30) return OHM_EINVAL;
        ref_size += ref[r] < 0 ? -(int64_t)ref[r] : ref[r];
    }
    if (v0 < 0 || v0 >= limit || v1 < 0 || v1 >= (int64_t)1 << 32) return OHM_EINVAL;
    ohm_bounds(a, g, &g_top, &g_size);
    if (q) ohm_bounds(a, q, &q_top, &q_size);
    const int64_t variance = v0 + ((v1 * g_top) >> 16) + q_top;
    if (variance >= limit) return OHM_EINVAL;

    int32_t *cells_q = NULL;
    uint16_t *half = NULL;
    int shift = 0;
    if (q) {
        cells_q = ohm_words((size_t)a->rows * (size_t)a->stride);
        if (!cells_q) return OHM_ENOMEM;
        if (ohm_halve(a, q, &half, &shift) != OHM_OK) {
            free(cells_q);
            return OHM_ENOMEM;
        }
        ohm_copy(a, q, cells_q);
    }
    ohm_drop_tables(a);
    ohm_free_cells(a);
    free(a->q);
    free(a->h);
    a->q = cells_q;
    a->h = half;
    a->q_shift = shift;
    ohm_copy(a, g, a->g);
    memcpy(a->ref, ref, (size_t)a->rows * 4);
    a->has_ref = ref_size != 0;
    a->v0 = v0;
    a->v1 = v1;
    a->noisy = v0 != 0 || v1 != 0 || q != NULL;
    /* The largest noise in 32 bits: sqrt(2**31) times the largest |z|, rounded up. */
    const int64_t noise = (46341 * (int64_t)(((ohm_gaussian_table[0] >> 12) + 8) >> 4) >> 12) + 1;
    a->narrow = variance < int32 && q_size < int32 && g_size + ref_size + noise + 2048 < int32;
    return OHM_OK;
}

int ohm_array_set_adc(ohm_array *a, int bits, int lanes, const uint16_t *table) {
    if (bits < 1 || bits > 16 || lanes < 1 || lanes > a->cols) return OHM_EINVAL;
    int32_t *copy = NULL;
    if (table) {
        /* Words of 32 bits can be gathered. */
        const size_t entries = (size_t)lanes << bits;
        copy = ohm_words(entries);
        if (!copy) return OHM_ENOMEM;
        for (size_t i = 0; i < entries; i++) copy[i] = table[i];
    }
    for (int c = 0; c < OHM_MAX_COLS; c++) a->lane_base[c] = (c / a->span % lanes) << bits;
    free(a->adc);
    a->adc = copy;
    a->bits = bits;
    a->lanes = lanes;
    return OHM_OK;
}

int ohm_array_set_sensing(ohm_array *a, int step_bits, int span, const int32_t *thresholds) {
    if (step_bits < 0 || step_bits > 8 || span < 1 || span > a->cols) return OHM_EINVAL;
    memset(a->base, 0, sizeof a->base);
    if (thresholds)
        for (int c = 0; c < a->cols; c++) a->base[c] = thresholds[c] - 1;
    a->step_bits = step_bits;
    a->span = span;
    a->plain = !step_bits && !thresholds;
    return OHM_OK;
}

int ohm_array_set_drive(ohm_array *a, int digits, const int32_t *drive) {
    if (digits < 0 || digits > OHM_MAX_DIGITS) return OHM_EINVAL;
    for (int d = 0; d < digits; d++)
        if (drive[d] <= -(1 << 16) || drive[d] >= 1 << 16) return OHM_EINVAL;
    if (digits) memcpy(a->drive, drive, (size_t)digits * 4);
    a->digits = digits;
    return OHM_OK;
}

int ohm_array_rows(const ohm_array *a) { return a->rows; }
int ohm_array_cols(const ohm_array *a) { return a->cols; }
uint64_t ohm_array_reads(const ohm_array *a) { return a->reads; }
void ohm_array_set_reads(ohm_array *a, uint64_t number) { a->reads = number; }
uint64_t ohm_array_driven(const ohm_array *a) { return a->driven; }
int ohm_array_is_narrow(const ohm_array *a) { return a->narrow; }

/* ---------------------------------------------------------------- one read */

/* All outputs have room for n columns, a multiple of 16. */
typedef struct {
    OHM_ALIGNED int32_t current[OHM_MAX_COLS];
    OHM_ALIGNED int32_t cells[OHM_MAX_COLS];
    OHM_ALIGNED int32_t z[OHM_MAX_COLS];
    OHM_ALIGNED int32_t x[OHM_MAX_COLS];
    OHM_ALIGNED int64_t noise[OHM_MAX_COLS];
} ohm_scratch;

/* Noise of a column in 64 bits. */
static inline int64_t ohm_wide_noise(const ohm_array *a, int64_t current, int64_t cells,
                                     int32_t z) {
    const int64_t carried = current > 0 ? current : 0;
    const int64_t variance = a->v0 + ((a->v1 * carried) >> 16) + (cells > 0 ? cells : 0);
    /* IEEE 754 roots are rounded correctly, so below 2**52 this is the integer root. */
    return ((int64_t)sqrt((double)variance) * z + 2048) >> 12;
}

static void ohm_noise_narrow(const ohm_array *a, int n, ohm_scratch *s, int32_t *noise) {
    /* v1 * I >> 16 without a 64-bit product: with v1 = (h, l) and I = (i, j) in halves of 16 bits
     * it is h*I + l*i + (l*j >> 16), exactly. */
    const uint32_t v0 = (uint32_t)a->v0, h = (uint32_t)(a->v1 >> 16), l = (uint32_t)a->v1 & 0xFFFF;
    const int32_t *q = s->cells;
    if (!a->q) memset(s->cells, 0, (size_t)n * 4);
    for (int c = 0; c < n; c++) {
        const uint32_t current = (uint32_t)(s->current[c] > 0 ? s->current[c] : 0);
        const uint32_t shot = h * current + l * (current >> 16) + (l * (current & 0xFFFF) >> 16);
        const uint32_t variance = v0 + shot + (uint32_t)(q[c] > 0 ? q[c] : 0);
        noise[c] = ((int32_t)ohm_isqrt31_1(variance) * s->z[c] + 2048) >> 12;
    }
}

static void ohm_noise_wide(const ohm_array *a, const ohm_plan *plan, int n, ohm_scratch *s) {
    for (int c = 0; c < n; c++) {
        int64_t cells = 0;
        if (a->q)
            for (int i = 0; i < plan->count; i++) cells += a->q[plan->offsets[i] + (uint32_t)c];
        s->noise[c] = ohm_wide_noise(a, s->current[c], cells, s->z[c]);
    }
}

/* The code, before the table of its ADC, of what a column senses, 4096 to a level step. */
static inline uint16_t ohm_near(const ohm_array *a, int c, int64_t x) {
    const int64_t top = ((int64_t)1 << a->bits) - 1;
    const int64_t t = ((x + ((int64_t)2048 << a->step_bits)) >> (12 + a->step_bits)) - a->base[c];
    return (uint16_t)(t < 0 ? 0 : t > top ? top : t);
}

/* Sums, reference and noise of read number a->reads for n columns. */
static void ohm_sense(ohm_array *a, const uint32_t *row_words, int n, ohm_plan *plan,
                      ohm_scratch *s) {
    ohm_plan_rows(a, row_words, plan);
    ohm_sum_rows(plan->tables ? a->g_table : a->g, plan->offsets, plan->count, n, s->current);
    if (!a->noisy) return;
    ohm_noise_words(a, a->reads, n, s->z);
    if (a->narrow && a->h)
        ohm_sum_halves(plan->tables ? a->h_table : a->h, plan->offsets, plan->count, n,
                       a->q_shift, s->cells);
    else if (a->narrow && a->q)
        ohm_sum_rows(plan->tables ? a->q_table : a->q, plan->offsets, plan->count, n, s->cells);
}

/* Codes of the first `columns` columns; `codes` has room for columns rounded up to 16. */
static void ohm_convert(ohm_array *a, const uint32_t *row_words, int columns, uint16_t *codes) {
    ohm_plan plan;
    ohm_scratch s;
    const int n = (columns + 15) / 16 * 16;
    const int32_t top = (1 << a->bits) - 1;
    ohm_sense(a, row_words, n, &plan, &s);
    a->reads++;
    for (int r = 0; r < a->rows; r += 32) {
        const uint32_t mask = a->rows - r < 32 ? (1u << (a->rows - r)) - 1 : ~0u;
        a->driven += (uint64_t)__builtin_popcount(row_words[r / 32] & mask);
    }
    if (a->narrow) {
        const int32_t offset = 2048 - (int32_t)plan.reference;
        if (a->noisy)
            ohm_noise_narrow(a, n, &s, s.x);
        else
            memset(s.x, 0, (size_t)n * 4);
        if (a->plain)
            for (int c = 0; c < n; c++) {
                const int32_t t = (s.current[c] + s.x[c] + offset) >> 12;
                codes[c] = (uint16_t)(t < 0 ? 0 : t > top ? top : t);
            }
        else
            for (int c = 0; c < n; c++)
                codes[c] = ohm_near(a, c, (int64_t)s.current[c] + s.x[c] - plan.reference);
    } else {
        if (a->noisy)
            ohm_noise_wide(a, &plan, n, &s);
        else
            memset(s.noise, 0, (size_t)n * 8);
        for (int c = 0; c < n; c++) {
            codes[c] = ohm_near(a, c, s.current[c] + s.noise[c] - plan.reference);
        }
    }
    if (a->adc)
        for (int c = 0; c < n; c++) codes[c] = (uint16_t)a->adc[a->lane_base[c] + codes[c]];
}

int ohm_array_read_many(ohm_array *a, int64_t n, const uint32_t *row_words, int columns,
                        uint16_t *codes) {
    if (columns < 1 || columns > a->cols || n < 0) return OHM_EINVAL;
    for (int64_t i = 0; i < n; i++, row_words += a->words, codes += columns) {
        if (columns % 16) {
            OHM_ALIGNED uint16_t padded[OHM_MAX_COLS];
            ohm_convert(a, row_words, columns, padded);
            memcpy(codes, padded, (size_t)columns * sizeof *codes);
        } else {
            ohm_convert(a, row_words, columns, codes);
        }
    }
    return OHM_OK;
}

int ohm_array_read(ohm_array *a, const uint32_t *row_words, int columns, uint16_t *codes) {
    return ohm_array_read_many(a, 1, row_words, columns, codes);
}

/* One digit a row. The sums are those of one masked read a digit, each weighted with its drive. */
static void ohm_convert_digits(ohm_array *a, const uint8_t *digits, int columns,
                               uint16_t *codes) {
    int64_t current[OHM_MAX_COLS] = {0}, cells[OHM_MAX_COLS] = {0}, reference = 0;
    OHM_ALIGNED int32_t z[OHM_MAX_COLS];
    for (int r = 0; r < a->rows; r++) {
        const int64_t drive = a->drive[digits[r]], square = (drive * drive + 2048) >> 12;
        const size_t row = (size_t)r * (size_t)a->stride;
        reference += drive * a->ref[r];
        if (!drive) continue;
        a->driven++;
        for (int c = 0; c < columns; c++) current[c] += drive * a->g[row + (size_t)c];
        if (a->q)
            for (int c = 0; c < columns; c++) cells[c] += square * a->q[row + (size_t)c];
    }
    reference = (reference + 2048) >> 12;
    if (a->noisy) ohm_noise_words(a, a->reads, (columns + 15) / 16 * 16, z);
    a->reads++;
    for (int c = 0; c < columns; c++) {
        const int64_t carried = (current[c] + 2048) >> 12;
        const int64_t noise =
            a->noisy ? ohm_wide_noise(a, carried, (cells[c] + 2048) >> 12, z[c]) : 0;
        const uint16_t t = ohm_near(a, c, carried + noise - reference);
        codes[c] = (uint16_t)(a->adc ? a->adc[a->lane_base[c] + t] : t);
    }
}

int ohm_array_read_digits(ohm_array *a, int64_t n, const uint8_t *digits, int columns,
                          uint16_t *codes) {
    if (columns < 1 || columns > a->cols || n < 0) return OHM_EINVAL;
    for (int64_t i = 0; i < n * a->rows; i++)
        if (digits[i] >= a->digits) return OHM_EINVAL;
    for (int64_t i = 0; i < n; i++)
        ohm_convert_digits(a, digits + i * a->rows, columns, codes + i * columns);
    return OHM_OK;
}

int ohm_array_analog(ohm_array *a, const uint32_t *row_words, int columns, int64_t *current,
                     int64_t *noise, int64_t *reference, int64_t *x) {
    ohm_plan plan;
    ohm_scratch s;
    const int n = (columns + 15) / 16 * 16;
    if (columns < 1 || columns > a->cols) return OHM_EINVAL;
    ohm_sense(a, row_words, n, &plan, &s);
    if (!a->noisy) {
        memset(s.noise, 0, (size_t)n * 8);
    } else if (a->narrow) {
        ohm_noise_narrow(a, n, &s, s.x);
        for (int c = 0; c < n; c++) s.noise[c] = s.x[c];
    } else {
        ohm_noise_wide(a, &plan, n, &s);
    }
    for (int c = 0; c < columns; c++) {
        current[c] = s.current[c];
        noise[c] = s.noise[c];
        reference[c] = plan.reference;
        x[c] = current[c] + noise[c] - plan.reference;
    }
    return OHM_OK;
}
