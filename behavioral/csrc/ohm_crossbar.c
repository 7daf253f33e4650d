/* SPDX-License-Identifier: Apache-2.0
 *
 * See ohm_crossbar.h for the interface and behavioral/image.py for the arithmetic.
 *
 * Loops are written for the compiler's vectorizer; only the row sums use vector types, because they
 * must keep their accumulators in registers. No result depends on the instruction set.
 */
#include "ohm_crossbar.h"

#include "ohm_noise.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "ohm_crossbar needs a little-endian machine"
#endif

#define OHM_LANES (OHM_VECTOR_BYTES / 4)
#define OHM_WORDS (OHM_MAX_ROWS / 32)

/* Above this many driven rows a sum over 4-row tables touches fewer cache lines than the rows do.
 * Tables are four times the size of the image, so they are built only once this many such reads
 * were made: few arrays of a chip ever need them. */
#define OHM_DENSE_ROWS 24
#define OHM_DENSE_READS 32

typedef int32_t ohm_vec __attribute__((vector_size(OHM_VECTOR_BYTES), may_alias));

struct ohm_array {
    int rows, cols, stride, words;
    uint32_t seed, array;
    uint64_t reads;
    int noisy, narrow, has_ref;
    int64_t v0, v1;
    ohm_planes planes;
    int32_t *g;        /* [rows][stride], columns padded with zeros to a multiple of 16 */
    int32_t *q;        /* likewise, or NULL */
    int32_t *g_table;  /* [rows / 4][16][stride]: sums of every choice of 4 rows, or NULL */
    int32_t *q_table;
    int dense_reads;
    int bits, lanes;
    uint16_t *adc;     /* [lanes][1 << bits], or NULL */
    OHM_ALIGNED int32_t ref[OHM_MAX_ROWS];
};

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
    a->g_table = a->q_table = NULL;
    a->dense_reads = 0;
}

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
    free(a->g);
    free(a->q);
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
    if (q) {
        cells_q = ohm_words((size_t)a->rows * (size_t)a->stride);
        if (!cells_q) return OHM_ENOMEM;
        ohm_copy(a, q, cells_q);
    }
    ohm_drop_tables(a);
    free(a->q);
    a->q = cells_q;
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
    uint16_t *copy = NULL;
    if (table) {
        const size_t bytes = ((size_t)lanes << bits) * sizeof *copy;
        copy = (uint16_t *)malloc(bytes);
        if (!copy) return OHM_ENOMEM;
        memcpy(copy, table, bytes);
    }
    free(a->adc);
    a->adc = copy;
    a->bits = bits;
    a->lanes = lanes;
    return OHM_OK;
}

int ohm_array_rows(const ohm_array *a) { return a->rows; }
int ohm_array_cols(const ohm_array *a) { return a->cols; }
uint64_t ohm_array_reads(const ohm_array *a) { return a->reads; }
void ohm_array_set_reads(ohm_array *a, uint64_t number) { a->reads = number; }
int ohm_array_is_narrow(const ohm_array *a) { return a->narrow; }

/* ---------------------------------------------------------------- row sums */

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
            if (a->q) a->q_table = ohm_make_table(a, a->q);
            if (!a->g_table || (a->q && !a->q_table)) ohm_drop_tables(a); /* slower, still right */
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

/* ---------------------------------------------------------------- one read */

/* All outputs have room for n columns, a multiple of 16. */
typedef struct {
    OHM_ALIGNED int32_t current[OHM_MAX_COLS];
    OHM_ALIGNED int32_t cells[OHM_MAX_COLS];
    OHM_ALIGNED int32_t z[OHM_MAX_COLS];
    OHM_ALIGNED int32_t x[OHM_MAX_COLS];
    OHM_ALIGNED int64_t noise[OHM_MAX_COLS];
} ohm_scratch;

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
        const int64_t current = s->current[c] > 0 ? s->current[c] : 0;
        const int64_t variance = a->v0 + ((a->v1 * current) >> 16) + (cells > 0 ? cells : 0);
        /* IEEE 754 roots are rounded correctly, so below 2**52 this is the integer root. */
        const int64_t sigma = (int64_t)sqrt((double)variance);
        s->noise[c] = (sigma * s->z[c] + 2048) >> 12;
    }
}

/* Sums, reference and noise of read number a->reads for n columns. */
static void ohm_sense(ohm_array *a, const uint32_t *row_words, int n, ohm_plan *plan,
                      ohm_scratch *s) {
    ohm_plan_rows(a, row_words, plan);
    ohm_sum_rows(plan->tables ? a->g_table : a->g, plan->offsets, plan->count, n, s->current);
    if (!a->noisy) return;
    ohm_noise_words(a, a->reads, n, s->z);
    if (a->narrow && a->q)
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
    if (a->narrow) {
        const int32_t offset = 2048 - (int32_t)plan.reference;
        if (a->noisy)
            ohm_noise_narrow(a, n, &s, s.x);
        else
            memset(s.x, 0, (size_t)n * 4);
        for (int c = 0; c < n; c++) {
            const int32_t t = (s.current[c] + s.x[c] + offset) >> 12;
            codes[c] = (uint16_t)(t < 0 ? 0 : t > top ? top : t);
        }
    } else {
        const int64_t offset = 2048 - plan.reference;
        if (a->noisy)
            ohm_noise_wide(a, &plan, n, &s);
        else
            memset(s.noise, 0, (size_t)n * 8);
        for (int c = 0; c < n; c++) {
            const int64_t t = (s.current[c] + s.noise[c] + offset) >> 12;
            codes[c] = (uint16_t)(t < 0 ? 0 : t > top ? top : t);
        }
    }
    if (a->adc)
        for (int c = 0, lane = 0; c < columns; c++) {
            codes[c] = a->adc[((size_t)lane << a->bits) + codes[c]];
            lane = lane + 1 == a->lanes ? 0 : lane + 1;
        }
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
