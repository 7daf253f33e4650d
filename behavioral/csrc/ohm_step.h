/* SPDX-License-Identifier: Apache-2.0
 *
 * The step of a write pulse, for all arrays that pulses move. behavioral/pulsed.py states it.
 */
#ifndef OHM_STEP_H
#define OHM_STEP_H

#include "ohm_crossbar.h"

/* What a pulse moves a cell in this state, without spread. */
static inline int64_t ohm_pulse_step(const ohm_pulse_model *m, const int32_t *table,
                                     int32_t state) {
    const int32_t inside = state < m->low ? m->low : state > m->high ? m->high : state;
    const int32_t at = inside - m->low, i = at >> m->shift;
    const int64_t part = at - (i << m->shift);
    return table[i] + ((((int64_t)table[i + 1] - table[i]) * part) >> m->shift);
}

#endif
