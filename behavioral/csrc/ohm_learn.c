/* SPDX-License-Identifier: Apache-2.0
 *
 * See ohm_learn.h for the interface; behavioral/learning/cells.py and array.py state the
 * arithmetic.
 */
#include "ohm_learn.h"

#include "ohm_noise.h"
#include "ohm_step.h"

#include <stdlib.h>
#include <string.h>

/* Weights are below 2**19, so a sum of 32 bits holds 32 products with an input of 127. */
enum { OHM_LEARN_INPUT = 127, OHM_LEARN_CHUNK = 32 };

struct ohm_learn_array {
    ohm_learn_config config;
    ohm_pulse_model model;
    uint64_t reads;
    int noisy;
    ohm_planes planes;
    int32_t *state, *ref, *low, *high, *worn;
    uint32_t *numbers, *limit;
    uint8_t *fixed;
    uint16_t *gain_up, *gain_down;
    int32_t *w, *g; /* what reads see of the states: less the reference, and whole */
};

static size_t ohm_learn_count(const ohm_learn_array *a) {
    return (size_t)a->config.rows * (size_t)a->config.cols;
}

/* A copy of n elements, or of as many zeros. */
static void *ohm_learn_copy(const void *from, size_t n, size_t size, int *failed) {
    void *to = calloc(n, size);
    if (!to)
        *failed = 1;
    else if (from)
        memcpy(to, from, n * size);
    return to;
}

static void *ohm_learn_given(const void *from, size_t n, size_t size, int *failed) {
    return from ? ohm_learn_copy(from, n, size, failed) : NULL;
}

static inline void ohm_learn_see(ohm_learn_array *a, size_t cell) {
    a->g[cell] = (a->state[cell] + 128) >> 8;
    a->w[cell] = a->g[cell] - a->ref[cell];
}

ohm_learn_array *ohm_learn_new(const ohm_learn_config *config, const ohm_pulse_model *model,
                               const ohm_learn_cells *cells) {
    if (config->rows < 1 || config->rows > OHM_LEARN_ROWS || config->cols < 1 ||
        config->cols > OHM_LEARN_COLS || config->adc_bits < 2 || config->adc_bits > 16 ||
        config->lanes < 1 || config->lanes > OHM_LEARN_LANES || config->lanes_transposed < 1 ||
        config->lanes_transposed > OHM_LEARN_LANES || !cells->state || !cells->ref)
        return NULL;
    ohm_learn_array *a = (ohm_learn_array *)aligned_alloc(64, (sizeof *a + 63) / 64 * 64);
    if (!a) return NULL;
    memset(a, 0, sizeof *a);
    a->config = *config;
    a->model = *model;
    const size_t n = ohm_learn_count(a);
    int failed = 0;
    a->state = (int32_t *)ohm_learn_copy(cells->state, n, 4, &failed);
    a->ref = (int32_t *)ohm_learn_copy(cells->ref, n, 4, &failed);
    a->numbers = (uint32_t *)ohm_learn_copy(cells->numbers, n, 4, &failed);
    a->w = (int32_t *)ohm_learn_copy(NULL, n, 4, &failed);
    a->g = (int32_t *)ohm_learn_copy(NULL, n, 4, &failed);
    a->fixed = (uint8_t *)ohm_learn_given(cells->fixed, n, 1, &failed);
    a->gain_up = (uint16_t *)ohm_learn_given(cells->gain_up, n, 2, &failed);
    a->gain_down = (uint16_t *)ohm_learn_given(cells->gain_down, n, 2, &failed);
    a->low = (int32_t *)ohm_learn_given(cells->low, n, 4, &failed);
    a->high = (int32_t *)ohm_learn_given(cells->high, n, 4, &failed);
    a->limit = (uint32_t *)ohm_learn_given(cells->limit, n, 4, &failed);
    a->worn = (int32_t *)ohm_learn_given(cells->worn, n, 4, &failed);
    if (failed) {
        ohm_learn_free(a);
        return NULL;
    }
    for (size_t i = 0; i < n; i++) ohm_learn_see(a, i);
    ohm_split_table(&a->planes);
    a->noisy = config->v0 || config->v1 || config->v2;
    return a;
}

void ohm_learn_free(ohm_learn_array *a) {
    if (!a) return;
    free(a->state), free(a->ref), free(a->numbers), free(a->w), free(a->g), free(a->fixed);
    free(a->gain_up), free(a->gain_down), free(a->low), free(a->high), free(a->limit);
    free(a->worn);
    free(a);
}

int ohm_learn_rows(const ohm_learn_array *a) { return a->config.rows; }
int ohm_learn_cols(const ohm_learn_array *a) { return a->config.cols; }
int ohm_learn_top(const ohm_learn_array *a) { return (1 << (a->config.adc_bits - 1)) - 1; }
uint64_t ohm_learn_reads(const ohm_learn_array *a) { return a->reads; }

void ohm_learn_get(const ohm_learn_array *a, int32_t *state, uint32_t *numbers) {
    memcpy(state, a->state, ohm_learn_count(a) * 4);
    memcpy(numbers, a->numbers, ohm_learn_count(a) * 4);
}

int ohm_learn_set(ohm_learn_array *a, const int32_t *state, const uint32_t *numbers,
                  uint64_t reads) {
    const size_t n = ohm_learn_count(a);
    for (size_t i = 0; i < n; i++)
        if (state[i] < 0 || state[i] >= 1 << 26) return OHM_EINVAL;
    for (size_t i = 0; i < n; i++) {
        a->state[i] = state[i];
        a->numbers[i] = numbers[i];
        ohm_learn_see(a, i);
    }
    a->reads = reads;
    return OHM_OK;
}

/* ---------------------------------------------------------------- reads */

/* sum over the driven rows of x * w, for `outputs` columns. */
static void ohm_learn_forward(const ohm_learn_array *a, const int32_t *w, int n, const int8_t *x,
                              int outputs, int64_t *sums) {
    int32_t part[OHM_LEARN_COLS];
    const size_t cols = (size_t)a->config.cols;
    memset(sums, 0, (size_t)outputs * sizeof *sums);
    for (int r = 0; r < n;) {
        int taken = 0;
        memset(part, 0, (size_t)outputs * sizeof *part);
        for (; r < n && taken < OHM_LEARN_CHUNK; r++) {
            const int32_t v = x[r];
            const int32_t *row = w + (size_t)r * cols;
            if (!v) continue;
            taken++;
            for (int c = 0; c < outputs; c++) part[c] += v * row[c];
        }
        for (int c = 0; c < outputs; c++) sums[c] += part[c];
    }
}

static void ohm_learn_backward(const ohm_learn_array *a, const int32_t *w, int n, const int8_t *x,
                               int outputs, int64_t *sums) {
    const size_t cols = (size_t)a->config.cols;
    for (int r = 0; r < outputs; r++) {
        const int32_t *row = w + (size_t)r * cols;
        int64_t sum = 0;
        for (int first = 0; first < n; first += OHM_LEARN_CHUNK) {
            const int end = n - first < OHM_LEARN_CHUNK ? n : first + OHM_LEARN_CHUNK;
            int32_t part = 0;
            for (int c = first; c < end; c++) part += x[c] * row[c];
            sum += part;
        }
        sums[r] = sum;
    }
}

/* Variance of each output. */
static void ohm_learn_variance(const ohm_learn_array *a, int transposed, int n, const int8_t *x,
                               int outputs, int64_t *variance) {
    const ohm_learn_config *f = &a->config;
    const int64_t most = ((int64_t)1 << 52) - 1;
    int64_t current[OHM_LEARN_ROWS], square[OHM_LEARN_ROWS];
    memset(current, 0, sizeof current);
    memset(square, 0, sizeof square);
    if (f->v1 || f->v2) {
        const int rows = transposed ? outputs : n, cols = transposed ? n : outputs;
        for (int r = 0; r < rows; r++) {
            const int32_t *g = a->g + (size_t)r * (size_t)f->cols;
            if (!transposed && !x[r]) continue;
            for (int c = 0; c < cols; c++) {
                const int64_t v = transposed ? x[c] : x[r];
                const int to = transposed ? r : c;
                current[to] += (v < 0 ? -v : v) * g[c];
                square[to] += v * v * (((int64_t)g[c] * g[c] + (1 << 15)) >> 16);
            }
        }
    }
    for (int o = 0; o < outputs; o++) {
        const int64_t v = f->v0 + ((f->v1 * current[o]) >> 16) + square[o] * f->v2;
        variance[o] = v < most ? v : most;
    }
}

int ohm_learn_read(ohm_learn_array *a, int transposed, int n, const int8_t *x, int shift,
                   int outputs, int32_t *codes) {
    const ohm_learn_config *f = &a->config;
    const int in = transposed ? f->cols : f->rows, out = transposed ? f->rows : f->cols;
    int64_t sums[OHM_LEARN_ROWS], variance[OHM_LEARN_ROWS];
    if (n < 1 || n > in || outputs < 1 || outputs > out || shift < 0 || shift > 40)
        return OHM_EINVAL;
    for (int i = 0; i < n; i++)
        if (x[i] < -OHM_LEARN_INPUT) return OHM_EINVAL;
    if (transposed)
        ohm_learn_backward(a, a->w, n, x, outputs, sums);
    else
        ohm_learn_forward(a, a->w, n, x, outputs, sums);
    if (a->noisy) {
        const uint32_t k2 = 0x1BD11BDAu ^ f->seed ^ f->array;
        const uint32_t high = (uint32_t)(a->reads >> 32 & 0x3FFFFF) << 9;
        OHM_ALIGNED uint32_t u[OHM_LEARN_ROWS + 1];
        OHM_ALIGNED int32_t z[OHM_LEARN_ROWS];
        for (int i = 0; i < (outputs + 1) / 2; i++)
            ohm_threefry13(f->seed, f->array, k2, (uint32_t)a->reads, high | (uint32_t)i,
                           &u[2 * i], &u[2 * i + 1]);
        ohm_gaussian_with(&a->planes, outputs, u, z);
        ohm_learn_variance(a, transposed, n, x, outputs, variance);
        for (int o = 0; o < outputs; o++) {
            /* IEEE 754 roots are rounded correctly, so below 2**52 this is the integer root. */
            const int64_t sigma = (int64_t)sqrt((double)variance[o]);
            sums[o] += (sigma * z[o] + 2048) >> 12;
        }
    }
    a->reads++;
    const int32_t *gains = transposed ? f->gains_transposed : f->gains;
    const int lanes = transposed ? f->lanes_transposed : f->lanes;
    const int64_t top = (1 << (f->adc_bits - 1)) - 1;
    const int64_t half = shift ? (int64_t)1 << (shift - 1) : 0;
    for (int o = 0; o < outputs; o++) {
        const int64_t y = (sums[o] * gains[o % lanes]) >> 12, t = (y + half) >> shift;
        codes[o] = (int32_t)(t < -top ? -top : t > top ? top : t);
    }
    return OHM_OK;
}

/* ---------------------------------------------------------------- pulses */

static void ohm_learn_move(ohm_learn_array *a, uint32_t cell, int up, int pulses) {
    const ohm_pulse_model *m = &a->model;
    const uint32_t seed = a->config.seed, array = a->config.array;
    const uint32_t k2 = 0x1BD11BDAu ^ seed ^ array;
    const uint32_t first = a->numbers[cell];
    const uint16_t *gains = up ? a->gain_up : a->gain_down;
    a->numbers[cell] = first + (uint32_t)pulses;
    if (a->fixed && a->fixed[cell]) return;
    int32_t state = a->state[cell];
    uint32_t words[2] = {0, 0};
    for (int p = 0; p < pulses; p++) {
        const uint32_t number = first + (uint32_t)p;
        if (a->limit && number >= a->limit[cell]) {
            state = a->worn[cell];
            continue;
        }
        int64_t step = ohm_pulse_step(m, up ? m->up : m->down, state);
        if (gains) {
            step = (step * gains[cell] + 2048) >> 12;
            if (step > (1 << 30) - 1) step = (1 << 30) - 1;
        }
        if (m->spread) {
            if (!p || !(number & 1))
                ohm_threefry13(seed, array, k2, number >> 1, 0x80000000u | cell, &words[0],
                               &words[1]);
            const int64_t z = ohm_gaussian1(words[number & 1]);
            step += (step * m->spread * z + (1 << 23)) >> 24;
        }
        int64_t low = a->low ? a->low[cell] : m->low, high = a->high ? a->high[cell] : m->high;
        if (state < low) low = state;
        if (state > high) high = state;
        const int64_t next = up ? state + step : state - step;
        state = (int32_t)(next < low ? low : next > high ? high : next);
    }
    a->state[cell] = state;
    ohm_learn_see(a, cell);
}

int ohm_learn_pulse(ohm_learn_array *a, int row, int col, int count) {
    if (row < 0 || row >= a->config.rows || col < 0 || col >= a->config.cols) return OHM_EINVAL;
    if (count)
        ohm_learn_move(a, (uint32_t)(row * a->config.cols + col), count > 0,
                       count < 0 ? -count : count);
    return OHM_OK;
}

int ohm_learn_pulse_rows(ohm_learn_array *a, const uint32_t *row_words, const int8_t *signs,
                         int pulses) {
    if (pulses < 0) return OHM_EINVAL;
    if (!pulses) return OHM_OK;
    for (int r = 0; r < a->config.rows; r++) {
        if (!(row_words[r >> 5] >> (r & 31) & 1)) continue;
        for (int c = 0; c < a->config.cols; c++)
            if (signs[c])
                ohm_learn_move(a, (uint32_t)(r * a->config.cols + c), signs[c] > 0, pulses);
    }
    return OHM_OK;
}

void ohm_learn_relax(ohm_learn_array *a) {
    const int64_t rest = a->config.rest, rate = a->config.rate;
    const size_t n = ohm_learn_count(a);
    if (!rate) return;
    for (size_t i = 0; i < n; i++) {
        if (a->fixed && a->fixed[i]) continue;
        a->state[i] += (int32_t)(((rest - a->state[i]) * rate + (1 << 15)) >> 16);
        ohm_learn_see(a, i);
    }
}
