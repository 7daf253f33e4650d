/* SPDX-License-Identifier: Apache-2.0
 *
 * See ohm_learn_dpi.h. A read converts all its lines at once; a beat is then one copy.
 */
#include "ohm_learn_dpi.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEARN_BUFFER = OHM_LEARN_ROWS + OHM_LEARN_LANES };

struct ohm_learn_session {
    ohm_learn_array **arrays; /* NULL: the macro answers with zeros */
    int n, attached;
    int rows, cols, lanes[2]; /* lanes forward, transposed */
    int lane_count, next;     /* of the read whose codes are under way */
    int8_t inputs[OHM_LEARN_ROWS];
    int8_t signs[OHM_LEARN_COLS]; /* of the columns that the next pulses drive */
    int32_t codes[LEARN_BUFFER];
    int failed;
    char error[256];
};

static _Thread_local ohm_learn_session *ohm_learn_current;

static void learn_fail(ohm_learn_session *s, const char *format, ...) {
    va_list args;
    if (s->failed) return;
    s->failed = 1;
    va_start(args, format);
    vsnprintf(s->error, sizeof s->error, format, args);
    va_end(args);
}

ohm_learn_session *ohm_learn_bind(ohm_learn_array **arrays, int n) {
    ohm_learn_session *s = (ohm_learn_session *)calloc(1, sizeof *s);
    ohm_learn_current = NULL;
    if (!s) return NULL;
    s->arrays = (ohm_learn_array **)calloc((size_t)n + 1, sizeof *s->arrays);
    if (!s->arrays) {
        free(s);
        return NULL;
    }
    for (int i = 0; i < n; i++) s->arrays[i] = arrays[i];
    s->n = n;
    ohm_learn_current = s;
    return s;
}

const char *ohm_learn_error(const ohm_learn_session *s) { return s->failed ? s->error : NULL; }

void ohm_learn_unbind(ohm_learn_session *s) {
    if (!s) return;
    if (ohm_learn_current == s) ohm_learn_current = NULL;
    free(s->arrays);
    free(s);
}

void *ohm_learn_dpi_attach(int arrays, int rows, int cols, int lanes, int transposed_lanes,
                           int adc_bits) {
    ohm_learn_session *s = ohm_learn_current;
    if (!s) return NULL;
    if (s->attached || arrays != s->n) {
        learn_fail(s, "the macro asks for %d arrays, but %d are bound", arrays,
                   s->attached ? 0 : s->n);
        return NULL;
    }
    for (int i = 0; i < arrays; i++)
        if (ohm_learn_rows(s->arrays[i]) != rows || ohm_learn_cols(s->arrays[i]) != cols ||
            ohm_learn_top(s->arrays[i]) != (1 << (adc_bits - 1)) - 1) {
            learn_fail(s, "array %d is not one of %d rows, %d columns and %d ADC bits", i, rows,
                       cols, adc_bits);
            return NULL;
        }
    s->rows = rows;
    s->cols = cols;
    s->lanes[0] = lanes;
    s->lanes[1] = transposed_lanes;
    s->attached = 1;
    return s;
}

void ohm_learn_dpi_drive(void *macro, int line, int value) {
    ohm_learn_session *s = (ohm_learn_session *)macro;
    if (!s) return;
    if (line >= OHM_LEARN_ROWS)
        learn_fail(s, "there is no line %d to drive", line);
    else
        s->inputs[line] = (int8_t)value;
}

/* The array, or NULL and a failure. */
static ohm_learn_array *learn_array(ohm_learn_session *s, int array) {
    if (array < s->n) return s->arrays[array];
    learn_fail(s, "there is no array %d, but %d", array, s->n);
    return NULL;
}

void ohm_learn_dpi_read(void *macro, int array, int transposed, int shift, int beats) {
    ohm_learn_session *s = (ohm_learn_session *)macro;
    if (!s) return;
    const int in = transposed ? s->cols : s->rows, lines = transposed ? s->rows : s->cols;
    const int lanes = s->lanes[transposed];
    const int outputs = beats * lanes < lines ? beats * lanes : lines;
    ohm_learn_array *a = learn_array(s, array);
    memset(s->codes, 0, sizeof s->codes);
    s->next = 0;
    s->lane_count = lanes;
    if (!a) return;
    if ((beats - 1) * lanes >= lines ||
        ohm_learn_read(a, transposed, in, s->inputs, shift, outputs, s->codes) != OHM_OK)
        learn_fail(s, "array %d cannot convert %d beats of %d lanes with shift %d", array, beats,
                   lanes, shift);
    memset(s->inputs, 0, sizeof s->inputs);
}

void ohm_learn_dpi_beat(void *macro, int bits, uint32_t *words) {
    ohm_learn_session *s = (ohm_learn_session *)macro;
    memset(words, 0, (size_t)(bits + 31) / 32 * sizeof *words);
    if (!s || s->next + s->lane_count > LEARN_BUFFER) return;
    for (int lane = 0; lane < s->lane_count; lane++)
        words[lane >> 1] |= ((uint32_t)s->codes[s->next + lane] & 0xffffu) << (lane % 2 * 16);
    s->next += s->lane_count;
}

unsigned char ohm_learn_dpi_write(void *macro, int array, const uint32_t *rows, int beat,
                                  uint64_t up, uint64_t down, int pulses, unsigned char fire,
                                  unsigned char relax) {
    ohm_learn_session *s = (ohm_learn_session *)macro;
    if (!s) return 1;
    ohm_learn_array *a = learn_array(s, array);
    if (!a) return 1;
    if (relax) {
        ohm_learn_relax(a);
        return 0;
    }
    const int lanes = s->lanes[0];
    for (int lane = 0; lane < lanes; lane++) {
        const int sign = (int)(up >> lane & 1) - (int)(down >> lane & 1);
        const int col = beat * lanes + lane;
        if ((up & down) >> lane & 1 || (col >= s->cols && sign)) {
            learn_fail(s, "column %d cannot be driven that way", col);
            return 1;
        }
        if (col < s->cols) s->signs[col] = (int8_t)sign;
    }
    if (!fire) return 0;
    const int status = ohm_learn_pulse_rows(a, rows, s->signs, pulses);
    memset(s->signs, 0, sizeof s->signs);
    return status != OHM_OK;
}
