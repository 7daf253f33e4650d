// SPDX-License-Identifier: Apache-2.0
#include "sim_harness.h"

#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "Vohmtwin_top.h"
#include "Vohmtwin_top___024root.h"
#include "svdpi.h"
#include "verilated.h"
#ifdef OHM_TRACE_FST
#include "verilated_fst_c.h"
using TraceFile = VerilatedFstC;
#elif defined(OHM_TRACE_VCD)
#include "verilated_vcd_c.h"
using TraceFile = VerilatedVcdC;
#endif
#if defined(OHM_TRACE_FST) || defined(OHM_TRACE_VCD)
#define OHM_TRACE
// Both edges are wanted in a waveform, and its cost hides that of the second evaluation.
#undef OHM_SINGLE_EVAL
#endif
#ifdef OHM_MACRO_DPI
#include "ohm_dpi.h"
#endif
#ifdef OHM_FAULTS
#include "verilated_sym_props.h"
#include "verilated_syms.h"
#endif

#ifdef OHM_SINGLE_EVAL
// Verilator's own function behind eval(): everything that happens at a rising edge of the clock.
void Vohmtwin_top___024root___eval_nba(Vohmtwin_top___024root *root);
#endif

struct ohm_sim {
    VerilatedContext context;
    std::unique_ptr<Vohmtwin_top> model;
    std::vector<uint64_t> in;
    size_t in_next = 0;
    std::vector<uint64_t> out;
    size_t out_next = 0;
    uint64_t cycles = 0;
    uint64_t moved = 0; // words in and out, ever: the sign of progress
    std::string error;
#ifdef OHM_MACRO_DPI
    ohm_dpi_session *session = nullptr;
#endif
#ifdef OHM_TRACE
    std::unique_ptr<TraceFile> trace;
    uint64_t trace_end = 0;
#endif
#ifdef OHM_FAULTS
    struct Flip {
        uint64_t cycle;
        uint8_t *byte;
        uint8_t mask;
    };
    std::vector<Flip> flips; // still to come
#endif

    size_t queued() const { return out.size() - out_next; }
};

// The simulation whose initial blocks are running: they run inside the first eval() of sim_new().
static thread_local ohm_sim *attaching = nullptr;

extern "C" {

void *ohm_sim_attach() { return attaching; }

svBit ohm_sim_pull(void *handle, unsigned long long *word) {
    ohm_sim *sim = static_cast<ohm_sim *>(handle);
    if (sim->in_next == sim->in.size()) {
        *word = 0;
        return 0;
    }
    *word = sim->in[sim->in_next++];
    ++sim->moved;
    return 1;
}

void ohm_sim_push(void *handle, unsigned long long word) {
    ohm_sim *sim = static_cast<ohm_sim *>(handle);
    sim->out.push_back(word);
    ++sim->moved;
}
}

#ifdef OHM_FAULTS
// Where a bit stands; bytes of a word lie in the order of their significance.
static uint8_t *find_bit(ohm_sim *sim, const char *scope, const char *name, uint64_t word,
                         uint64_t bit) {
    const VerilatedScope *place = sim->context.scopeFind(scope);
    VerilatedVar *var = place ? place->varFind(name) : nullptr;
    if (!var) return nullptr;
    const uint64_t words = var->udims() ? var->range(0)->elements() : 1;
    if (word >= words || bit >= var->entBits()) return nullptr;
    return static_cast<uint8_t *>(var->datap()) + word * var->entSize() + bit / 8;
}

static void flip_due(ohm_sim *sim) {
    for (const ohm_sim::Flip &flip : sim->flips)
        if (flip.cycle == sim->cycles) *flip.byte ^= flip.mask;
}
#endif

static inline void tick(ohm_sim *sim) {
#ifdef OHM_FAULTS
    if (!sim->flips.empty()) flip_due(sim);
#endif
#ifdef OHM_SINGLE_EVAL
    // A clock is the model's only event and its rising edge the only one that matters, so claim
    // that edge and leave out eval()'s search for it. The builder sets the macro only if the
    // generated code has this one trigger; a test holds it equal to the loop below.
    Vohmtwin_top___024root *root = sim->model->rootp;
    root->__VnbaTriggered[0U] = 1U;
    Vohmtwin_top___024root___eval_nba(root);
#else
    sim->model->clk = 1;
    sim->model->eval();
#ifdef OHM_TRACE
    if (sim->trace) sim->trace->dump(10 * sim->cycles);
#endif
    sim->model->clk = 0;
    sim->model->eval();
#ifdef OHM_TRACE
    if (sim->trace) {
        sim->trace->dump(10 * sim->cycles + 5);
        if (sim->cycles >= sim->trace_end) {
            sim->trace->close();
            sim->trace.reset();
        }
    }
#endif
#endif
    ++sim->cycles;
}

// Runs `body` and turns whatever goes wrong in the model into the simulation's error.
template <typename Body> static int guarded(ohm_sim *sim, Body body) {
    if (!sim->error.empty()) return SIM_ERROR;
    // Verilator keeps the context of the thread's last model, which may be another one, or gone.
    Verilated::threadContextp(&sim->context);
    int status = SIM_ERROR;
    try {
        status = body();
    } catch (const std::exception &failure) {
        sim->error = failure.what();
    }
#ifdef OHM_MACRO_DPI
    const char *failure = sim->session ? ohm_dpi_error(sim->session) : nullptr;
    if (failure && sim->error.empty()) sim->error = failure;
#endif
    return sim->error.empty() ? status : SIM_ERROR;
}

sim_t *sim_new(ohm_array **arrays, int n) {
    std::unique_ptr<ohm_sim> sim(new (std::nothrow) ohm_sim);
    if (!sim) return nullptr;
    guarded(sim.get(), [&] {
        attaching = sim.get();
#ifdef OHM_MACRO_DPI
        sim->session = ohm_dpi_bind(arrays, n);
        if (!sim->session) throw std::bad_alloc();
#else
        (void)arrays;
        (void)n;
#endif
#ifdef OHM_TRACE
        sim->context.traceEverOn(true);
#endif
        sim->model.reset(new Vohmtwin_top(&sim->context, "TOP"));
        sim->model->clk = 0;
        sim->model->eval();
        attaching = nullptr;
        // Past the reset of ohmtwin_top.
        for (int i = 0; i < 4; ++i) tick(sim.get());
        return SIM_DONE;
    });
    attaching = nullptr;
    return sim.release();
}

void sim_free(sim_t *sim) {
    if (!sim) return;
    Verilated::threadContextp(&sim->context);
#ifdef OHM_TRACE
    if (sim->trace) sim->trace->close();
#endif
    if (sim->model && sim->error.empty()) sim->model->final();
    sim->model.reset();
    Verilated::threadContextp(nullptr);
#ifdef OHM_MACRO_DPI
    ohm_dpi_free(sim->session);
#endif
    delete sim;
}

const char *sim_error(const sim_t *sim) {
    if (!sim) return "out of memory";
    return sim->error.empty() ? nullptr : sim->error.c_str();
}

void sim_push(sim_t *sim, const uint64_t *words, size_t n) {
    if (sim->in_next == sim->in.size()) {
        sim->in.clear();
        sim->in_next = 0;
    }
    sim->in.insert(sim->in.end(), words, words + n);
}

int sim_run(sim_t *sim, size_t wanted, uint64_t max_idle) {
    return guarded(sim, [&] {
        uint64_t idle = 0;
        while (sim->queued() < wanted) {
            if (idle >= max_idle) return SIM_IDLE;
            const uint64_t before = sim->moved;
            uint64_t n = max_idle - idle < 1024 ? max_idle - idle : 1024;
            for (; n > 0; --n) {
                tick(sim);
                ++idle;
                if (sim->queued() >= wanted) return SIM_DONE;
            }
            if (sim->moved != before) idle = 0;
        }
        return SIM_DONE;
    });
}

int sim_step(sim_t *sim, uint64_t n) {
    return guarded(sim, [&] {
        for (uint64_t i = 0; i < n; ++i) tick(sim);
        return SIM_DONE;
    });
}

size_t sim_available(const sim_t *sim) { return sim->queued(); }

size_t sim_pop(sim_t *sim, uint64_t *words, size_t n) {
    if (n > sim->queued()) n = sim->queued();
    for (size_t i = 0; i < n; ++i) words[i] = sim->out[sim->out_next++];
    if (sim->queued() == 0) {
        sim->out.clear();
        sim->out_next = 0;
    }
    return n;
}

uint64_t sim_cycles(const sim_t *sim) { return sim->cycles; }

int sim_evaluations_per_cycle(void) {
#ifdef OHM_SINGLE_EVAL
    return 1;
#else
    return 2;
#endif
}

int sim_trace(sim_t *sim, const char *path, uint64_t cycles) {
#ifdef OHM_TRACE
    if (sim->trace) return -1;
    return guarded(sim, [&] {
               sim->trace.reset(new TraceFile);
               sim->model->trace(sim->trace.get(), 99);
               sim->trace->open(path);
               sim->trace_end = sim->cycles + cycles;
               return SIM_DONE;
           }) == SIM_DONE
               ? 0
               : -1;
#else
    (void)sim;
    (void)path;
    (void)cycles;
    return -1;
#endif
}

int sim_flip(sim_t *sim, const char *scope, const char *name, uint64_t word, uint64_t bit,
             uint64_t after) {
#ifdef OHM_FAULTS
    uint8_t *byte = find_bit(sim, scope, name, word, bit);
    if (!byte) return -1;
    sim->flips.push_back({sim->cycles + after, byte, static_cast<uint8_t>(1 << bit % 8)});
    return 0;
#else
    (void)sim, (void)scope, (void)name, (void)word, (void)bit, (void)after;
    return -1;
#endif
}

int sim_bit(sim_t *sim, const char *scope, const char *name, uint64_t word, uint64_t bit) {
#ifdef OHM_FAULTS
    const uint8_t *byte = find_bit(sim, scope, name, word, bit);
    return byte ? *byte >> bit % 8 & 1 : -1;
#else
    (void)sim, (void)scope, (void)name, (void)word, (void)bit;
    return -1;
#endif
}
