/* SPDX-License-Identifier: Apache-2.0
 *
 * Private part of ohm_crossbar.c: cells that write pulses move. behavioral/pulsed.py states the
 * arithmetic.
 */
#ifndef OHM_PULSES_H
#define OHM_PULSES_H

#include "ohm_rows.h"
#include "ohm_step.h"

struct ohm_cells {
    ohm_pulse_model model;
    int32_t *state;    /* [rows][cols], 2**20 to a level step */
    int32_t *scale;    /* what a read sees of it, 65536 to 1 */
    uint32_t *numbers; /* of each cell's next pulse */
    uint8_t *fixed;
};

static void ohm_free_cells(ohm_array *a) {
    if (!a->cells) return;
    free(a->cells->state);
    free(a->cells->scale);
    free(a->cells->numbers);
    free(a->cells->fixed);
    free(a->cells);
    a->cells = NULL;
}

static int64_t ohm_seen(int64_t state, int64_t scale) {
    return (state * scale + (1 << 23)) >> 24;
}

int ohm_array_set_cells(ohm_array *a, const ohm_pulse_model *model, const int32_t *state,
                        const int32_t *scale, const uint8_t *fixed, const uint32_t *numbers) {
    const size_t n = (size_t)a->rows * (size_t)a->cols;
    if (!model) {
        ohm_free_cells(a);
        return OHM_OK;
    }
    if (model->low < 0 || model->low >= model->high || model->high >= 1 << 30 ||
        model->shift < 0 || model->shift > 24 || model->spread < 0 || model->spread > 1 << 14 ||
        (model->high - model->low) >> model->shift >= OHM_PULSE_SEGMENTS)
        return OHM_EINVAL;
    for (int i = 0; i <= OHM_PULSE_SEGMENTS; i++)
        if (model->up[i] < 0 || model->up[i] >= 1 << 30 || model->down[i] < 0 ||
            model->down[i] >= 1 << 30)
            return OHM_EINVAL;
    /* No pulse may leave what was proven of the image, which holds the largest conductances. */
    for (int r = 0; r < a->rows; r++)
        for (int c = 0; c < a->cols; c++) {
            const size_t i = (size_t)r * (size_t)a->cols + (size_t)c;
            const int32_t most = state[i] > model->high ? state[i] : model->high;
            if (state[i] < 0 || state[i] >= 1 << 30 || scale[i] < 0 ||
                ohm_seen(most, scale[i]) > a->g[(size_t)r * (size_t)a->stride + (size_t)c])
                return OHM_EINVAL;
        }
    struct ohm_cells *cells = (struct ohm_cells *)calloc(1, sizeof *cells);
    if (!cells) return OHM_ENOMEM;
    ohm_free_cells(a);
    a->cells = cells;
    cells->model = *model;
    cells->state = (int32_t *)malloc(n * 4);
    cells->scale = (int32_t *)malloc(n * 4);
    cells->numbers = (uint32_t *)malloc(n * 4);
    cells->fixed = (uint8_t *)malloc(n);
    if (!cells->state || !cells->scale || !cells->numbers || !cells->fixed) {
        ohm_free_cells(a);
        return OHM_ENOMEM;
    }
    memcpy(cells->state, state, n * 4);
    memcpy(cells->scale, scale, n * 4);
    memcpy(cells->numbers, numbers, n * 4);
    memcpy(cells->fixed, fixed, n);
    for (int r = 0; r < a->rows; r++)
        for (int c = 0; c < a->cols; c++) {
            const size_t i = (size_t)r * (size_t)a->cols + (size_t)c;
            a->g[(size_t)r * (size_t)a->stride + (size_t)c] =
                (int32_t)ohm_seen(state[i], scale[i]);
        }
    ohm_drop_tables(a);
    return OHM_OK;
}

int ohm_array_get_cells(const ohm_array *a, int32_t *state, uint32_t *numbers) {
    const size_t n = (size_t)a->rows * (size_t)a->cols;
    if (!a->cells) return OHM_EINVAL;
    memcpy(state, a->cells->state, n * 4);
    memcpy(numbers, a->cells->numbers, n * 4);
    return OHM_OK;
}

static void ohm_pulse_cell(ohm_array *a, uint32_t cell, int sign, int pulses) {
    struct ohm_cells *cells = a->cells;
    const ohm_pulse_model *m = &cells->model;
    const uint32_t k2 = 0x1BD11BDAu ^ a->seed ^ a->array;
    const uint32_t first = cells->numbers[cell];
    cells->numbers[cell] = first + (uint32_t)pulses;
    if (cells->fixed[cell]) return;
    int32_t state = cells->state[cell];
    const int64_t low = state < m->low ? state : m->low;
    const int64_t high = state > m->high ? state : m->high;
    uint32_t words[2] = {0, 0};
    for (int p = 0; p < pulses; p++) {
        const uint32_t number = first + (uint32_t)p;
        const int64_t step = ohm_pulse_step(m, sign > 0 ? m->up : m->down, state);
        int64_t moved = step;
        if (m->spread) {
            if (!p || !(number & 1))
                ohm_threefry13(a->seed, a->array, k2, number >> 1, 0x80000000u | cell, &words[0],
                               &words[1]);
            const int64_t z = ohm_gaussian1(words[number & 1]);
            moved += (step * m->spread * z + (1 << 23)) >> 24;
        }
        int64_t next = sign > 0 ? state + moved : state - moved;
        next = next < low ? low : next > high ? high : next;
        state = (int32_t)next;
    }
    cells->state[cell] = state;
}

int ohm_array_pulse(ohm_array *a, const uint32_t *row_words, const int8_t *signs, int pulses) {
    if (!a->cells || pulses < 0) return OHM_EINVAL;
    if (a->g_table) ohm_drop_tables(a);
    for (int r = 0; r < a->rows; r++) {
        if (!(row_words[r >> 5] >> (r & 31) & 1)) continue;
        for (int c = 0; c < a->cols; c++) {
            if (!signs[c]) continue;
            const uint32_t cell = (uint32_t)(r * a->cols + c);
            ohm_pulse_cell(a, cell, signs[c], pulses);
            a->g[(size_t)r * (size_t)a->stride + (size_t)c] =
                (int32_t)ohm_seen(a->cells->state[cell], a->cells->scale[cell]);
        }
    }
    return OHM_OK;
}

int ohm_array_read_fine(ohm_array *a, const uint32_t *row_words, int columns, int fine,
                        uint16_t *codes) {
    OHM_ALIGNED int64_t current[OHM_MAX_COLS], noise[OHM_MAX_COLS], reference[OHM_MAX_COLS],
        x[OHM_MAX_COLS];
    if (fine < 0 || fine > 12) return OHM_EINVAL;
    const int status = ohm_array_analog(a, row_words, columns, current, noise, reference, x);
    if (status != OHM_OK) return status;
    const int64_t top = (1 << a->bits) - 1;
    a->reads++;
    for (int c = 0; c < columns; c++) {
        int64_t t = (x[c] + (2048 >> fine)) >> (12 - fine);
        t = t < 0 ? 0 : t > top ? top : t;
        codes[c] = (uint16_t)(a->adc ? a->adc[a->lane_base[c] + t] : t);
    }
    return OHM_OK;
}

#endif
