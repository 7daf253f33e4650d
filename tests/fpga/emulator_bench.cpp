// SPDX-License-Identifier: Apache-2.0
// An emulated crossbar in Verilator, told by lines on standard input what to do:
//   load N, then N pairs ADDR WORD
//   reads N STALL, then N lines BEATS MASK-WORDS...   both sides wait with STALL percent a cycle
//   reset CYCLES                                      hold the reset, after CYCLES cycles of a read
// Beats are printed as words of 32 bits, the lowest first.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <type_traits>
#include <vector>

#include "Vemulator.h"
#include "verilated.h"

static std::unique_ptr<Vemulator> model;
static std::mt19937 random_numbers(1);

static void tick() {
    model->clk = 0;
    model->eval();
    model->clk = 1;
    model->eval();
}

using Words = std::vector<uint32_t>;  // two at least

template <typename T>
static void put(T &port, const Words &words) {
    if constexpr (std::is_integral_v<T>)
        port = static_cast<T>(words[0] | (uint64_t)words[1] << 32);
    else
        std::memcpy(port.data(), words.data(), sizeof port);
}

template <typename T>
static Words take(const T &port) {
    Words words(sizeof port / 4 + 2);
    if constexpr (std::is_integral_v<T>) {
        words[0] = static_cast<uint32_t>(port);
        words[1] = static_cast<uint32_t>((uint64_t)port >> 32);
    } else {
        std::memcpy(words.data(), port.data(), sizeof port);
    }
    return words;
}

static void fail(const char *what) {
    std::printf("%s\n", what);
    std::exit(1);
}

int main() {
    model = std::make_unique<Vemulator>();
    model->rst = 1;
    tick();
    model->rst = 0;
    char op[16];
    while (std::scanf("%15s", op) == 1) {
        unsigned n, stall;
        if (std::strcmp(op, "load") == 0) {
            if (std::scanf("%u", &n) != 1) return 1;
            while (n--) {
                uint32_t addr, word;
                if (std::scanf("%u%u", &addr, &word) != 2) return 1;
                model->load___05Faddr = addr;
                model->load___05Fword = word;
                model->load___05Fen = 1;
                tick();
            }
            model->load___05Fen = 0;
            tick(), tick();
            continue;
        }
        if (std::strcmp(op, "reads") == 0) {
            if (std::scanf("%u%u", &n, &stall) != 2) return 1;
            unsigned sent = 0, owed = 0, given = 0;
            std::vector<Words> masks(n);
            std::vector<unsigned> beats(n);
            for (unsigned i = 0; i < n; i++) {
                if (std::scanf("%u", &beats[i]) != 1) return 1;
                masks[i].resize((ROWS + 31) / 32);
                for (auto &word : masks[i])
                    if (std::scanf("%u", &word) != 1) return 1;
            }
            bool offered = false;
            unsigned idle = 0;
            while (sent < n || owed) {
                offered = sent < n && (offered || random_numbers() % 100 >= stall);
                model->cmd___05Fvalid = offered;
                if (offered) {
                    Words payload(ROWS / 32 + 2);
                    for (unsigned b = 0; b < ROWS + 10; b++) {
                        const unsigned r = b - ROWS;
                        const unsigned bit =
                            b < ROWS ? masks[sent][b / 32] >> b % 32 & 1 : beats[sent] >> r & 1;
                        payload[b / 32] |= bit << b % 32;
                    }
                    put(model->cmd___05Fpayload, payload);
                }
                model->codes___05Fready = random_numbers() % 100 >= stall;
                model->clk = 0;
                model->eval();
                const bool taken = model->cmd___05Fvalid && model->cmd___05Fready;
                if (model->codes___05Fvalid && !owed) fail("a beat that nobody asked for");
                if (model->codes___05Fvalid && model->codes___05Fready) {
                    const Words beat = take(model->codes___05Fpayload);
                    for (unsigned w = 0; w < (WIDTH + 31) / 32; w++) std::printf("%u ", beat[w]);
                    owed--, given++, idle = 0;
                }
                if (taken) {
                    if (owed) fail("a read taken too early");
                    owed = beats[sent++];
                    offered = false;
                }
                if (++idle > 20000) fail("nothing happens any more");
                model->clk = 1;
                model->eval();
            }
            model->cmd___05Fvalid = 0;
            std::printf("\n");
            continue;
        }
        if (std::strcmp(op, "reset") == 0) {
            if (std::scanf("%u", &n) != 1) return 1;
            model->codes___05Fready = 1;
            model->cmd___05Fvalid = 1;
            tick();
            model->cmd___05Fvalid = 0;
            while (n--) tick();
            model->rst = 1;
            tick();
            model->rst = 0;
            continue;
        }
        return 1;
    }
    model.reset();  // before Verilator's own globals go
    return 0;
}
