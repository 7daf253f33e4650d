// SPDX-License-Identifier: Apache-2.0
// A mesh of tiles without its hosts, one clock cycle a call. There are two: of many models in lock
// step (mesh_parts.cpp), which is the fast one and builds in the time of one tile, and one model of
// everything (mesh_whole.cpp), which the other one is held equal to.
#ifndef OHMTWIN_MESH_CHIP_H
#define OHMTWIN_MESH_CHIP_H

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "mesh_harness.h"
#include "mesh_host.h"
#include "verilated.h"

#ifdef OHM_MACRO_DPI
#include "ohm_dpi.h"
#endif

// From time 0 to behind the reset of all models.
constexpr int RESET_CYCLES = 4;

// A host port, as it stands between two clock edges.
struct HostLink {
    int row = 0;
    Flit in;                 // offered to the mesh; the caller's
    unsigned in_ready = 0;   // of the mesh
    Flit out;                // offered by the mesh, and always taken
};

// Of a link: what passed and what waited, by message class.
struct LinkCount {
    uint64_t flits[2] = {0, 0};
    uint64_t blocked[2] = {0, 0};

    // Whether the flit on offer is taken.
    bool see(bool kind, unsigned ready) {
        const bool taken = ready >> kind & 1;
        ++(taken ? flits : blocked)[kind];
        return taken;
    }
};

class MeshChip {
  public:
    explicit MeshChip(const mesh_config &config) : config(config) {
        for (int y = 0; y < config.rows; ++y)
            if (config.hosts >> y & 1) {
                hosts.emplace_back();
                hosts.back().row = y;
            }
        into_tile.resize(tiles());
        host_counts.resize(hosts.size());
        tile_counts.resize(tiles());
    }
    virtual ~MeshChip() = default;

    // Over one clock edge, with hosts[].in as it is; then hosts[].out, .in_ready are new.
    virtual void step() = 0;
    virtual void final() = 0;
    // Six counters of output `port` of a router, in the order of mesh_link_counts().
    virtual void router_counts(int router, int port, uint64_t *six) const = 0;
    virtual const QData *state(int tile) const = 0;
    // What has gone wrong in a crossbar, or NULL.
    virtual const char *failure() const = 0;

    int tiles() const { return config.columns * config.rows; }

    const mesh_config config;
    std::vector<HostLink> hosts;
    std::vector<LinkCount> host_counts; // from the host into the mesh
    std::vector<LinkCount> tile_counts; // from a tile into its router
    uint64_t moved = 0;                 // flits, over all links
    uint64_t digest = 0;

  protected:
    // A tile's two links between two clock edges.
    struct Seen {
        Flit to, from;
        unsigned to_ready = 0, from_ready = 0;
    };
    std::vector<Seen> into_tile;

    void hash(uint64_t word) { digest = (digest ^ word) * 0x9e3779b97f4a7c15ULL ^ digest >> 29; }
    void hash(const Flit &flit, unsigned ready) {
        hash(uint64_t(flit.valid) | uint64_t(ready) << 3 |
             (flit.valid ? uint64_t(flit.last) << 1 | uint64_t(flit.kind) << 2 : 0));
        if (flit.valid) hash(flit.data);
    }
    // All that is on the links of tiles and hosts, before the edge.
    void hash_links() {
        for (const Seen &seen : into_tile) {
            hash(seen.to, seen.to_ready);
            hash(seen.from, seen.from_ready);
        }
        for (const HostLink &host : hosts) {
            hash(host.in, host.in_ready);
            hash(host.out, 3);
        }
    }
};

// Behind its reset. Throws what goes wrong.
std::unique_ptr<MeshChip> make_mesh_chip(const mesh_config &config, VerilatedContext *context,
                                         ohm_array **arrays, int n);

#endif
