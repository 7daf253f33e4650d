// SPDX-License-Identifier: Apache-2.0
// A core and its macro in C, told by lines on standard input what to do (see test_macro.py):
//   array ROWS COLS SEED ARRAY V0 V1 BITS LANES, then ROWS * COLS cells      bind one more array
//   load WORD PLANES SUM | start ROWS BEATS SKIP PER_READ PLANES | drain WORDS | quit
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "Vpair.h"
#include "ohm_dpi.h"
#include "verilated.h"

static std::unique_ptr<Vpair> model;

static void tick() {
    model->clk = 0;
    model->eval();
    model->clk = 1;
    model->eval();
}

int main() {
    std::vector<ohm_array *> arrays;
    ohm_dpi_session *session = nullptr;
    char op[16];
    while (std::scanf("%15s", op) == 1 && std::strcmp(op, "quit") != 0) {
        if (std::strcmp(op, "array") == 0) {
            int rows, cols, bits, lanes;
            unsigned seed, array;
            int64_t v0, v1;
            if (std::scanf("%d%d%u%u%" SCNd64 "%" SCNd64 "%d%d", &rows, &cols, &seed, &array, &v0,
                           &v1, &bits, &lanes) != 8)
                return 1;
            std::vector<int32_t> g(rows * cols), ref(rows);
            for (auto &cell : g)
                if (std::scanf("%d", &cell) != 1) return 1;
            arrays.push_back(ohm_array_new(rows, cols, seed, array));
            if (ohm_array_program(arrays.back(), g.data(), ref.data(), nullptr, v0, v1) != OHM_OK)
                return 1;
            if (ohm_array_set_adc(arrays.back(), bits, lanes, nullptr) != OHM_OK) return 1;
            continue;
        }
        if (!model) {
            session = ohm_dpi_bind(arrays.data(), (int)arrays.size());
            model = std::make_unique<Vpair>();
            model->rst = 1;
            tick();
            model->rst = 0;
        }
        unsigned a, b, c, d, e;
        uint64_t planes;
        if (std::strcmp(op, "load") == 0) {
            if (std::scanf("%u%" SCNu64 "%u", &a, &planes, &b) != 3) return 1;
            (a % 2 ? model->odd_valid : model->even_valid) = 1;
            (a % 2 ? model->odd_word : model->even_word) = a / 2;
            (a % 2 ? model->odd_planes : model->even_planes) = planes;
            model->sum_valid = 1;
            model->sum_first = a == 0;
            model->load_sum = b;
            tick();
            model->even_valid = model->odd_valid = 0;
            model->sum_valid = 0;
        } else if (std::strcmp(op, "start") == 0) {
            if (std::scanf("%u%u%u%u%u", &a, &b, &c, &d, &e) != 5) return 1;
            model->used = (uint64_t{1} << a) - 1;
            model->beats = b;
            model->zero_skip = c;
            model->rows_per_read = d;
            model->planes = e;
            model->start = 1;
            tick();
            model->start = 0;
            int cycles = 0;
            for (; model->busy && cycles < 1000000; cycles++) tick();
            std::printf("%d\n", cycles);
        } else if (std::strcmp(op, "drain") == 0) {
            if (std::scanf("%u", &a) != 1) return 1;
            for (b = 0; b < a; b++) {
                model->drain_select = 1;
                model->drain_addr = b;
                tick();
                for (c = 0; c < W; c++) std::printf("%u ", ((const uint32_t *)&model->drain_data)[c]);
            }
            model->drain_select = 0;
            std::printf("\n");
        }
    }
    const char *error = session ? ohm_dpi_error(session) : nullptr;
    std::printf("%s\n", error ? error : "no error");
    for (auto *array : arrays) std::printf("%" PRIu64 "\n", ohm_array_reads(array));
    model.reset();
    ohm_dpi_free(session);
    for (auto *array : arrays) ohm_array_free(array);
    return 0;
}
