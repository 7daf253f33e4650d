/* SPDX-License-Identifier: Apache-2.0
 *
 * The fast machine's inner loop; see ohm_tile.h and docs/tile.md.
 */
#include "ohm_tile.h"

#include <string.h>

enum { OHM_MANTISSA_BITS = 24 };

/* Arithmetic modulo 2**32, read as signed. */
static inline int32_t ohm_signed(uint32_t v) {
    int32_t s;
    memcpy(&s, &v, 4);
    return s;
}

static inline int32_t ohm_low_half(uint32_t v) { return (int32_t)((v & 0xFFFF) ^ 0x8000) - 0x8000; }

/* magnitude / 2**shift rounded to nearest, ties to even; magnitude below 2**56, shift below 64. */
static inline uint64_t ohm_shift_even(uint64_t magnitude, int shift) {
    if (shift == 0) return magnitude;
    const uint64_t odd = magnitude >> shift & 1;
    return (magnitude + ((uint64_t)1 << (shift - 1)) - 1 + odd) >> shift;
}

/* Rounded to 24 significant bits, as storing a float32 does. */
static inline uint64_t ohm_significand(uint64_t magnitude) {
    const int length = magnitude ? 64 - __builtin_clzll(magnitude) : 0;
    if (length <= OHM_MANTISSA_BITS) return magnitude;
    const int excess = length - OHM_MANTISSA_BITS;
    return ohm_shift_even(magnitude, excess) << excess;
}

/* As behavioral/golden.py; a mantissa of 0 scales to 0. quant: zero point, lowest, highest code. */
static inline uint8_t ohm_requantize(int32_t acc, uint64_t param, int32_t quant) {
    const uint64_t mantissa = param >> 32 & 0xFFFFFF;
    const int shift = (int)(param >> 56);
    const uint64_t size = acc < 0 ? (uint64_t)(-(int64_t)acc) : (uint64_t)acc;
    const uint64_t product = ohm_significand(ohm_significand(size) * mantissa);
    const int64_t scaled = (int64_t)ohm_shift_even(product, shift);
    const int64_t low = quant >> 8 & 0xFF, high = quant >> 16 & 0xFF;
    int64_t code = (acc < 0 ? -scaled : scaled) + (quant & 0xFF);
    code = code < low ? low : code > high ? high : code;
    return (uint8_t)code;
}

/* Runs packed densely. */
static inline void ohm_gather(const ohm_step *s, const uint8_t *data, uint8_t *to) {
    const uint8_t *from = data + s->source;
    for (int run = 0; run < s->runs; run++, from += s->pitch, to += s->count)
        memcpy(to, from, (size_t)s->count);
}

static void ohm_load(const ohm_tile *t, const ohm_step *s, const uint8_t *from) {
    const int total = s->count * s->runs, end = s->place + total, full = (end + 7) / 8 * 8;
    int32_t sum = 0;
    for (int i = 0; i < total; i++) sum += t->counts[from[i]];
    for (uint32_t left = s->cores; left; left &= left - 1) {
        const int core = __builtin_ctz(left);
        uint8_t *row = t->row + (size_t)core * t->rows;
        memcpy(row + s->place, from, (size_t)total);
        memset(row + end, 0, (size_t)(full - end));
        const uint32_t before = s->place || s->mode ? (uint32_t)t->sums[core] : 0;
        t->sums[core] = ohm_signed(before + (uint32_t)sum);
    }
}

static void ohm_vector(const ohm_tile *t, const ohm_step *s) {
    uint8_t bytes[4 * OHM_VECTOR_ELEMENTS];
    const int total = s->count * s->runs;
    int32_t *vec = t->vec + s->place;
    ohm_gather(s, t->data, bytes);
    if (s->mode >= OHM_PUT32) {
        for (int i = 0; 4 * i < total; i++) {
            const uint8_t *b = bytes + 4 * i;
            const uint32_t word =
                b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
            const uint32_t acc = s->mode == OHM_PUT32 ? 0 : (uint32_t)vec[i];
            vec[i] = ohm_signed(acc + word + (uint32_t)s->offset);
        }
        return;
    }
    for (int i = 0; i < total; i++) {
        const uint32_t v = (uint32_t)s->scale * bytes[i] + (uint32_t)s->offset;
        switch (s->mode) {
        case OHM_PUT: vec[i] = ohm_signed(v); break;
        case OHM_ADD: vec[i] = ohm_signed((uint32_t)vec[i] + v); break;
        case OHM_MUL: vec[i] = ohm_low_half((uint32_t)vec[i]) * ohm_low_half(v); break;
        case OHM_MAX: vec[i] = vec[i] > ohm_signed(v) ? vec[i] : ohm_signed(v); break;
        default: vec[i] = vec[i] < ohm_signed(v) ? vec[i] : ohm_signed(v); break;
        }
    }
}

static void ohm_drain(const ohm_tile *t, const ohm_step *s, uint8_t *out) {
    const int drained = s->runs * t->lanes;
    const uint64_t *params = t->params + s->source;
    uint32_t total[OHM_MAX_COLS + OHM_VECTOR_ELEMENTS];
    for (int j = 0; j < drained; j++)
        total[j] = (uint32_t)params[s->mode & 1 ? j % t->lanes : j] +
                   (s->mode & 2 ? (uint32_t)t->vec[j] : 0);
    for (uint32_t left = s->cores; left; left &= left - 1) {
        const int core = __builtin_ctz(left);
        const int32_t *acc = t->acc + (size_t)core * t->outputs;
        const uint32_t taken_off = (uint32_t)t->sums[core] * (uint32_t)t->sum_weight;
        for (int j = 0; j < drained; j++) total[j] += (uint32_t)acc[j] - taken_off;
    }
    if (s->tap >= 0) {
        /* Words of two sums; the last of an odd number of lanes is alone in its word. */
        const int width = t->lanes + t->lanes % 2;
        memset(out + s->tap, 0, (size_t)s->runs * (size_t)width * 4);
        for (int j = 0; j < drained; j++)
            memcpy(out + s->tap + 4 * (j / t->lanes * width + j % t->lanes), total + j, 4);
    }
    const uint8_t *table = s->table < 0 ? NULL : t->tables + 256 * s->table;
    uint8_t *to = t->data + s->place;
    for (int j = 0; j < s->count; j++) {
        const uint64_t param = params[s->mode & 1 ? j % t->lanes : j];
        const uint8_t code = ohm_requantize(ohm_signed(total[j]), param, s->quant);
        to[j] = table ? table[code] : code;
    }
}

/* The products of a step; cycles that each keeps its core busy to active [cores]. */
static int ohm_products(const ohm_tile *t, const ohm_step *s, const ohm_mvm_config *config,
                        int64_t *active, int64_t *core) {
    for (uint32_t left = s->cores; left; left &= left - 1) {
        const int at = __builtin_ctz(left);
        uint32_t reads, busy, stall;
        const int array = at * t->per_core + s->place;
        int32_t *acc = t->acc + (size_t)at * t->outputs;
        int32_t kept[OHM_MAX_COLS];
        int64_t events[OHM_EVENTS] = {0};
        if (s->source) memcpy(kept, acc, (size_t)config->outputs * sizeof *acc);
        const int status =
            ohm_core_mvm(t->arrays[array], config, t->flips[at], 1, t->row + (size_t)at * t->rows,
                         t->words[array], acc, &reads, &busy, &stall, events);
        if (status) return status;
        if (s->source)
            for (int j = 0; j < config->outputs; j++)
                acc[j] = ohm_signed((uint32_t)acc[j] + (uint32_t)kept[j]);
        for (int e = 0; e < OHM_EVENTS; e++) t->events[e * t->cores + at] += events[e];
        active[at] = busy;
        core[at] += reads;
        core[t->cores + at] += (int64_t)reads * config->beats;
        core[2 * t->cores + at] += busy;
        core[3 * t->cores + at] += stall;
    }
    return OHM_OK;
}

/* Whether a step touches a FIFO. */
static int ohm_touches(const ohm_step *s) {
    switch (s->kind) {
    case OHM_SYNC: case OHM_LOAD_HOST: case OHM_RECV: case OHM_SEND: return 1;
    case OHM_REQ: return s->tap >= 0;
    default: return 0;
    }
}

int ohm_tile_run(const ohm_tile *t, const ohm_mvm_config *configs, const ohm_step *steps,
                 int64_t count, int first, int64_t samples, const uint8_t *in, int64_t in_bytes,
                 uint8_t *out, int64_t out_bytes, int64_t *tile, int64_t *core,
                 int64_t *starts) {
    if (t->cores < 1 || t->cores > OHM_MAX_CORES || t->outputs > OHM_MAX_COLS || count < 1)
        return OHM_EINVAL;
    for (int64_t n = 0; n < samples; n++, in += in_bytes, out += out_bytes) {
        /* T of the step before plus its length: the cycle in which the next one is fetched. */
        int64_t fetch = first ? 0 : -1, vector_free = 0;
        int64_t free_at[OHM_MAX_CORES] = {0}, active[OHM_MAX_CORES];
        for (const ohm_step *s = steps; s < steps + count; s++) {
            const int64_t arrived = fetch + 1;
            int64_t start = arrived;
            for (uint32_t left = s->cores; left; left &= left - 1) {
                const int64_t idle = free_at[__builtin_ctz(left)];
                if (start < idle) start = idle;
            }
            tile[1] += start - arrived;
            if (s->waits_vector && start < vector_free) {
                tile[2] += vector_free - start;
                start = vector_free;
            }
            fetch = start + s->cycles;
            if (starts && ohm_touches(s)) *starts++ = start;
            switch (s->kind) {
            case OHM_LOAD_HOST: ohm_load(t, s, in + s->source); break;
            case OHM_LOAD: {
                uint8_t bytes[OHM_MAX_ROWS];
                ohm_gather(s, t->data, bytes);
                ohm_load(t, s, bytes);
                break;
            }
            case OHM_VEC: ohm_vector(t, s); break;
            case OHM_RECV: memcpy(t->data + s->place, in + s->source, (size_t)s->count); break;
            case OHM_SEND: memcpy(out + s->place, t->data + s->source, (size_t)s->count); break;
            case OHM_MVM: {
                const int status = ohm_products(t, s, configs + s->mode, active, core);
                if (status) return status;
                for (uint32_t left = s->cores; left; left &= left - 1) {
                    const int at = __builtin_ctz(left);
                    free_at[at] = start + active[at] + 1;
                }
                break;
            }
            case OHM_REQ:
                ohm_drain(t, s, out);
                /* A word issued in cycle t keeps the unit busy in t+1 .. t+latency-1. */
                vector_free = start + s->issue + t->latency;
                break;
            default: break;
            }
        }
        /* The last step is the SYNC that waits: it takes no cycle of its own yet. */
        tile[0] += fetch - 1;
    }
    return OHM_OK;
}
