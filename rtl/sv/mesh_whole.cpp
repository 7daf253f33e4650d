// SPDX-License-Identifier: Apache-2.0
// A mesh as one Verilated model: slow to build and to run, but with nothing between its parts that
// Verilator has not seen. Tests hold the models in lock step (mesh_parts.cpp) equal to it, cycle by
// cycle. It has one host port.
#include <new>
#include <stdexcept>

#include "Vohm_mesh_whole.h"
#include "Vohm_mesh_whole___024root.h"
#include "mesh_chip.h"
#include "mesh_models.h"

OHM_MESH_MODEL(Vohm_mesh_whole)

namespace {

class Whole final : public MeshChip {
  public:
    Whole(const mesh_config &config, VerilatedContext *context, ohm_array **arrays, int n)
        : MeshChip(config), model_(new Vohm_mesh_whole(context, "mesh")) {
        if (tiles() != noc::WHOLE_TILES || hosts.size() != 1 || hosts[0].row != 0)
            throw std::runtime_error("the one model is of a mesh of another size");
#ifdef OHM_MACRO_DPI
        if (n != tiles() * config.cores) throw std::runtime_error("every core needs an array");
        session_ = ohm_dpi_bind(arrays, n);
        if (!session_) throw std::bad_alloc();
#else
        (void)arrays;
        (void)n;
#endif
        model_->clk = 0;
        model_->eval();
        for (int i = 0; i < RESET_CYCLES; ++i) step();
        digest = 0;
    }
    ~Whole() override {
        model_.reset();
#ifdef OHM_MACRO_DPI
        ohm_dpi_free(session_);
#endif
    }

    void step() override {
        Vohm_mesh_whole &m = *model_;
        HostLink &host = hosts[0];
        m.host_in_valid = host.in.valid;
        m.host_in_last = host.in.last;
        m.host_in_kind = host.in.kind;
        m.host_in_data = host.in.data;
        for (int at = 0; at < tiles(); ++at) {
            Seen &seen = into_tile[at];
            seen.to = flit(m.to_valid, m.to_last, m.to_kind, m.to_data[at], at);
            seen.from = flit(m.from_valid, m.from_last, m.from_kind, m.from_data[at], at);
            seen.to_ready = m.to_ready[at];
            seen.from_ready = m.from_ready[at];
            if (seen.to.valid) moved += seen.to_ready >> seen.to.kind & 1;
            if (seen.from.valid)
                moved += tile_counts[at].see(seen.from.kind, seen.from_ready);
        }
        if (host.in.valid) moved += host_counts[0].see(host.in.kind, host.in_ready);
        moved += host.out.valid;
        if (config.digest) hash_links();
        Edge<Vohm_mesh_whole>::inputs(&m);
        Edge<Vohm_mesh_whole>::clock(&m);
        host.in_ready = m.host_in_ready;
        host.out.valid = m.host_out_valid;
        host.out.last = m.host_out_last;
        host.out.kind = m.host_out_kind;
        host.out.data = m.host_out_data;
    }
    void final() override { model_->final(); }
    // The counters in the RTL do not tell the classes apart: flits and blocked of both stand first.
    void router_counts(int router, int port, uint64_t *six) const override {
        const IData *rtl = &model_->counts[20 * router + 4 * port];
        six[0] = rtl[0];
        six[1] = 0;
        six[2] = rtl[1];
        six[3] = 0;
        six[4] = rtl[2];
        six[5] = rtl[3];
    }
    const QData *state(int tile) const override {
        return &model_->state[noc::STATE_WORDS * tile];
    }
    const char *failure() const override {
#ifdef OHM_MACRO_DPI
        return session_ ? ohm_dpi_error(session_) : nullptr;
#else
        return nullptr;
#endif
    }

  private:
    template <class Bits>
    static Flit flit(Bits valid, Bits last, Bits kind, uint64_t data, int at) {
        return {bool(valid >> at & 1), bool(last >> at & 1), bool(kind >> at & 1), data};
    }

    std::unique_ptr<Vohm_mesh_whole> model_;
#ifdef OHM_MACRO_DPI
    ohm_dpi_session *session_ = nullptr;
#endif
};

} // namespace

std::unique_ptr<MeshChip> make_mesh_chip(const mesh_config &config, VerilatedContext *context,
                                         ohm_array **arrays, int n) {
    return std::make_unique<Whole>(config, context, arrays, n);
}
