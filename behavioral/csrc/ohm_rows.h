/* SPDX-License-Identifier: Apache-2.0
 *
 * Private parts of ohm_crossbar.c: the array, and how a read sums its rows.
 *
 * Loops are written for the compiler's vectorizer; only the row sums use vector types, because they
 * must keep their accumulators in registers. No result depends on the instruction set.
 */
#ifndef OHM_ROWS_H
#define OHM_ROWS_H

#include "ohm_crossbar.h"

#include "ohm_noise.h"

#include <stdlib.h>
#include <string.h>

#define OHM_LANES (OHM_VECTOR_BYTES / 4)
#define OHM_WORDS (OHM_MAX_ROWS / 32)

/* Above this many driven rows a sum over 4-row tables touches fewer cache lines than the rows do.
 * Tables are four times the size of the image, so they are built only once this many such reads
 * were made: few arrays of a chip ever need them. */
#define OHM_DENSE_ROWS 24
#define OHM_DENSE_READS 32

typedef int32_t ohm_vec __attribute__((vector_size(OHM_VECTOR_BYTES), may_alias));

/* Sums of 16 bits. A row starts at a multiple of 16 columns, which is all their addresses need. */
#define OHM_HALVES (OHM_VECTOR_BYTES / 2)
typedef uint16_t ohm_half
    __attribute__((vector_size(OHM_VECTOR_BYTES), aligned(16), may_alias));
typedef uint16_t ohm_half8 __attribute__((vector_size(16), may_alias));

struct ohm_array {
    int rows, cols, stride, words;
    uint32_t seed, array;
    uint64_t reads, driven;
    int noisy, narrow, has_ref;
    int64_t v0, v1;
    ohm_planes planes;
    int32_t *g;        /* [rows][stride], columns padded with zeros to a multiple of 16 */
    int32_t *q;        /* likewise, or NULL */
    int32_t *g_table;  /* [rows / 4][16][stride]: sums of every choice of 4 rows, or NULL */
    int32_t *q_table;
    /* The same in 16 bits, q >> q_shift, where that loses nothing and no column's sum leaves 16
     * bits; NULL otherwise. It halves what per-cell noise costs. */
    uint16_t *h;
    uint16_t *h_table;
    int q_shift;
    int dense_reads;
    int bits, lanes, digits;
    int32_t *adc;      /* [lanes][1 << bits], or NULL */
    int plain;         /* a code counts a level step, and there are no thresholds */
    int step_bits, span;
    int32_t base[OHM_MAX_COLS]; /* taken off the codes: thresholds less one */
    OHM_ALIGNED int32_t ref[OHM_MAX_ROWS];
    OHM_ALIGNED int32_t lane_base[OHM_MAX_COLS]; /* where the table of a column's ADC starts */
    int32_t drive[OHM_MAX_DIGITS];
    struct ohm_cells *cells; /* that pulses move (ohm_pulses.h), or NULL */
};

/* Zeroed memory, aligned for vectors. */
static int32_t *ohm_words(size_t count) {
    const size_t bytes = (count * 4 + 63) / 64 * 64;
    int32_t *p = (int32_t *)aligned_alloc(64, bytes);
    if (p) memset(p, 0, bytes);
    return p;
}

static void ohm_drop_tables(ohm_array *a) {
    free(a->g_table);
    free(a->q_table);
    free(a->h_table);
    a->g_table = a->q_table = NULL;
    a->h_table = NULL;
    a->dense_reads = 0;
}

static int32_t *ohm_make_table(const ohm_array *a, const int32_t *m) {
    const size_t s = (size_t)a->stride;
    int32_t *table = ohm_words((size_t)a->rows / 4 * 16 * s);
    if (!table) return NULL;
    for (int b = 0; b < a->rows / 4; b++)
        for (int k = 1; k < 16; k++) {
            /* The choice without its lowest row was made before. */
            int32_t *to = table + ((size_t)b * 16 + (size_t)k) * s;
            const int32_t *rest = table + ((size_t)b * 16 + (size_t)(k & (k - 1))) * s;
            const int32_t *row = m + (size_t)(b * 4 + __builtin_ctz((unsigned)k)) * s;
            for (size_t c = 0; c < s; c++) to[c] = rest[c] + row[c];
        }
    return table;
}

static uint16_t *ohm_make_half_table(const ohm_array *a) {
    const size_t s = (size_t)a->stride;
    uint16_t *table = (uint16_t *)ohm_words((size_t)a->rows / 4 * 16 * s / 2);
    if (!table) return NULL;
    for (int b = 0; b < a->rows / 4; b++)
        for (int k = 1; k < 16; k++) {
            uint16_t *to = table + ((size_t)b * 16 + (size_t)k) * s;
            const uint16_t *rest = table + ((size_t)b * 16 + (size_t)(k & (k - 1))) * s;
            const uint16_t *row = a->h + (size_t)(b * 4 + __builtin_ctz((unsigned)k)) * s;
            for (size_t c = 0; c < s; c++) to[c] = (uint16_t)(rest[c] + row[c]);
        }
    return table;
}

/* The 16-bit form of q, if there is one: OHM_OK, or OHM_ENOMEM. */
static int ohm_halve(const ohm_array *a, const int32_t *q, uint16_t **half, int *shift) {
    const size_t cols = (size_t)a->cols;
    uint32_t bits = 0;
    *half = NULL;
    *shift = 0;
    for (size_t i = 0; i < (size_t)a->rows * cols; i++) {
        if (q[i] < 0) return OHM_OK;
        bits |= (uint32_t)q[i];
    }
    while (bits && !(bits & 1)) bits >>= 1, ++*shift;
    for (size_t c = 0; c < cols; c++) {
        int64_t sum = 0;
        for (int r = 0; r < a->rows; r++) sum += q[(size_t)r * cols + c] >> *shift;
        if (sum > UINT16_MAX) return OHM_OK;
    }
    *half = (uint16_t *)ohm_words((size_t)a->rows * (size_t)a->stride / 2);
    if (!*half) return OHM_ENOMEM;
    for (int r = 0; r < a->rows; r++)
        for (size_t c = 0; c < cols; c++)
            (*half)[(size_t)r * (size_t)a->stride + c] =
                (uint16_t)(q[(size_t)r * cols + c] >> *shift);
    return OHM_OK;
}

/* Sum `count` rows given by their offsets from `base`, columns 0 to n - 1 (n a multiple of 16). */
static void ohm_sum_rows(const int32_t *base, const uint32_t *offsets, int count, int n,
                         int32_t *sums) {
    int c = 0;
    for (; c + 8 * OHM_LANES <= n; c += 8 * OHM_LANES) {
        ohm_vec s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0}, s4 = {0}, s5 = {0}, s6 = {0}, s7 = {0};
        for (int i = 0; i < count; i++) {
            const ohm_vec *p = (const ohm_vec *)(base + offsets[i] + c);
            s0 += p[0], s1 += p[1], s2 += p[2], s3 += p[3];
            s4 += p[4], s5 += p[5], s6 += p[6], s7 += p[7];
        }
        ohm_vec *o = (ohm_vec *)(sums + c);
        o[0] = s0, o[1] = s1, o[2] = s2, o[3] = s3;
        o[4] = s4, o[5] = s5, o[6] = s6, o[7] = s7;
    }
    for (; c + 2 * OHM_LANES <= n; c += 2 * OHM_LANES) {
        ohm_vec s0 = {0}, s1 = {0};
        for (int i = 0; i < count; i++) {
            const ohm_vec *p = (const ohm_vec *)(base + offsets[i] + c);
            s0 += p[0], s1 += p[1];
        }
        ohm_vec *o = (ohm_vec *)(sums + c);
        o[0] = s0, o[1] = s1;
    }
    for (; c < n; c += OHM_LANES) {
        ohm_vec s = {0};
        for (int i = 0; i < count; i++) s += *(const ohm_vec *)(base + offsets[i] + c);
        *(ohm_vec *)(sums + c) = s;
    }
}

/* The same in 16 bits, shifted back; no sum leaves them. */
static void ohm_sum_halves(const uint16_t *base, const uint32_t *offsets, int count, int n,
                           int shift, int32_t *sums) {
    OHM_ALIGNED uint16_t halves[OHM_MAX_COLS];
    int c = 0;
    for (; c + 8 * OHM_HALVES <= n; c += 8 * OHM_HALVES) {
        ohm_half s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0}, s4 = {0}, s5 = {0}, s6 = {0}, s7 = {0};
        for (int i = 0; i < count; i++) {
            const ohm_half *p = (const ohm_half *)(base + offsets[i] + c);
            s0 += p[0], s1 += p[1], s2 += p[2], s3 += p[3];
            s4 += p[4], s5 += p[5], s6 += p[6], s7 += p[7];
        }
        ohm_half *o = (ohm_half *)(halves + c);
        o[0] = s0, o[1] = s1, o[2] = s2, o[3] = s3;
        o[4] = s4, o[5] = s5, o[6] = s6, o[7] = s7;
    }
    for (; c + 2 * OHM_HALVES <= n; c += 2 * OHM_HALVES) {
        ohm_half s0 = {0}, s1 = {0};
        for (int i = 0; i < count; i++) {
            const ohm_half *p = (const ohm_half *)(base + offsets[i] + c);
            s0 += p[0], s1 += p[1];
        }
        ohm_half *o = (ohm_half *)(halves + c);
        o[0] = s0, o[1] = s1;
    }
    for (; c < n; c += 8) {
        ohm_half8 s = {0};
        for (int i = 0; i < count; i++) s += *(const ohm_half8 *)(base + offsets[i] + c);
        *(ohm_half8 *)(halves + c) = s;
    }
    for (c = 0; c < n; c++) sums[c] = (int32_t)halves[c] << shift;
}

/* Which rows a read drives, and how its sums are made. */
typedef struct {
    int count;    /* rows, or 4-row table entries */
    int tables;
    int64_t reference;
    OHM_ALIGNED uint32_t offsets[OHM_MAX_ROWS + 16]; /* vectors are written past the last one */
} ohm_plan;

/* Offsets of the driven rows, ascending. */
static int ohm_row_offsets(const uint32_t *words, int count, uint32_t stride, uint32_t *offsets) {
    int n = 0;
#if defined(__AVX512F__)
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i step = _mm512_set1_epi32((int)stride);
    for (int i = 0; i < 2 * count; i++) {
        const uint32_t bits = words[i >> 1] >> (i & 1) * 16 & 0xFFFF;
        const __m512i rows = _mm512_add_epi32(lanes, _mm512_set1_epi32(16 * i));
        const __m512i packed =
            _mm512_maskz_compress_epi32((__mmask16)bits, _mm512_mullo_epi32(rows, step));
        _mm512_storeu_si512(offsets + n, packed);
        n += __builtin_popcount(bits);
    }
#else
    for (int w = 0; w < count; w++)
        for (uint32_t bits = words[w]; bits; bits &= bits - 1)
            offsets[n++] = (uint32_t)(w * 32 + __builtin_ctz(bits)) * stride;
#endif
    return n;
}

static int64_t ohm_reference(const ohm_array *a, const uint32_t *words) {
    int64_t sum = 0;
    if (!a->narrow) {
        for (int r = 0; r < a->rows; r++) sum += words[r >> 5] >> (r & 31) & 1 ? a->ref[r] : 0;
        return sum;
    }
    /* Every row, masked: cheaper than finding the driven ones. */
    ohm_vec sums = {0}, lane;
    for (int j = 0; j < OHM_LANES; j++) lane[j] = j;
    for (int r = 0; r < 32 * a->words; r += OHM_LANES) {
        const ohm_vec bit = ((int32_t)(words[r >> 5] >> (r & 31)) >> lane) & 1;
        sums += *(const ohm_vec *)(a->ref + r) & -bit;
    }
    for (int j = 0; j < OHM_LANES; j++) sum += sums[j];
    return sum;
}

static void ohm_plan_rows(ohm_array *a, const uint32_t *row_words, ohm_plan *plan) {
    const uint32_t stride = (uint32_t)a->stride;
    uint32_t words[OHM_WORDS];
    int driven = 0, used = 0;
    for (int w = 0; w < a->words; w++) {
        words[w] = row_words[w];
        if (a->rows - w * 32 < 32) words[w] &= (1u << (a->rows - w * 32)) - 1u;
        driven += __builtin_popcount(words[w]);
        if (words[w]) used = w + 1;
    }
    plan->reference = a->has_ref ? ohm_reference(a, words) : 0;
    plan->tables = 0;
    if (driven > OHM_DENSE_ROWS && a->narrow) {
        if (!a->g_table && ++a->dense_reads >= OHM_DENSE_READS) {
            a->g_table = ohm_make_table(a, a->g);
            if (a->h)
                a->h_table = ohm_make_half_table(a);
            else if (a->q)
                a->q_table = ohm_make_table(a, a->q);
            /* Slower, still right. */
            if (!a->g_table || (a->q && !a->q_table && !a->h_table)) ohm_drop_tables(a);
        }
        plan->tables = a->g_table != NULL;
    }
    if (!plan->tables) {
        plan->count = ohm_row_offsets(words, used, stride, plan->offsets);
        return;
    }
    const int whole = 8 * used < a->rows / 4 ? 8 * used : a->rows / 4;
    for (int w = 0; w < used; w++)
        for (uint32_t b = 0; b < 8; b++)
            plan->offsets[8 * (uint32_t)w + b] =
                ((8 * (uint32_t)w + b) * 16 + (words[w] >> 4 * b & 15)) * stride;
    plan->count = whole;
}

#endif
