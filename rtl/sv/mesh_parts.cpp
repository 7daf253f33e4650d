// SPDX-License-Identifier: Apache-2.0
// Tiles and routers as instances of few models, in lock step. Every output of a model is a function
// of its registers, so one exchange of signals a cycle is exact: first all inputs are set from the
// outputs as they are, then all models go over the clock edge, in any order.
//
// A router that holds no flit and is offered none does not change (its `idle`), so it is left out.
#include <cstring>
#include <new>
#include <stdexcept>

#include "Vohm_mesh_tile.h"
#include "Vohm_mesh_tile___024root.h"
#include "Vohm_router.h"
#include "Vohm_router___024root.h"
#include "mesh_chip.h"
#include "mesh_models.h"

OHM_MESH_MODEL(Vohm_router)
OHM_MESH_MODEL(Vohm_mesh_tile)

namespace {

enum { NORTH, EAST, SOUTH, WEST, LOCAL, PORTS };
constexpr int STEP_X[] = {0, 1, 0, -1}, STEP_Y[] = {-1, 0, 1, 0};

class Parts final : public MeshChip {
  public:
    Parts(const mesh_config &config, VerilatedContext *context, ohm_array **arrays, int n);
    ~Parts() override;

    void step() override;
    void final() override {
        for (auto &tile : tiles_) tile->final();
        for (auto &router : routers_) router.model->final();
    }
    void router_counts(int router, int port, uint64_t *six) const override;
    const QData *state(int tile) const override { return tiles_[tile]->state; }
    const char *failure() const override;

  private:
    struct Router {
        std::unique_ptr<RouterNode> model;
        int there[WEST + 1]; // number of the router that a port leads to, or -1
        int host = -1;       // of the port at the west
        uint8_t valid = 0;   // bit p: port p is offered a flit in this cycle
        LinkCount counts[PORTS];
    };

    void exchange();
    // A flit on offer at input `port` of a router.
    unsigned offer(Router &to, int port, bool last, bool kind, uint64_t data) {
        RouterNode &model = *to.model;
        const uint8_t bit = uint8_t(1u << port);
        to.valid |= bit;
        *model.in_last = last ? *model.in_last | bit : *model.in_last & ~bit;
        *model.in_kind = kind ? *model.in_kind | bit : *model.in_kind & ~bit;
        model.in_data[port] = data;
        return *model.in_ready >> 2 * port & 3;
    }
    void deliver(Router &from, int port);
    void evaluate();
    void look();

    std::vector<Router> routers_;
    std::vector<std::unique_ptr<TileNode>> tiles_;
    bool skip_ = false;
#ifdef OHM_MACRO_DPI
    std::vector<ohm_dpi_session *> sessions_;
#endif
};

Parts::Parts(const mesh_config &config, VerilatedContext *context, ohm_array **arrays, int n)
    : MeshChip(config) {
    const int columns = config.columns, rows = config.rows;
    routers_.resize(tiles());
#ifdef OHM_MACRO_DPI
    if (n != tiles() * config.cores) throw std::runtime_error("every core needs an array");
#else
    (void)arrays;
    (void)n;
#endif
    for (int at = 0; at < tiles(); ++at) {
        const int x = at % columns, y = at / columns;
        Router &router = routers_[at];
        for (int port = NORTH; port <= WEST; ++port) {
            const int to_x = x + STEP_X[port], to_y = y + STEP_Y[port];
            const bool inside = to_x >= 0 && to_x < columns && to_y >= 0 && to_y < rows;
            router.there[port] = inside ? to_y * columns + to_x : -1;
        }
        for (size_t k = 0; k < hosts.size(); ++k)
            if (x == 0 && hosts[k].row == y) router.host = static_cast<int>(k);
        const std::string name = std::to_string(x) + "_" + std::to_string(y);
        router.model.reset(new Instance<RouterNode, Vohm_router>(context, "router_" + name));
        *router.model->x = x;
        *router.model->y = y;
        router.model->settle();
#ifdef OHM_MACRO_DPI
        // The macros of the tile attach when it settles.
        ohm_dpi_session *session = ohm_dpi_bind(arrays + at * config.cores, config.cores);
        if (!session) throw std::bad_alloc();
        sessions_.push_back(session);
#endif
        tiles_.emplace_back(new Instance<TileNode, Vohm_mesh_tile>(context, "tile_" + name));
        *tiles_.back()->x = x;
        *tiles_.back()->y = y;
        tiles_.back()->settle();
    }
    // Over the reset nobody sleeps.
    for (int i = 0; i < RESET_CYCLES; ++i) step();
    skip_ = config.skip_idle;
    digest = 0;
}

Parts::~Parts() {
    tiles_.clear();
#ifdef OHM_MACRO_DPI
    for (ohm_dpi_session *session : sessions_) ohm_dpi_free(session);
#endif
}

const char *Parts::failure() const {
#ifdef OHM_MACRO_DPI
    for (const ohm_dpi_session *session : sessions_)
        if (const char *error = ohm_dpi_error(session)) return error;
#endif
    return nullptr;
}

void Parts::deliver(Router &from, int port) {
    RouterNode &model = *from.model;
    const bool last = *model.out_last >> port & 1, kind = *model.out_kind >> port & 1;
    const uint64_t data = model.out_data[port];
    unsigned ready;
    if (port == LOCAL) {
        TileNode &tile = *tiles_[&from - routers_.data()];
        *tile.in_last = last;
        *tile.in_kind = kind;
        *tile.in_data = data;
        ready = *tile.in_ready;
    } else if (from.there[port] >= 0) {
        ready = offer(routers_[from.there[port]], port ^ 2, last, kind, data);
    } else {
        ready = 3; // the host takes everything
    }
    moved += from.counts[port].see(kind, ready);
}

void Parts::exchange() {
    for (Router &router : routers_) router.valid = 0;
    for (size_t at = 0; at < routers_.size(); ++at) {
        Router &router = routers_[at];
        for (unsigned valid = *router.model->out_valid; valid; valid &= valid - 1)
            deliver(router, __builtin_ctz(valid));
        const TileNode &tile = *tiles_[at];
        if (*tile.out_valid)
            moved += tile_counts[at].see(
                *tile.out_kind,
                offer(router, LOCAL, *tile.out_last, *tile.out_kind, *tile.out_data));
        if (router.host >= 0) {
            const Flit &flit = hosts[router.host].in;
            if (flit.valid)
                moved += host_counts[router.host].see(
                    flit.kind, offer(router, WEST, flit.last, flit.kind, flit.data));
        }
    }
}

void Parts::evaluate() {
    // Inputs of tiles first: they come from routers that are about to change.
    bool changed[256];
    for (size_t at = 0; at < tiles_.size(); ++at) {
        TileNode &tile = *tiles_[at];
        const RouterNode &router = *routers_[at].model;
        const CData valid = *router.out_valid >> LOCAL & 1;
        const CData ready = *router.in_ready >> 2 * LOCAL & 3;
        changed[at] = valid | *tile.in_valid | (ready ^ *tile.out_ready);
        *tile.in_valid = valid;
        *tile.out_ready = ready;
    }
    bool awake[256];
    for (size_t at = 0; at < routers_.size(); ++at) {
        Router &router = routers_[at];
        RouterNode &model = *router.model;
        awake[at] = router.valid || !*model.idle || !skip_;
        if (!awake[at]) continue;
        unsigned ready = unsigned(*tiles_[at]->in_ready) << 2 * LOCAL;
        for (int port = NORTH; port <= WEST; ++port)
            if (router.there[port] >= 0)
                ready |= (*routers_[router.there[port]].model->in_ready >> 2 * (port ^ 2) & 3)
                         << 2 * port;
        if (router.host >= 0) ready |= 3u << 2 * WEST;
        *model.in_valid = router.valid;
        *model.out_ready = ready;
    }
    for (size_t at = 0; at < routers_.size(); ++at)
        if (awake[at]) routers_[at].model->tick(true);
    for (size_t at = 0; at < tiles_.size(); ++at) tiles_[at]->tick(changed[at]);
}

// Takes down what stands on the links for those outside.
void Parts::look() {
    for (Router &router : routers_)
        if (router.host >= 0) {
            HostLink &link = hosts[router.host];
            const RouterNode &model = *router.model;
            link.in_ready = *model.in_ready >> 2 * WEST & 3;
            link.out.valid = *model.out_valid >> WEST & 1;
            link.out.last = *model.out_last >> WEST & 1;
            link.out.kind = *model.out_kind >> WEST & 1;
            link.out.data = model.out_data[WEST];
        }
    if (!config.digest) return;
    for (size_t at = 0; at < tiles_.size(); ++at) {
        const RouterNode &router = *routers_[at].model;
        const TileNode &tile = *tiles_[at];
        Seen &seen = into_tile[at];
        seen.to.valid = *router.out_valid >> LOCAL & 1;
        seen.to.last = *router.out_last >> LOCAL & 1;
        seen.to.kind = *router.out_kind >> LOCAL & 1;
        seen.to.data = router.out_data[LOCAL];
        seen.to_ready = *tile.in_ready;
        seen.from = {bool(*tile.out_valid), bool(*tile.out_last), bool(*tile.out_kind),
                     *tile.out_data};
        seen.from_ready = *router.in_ready >> 2 * LOCAL & 3;
    }
}

void Parts::step() {
    if (config.digest) hash_links();
    exchange();
    evaluate();
    look();
}

void Parts::router_counts(int router, int port, uint64_t *six) const {
    const LinkCount &count = routers_[router].counts[port];
    const IData *rtl = routers_[router].model->counts + 4 * port;
    six[0] = count.flits[0];
    six[1] = count.flits[1];
    six[2] = count.blocked[0];
    six[3] = count.blocked[1];
    six[4] = rtl[2];
    six[5] = rtl[3];
}

} // namespace

std::unique_ptr<MeshChip> make_mesh_chip(const mesh_config &config, VerilatedContext *context,
                                         ohm_array **arrays, int n) {
    return std::make_unique<Parts>(config, context, arrays, n);
}
