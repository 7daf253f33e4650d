/* SPDX-License-Identifier: Apache-2.0
 *
 * The core that learns: see ohm_learn.h, and behavioral/learning/processor.py for what every
 * instruction does.
 */
#include "ohm_learn.h"

#include <stdlib.h>
#include <string.h>

#define LFSR_MASK 0x80200003u

enum { END, IN, OUT, VEC, TABLE, REDUCE, NORM, DIV, HOT, READ, UPDATE, WRITE, FEED, DENSE, OUTER,
       APPLY, LOOP, EVERY, STEP, LOADR, RELAX, PICK };
enum { ADD, SUB, MUL, MAX, MIN, GT, MULK, ADDK, GTK, SET, ABS, SUBR, ADDR, MAXK, MINK };
enum { TRANSPOSED = 1, ACCUMULATE = 2, BOUND = 4, INVERT = 8 };
enum { SEPARATE, SHARED, OVERLAP };
enum { MOST_PULSES = 63, TRAIN_WORDS = 4, CERTAIN = 65536, HALF = 32768, LINES = OHM_LEARN_ROWS + OHM_LEARN_COLS };

struct ohm_learn_core {
    int rows, cols, words, arrays, instructions, settings, tables;
    ohm_learn_array **array;
    int32_t *memory, *registers;
    uint32_t *lfsr;
    uint32_t lfsr_table[256];
    ohm_learn_op program[OHM_LEARN_PROGRAM];
    ohm_learn_settings setting[OHM_LEARN_SETTINGS];
    int16_t table[OHM_LEARN_TABLES][256];
};

static int64_t rounded(int64_t v, int s) {
    return s ? (v + ((int64_t)1 << (s - 1))) >> s : v;
}

static int32_t clip(int64_t v, int bits) {
    const int64_t most = bits ? ((int64_t)1 << (bits - 1)) - 1 : INT32_MAX;
    const int64_t least = bits ? -most : INT32_MIN;
    return (int32_t)(v < least ? least : v > most ? most : v);
}

static int64_t between(int64_t v, int64_t low, int64_t high) {
    return v < low ? low : v > high ? high : v;
}

static int64_t magnitude(int64_t v) { return v < 0 ? -v : v; }

ohm_learn_core *ohm_learn_core_new(int rows, int cols, int words, int32_t *memory,
                                   int32_t *registers, uint32_t *lfsr, int arrays,
                                   ohm_learn_array *const *handles) {
    if (rows < 1 || rows > OHM_LEARN_ROWS || cols < 1 || cols > OHM_LEARN_COLS || words < 1 ||
        words > 1 << 20 || arrays < 0 || arrays > 64)
        return NULL;
    ohm_learn_core *c = (ohm_learn_core *)calloc(1, sizeof *c);
    if (!c) return NULL;
    c->rows = rows;
    c->cols = cols;
    c->words = words;
    c->arrays = arrays;
    c->array = (ohm_learn_array **)calloc((size_t)arrays + 1, sizeof *c->array);
    c->memory = memory;
    c->registers = registers;
    c->lfsr = lfsr;
    if (!c->array) {
        free(c);
        return NULL;
    }
    for (int i = 0; i < arrays; i++) c->array[i] = handles[i];
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t v = i;
        for (int s = 0; s < 8; s++) v = v >> 1 ^ (v & 1 ? LFSR_MASK : 0);
        c->lfsr_table[i] = v;
    }
    return c;
}

void ohm_learn_core_free(ohm_learn_core *c) {
    if (!c) return;
    free(c->array);
    free(c);
}

int ohm_learn_core_load(ohm_learn_core *c, int instructions, const ohm_learn_op *program,
                        int settings, const ohm_learn_settings *setting, int tables,
                        const int16_t *table) {
    if (instructions < 1 || instructions > OHM_LEARN_PROGRAM || settings < 0 ||
        settings > OHM_LEARN_SETTINGS || tables < 0 || tables > OHM_LEARN_TABLES ||
        program[instructions - 1].op != END)
        return OHM_EINVAL;
    c->instructions = instructions;
    c->settings = settings;
    c->tables = tables;
    memcpy(c->program, program, (size_t)instructions * sizeof *program);
    if (settings) memcpy(c->setting, setting, (size_t)settings * sizeof *setting);
    if (tables) memcpy(c->table, table, (size_t)tables * sizeof *c->table);
    return OHM_OK;
}

/* ---------------------------------------------------------------- vectors */

/* `size` words from `at` on, or NULL. */
static int32_t *place(ohm_learn_core *c, int64_t at, int64_t size) {
    return at < 0 || size < 0 || at + size > c->words ? NULL : c->memory + at;
}

static int64_t vector_value(const ohm_learn_core *c, const ohm_learn_op *o, int64_t a,
                            int64_t b) {
    switch (o->m) {
    case ADD: return a + b;
    case SUB: return a - b;
    case MUL: return a * b;
    case MAX: return a > b ? a : b;
    case MIN: return a < b ? a : b;
    case GT: return a > b;
    case MULK: return a * o->k;
    case ADDK: return a + o->k;
    case GTK: return a > o->k;
    case SET: return o->k;
    case ABS: return magnitude(a);
    case SUBR: return a - c->registers[o->reg];
    case ADDR: return a + c->registers[o->reg];
    case MAXK: return a > o->k ? a : o->k;
    default: return a < o->k ? a : o->k;
    }
}

static void set_register(ohm_learn_core *c, int reg, int64_t value) {
    if (reg) c->registers[reg] = clip(value, 0);
}

static void reduce(ohm_learn_core *c, const ohm_learn_op *o, const int32_t *a) {
    int64_t value = o->m == 1 ? INT32_MIN : 0;
    for (int i = 0; i < o->n; i++) {
        if (o->m == 0 && magnitude(a[i]) > value) value = magnitude(a[i]);
        if (o->m == 1 && a[i] > value) value = a[i];
        if (o->m == 2) value += a[i];
    }
    set_register(c, o->reg, value);
}

static void normalize(ohm_learn_core *c, const ohm_learn_op *o, const int32_t *a, int32_t *to) {
    const int64_t size = magnitude(c->registers[o->reg]);
    const int length = size ? 64 - __builtin_clzll((unsigned long long)size) : 0;
    const int e = length - o->bits;
    const int64_t most = ((int64_t)1 << o->bits) - 1;
    for (int i = 0; i < o->n; i++) {
        const int64_t v = e > 0 ? rounded(a[i], e) : (int64_t)a[i] * ((int64_t)1 << -e);
        to[i] = (int32_t)between(v, -most, most);
    }
    set_register(c, o->m & 15, (int64_t)c->registers[o->k & 15] + e);
}

static void feed(ohm_learn_core *c, const ohm_learn_op *o, const int32_t *a, int32_t *to) {
    uint32_t state = 0x80000000u | (uint32_t)(o->m & 255) << 16 | (uint32_t)(o->k & 0xFFFF);
    for (int i = 0; i < o->n; i++) {
        int64_t sum = 0;
        for (int j = 0; j < o->b; j++) {
            sum += (int64_t)(int8_t)(state & 255) * a[j];
            state = state >> 8 ^ c->lfsr_table[state & 255];
        }
        to[i] = clip(rounded(sum, o->shift), o->bits);
    }
}

static void dense(const ohm_learn_op *o, int columns, const int32_t *x, const int32_t *w,
                  int32_t *to) {
    const int back = o->flags & TRANSPOSED, outputs = back ? o->n : columns;
    const int inputs = back ? columns : o->n;
    for (int i = 0; i < outputs; i++) {
        int64_t sum = 0;
        for (int j = 0; j < inputs; j++)
            sum += (int64_t)x[j] * (back ? w[(int64_t)i * columns + j] : w[(int64_t)j * columns + i]);
        to[i] = clip(rounded(sum, o->shift), o->bits);
    }
}

static void outer(const ohm_learn_core *c, const ohm_learn_op *o, int columns, const int32_t *a,
                  const int32_t *b, int32_t *to) {
    const int e = (int)between((int64_t)c->registers[o->reg] - o->shift, -40, 20);
    for (int r = 0; r < o->n; r++)
        for (int j = 0; j < columns; j++) {
            const int64_t product = (int64_t)a[r] * b[j];
            const int64_t p = e >= 0 ? product * ((int64_t)1 << e) : rounded(product, -e);
            int32_t *cell = to + (int64_t)r * columns + j;
            *cell = clip(o->flags & INVERT ? *cell - p : *cell + p, 0);
        }
}

/* ---------------------------------------------------------------- arrays */

static ohm_learn_array *array_of(const ohm_learn_core *c, const ohm_learn_op *o) {
    const int64_t number = (int64_t)o->array + c->registers[o->bits & 15];
    return number < 0 || number >= c->arrays ? NULL : c->array[number];
}

static int read_array(ohm_learn_core *c, const ohm_learn_op *o, const int32_t *a, int32_t *to) {
    ohm_learn_array *array = array_of(c, o);
    int8_t x[OHM_LEARN_ROWS];
    int32_t codes[OHM_LEARN_ROWS];
    if (!array || o->n > OHM_LEARN_ROWS || o->b > OHM_LEARN_ROWS) return OHM_EINVAL;
    const int back = o->flags & TRANSPOSED;
    const int tries = o->flags & BOUND ? (o->k & 0xFFFF) : 0;
    for (int t = 0;; t++) {
        for (int i = 0; i < o->n; i++)
            x[i] = (int8_t)rounded(between(a[i], -127, 127), t);
        const int status = ohm_learn_read(array, back, o->n, x, o->shift, o->b, codes);
        if (status != OHM_OK) return status;
        int saturated = 0;
        for (int i = 0; i < o->b; i++)
            saturated |= magnitude(codes[i]) == ohm_learn_top(array);
        if (t < tries && saturated) continue;
        for (int i = 0; i < o->b; i++) {
            const int64_t v = (int64_t)codes[i] * (1 << t) * (int8_t)o->m;
            to[i] = clip(v + (o->flags & ACCUMULATE ? to[i] : 0), 0);
        }
        return OHM_OK;
    }
}

static inline uint32_t eight_steps(const ohm_learn_core *c, uint32_t state) {
    return state >> 8 ^ c->lfsr_table[state & 255];
}

static int32_t probability(int32_t v, int32_t k, int64_t shift) {
    const int64_t p = rounded(magnitude(v) * k, (int)between(shift, 0, 31));
    return (int32_t)(p < CERTAIN ? p : CERTAIN);
}

typedef struct {
    uint64_t bits[TRAIN_WORDS];
} train;

static void set_slot(train *t, int slot) { t->bits[slot >> 6] |= (uint64_t)1 << (slot & 63); }

/* The train of one line. */
static void make_train(const ohm_learn_settings *s, int column, int32_t p, train *t) {
    memset(t, 0, sizeof *t);
    for (int slot = 0; slot < s->slots; slot++) {
        int driven;
        if (!column)
            driven = slot < (p * s->slots + HALF) >> 16;
        else if (s->period)
            driven = slot % s->period < (p * s->period + HALF) >> 16;
        else
            driven = (HALF + p * (slot + 1)) >> 16 != (HALF + p * slot) >> 16;
        if (driven) set_slot(t, slot);
    }
}

static int update(ohm_learn_core *c, const ohm_learn_op *o, const int32_t *v, const int32_t *d) {
    ohm_learn_array *array = array_of(c, o);
    const int columns = o->k & 0xFFFF;
    static const train none = {{0}};
    train rows[OHM_LEARN_ROWS], cols[OHM_LEARN_COLS];
    int32_t p[LINES];
    int driven[OHM_LEARN_COLS], count = 0;
    if (!array || o->m < 0 || o->m >= c->settings || o->n > ohm_learn_rows(array) ||
        columns > ohm_learn_cols(array) || o->n > c->rows || columns > c->cols)
        return OHM_EINVAL;
    const ohm_learn_settings *s = &c->setting[o->m];
    const int32_t e = c->registers[o->reg], h = s->manage ? e >> 1 : 0;
    for (int r = 0; r < o->n; r++) p[r] = probability(v[r], s->kx, (int64_t)s->sx - h);
    for (int j = 0; j < columns; j++)
        p[c->rows + j] = probability(d[j], s->kd, (int64_t)s->sd - ((int64_t)e - h));
    if (s->mode == OVERLAP) {
        for (int r = 0; r < o->n; r++) make_train(s, 0, p[r], &rows[r]);
        for (int j = 0; j < columns; j++) make_train(s, 1, p[c->rows + j], &cols[j]);
    } else {
        for (int r = 0; r < o->n; r++) rows[r] = none;
        for (int j = 0; j < columns; j++) cols[j] = none;
        for (int slot = 0; slot < s->slots; slot++) {
            const int one = s->mode == SHARED;
            for (int r = 0; r < o->n; r++)
                if ((int32_t)(c->lfsr[one ? 0 : r] & 0xFFFF) < p[r])
                    rows[r].bits[0] |= (uint64_t)1 << slot;
            for (int j = 0; j < columns; j++)
                if ((int32_t)(c->lfsr[c->rows + (one ? 0 : j)] & 0xFFFF) < p[c->rows + j])
                    cols[j].bits[0] |= (uint64_t)1 << slot;
            for (int line = 0; line < c->rows + c->cols; line++)
                c->lfsr[line] = eight_steps(c, eight_steps(c, c->lfsr[line]));
        }
    }
    const int words = (s->slots + 63) / 64;
    for (int j = 0; j < columns; j++)
        if (d[j] && memcmp(&cols[j], &none, sizeof none)) driven[count++] = j;
    for (int r = 0; r < o->n; r++) {
        if (!v[r] || !memcmp(&rows[r], &none, sizeof none)) continue;
        for (int i = 0; i < count; i++) {
            const int j = driven[i];
            int meetings = 0;
            for (int w = 0; w < words; w++)
                meetings += __builtin_popcountll(rows[r].bits[w] & cols[j].bits[w]);
            if (!meetings) continue;
            const int down = (v[r] < 0) ^ (d[j] < 0) ^ !!(o->flags & INVERT);
            ohm_learn_pulse(array, r, j, down ? -meetings : meetings);
        }
    }
    return OHM_OK;
}

static int write_row(ohm_learn_core *c, const ohm_learn_op *o, const int32_t *counts) {
    ohm_learn_array *array = array_of(c, o);
    int status = array ? OHM_OK : OHM_EINVAL;
    for (int j = 0; j < o->n && status == OHM_OK; j++) {
        const int q = (int)between(counts[j], -MOST_PULSES, MOST_PULSES);
        status = ohm_learn_pulse(array, c->registers[o->reg], j, o->flags & INVERT ? -q : q);
    }
    return status;
}

static int apply(ohm_learn_core *c, const ohm_learn_op *o, int columns, int32_t *chi) {
    ohm_learn_array *array = array_of(c, o);
    int status = array ? OHM_OK : OHM_EINVAL;
    for (int r = 0; r < o->n; r++)
        for (int j = 0; j < columns && status == OHM_OK; j++) {
            int32_t *cell = chi + (int64_t)r * columns + j;
            const int64_t whole = magnitude(*cell) >> o->shift;
            const int size = (int)(whole < MOST_PULSES ? whole : MOST_PULSES);
            const int q = *cell < 0 ? -size : size;
            if (!q) continue;
            *cell -= (int32_t)((int64_t)q * ((int64_t)1 << o->shift));
            status = ohm_learn_pulse(array, r, j, o->flags & INVERT ? -q : q);
        }
    return status;
}

/* ---------------------------------------------------------------- programs */

typedef struct {
    const int32_t *in;
    int32_t *out;
    int64_t in_left, out_left;
} streams;

/* One instruction that is no jump. */
static int execute(ohm_learn_core *c, const ohm_learn_op *o, streams *s) {
    const int n = o->n, columns = o->k & 0xFFFF;
    const int back = o->flags & TRANSPOSED;
    const int64_t cells = (int64_t)n * columns, offset = (int64_t)c->registers[o->reg] * n;
    int64_t a_size = n, b_size = 0, dst_size = n, a_at = o->a, dst_at = o->dst;
    switch (o->op) {
    case IN: a_size = 0; break;
    case OUT: case REDUCE: case WRITE: dst_size = 0; break;
    case VEC: b_size = n; break;
    case HOT: a_size = 0; break;
    case READ: dst_size = o->b; break;
    case UPDATE: dst_size = 0, b_size = columns; break;
    case FEED: a_size = o->b; break;
    case DENSE: b_size = cells, a_size = back ? columns : n, dst_size = back ? n : columns; break;
    case OUTER: b_size = columns, dst_size = cells; break;
    case APPLY: a_size = cells, dst_size = 0; break;
    case STEP: case RELAX: a_size = dst_size = 0; break;
    case LOADR: a_size = 1, dst_size = 0; break;
    case PICK:
        if (back)
            dst_at += offset;
        else
            a_at += offset;
        break;
    default: break;
    }
    int32_t *a = place(c, a_size ? a_at : 0, a_size), *b = place(c, b_size ? o->b : 0, b_size);
    int32_t *to = place(c, dst_size ? dst_at : 0, dst_size);
    if (!a || !b || !to) return OHM_EINVAL;
    switch (o->op) {
    case IN:
        if (s->in_left < n) return OHM_EINVAL;
        memcpy(to, s->in, (size_t)n * 4);
        s->in += n, s->in_left -= n;
        break;
    case OUT:
        if (s->out_left < n) return OHM_EINVAL;
        memcpy(s->out, a, (size_t)n * 4);
        s->out += n, s->out_left -= n;
        break;
    case VEC:
        for (int i = 0; i < n; i++)
            to[i] = clip(rounded(vector_value(c, o, a[i], b[i]), o->shift), o->bits);
        break;
    case TABLE:
        if (o->m < 0 || o->m >= c->tables) return OHM_EINVAL;
        for (int i = 0; i < n; i++)
            to[i] = c->table[o->m][between(rounded(a[i], o->shift), -128, 127) + 128];
        break;
    case REDUCE: reduce(c, o, a); break;
    case NORM: normalize(c, o, a, to); break;
    case DIV: {
        const int64_t by = c->registers[o->reg];
        for (int i = 0; i < n; i++)
            to[i] = by > 0 && a[i] >= 0 ? clip(((int64_t)a[i] << (o->shift & 31)) / by, 0) : 0;
        break;
    }
    case HOT:
        for (int i = 0; i < n; i++) to[i] = i == c->registers[o->reg] ? o->k : 0;
        break;
    case READ: return read_array(c, o, a, to);
    case UPDATE: return update(c, o, a, b);
    case WRITE: return write_row(c, o, a);
    case FEED: feed(c, o, a, to); break;
    case DENSE: dense(o, columns, a, b, to); break;
    case OUTER: outer(c, o, columns, a, b, to); break;
    case APPLY: return apply(c, o, columns, a);
    case STEP:
        if (n < 1) return OHM_EINVAL;
        set_register(c, o->reg, (((int64_t)c->registers[o->reg] + 1) % n + n) % n);
        break;
    case LOADR: set_register(c, o->reg, a[0]); break;
    case RELAX: {
        ohm_learn_array *array = array_of(c, o);
        if (!array) return OHM_EINVAL;
        ohm_learn_relax(array);
        break;
    }
    case PICK: memmove(to, a, (size_t)n * 4); break;
    default: return OHM_EINVAL;
    }
    return OHM_OK;
}

static int run_once(ohm_learn_core *c, streams *s, int32_t *at) {
    int first = 0, end = -1, again = 0; /* of the loop */
    for (int i = 0; c->program[i].op != END;) {
        const ohm_learn_op *o = &c->program[i];
        *at = i++;
        if (o->op == LOOP) {
            first = i, end = i + (o->k & 0xFFFF), again = o->n - 1;
        } else if (o->op == EVERY) {
            set_register(c, o->reg, (int64_t)c->registers[o->reg] + 1);
            if (c->registers[o->reg] >= o->n)
                set_register(c, o->reg, 0);
            else
                i += o->k & 0xFFFF;
        } else {
            const int status = execute(c, o, s);
            if (status != OHM_OK) return status;
        }
        if (i == end) {
            if (again-- > 0)
                i = first;
            else
                end = -1;
        }
        if (i >= c->instructions) return OHM_EINVAL;
    }
    return OHM_OK;
}

int ohm_learn_core_run(ohm_learn_core *c, int64_t samples, int64_t per_sample, const int32_t *in,
                       int64_t outs, int32_t *out, int32_t *at) {
    if (!c->instructions) return OHM_EINVAL;
    for (int64_t i = 0; i < samples; i++, in += per_sample, out += outs) {
        streams s = {in, out, per_sample, outs};
        const int status = run_once(c, &s, at);
        if (status != OHM_OK) return status;
        if (s.in_left || s.out_left) return OHM_EINVAL;
    }
    return OHM_OK;
}
