/* SPDX-License-Identifier: Apache-2.0
 *
 * A core's bit-serial product over one array, as behavioral/core.py states it.
 */
#include "ohm_crossbar.h"

#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "ohm_core needs a little-endian machine"
#endif

/* Bit plane p of 8 * bytes inputs: the multiplication gathers bit p of 8 bytes into one byte. */
static void ohm_bit_plane(const uint8_t *x, int bytes, int p, uint64_t *bits) {
    uint8_t packed[OHM_MAX_ROWS / 8 + 8] = {0};
    for (int i = 0; i < bytes; i++) {
        uint64_t v;
        memcpy(&v, x + 8 * i, 8);
        v = v >> p & 0x0101010101010101u;
        packed[i] = (uint8_t)(v * 0x0102040810204080u >> 56);
    }
    memcpy(bits, packed, OHM_MAX_ROWS / 8 + 8);
}

/* Up to 64 bits from bit `low`; the words have one spare at the end. */
static inline uint64_t ohm_field(const uint64_t *w, int low, int count) {
    const int i = low >> 6, s = low & 63;
    uint64_t v = w[i] >> s;
    if (s) v |= w[i + 1] << (64 - s);
    return count < 64 ? v & (((uint64_t)1 << count) - 1) : v;
}

static inline void ohm_put_field(uint64_t *w, int low, uint64_t v) {
    const int i = low >> 6, s = low & 63;
    w[i] |= v << s;
    if (s) w[i + 1] |= v >> (64 - s);
}

/* The lowest n set bits of v. */
static inline uint64_t ohm_lowest(uint64_t v, int n) {
    uint64_t rest = v;
    for (; n > 0; n--) rest &= rest - 1;
    return v & ~rest;
}

#define OHM_PLANE_WORDS (OHM_MAX_ROWS / 64 + 1)

/* The activations of a product, as its passes want them. */
typedef struct {
    uint8_t values[OHM_MAX_ROWS];                      /* bits, signed or not, or magnitudes */
    uint64_t below[OHM_PLANE_WORDS];                   /* rows below zero */
    uint8_t digits[OHM_MAX_ROWS];                      /* of the pass under way */
} ohm_inputs;

static void ohm_prepare(const uint8_t *x, int rows, const ohm_mvm_config *m, ohm_inputs *in) {
    const uint8_t flip = m->drive == OHM_SIGNED_BITS ? 0x80 : 0;
    if (m->drive != OHM_SIGN_MAGNITUDE) {
        for (int r = 0; r < rows; r++) in->values[r] = x[r] ^ flip;
        return;
    }
    memset(in->below, 0, sizeof in->below);
    for (int r = 0; r < rows; r++) {
        const int value = x[r] - m->zero;
        in->values[r] = (uint8_t)(value < 0 ? -value : value);
        if (value < 0) in->below[r >> 6] |= (uint64_t)1 << (r & 63);
    }
}

/* The rows that pass p drives. */
static void ohm_pass(ohm_inputs *in, int rows, const ohm_mvm_config *m, int p, uint64_t *bits) {
    switch (m->drive) {
    case OHM_SIGN_MAGNITUDE:
        ohm_bit_plane(in->values, rows / 8, p >> 1, bits);
        for (int i = 0; i < OHM_PLANE_WORDS; i++) bits[i] &= p & 1 ? in->below[i] : ~in->below[i];
        break;
    case OHM_DIGITS: {
        uint64_t high[OHM_PLANE_WORDS];
        ohm_bit_plane(in->values, rows / 8, 2 * p, bits);
        ohm_bit_plane(in->values, rows / 8, 2 * p + 1, high);
        for (int i = 0; i < OHM_PLANE_WORDS; i++) bits[i] |= high[i];
        for (int r = 0; r < rows; r++) in->digits[r] = in->values[r] >> 2 * p & 3;
        break;
    }
    case OHM_UNARY:
    case OHM_STOCHASTIC:
        memset(bits, 0, OHM_PLANE_WORDS * 8);
        for (int r = 0; r < rows; r++)
            bits[r >> 6] |= (uint64_t)(in->values[r] >= m->thresholds[p]) << (r & 63);
        break;
    default: ohm_bit_plane(in->values, rows / 8, p, bits);
    }
}

/* A read of the rows in `taken`. */
static int ohm_read_pass(ohm_array *a, const ohm_mvm_config *m, const ohm_inputs *in,
                         const uint64_t *taken, int rows, int columns, uint16_t *codes) {
    if (m->drive == OHM_DIGITS) {
        uint8_t digits[OHM_MAX_ROWS];
        for (int r = 0; r < rows; r++)
            digits[r] = taken[r >> 6] >> (r & 63) & 1 ? in->digits[r] : 0;
        return ohm_array_read_digits(a, 1, digits, columns, codes);
    }
    uint32_t words[2 * OHM_PLANE_WORDS];
    memcpy(words, taken, OHM_PLANE_WORDS * 8);
    return ohm_array_read(a, words, columns, codes);
}

/* Move the next n candidates from `left` to `taken` (ascending rows); returns the planner's steps,
 * one for each group touched. `from` is the first row that can still hold a candidate. */
static int ohm_take(uint64_t *left, int rows, int n, int group, int *from, uint64_t *taken) {
    int steps = 0, last = -1, low = *from;
    memset(taken, 0, OHM_PLANE_WORDS * 8);
    while (low < rows && n > 0) {
        const int g = low / group;
        int end = (g + 1) * group < rows ? (g + 1) * group : rows;
        if (end - low > 64) end = low + 64;
        uint64_t v = ohm_field(left, low, end - low);
        const int count = __builtin_popcountll(v);
        if (count > n) v = ohm_lowest(v, n);
        if (count) {
            ohm_put_field(taken, low, v);
            n -= count > n ? n : count;
            steps += g != last;
            last = g;
        }
        if (n > 0) low = end;
    }
    for (int i = 0; i < OHM_PLANE_WORDS; i++) left[i] &= ~taken[i];
    *from = low;
    return steps;
}

/* acc[j] += scale * sum over k of weights[k] * codes[j * columns + k], modulo 2**32. */
static inline void ohm_combine_n(const uint16_t *codes, int outputs, int columns,
                                 const int32_t *weights, int32_t scale, uint32_t *acc) {
    for (int j = 0; j < outputs; j++) {
        uint32_t sum = 0;
        for (int k = 0; k < columns; k++) sum += (uint32_t)weights[k] * codes[j * columns + k];
        acc[j] += sum * (uint32_t)scale;
    }
}

static void ohm_combine(const uint16_t *codes, const ohm_mvm_config *m, int pass, uint32_t *acc) {
    const int32_t scale = m->pass_weights[pass];
    /* Constant counts let the compiler unroll and vectorize. */
    if (m->columns == 1)
        ohm_combine_n(codes, m->outputs, 1, m->weights, scale, acc);
    else if (m->columns == 2)
        ohm_combine_n(codes, m->outputs, 2, m->weights, scale, acc);
    else if (m->columns == 4)
        ohm_combine_n(codes, m->outputs, 4, m->weights, scale, acc);
    else if (m->columns == 8)
        ohm_combine_n(codes, m->outputs, 8, m->weights, scale, acc);
    else
        ohm_combine_n(codes, m->outputs, m->columns, m->weights, scale, acc);
}

/* Sums of reads under a code: as ohm_combine, each decoded before it is moved up by its plane. */
static void ohm_decode(const uint16_t *codes, const ohm_mvm_config *m, int pass, uint32_t *acc,
                       int64_t *events, const int32_t *truth) {
    for (int j = 0; j < m->outputs; j++) {
        int32_t sum = 0;
        for (int k = 0; k < m->columns; k++)
            sum += m->weights[k] * (int32_t)codes[j * m->columns + k];
        int32_t n = sum / m->code, r = sum % m->code;
        if (r < 0) {
            r += m->code;
            n--;
        }
        n += m->steps[r];
        const int corrected = m->flags[r] >> OHM_CORRECTED & 1;
        const int detected = m->flags[r] >> OHM_DETECTED & 1;
        events[OHM_CORRECTED] += corrected;
        events[OHM_DETECTED] += detected;
        if (truth && n != truth[j]) {
            events[OHM_MISCORRECTED] += corrected;
            events[OHM_MISSED] += !corrected && !detected;
        }
        acc[j] += (uint32_t)n * (uint32_t)m->pass_weights[pass];
    }
}

/* truth[j]: the sum of words over the driven rows, each as often as its digit says. */
static void ohm_truth(const int32_t *words, int width, const uint64_t *driven, int outputs,
                      const uint8_t *digits, int32_t *truth) {
    memset(truth, 0, (size_t)outputs * sizeof *truth);
    for (int i = 0; i < OHM_PLANE_WORDS; i++)
        for (uint64_t left = driven[i]; left; left &= left - 1) {
            const int r = 64 * i + __builtin_ctzll(left), times = digits ? digits[r] : 1;
            const int32_t *row = words + (size_t)r * (size_t)width;
            for (int j = 0; j < outputs; j++) truth[j] += times * row[j];
        }
}

/* Conversions that ended at the top code. */
static int ohm_at_top(const uint16_t *codes, int columns, int top) {
    int found = 0;
    for (int c = 0; c < columns; c++) found += codes[c] == top;
    return found;
}

/* As ohm_combine, flipped columns put right: they hold top less what they should, so that `full`,
 * top for every row driven, less the code is what they would have read. */
static void ohm_combine_flipped(const uint16_t *codes, const uint8_t *flips, uint32_t full,
                                const ohm_mvm_config *m, int pass, uint32_t *acc) {
    for (int j = 0; j < m->outputs; j++) {
        uint32_t sum = 0;
        for (int k = 0; k < m->columns; k++) {
            const int c = j * m->columns + k;
            sum += (uint32_t)m->weights[k] * (flips[c] ? full - codes[c] : codes[c]);
        }
        acc[j] += sum * (uint32_t)m->pass_weights[pass];
    }
}

static uint32_t ohm_driven(const uint64_t *rows) {
    uint32_t count = 0;
    for (int i = 0; i < OHM_PLANE_WORDS; i++) count += (uint32_t)__builtin_popcountll(rows[i]);
    return count;
}

/* Drive `half` rows further up those of the rows taken whose bit is not set. */
static void ohm_drive_other(uint64_t *taken, const uint64_t *bits, int half) {
    uint64_t other[OHM_PLANE_WORDS];
    for (int i = 0; i < OHM_PLANE_WORDS; i++) {
        other[i] = taken[i] & ~bits[i];
        taken[i] &= bits[i];
    }
    for (int low = 0; low < half; low += 64)
        ohm_put_field(taken, half + low, ohm_field(other, low, half - low < 64 ? half - low : 64));
}

static int ohm_mvm_valid(const ohm_array *a, const ohm_mvm_config *m) {
    static const int most[] = {8, 8, 16, 4, OHM_MAX_PASSES, OHM_MAX_PASSES}; /* passes, by ohm_drive */
    const int rows = ohm_array_rows(a), cols = ohm_array_cols(a);
    if (m->drive < OHM_BITS || m->drive > OHM_STOCHASTIC || m->planes < 1 ||
        m->planes > most[m->drive] || m->zero < 0 || m->zero > 255)
        return 0;
    if (m->slices < 1 || (m->slices > 1 && (m->slices != m->columns || m->code || m->cell_top)) ||
        m->planes * m->slices > OHM_MAX_BUDGETS)
        return 0;
    for (int p = 0; p < m->planes * m->slices; p++)
        if (m->budgets[p] < 1) return 0;
    const int given = m->complement ? rows / 2 : rows;
    return m->rows_used >= 1 && m->rows_used <= given && m->outputs >= 1 && m->columns >= 1 &&
           m->columns <= OHM_MAX_COLUMNS && m->outputs <= cols / m->columns &&
           m->group >= 1 && m->group <= OHM_MAX_ROWS && m->beats >= 1 &&
           m->tail >= 0 && m->step >= 1 && m->top >= 0 && m->code >= 0 && m->code <= OHM_MAX_CODE &&
           m->cell_top >= 0 && m->cell_top < 16;
}

int ohm_core_mvm(ohm_array *a, const ohm_mvm_config *m, const uint8_t *flips, int64_t batch,
                 const uint8_t *x, const int32_t *words, int32_t *acc, uint32_t *reads,
                 uint32_t *active, uint32_t *stall, int64_t *events) {
    uint16_t codes[OHM_MAX_COLS];
    int32_t truth[OHM_MAX_COLS];
    uint64_t used[OHM_PLANE_WORDS] = {0};
    ohm_inputs inputs;
    if (batch < 0 || !ohm_mvm_valid(a, m)) return OHM_EINVAL;
    const int rows = ohm_array_rows(a), columns = m->outputs * m->columns;
    const int width = ohm_array_cols(a) / m->columns;
    for (int r = 0; r < m->rows_used; r++) used[r >> 6] |= (uint64_t)1 << (r & 63);
    for (int64_t b = 0; b < batch; b++, x += rows, acc += m->outputs) {
        uint32_t *sums = (uint32_t *)acc;
        /* s: cycle of the planner's last step; t: cycle in which the macro took the last read */
        uint32_t s = 0, t = 0, made = 0, stalled = 0, empty = 0;
        memset(sums, 0, (size_t)m->outputs * 4);
        ohm_prepare(x, rows, m, &inputs);
        for (int q = 0; q < m->planes * m->slices; q++) {
            const int p = q / m->slices, slice = q % m->slices;
            uint64_t bits[OHM_PLANE_WORDS], left[OHM_PLANE_WORDS], taken[OHM_PLANE_WORDS];
            int from = 0, steps;
            ohm_pass(&inputs, rows, m, p, bits);
            for (int i = 0; i < OHM_PLANE_WORDS; i++)
                left[i] = m->zero_skip ? bits[i] & used[i] : used[i];
            const uint32_t before = made;
            while ((steps = ohm_take(left, m->rows_used, m->budgets[q], m->group, &from,
                                     taken)) != 0) {
                if (m->complement)
                    ohm_drive_other(taken, bits, rows / 2);
                else
                    for (int i = 0; i < OHM_PLANE_WORDS; i++) taken[i] &= bits[i];
                const int status = ohm_read_pass(a, m, &inputs, taken, rows, columns, codes);
                if (status) return status;
                const int converted = columns / m->slices;
                if (m->slices > 1)
                    for (int j = 0; j < converted; j++) codes[j] = codes[j * m->slices + slice];
                if (m->top) events[OHM_SATURATED] += ohm_at_top(codes, converted, m->top);
                if (m->step > 1)
                    for (int c = 0; c < converted; c++) codes[c] = (uint16_t)(codes[c] * m->step);
                if (m->code) {
                    const uint8_t *digits = m->drive == OHM_DIGITS ? inputs.digits : NULL;
                    if (words) ohm_truth(words, width, taken, m->outputs, digits, truth);
                    ohm_decode(codes, m, p, sums, events, words ? truth : NULL);
                } else if (m->slices > 1) {
                    ohm_combine_n(codes, m->outputs, 1, m->weights + slice, m->pass_weights[p],
                                  sums);
                } else if (flips && m->cell_top) {
                    ohm_combine_flipped(codes, flips, (uint32_t)m->cell_top * ohm_driven(taken),
                                        m, p, sums);
                } else {
                    ohm_combine(codes, m, p, sums);
                }
                s += empty + (uint32_t)steps;
                empty = 0;
                if (made) {
                    const uint32_t free_at = t + (uint32_t)m->beats;
                    if (s < t) s = t; /* the plan slot was taken until then */
                    t = s + 1 > free_at ? s + 1 : free_at;
                    stalled += t - free_at;
                } else {
                    t = s + 1;
                }
                made++;
            }
            empty += made == before;
        }
        uint32_t end = s + empty;
        if (made && t + (uint32_t)m->beats > end) end = t + (uint32_t)m->beats;
        reads[b] = made;
        active[b] = end + (uint32_t)m->tail;
        stall[b] = stalled;
    }
    return OHM_OK;
}
