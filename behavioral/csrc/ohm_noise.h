/* SPDX-License-Identifier: Apache-2.0
 *
 * Private parts of ohm_crossbar.c: the noise generator and the integer square root. See
 * behavioral/threefry.py and behavioral/gaussian.py, whose results these equal bit for bit.
 */
#ifndef OHM_NOISE_H
#define OHM_NOISE_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define OHM_VECTOR_BYTES 64
#include <immintrin.h>
#if !defined(__clang__)
/* gcc halves the width by default on most processors, which costs a fifth of the speed here. */
#pragma GCC target("prefer-vector-width=512")
#endif
#elif defined(__AVX2__)
#define OHM_VECTOR_BYTES 32
#else
#define OHM_VECTOR_BYTES 16
#endif

#define OHM_ALIGNED __attribute__((aligned(64)))

/* The Gaussian table byte by byte: with byte permutations a lookup costs half of what a gather
 * does, where the processor has them. */
typedef struct {
    OHM_ALIGNED uint8_t byte[4][512];
} ohm_planes;

static const int32_t ohm_gaussian_table[512] = {
#include "gaussian_table.h"
};

static inline uint32_t ohm_rotl(uint32_t x, int n) { return (x << n) | (x >> (32 - n)); }

#define OHM_ROUND(r) \
    x0 += x1;        \
    x1 = ohm_rotl(x1, r) ^ x0;

/* 13 rounds, spelled out so that a loop over counters becomes straight vector code. */
static inline void ohm_threefry13(uint32_t k0, uint32_t k1, uint32_t k2, uint32_t c0, uint32_t c1,
                                  uint32_t *o0, uint32_t *o1) {
    uint32_t x0 = c0 + k0, x1 = c1 + k1;
    OHM_ROUND(13) OHM_ROUND(15) OHM_ROUND(26) OHM_ROUND(6)
    x0 += k1, x1 += k2 + 1u;
    OHM_ROUND(17) OHM_ROUND(29) OHM_ROUND(16) OHM_ROUND(24)
    x0 += k2, x1 += k0 + 2u;
    OHM_ROUND(13) OHM_ROUND(15) OHM_ROUND(26) OHM_ROUND(6)
    x0 += k0, x1 += k1 + 3u;
    OHM_ROUND(17)
    *o0 = x0;
    *o1 = x1;
}

static inline int32_t ohm_gaussian1(uint32_t u) {
    const int32_t m = (int32_t)(u & 0x7FFFFFFFu);
    /* Only the top 17 bits matter, so the bits that would round on the way to a float go first:
     * its exponent is then the bit length and its fraction the segment and the position in it. */
    const float f = (float)(m & ~((m >> 24) ? 0x7F : 0));
    int32_t raw;
    memcpy(&raw, &f, 4);
    const int32_t octave = (raw >> 19) - (126 << 4);
    const int32_t entry = ohm_gaussian_table[octave < 0 ? 0 : octave];
    const int32_t frac = (raw >> 7) & 0xFFF;
    const int32_t z = ((entry & ~0xFFF) - (entry & 0xFFF) * frac + (1 << 15)) >> 16;
    const int32_t sign = (int32_t)u >> 31;
    return (z ^ sign) - sign;
}

static void ohm_split_table(ohm_planes *planes) {
    for (int i = 0; i < 512; i++)
        for (int b = 0; b < 4; b++)
            planes->byte[b][i] = (uint8_t)((uint32_t)ohm_gaussian_table[i] >> 8 * b);
}

#if defined(__AVX512VBMI__) && defined(__AVX512BW__) && defined(__AVX512DQ__)

/* Bytes `index` + 256 * `upper` of a table of 512. */
static inline __m512i ohm_lookup(const uint8_t *table, __m512i index, __mmask64 upper) {
    const __m512i *t = (const __m512i *)table;
    const __mmask64 second = _mm512_movepi8_mask(index); /* bit 7; the permutations use 7 bits */
    const __m512i p0 = _mm512_permutex2var_epi8(t[0], index, t[1]);
    const __m512i p1 = _mm512_permutex2var_epi8(t[2], index, t[3]);
    const __m512i p2 = _mm512_permutex2var_epi8(t[4], index, t[5]);
    const __m512i p3 = _mm512_permutex2var_epi8(t[6], index, t[7]);
    return _mm512_mask_blend_epi8(upper, _mm512_mask_blend_epi8(second, p0, p1),
                                  _mm512_mask_blend_epi8(second, p2, p3));
}

/* The arithmetic of ohm_gaussian1 for as many blocks of 64 as fit in n; returns how many words. */
static int64_t ohm_gaussian_blocks(const ohm_planes *planes, int64_t n, const uint32_t *words,
                                   int32_t *z) {
    int64_t i = 0;
    for (; i + 64 <= n; i += 64) {
        __m512i u[4], octave[4], frac[4], entry[4], byte[4];
        for (int k = 0; k < 4; k++) {
            u[k] = _mm512_loadu_si512(words + i + 16 * k);
            const __m512i m = _mm512_and_si512(u[k], _mm512_set1_epi32(0x7FFFFFFF));
            const __m512i raw = _mm512_castps_si512(
                _mm512_cvt_roundepi32_ps(m, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC));
            octave[k] = _mm512_max_epi32(
                _mm512_sub_epi32(_mm512_srai_epi32(raw, 19), _mm512_set1_epi32(126 << 4)),
                _mm512_setzero_si512());
            frac[k] = _mm512_and_si512(_mm512_srli_epi32(raw, 7), _mm512_set1_epi32(0xFFF));
        }
        /* Packing and unpacking permute columns the same way, so the order comes back. */
        const __m512i a = _mm512_packus_epi32(octave[0], octave[1]);
        const __m512i b = _mm512_packus_epi32(octave[2], octave[3]);
        const __m512i low = _mm512_set1_epi16(0xFF);
        const __m512i index =
            _mm512_packus_epi16(_mm512_and_si512(a, low), _mm512_and_si512(b, low));
        const __m512i top =
            _mm512_packus_epi16(_mm512_srli_epi16(a, 8), _mm512_srli_epi16(b, 8));
        const __mmask64 upper = _mm512_test_epi8_mask(top, top);
        for (int k = 0; k < 4; k++) byte[k] = ohm_lookup(planes->byte[k], index, upper);
        const __m512i lo01 = _mm512_unpacklo_epi8(byte[0], byte[1]);
        const __m512i hi01 = _mm512_unpackhi_epi8(byte[0], byte[1]);
        const __m512i lo23 = _mm512_unpacklo_epi8(byte[2], byte[3]);
        const __m512i hi23 = _mm512_unpackhi_epi8(byte[2], byte[3]);
        entry[0] = _mm512_unpacklo_epi16(lo01, lo23);
        entry[1] = _mm512_unpackhi_epi16(lo01, lo23);
        entry[2] = _mm512_unpacklo_epi16(hi01, hi23);
        entry[3] = _mm512_unpackhi_epi16(hi01, hi23);
        for (int k = 0; k < 4; k++) {
            const __m512i low12 = _mm512_set1_epi32(0xFFF);
            /* Both factors have 12 bits, so the 16-bit multiply-add is their product. */
            const __m512i fall = _mm512_madd_epi16(_mm512_and_si512(entry[k], low12), frac[k]);
            const __m512i base = _mm512_andnot_si512(low12, entry[k]);
            const __m512i size = _mm512_srai_epi32(
                _mm512_add_epi32(_mm512_sub_epi32(base, fall), _mm512_set1_epi32(1 << 15)), 16);
            const __m512i signed_size = _mm512_mask_sub_epi32(
                size, _mm512_movepi32_mask(u[k]), _mm512_setzero_si512(), size);
            _mm512_storeu_si512(z + i + 16 * k, signed_size);
        }
    }
    return i;
}

#else

static int64_t ohm_gaussian_blocks(const ohm_planes *planes, int64_t n, const uint32_t *words,
                                   int32_t *z) {
    (void)planes, (void)n, (void)words, (void)z;
    return 0;
}

#endif

static void ohm_gaussian_with(const ohm_planes *planes, int64_t n, const uint32_t *words,
                              int32_t *z) {
    for (int64_t i = ohm_gaussian_blocks(planes, n, words, z); i < n; i++)
        z[i] = ohm_gaussian1(words[i]);
}

/* Exact below 2**31: the float root is off by less than one, which one step each way repairs. */
static inline uint32_t ohm_isqrt31_1(uint32_t v) {
    uint32_t r = (uint32_t)(int32_t)sqrtf((float)(int32_t)v);
    r -= r * r > v;
    r += (r + 1) * (r + 1) <= v;
    return r;
}

#endif
