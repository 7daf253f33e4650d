/* SPDX-License-Identifier: Apache-2.0
 *
 * The C side of crossbar_macro_dpi.sv: which array answers for which macro.
 *
 * Arrays are bound before a model is constructed, and the macros of that model attach to them in
 * its first evaluation, on the same thread. From then on the binding may change: each macro keeps
 * its own object. Nothing here ends the process or prints: what goes wrong is kept in the session,
 * and a macro that has no array answers with zeros.
 */
#ifndef OHM_DPI_H
#define OHM_DPI_H

#include <stdint.h>

#include "ohm_crossbar.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ohm_dpi_session ohm_dpi_session;

/* Macros that attach on this thread from now on take arrays by their ID; n arrays, which stay the caller's
 * and must outlive the session. NULL if memory is short: then nothing is bound. */
ohm_dpi_session *ohm_dpi_bind(ohm_array **arrays, int n);

/* The first thing that went wrong, or NULL. Valid until ohm_dpi_free(). */
const char *ohm_dpi_error(const ohm_dpi_session *session);

/* Arrays that macros attached to. */
int ohm_dpi_attached(const ohm_dpi_session *session);

/* Only once the model is gone. */
void ohm_dpi_free(ohm_dpi_session *session);

/* Called by the macro. It takes arrays[id * arrays] and as many as `arrays`; reads are of the first
 * one until another is selected, 0 up. `rows` as in ohm_array_read(); beats come in order, lane 0 in
 * the lowest bits, a word of 64 bits or several of 32. */
void *ohm_dpi_attach(const char *path, int id, int arrays, int cols, int lanes, int adc_bits);
void ohm_dpi_select(void *macro, int index);
void ohm_dpi_slice(void *macro, int span, int slice); /* of the reads that follow */
void ohm_dpi_read(void *macro, const uint32_t *rows, int beats);
void ohm_dpi_read_fine(void *macro, const uint32_t *rows, int beats, int fine);
/* Rows driven with digits of 1, 2 or 4 bits, packed, row 0's lowest. */
void ohm_dpi_read_digits(void *macro, const uint32_t *packed, int digit_bits, int beats);
uint64_t ohm_dpi_beat(void *macro);
void ohm_dpi_beat_wide(void *macro, int bits, uint32_t *words); /* bits: of the beat */

/* A write: the columns of a beat, up and down by lane; with fire the pulses of all columns set since
 * the last one. 1 if the array takes no pulses. */
unsigned char ohm_dpi_write(void *macro, const uint32_t *rows, int beat, uint64_t up,
                            uint64_t down, int pulses, unsigned char fire);

#ifdef __cplusplus
}
#endif

#endif
