/* SPDX-License-Identifier: Apache-2.0
 *
 * The C side of crossbar_macro_learn_dpi.sv: the arrays behind a macro of a core that learns.
 *
 * Arrays are bound before a model is constructed, and its macro attaches to all of them in the first
 * evaluation, on the same thread. Nothing here ends the process or prints: what goes wrong is kept
 * in the session, and a macro without arrays answers with zeros.
 */
#ifndef OHM_LEARN_DPI_H
#define OHM_LEARN_DPI_H

#include <stdint.h>

#include "ohm_learn.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ohm_learn_session ohm_learn_session;

/* The macro that attaches on this thread next takes these arrays; they stay the caller's and must
 * outlive the session. NULL if memory is short: then nothing is bound. */
ohm_learn_session *ohm_learn_bind(ohm_learn_array **arrays, int n);

/* The first thing that went wrong, or NULL. Valid until ohm_learn_unbind(). */
const char *ohm_learn_error(const ohm_learn_session *session);

/* Only once the model is gone. */
void ohm_learn_unbind(ohm_learn_session *session);

/* Called by the macro. */
void *ohm_learn_dpi_attach(int arrays, int rows, int cols, int lanes, int transposed_lanes,
                           int adc_bits);
/* What a line is driven with in the next read. */
void ohm_learn_dpi_drive(void *macro, int line, int value);
/* A read of the lines driven, whose codes come in so many beats, and lets them go. */
void ohm_learn_dpi_read(void *macro, int array, int transposed, int shift, int beats);
/* The next beat, in words of 32 bits: `bits` in all, a code 16 of them, lane 0 lowest. */
void ohm_learn_dpi_beat(void *macro, int bits, uint32_t *words);
/* The columns of a beat, up and down by lane; with fire the pulses of all columns set since the
 * last time; relax: time passes. 1 if the array refuses. */
unsigned char ohm_learn_dpi_write(void *macro, int array, const uint32_t *rows, int beat,
                                  uint64_t up, uint64_t down, int pulses, unsigned char fire,
                                  unsigned char relax);

#ifdef __cplusplus
}
#endif

#endif
