// SPDX-License-Identifier: Apache-2.0
// A Verilated endpoint of the link as a shared library. Behind it stands an adder: every word is
// answered by the sum of all words so far, so that a word done twice shows for ever.
#include <cstddef>
#include <cstdint>
#include <deque>

#include "Vlink.h"
#include "verilated.h"

struct Bench {
    VerilatedContext context;
    Vlink top{&context};
    std::deque<uint8_t> rx, tx;
    std::deque<uint64_t> answers;
    uint64_t total = 0, taken = 0, random;
    unsigned byte_cycles, to_byte = 0;
    unsigned to_tx = 0;
    bool quiet = false, hold = false;
};

static unsigned draw(Bench *b) {  // xorshift64
    b->random ^= b->random << 13;
    b->random ^= b->random >> 7;
    b->random ^= b->random << 17;
    return b->random >> 32;
}

// A byte each way takes at least byte_cycles: a UART offers none sooner, so none is lost here.
// Words stall at random on both sides of the tile.
static void cycle(Bench *b) {
    Vlink &t = b->top;
    bool byte = b->to_byte == 0 && !b->rx.empty();
    t.rx___05Fvalid = byte;
    t.rx___05Fpayload = byte ? b->rx.front() : 0;
    t.tx___05Fready = b->to_tx == 0;
    t.o___05Fready = draw(b) % 4 != 0 && !b->hold;
    t.i___05Fvalid = !b->answers.empty();
    t.i___05Fpayload = b->answers.empty() ? 0 : b->answers.front();
    t.clk = 0;
    t.eval();
    byte = byte && t.rx___05Fready;
    if (byte) b->rx.pop_front();
    b->to_byte = byte ? b->byte_cycles - 1 : b->to_byte ? b->to_byte - 1 : 0;
    bool out = t.tx___05Fvalid && t.tx___05Fready;
    if (out) b->tx.push_back(t.tx___05Fpayload);
    b->to_tx = out ? b->byte_cycles - 1 : b->to_tx ? b->to_tx - 1 : 0;
    if (t.i___05Fvalid && t.i___05Fready) b->answers.pop_front();
    if (t.o___05Fvalid && t.o___05Fready) {
        b->total += t.o___05Fpayload;
        b->taken++;
        if (!b->quiet) b->answers.push_back(b->total);
    }
    if (t.reset) {
        b->total = b->taken = 0;
        b->answers.clear();
    }
    t.clk = 1;
    t.eval();
}

extern "C" {

Bench *bench_new(unsigned byte_cycles, uint64_t seed) {
    Bench *b = new Bench;
    b->byte_cycles = byte_cycles;
    b->random = seed * 2 + 1;
    b->top.rst = 1;
    cycle(b);
    b->top.rst = 0;
    return b;
}

void bench_free(Bench *b) { delete b; }

void bench_put(Bench *b, const uint8_t *bytes, size_t n) {
    b->rx.insert(b->rx.end(), bytes, bytes + n);
}

void bench_run(Bench *b, uint64_t cycles) {
    while (cycles--) cycle(b);
}

size_t bench_get(Bench *b, uint8_t *bytes, size_t n) {
    size_t i = 0;
    for (; i < n && !b->tx.empty(); i++) {
        bytes[i] = b->tx.front();
        b->tx.pop_front();
    }
    return i;
}

uint64_t bench_taken(Bench *b) { return b->taken; }

// Whether the tile takes nothing.
void bench_hold(Bench *b, int hold) { b->hold = hold; }

// From now on the tile answers nothing.
void bench_quiet(Bench *b) { b->quiet = true; }
}
