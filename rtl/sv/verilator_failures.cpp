// SPDX-License-Identifier: Apache-2.0
// Verilator reports a failure inside a model here and expects no return (VL_USER_FATAL and its
// like): an exception, which the harness turns into an error of its host.
#include <stdexcept>
#include <string>

#include "verilated.h"

static void fail(const char *file, int line, const char *what) {
    throw std::runtime_error(std::string(file) + ":" + std::to_string(line) + ": " + what);
}

void vl_fatal(const char *file, int line, const char *, const char *message) {
    fail(file, line, message);
}

void vl_stop(const char *file, int line, const char *) { fail(file, line, "$stop"); }

void vl_finish(const char *file, int line, const char *) { fail(file, line, "$finish"); }
