// SPDX-License-Identifier: Apache-2.0
#include "mesh_harness.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>

#include "mesh_chip.h"
#include "mesh_host.h"

struct ohm_mesh {
    VerilatedContext context;
    std::unique_ptr<MeshChip> chip;
    std::vector<MeshHost> hosts;
    uint64_t cycles = 0;
    std::string error;
    struct Number {
        int host, feed;
    };
    std::vector<Number> feeds;

    size_t messages() const {
        size_t count = 0;
        for (const MeshHost &host : hosts) count += host.messages;
        return count;
    }
    size_t unsent() const {
        size_t count = 0;
        for (const MeshHost &host : hosts) count += host.unsent();
        return count;
    }
    size_t replies() const {
        size_t count = 0;
        for (const MeshHost &host : hosts)
            for (const auto &entry : host.replies) count += entry.second.size();
        return count;
    }
    Feed &feed(int number) { return hosts[feeds[number].host].feeds[feeds[number].feed]; }
    const Feed &feed(int number) const {
        return hosts[feeds[number].host].feeds[feeds[number].feed];
    }
};

static void cycle(ohm_mesh *mesh) {
    MeshChip &chip = *mesh->chip;
    Flit out[32];
    unsigned ready[32];
    for (size_t k = 0; k < mesh->hosts.size(); ++k) {
        HostLink &link = chip.hosts[k];
        link.in = mesh->hosts[k].offer();
        out[k] = link.out;
        ready[k] = link.in_ready;
    }
    chip.step();
    for (size_t k = 0; k < mesh->hosts.size(); ++k)
        mesh->hosts[k].tick(out[k], ready[k], mesh->cycles);
    ++mesh->cycles;
}

// Runs `body` and turns whatever goes wrong into the simulation's error.
template <typename Body> static int guarded(ohm_mesh *mesh, Body body) {
    if (!mesh->error.empty()) return MESH_ERROR;
    // Verilator keeps the context of the thread's last model, which may be another one, or gone.
    Verilated::threadContextp(&mesh->context);
    int status = MESH_ERROR;
    try {
        status = body();
    } catch (const std::exception &failure) {
        mesh->error = failure.what();
    }
    const char *failure = mesh->chip ? mesh->chip->failure() : nullptr;
    if (failure && mesh->error.empty()) mesh->error = failure;
    for (const MeshHost &host : mesh->hosts)
        if (mesh->error.empty()) mesh->error = host.error;
    return mesh->error.empty() ? status : MESH_ERROR;
}

mesh_t *mesh_new(const mesh_config *config, ohm_array **arrays, int n) {
    std::unique_ptr<ohm_mesh> mesh(new (std::nothrow) ohm_mesh);
    if (!mesh) return nullptr;
    guarded(mesh.get(), [&] {
        if (config->columns < 1 || config->columns > 16 || config->rows < 1 || config->rows > 16)
            throw std::runtime_error("a mesh has 1 to 16 columns and rows");
        if (!config->hosts || config->hosts >> config->rows)
            throw std::runtime_error("a mesh has a host port, in one of its rows");
        mesh->chip = make_mesh_chip(*config, &mesh->context, arrays, n);
        for (const HostLink &link : mesh->chip->hosts)
            mesh->hosts.emplace_back(0, link.row, config->columns, config->packet_words,
                                     config->confirm);
        mesh->cycles = RESET_CYCLES;
        return MESH_DONE;
    });
    return mesh.release();
}

void mesh_free(mesh_t *mesh) {
    if (!mesh) return;
    Verilated::threadContextp(&mesh->context);
    if (mesh->chip && mesh->error.empty()) mesh->chip->final();
    mesh->chip.reset();
    Verilated::threadContextp(nullptr);
    delete mesh;
}

const char *mesh_error(const mesh_t *mesh) {
    if (!mesh) return "out of memory";
    return mesh->error.empty() ? nullptr : mesh->error.c_str();
}

int mesh_add_feed(mesh_t *mesh, int row, int channel, const int *consumers, int n_consumers,
                  const int *legs, int n_legs) {
    const std::vector<int> tiles(consumers, consumers + n_consumers);
    std::vector<Leg> list;
    for (int i = 0; i < n_legs; ++i)
        list.push_back({legs[3 * i], legs[3 * i + 1], legs[3 * i + 2]});
    for (size_t k = 0; k < mesh->hosts.size(); ++k)
        if (mesh->chip->hosts[k].row == row) {
            const int feed = mesh->hosts[k].add_feed(channel, tiles, list);
            mesh->feeds.push_back({static_cast<int>(k), feed});
            return static_cast<int>(mesh->feeds.size()) - 1;
        }
    return -1;
}

void mesh_send(mesh_t *mesh, int feed, const uint64_t *words, const uint32_t *lengths, size_t n) {
    MeshHost &host = mesh->hosts[mesh->feeds[feed].host];
    for (size_t i = 0; i < n; ++i) {
        host.send(mesh->feeds[feed].feed, words, lengths[i]);
        words += lengths[i];
    }
}

void mesh_control(mesh_t *mesh, int tile, const uint64_t *words, size_t n) {
    mesh->hosts[0].control(tile, words, n);
}

int mesh_run(mesh_t *mesh, size_t messages, size_t replies, int drained, uint64_t max_idle) {
    return guarded(mesh, [&] {
        const auto done = [&] {
            return mesh->messages() >= messages && mesh->replies() >= replies &&
                   (!drained || mesh->unsent() == 0);
        };
        uint64_t idle = 0;
        while (!done()) {
            if (idle >= max_idle) return MESH_IDLE;
            const uint64_t before = mesh->chip->moved;
            uint64_t n = std::min<uint64_t>(max_idle - idle, 256);
            for (; n > 0; --n) {
                const size_t heard = mesh->messages();
                cycle(mesh);
                ++idle;
                // A run ends with the cycle that brings its last word.
                if (mesh->messages() != heard && done()) return MESH_DONE;
            }
            if (mesh->chip->moved != before) idle = 0;
            if (mesh->chip->failure()) return MESH_ERROR;
        }
        return MESH_DONE;
    });
}

int mesh_step(mesh_t *mesh, uint64_t n) {
    return guarded(mesh, [&] {
        for (uint64_t i = 0; i < n; ++i) cycle(mesh);
        return MESH_DONE;
    });
}

size_t mesh_messages(const mesh_t *mesh) { return mesh->messages(); }

size_t mesh_unsent(const mesh_t *mesh) { return mesh->unsent(); }

size_t mesh_replies(const mesh_t *mesh, int tile) {
    size_t count = 0;
    for (const MeshHost &host : mesh->hosts) {
        const auto found = host.replies.find(tile);
        if (found != host.replies.end()) count += found->second.size();
    }
    return count;
}

size_t mesh_take_replies(mesh_t *mesh, int tile, uint64_t *words, size_t n) {
    size_t taken = 0;
    for (MeshHost &host : mesh->hosts) {
        std::vector<uint64_t> &from = host.replies[tile];
        const size_t count = std::min(n - taken, from.size());
        std::copy_n(from.begin(), count, words + taken);
        from.erase(from.begin(), from.begin() + static_cast<std::ptrdiff_t>(count));
        taken += count;
    }
    return taken;
}

// A tile sends to one host port only, for its routes are its own.
static Inbox *inbox(mesh_t *mesh, int tile, int route) {
    for (MeshHost &host : mesh->hosts) {
        const auto found = host.inboxes.find(MeshHost::key(tile, route));
        if (found != host.inboxes.end() && !found->second.lengths.empty()) return &found->second;
    }
    return nullptr;
}

size_t mesh_inbox(const mesh_t *mesh, int tile, int route, size_t *words) {
    const Inbox *found = inbox(const_cast<mesh_t *>(mesh), tile, route);
    *words = found ? found->words.size() : 0;
    return found ? found->lengths.size() : 0;
}

void mesh_take(mesh_t *mesh, int tile, int route, uint64_t *words, uint32_t *lengths,
               uint64_t *stamps) {
    Inbox *found = inbox(mesh, tile, route);
    if (!found) return;
    std::copy(found->words.begin(), found->words.end(), words);
    std::copy(found->lengths.begin(), found->lengths.end(), lengths);
    for (const Stamp &stamp : found->stamps) {
        *stamps++ = stamp.first;
        *stamps++ = stamp.last;
    }
    found->words.clear();
    found->lengths.clear();
    found->stamps.clear();
}

size_t mesh_sent(const mesh_t *mesh, int feed) { return mesh->feed(feed).stamps.size(); }

size_t mesh_take_sent(mesh_t *mesh, int feed, uint64_t *stamps, size_t n) {
    std::vector<Stamp> &from = mesh->feed(feed).stamps;
    n = std::min(n, from.size());
    for (size_t i = 0; i < n; ++i) {
        stamps[2 * i] = from[i].first;
        stamps[2 * i + 1] = from[i].last;
    }
    from.erase(from.begin(), from.begin() + static_cast<std::ptrdiff_t>(n));
    return n;
}

uint64_t mesh_cycles(const mesh_t *mesh) { return mesh->cycles; }

uint64_t mesh_moved(const mesh_t *mesh) { return mesh->chip->moved; }

size_t mesh_link_counts(const mesh_t *mesh, uint64_t *counts, size_t n) {
    const MeshChip &chip = *mesh->chip;
    std::vector<uint64_t> all;
    for (int router = 0; router < chip.tiles(); ++router)
        for (int port = 0; port < 5; ++port) {
            uint64_t six[6];
            chip.router_counts(router, port, six);
            all.insert(all.end(), six, six + 6);
        }
    for (const auto *list : {&chip.tile_counts, &chip.host_counts})
        for (const LinkCount &link : *list)
            all.insert(all.end(),
                       {link.flits[0], link.flits[1], link.blocked[0], link.blocked[1]});
    std::copy_n(all.begin(), std::min(n, all.size()), counts);
    return all.size();
}

size_t mesh_tile_state(const mesh_t *mesh, int tile, uint64_t *words, size_t n) {
    const QData *from = mesh->chip->state(tile);
    n = std::min<size_t>(n, noc::STATE_WORDS);
    std::copy_n(from, n, words);
    return noc::STATE_WORDS;
}

uint64_t mesh_digest(const mesh_t *mesh) { return mesh->chip->digest; }

int mesh_evaluations_per_cycle(void) {
#ifdef OHM_SINGLE_EVAL
    return 1;
#else
    return 2;
#endif
}
