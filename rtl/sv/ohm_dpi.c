/* SPDX-License-Identifier: Apache-2.0
 *
 * See ohm_dpi.h. A read samples and converts all its columns at once, and packs them into beats;
 * a beat is then one load.
 */
#include "ohm_dpi.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
#define OHM_THREAD_LOCAL thread_local
extern "C" {
#else
#define OHM_THREAD_LOCAL _Thread_local
#endif

enum {
    OHM_DPI_MAX_MACROS = 256,
    OHM_DPI_MAX_LANES = 64,
    OHM_DPI_MAX_ADC_BITS = 16,
    OHM_DPI_MAX_WORDS = OHM_MAX_COLS * OHM_DPI_MAX_ADC_BITS / 32 + OHM_MAX_COLS
};

typedef struct ohm_dpi_macro {
    ohm_dpi_session *session;
    ohm_array *const *arrays; /* those that take turns */
    ohm_array *array;         /* the one that was read last; NULL: there is none of this id */
    const uint64_t *next;
    const uint32_t *next_wide;
    int count; /* of arrays */
    int span, slice; /* a read converts every span-th column, from slice on */
    int cols, lanes, adc_bits, words; /* words of 32 bits a beat; 0 where one of 64 holds it */
    uint64_t beats[OHM_MAX_COLS + 1];
    uint32_t wide[OHM_DPI_MAX_WORDS];
    uint16_t codes[OHM_MAX_COLS];
    int8_t signs[OHM_MAX_COLS]; /* of the columns that the next pulses drive */
    char path[256];
} ohm_dpi_macro;

struct ohm_dpi_session {
    ohm_array **arrays;
    int n, attached;
    ohm_dpi_macro **macros; /* by id */
    ohm_dpi_macro *orphan;  /* answers for macros that could not attach */
    int failed;
    char error[512];
};

static OHM_THREAD_LOCAL ohm_dpi_session *ohm_dpi_current;

static void ohm_dpi_fail(ohm_dpi_session *session, const char *format, ...) {
    va_list args;
    if (session->failed) return;
    session->failed = 1;
    va_start(args, format);
    vsnprintf(session->error, sizeof session->error, format, args);
    va_end(args);
}

ohm_dpi_session *ohm_dpi_bind(ohm_array **arrays, int n) {
    ohm_dpi_session *s = (ohm_dpi_session *)calloc(1, sizeof *s);
    ohm_dpi_current = NULL;
    if (!s) return NULL;
    s->n = n;
    s->arrays = (ohm_array **)calloc((size_t)n + 1, sizeof *s->arrays);
    s->macros = (ohm_dpi_macro **)calloc((size_t)n + 1, sizeof *s->macros);
    s->orphan = (ohm_dpi_macro *)calloc(1, sizeof *s->orphan);
    if (!s->arrays || !s->macros || !s->orphan) {
        ohm_dpi_free(s);
        return NULL;
    }
    s->orphan->session = s;
    for (int i = 0; i < n; i++) s->arrays[i] = arrays[i];
    ohm_dpi_current = s;
    return s;
}

const char *ohm_dpi_error(const ohm_dpi_session *s) { return s->failed ? s->error : NULL; }

int ohm_dpi_attached(const ohm_dpi_session *s) { return s->attached; }

void ohm_dpi_free(ohm_dpi_session *s) {
    if (!s) return;
    if (ohm_dpi_current == s) ohm_dpi_current = NULL;
    if (s->macros)
        for (int i = 0; i < s->n; i++) free(s->macros[i]);
    free(s->macros);
    free(s->arrays);
    free(s->orphan);
    free(s);
}

void *ohm_dpi_attach(const char *path, int id, int arrays, int cols, int lanes, int adc_bits) {
    ohm_dpi_session *s = ohm_dpi_current;
    if (!s) return NULL; /* nobody listens; the macro answers with zeros */
    if (id < 0 || arrays < 1 || id >= s->n || arrays > s->n / (id + 1)) {
        ohm_dpi_fail(s, "macro %s asks for array %d, but %d are bound", path,
                     id * arrays + arrays - 1, s->n);
        return s->orphan;
    }
    for (int i = id * arrays; i < (id + 1) * arrays; i++)
        if (!s->arrays[i]) {
            ohm_dpi_fail(s, "macro %s asks for array %d, which is not there", path, i);
            return s->orphan;
        }
    if (s->macros[id]) {
        ohm_dpi_fail(s, "macros %s and %s both ask for array %d", s->macros[id]->path, path,
                     id * arrays);
        return s->orphan;
    }
    if (cols < 1 || cols > OHM_MAX_COLS || lanes < 1 || lanes > OHM_DPI_MAX_LANES ||
        cols % lanes || adc_bits < 1 || adc_bits > OHM_DPI_MAX_ADC_BITS) {
        ohm_dpi_fail(s, "macro %s has %d columns, %d lanes and %d ADC bits, which do not go together",
                     path, cols, lanes, adc_bits);
        return s->orphan;
    }
    ohm_dpi_macro *m = (ohm_dpi_macro *)calloc(1, sizeof *m);
    if (!m) {
        ohm_dpi_fail(s, "no memory is left for macro %s", path);
        return s->orphan;
    }
    m->session = s;
    m->arrays = s->arrays + id * arrays;
    m->count = arrays;
    m->span = 1;
    m->array = m->arrays[0];
    m->cols = cols;
    m->lanes = lanes;
    m->adc_bits = adc_bits;
    m->words = lanes * adc_bits <= 64 ? 0 : (lanes * adc_bits + 31) / 32;
    m->next = m->beats;
    m->next_wide = m->wide;
    snprintf(m->path, sizeof m->path, "%s", path);
    s->macros[id] = m;
    s->attached += arrays;
    return m;
}

/* Four codes of 16 bits, close together: 4 * bits bits. */
static uint64_t ohm_dpi_four(uint64_t four, int bits) {
    const uint64_t even = 0x0000ffff0000ffffULL;
    const uint64_t pairs = (four & even) | ((four >> 16) & even) << bits;
    return (pairs & 0xffffffffULL) | (pairs >> 32) << (2 * bits);
}

static uint64_t ohm_dpi_pack(ohm_dpi_macro *m, int beats) {
    const int lanes = m->lanes, bits = m->adc_bits;
    uint64_t seen = 0;
    for (int b = 0; b < beats; b++) {
        const uint16_t *codes = m->codes + b * lanes;
        uint64_t beat = 0;
        if (lanes % 4 == 0)
            for (int lane = 0; lane < lanes; lane += 4) {
                uint64_t four;
                memcpy(&four, codes + lane, sizeof four);
                seen |= four;
                beat |= ohm_dpi_four(four, bits) << (lane * bits);
            }
        else
            for (int lane = 0; lane < lanes; lane++) {
                seen |= codes[lane];
                beat |= (uint64_t)codes[lane] << (lane * bits);
            }
        m->beats[b] = beat;
    }
    return seen;
}

static uint64_t ohm_dpi_pack_wide(ohm_dpi_macro *m, int beats) {
    uint64_t seen = 0;
    const uint16_t *codes = m->codes;
    uint32_t *to = m->wide;
    for (int b = 0; b < beats; b++, to += m->words) {
        uint64_t pending = 0;
        int held = 0, word = 0;
        for (int lane = 0; lane < m->lanes; lane++) {
            seen |= *codes;
            pending |= (uint64_t)*codes++ << held;
            held += m->adc_bits;
            if (held >= 32) {
                to[word++] = (uint32_t)pending;
                pending >>= 32;
                held -= 32;
            }
        }
        if (held) to[word] = (uint32_t)pending;
    }
    return seen;
}

void ohm_dpi_select(void *macro, int index) {
    ohm_dpi_macro *m = (ohm_dpi_macro *)macro;
    if (!m || !m->array) return;
    if (index < 0 || index >= m->count) {
        ohm_dpi_fail(m->session, "macro %s reads array %d of %d", m->path, index, m->count);
        m->array = NULL;
        return;
    }
    m->array = m->arrays[index];
}

void ohm_dpi_slice(void *macro, int span, int slice) {
    ohm_dpi_macro *m = (ohm_dpi_macro *)macro;
    if (!m || !m->array) return;
    m->span = span;
    m->slice = slice;
}

void ohm_dpi_read(void *macro, const uint32_t *rows, int beats) {
    ohm_dpi_read_fine(macro, rows, beats, 0);
}

/* Whether so many beats can be converted, the first of which comes next. */
static int ohm_dpi_begin(ohm_dpi_macro *m, int beats) {
    m->next = m->beats;
    m->next_wide = m->wide;
    return beats > 0 && beats * m->lanes * m->span <= m->cols;
}

/* A read has left its codes, or gone wrong. */
static void ohm_dpi_end(ohm_dpi_macro *m, int beats, int made) {
    if (!made) {
        ohm_dpi_fail(m->session, "macro %s cannot convert %d beats of %d lanes", m->path, beats,
                     m->lanes);
        m->array = NULL; /* zeros from here on: the buffers may not hold that many */
        return;
    }
    if (m->span > 1)
        for (int c = 0; c < beats * m->lanes; c++) m->codes[c] = m->codes[c * m->span + m->slice];
    const uint64_t seen = m->words ? ohm_dpi_pack_wide(m, beats) : ohm_dpi_pack(m, beats);
    const uint64_t code = 0xffffULL << m->adc_bits & 0xffffULL;
    if (seen & (code * 0x0001000100010001ULL))
        ohm_dpi_fail(m->session, "macro %s has %d ADC bits, but its array gave a wider code",
                     m->path, m->adc_bits);
}

void ohm_dpi_read_fine(void *macro, const uint32_t *rows, int beats, int fine) {
    ohm_dpi_macro *m = (ohm_dpi_macro *)macro;
    if (!m || !m->array || !beats) return;
    const int columns = beats * m->lanes * m->span;
    int made = ohm_dpi_begin(m, beats);
    if (made)
        made = (fine ? ohm_array_read_fine(m->array, rows, columns, fine, m->codes)
                     : ohm_array_read(m->array, rows, columns, m->codes)) == OHM_OK;
    ohm_dpi_end(m, beats, made);
}

void ohm_dpi_read_digits(void *macro, const uint32_t *packed, int digit_bits, int beats) {
    ohm_dpi_macro *m = (ohm_dpi_macro *)macro;
    uint8_t digits[OHM_MAX_ROWS];
    if (!m || !m->array || !beats) return;
    const int rows = ohm_array_rows(m->array), mask = (1 << digit_bits) - 1;
    for (int r = 0; r < rows; r++) {
        const int low = r * digit_bits; /* no digit lies across two words */
        digits[r] = (uint8_t)(packed[low >> 5] >> (low & 31) & (uint32_t)mask);
    }
    const int made = ohm_dpi_begin(m, beats) &&
                     ohm_array_read_digits(m->array, 1, digits, beats * m->lanes * m->span, m->codes) ==
                         OHM_OK;
    ohm_dpi_end(m, beats, made);
}

unsigned char ohm_dpi_write(void *macro, const uint32_t *rows, int beat, uint64_t up,
                            uint64_t down, int pulses, unsigned char fire) {
    ohm_dpi_macro *m = (ohm_dpi_macro *)macro;
    if (!m || !m->array) return 1;
    if ((beat + 1) * m->lanes > m->cols || (up & down)) {
        ohm_dpi_fail(m->session, "macro %s cannot drive the columns of beat %d that way", m->path,
                     beat);
        return 1;
    }
    for (int lane = 0; lane < m->lanes; lane++)
        m->signs[beat * m->lanes + lane] =
            (int8_t)((int)(up >> lane & 1) - (int)(down >> lane & 1));
    if (!fire) return 0;
    const int status = ohm_array_pulse(m->array, rows, m->signs, pulses);
    memset(m->signs, 0, sizeof m->signs);
    return status != OHM_OK;
}

uint64_t ohm_dpi_beat(void *macro) {
    ohm_dpi_macro *m = (ohm_dpi_macro *)macro;
    if (!m || !m->array) return 0;
    return *m->next++;
}

void ohm_dpi_beat_wide(void *macro, int bits, uint32_t *words) {
    ohm_dpi_macro *m = (ohm_dpi_macro *)macro;
    if (!m || !m->array) {
        memset(words, 0, (size_t)(bits + 31) / 32 * sizeof *words);
        return;
    }
    memcpy(words, m->next_wide, (size_t)m->words * sizeof *words);
    m->next_wide += m->words;
}

#ifdef __cplusplus
}
#endif
