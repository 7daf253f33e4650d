// SPDX-License-Identifier: Apache-2.0
// A network of Verilated routers, one model a router, advanced in lock step.
//
// All outputs of a router are functions of its registers, so one exchange of signals a cycle makes
// it the same as one model of the whole.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "Vnoc_node.h"
#include "verilated.h"

namespace noc {

constexpr int kPorts = 5;
enum Port { kNorth, kEast, kSouth, kWest, kLocal };

// One end of a link as somebody outside the network sees it: what to drive and what to read.
struct External {
    CData *in_valid, *in_ready, *out_valid, *out_ready;
    WData *in_flit, *out_flit;
};

struct Wire {
    const void* from;
    void* to;
    uint32_t bytes;
};

#define NOC_PORT(side, n, what) (&model->side##___05F##n##___05F##what)
#define NOC_PORTS(side, what)                                                          \
    { NOC_PORT(side, 0, what), NOC_PORT(side, 1, what), NOC_PORT(side, 2, what),       \
      NOC_PORT(side, 3, what), NOC_PORT(side, 4, what) }
#define NOC_WORDS(side)                                                                \
    { NOC_PORT(side, 0, flit)->data(), NOC_PORT(side, 1, flit)->data(),                \
      NOC_PORT(side, 2, flit)->data(), NOC_PORT(side, 3, flit)->data(),                \
      NOC_PORT(side, 4, flit)->data() }

#define NOC_NET(side)                                                                  \
    { model->side##___05F0.data(), model->side##___05F1.data(), model->side##___05F2.data(), \
      model->side##___05F3.data() }

// Links of a buffered router, by port.
struct Links {
    CData *in_valid[kPorts], *in_ready[kPorts], *out_valid[kPorts], *out_ready[kPorts];
    WData *in_flit[kPorts], *out_flit[kPorts];

    External external(int port) const {
        return {in_valid[port],  in_ready[port], out_valid[port],
                out_ready[port], in_flit[port],  out_flit[port]};
    }
};

class Network {
  public:
    const int width, height;
    std::vector<External> tiles, hosts;

    Network(int width, int height, const std::vector<int>& host_rows)
        : width(width), height(height), context_(new VerilatedContext) {
        const int count = width * height;
#ifdef NOC_DEFLECTION
        const int all = count + static_cast<int>(host_rows.size());
#else
        const int all = count;
#endif
        for (int n = 0; n < all; ++n) models_.emplace_back(new Vnoc_node(context_.get(), ""));
        for (int n = 0; n < count; ++n) {
            models_[n]->x = static_cast<CData>(n % width);
            models_[n]->y = static_cast<CData>(n / width);
        }
        connect(host_rows);
    }

    ~Network() {
        for (auto& model : models_) model->final();
    }

    Network(const Network&) = delete;
    Network& operator=(const Network&) = delete;

    // Make the outputs be those of the registers as they are.
    void settle() {
        for (auto& model : models_) model->eval();
        exchange();
    }

    // A clock cycle with the external inputs as they are now.
    void step() {
        for (size_t n = 0; n < models_.size(); ++n) {
            Vnoc_node& model = *models_[n];
            if (skip(n)) continue;
            model.clk = 1;
            model.eval();
            model.clk = 0;
            model.eval();
        }
        exchange();
    }

    // Counters of an output: flits, blocked, shared, contended.
    void counts(int tile, int port, uint32_t out[4]) const {
        std::memcpy(out, &models_[tile]->counts[4 * port], 16);
    }

  private:
    std::unique_ptr<VerilatedContext> context_;
    std::vector<std::unique_ptr<Vnoc_node>> models_;
    std::vector<Wire> wires_;

    void exchange() {
        for (const Wire& wire : wires_) std::memcpy(wire.to, wire.from, wire.bytes);
    }

    void wire(const void* from, void* to, uint32_t bytes) { wires_.push_back({from, to, bytes}); }

    // Links by n of the four sides; a link to the same side of nobody is left out.
    template <class Connect> void each_link(Connect connect) const {
        for (int n = 0; n < width * height; ++n) {
            const int x = n % width, y = n / width;
            if (x + 1 < width) connect(n, kEast, n + 1, kWest), connect(n + 1, kWest, n, kEast);
            if (y + 1 < height) {
                connect(n, kSouth, n + width, kNorth);
                connect(n + width, kNorth, n, kSouth);
            }
        }
    }

#ifdef NOC_DEFLECTION
    // Golden packets change with time, whatever a router holds.
    bool skip(size_t) const { return false; }

    void connect(const std::vector<int>& host_rows) {
        const int count = width * height;
        std::vector<WData*> from[4], to[4];
        for (auto& owned : models_) {
            Vnoc_node* model = owned.get();
            WData* outputs[] = NOC_NET(net_o);
            WData* inputs[] = NOC_NET(net_i);
            for (int port = 0; port < 4; ++port) {
                from[port].push_back(outputs[port]);
                to[port].push_back(inputs[port]);
            }
            External end = {&model->i___05Fvalid,       &model->i___05Fready,
                            &model->o___05Fvalid,       &model->o___05Fready,
                            model->i___05Fflit.data(),  model->o___05Fflit.data()};
            (static_cast<int>(tiles.size()) < count ? tiles : hosts).push_back(end);
        }
        // Outputs lead back to their inputs, unless there is a neighbor.
        std::vector<std::vector<WData*>> into(4);
        for (int port = 0; port < 4; ++port) into[port] = to[port];
        each_link([&](int a, int out, int b, int in) { into[out][a] = to[in][b]; });
        for (size_t host = 0; host < host_rows.size(); ++host) {
            Vnoc_node& model = *models_[count + host];
            model.y = static_cast<CData>(host_rows[host]);
            model.host = 1;
            into[kEast][count + host] = to[kWest][host_rows[host] * width];
            into[kWest][host_rows[host] * width] = to[kEast][count + host];
        }
        for (int port = 0; port < 4; ++port)
            for (size_t n = 0; n < models_.size(); ++n)
                wire(from[port][n], into[port][n], 4 * sizeof(WData));
    }
#else
    std::vector<Links> links_;

    // An idle router that is offered nothing does not change.
    bool skip(size_t n) const {
        const Links& l = links_[n];
        return models_[n]->idle && !(*l.in_valid[0] | *l.in_valid[1] | *l.in_valid[2] |
                                     *l.in_valid[3] | *l.in_valid[4]);
    }

    void connect(const std::vector<int>& host_rows) {
        for (auto& owned : models_) {
            Vnoc_node* model = owned.get();
            links_.push_back({NOC_PORTS(i, valid), NOC_PORTS(i, ready), NOC_PORTS(o, valid),
                              NOC_PORTS(o, ready), NOC_WORDS(i), NOC_WORDS(o)});
            tiles.push_back(links_.back().external(kLocal));
        }
        for (int y : host_rows) hosts.push_back(links_[y * width].external(kWest));
        each_link([this](int from, int out, int to, int in) {
            const Links &a = links_[from], &b = links_[to];
            wire(a.out_valid[out], b.in_valid[in], sizeof(CData));
            wire(a.out_flit[out], b.in_flit[in], 3 * sizeof(WData));
            wire(b.in_ready[in], a.out_ready[out], sizeof(CData));
        });
    }
#endif
};

}  // namespace noc
