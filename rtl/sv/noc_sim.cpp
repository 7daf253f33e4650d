// SPDX-License-Identifier: Apache-2.0
#include "noc_sim.h"

#include <algorithm>
#include <cstdio>
#include <deque>
#include <exception>
#include <unordered_map>

#include "noc_net.h"

#define NOC_API extern "C" __attribute__((visibility("default")))

namespace {

constexpr uint32_t kAll = 65536;

// SplitMix64 (Steele et al. 2014).
struct Random {
    uint64_t state;
    uint64_t next() {
        uint64_t z = (state += 0x9e3779b97f4a7c15u);
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        return z ^ z >> 31;
    }
    uint32_t below(uint32_t n) { return static_cast<uint32_t>((next() >> 32) * n >> 32); }
    bool chance(uint32_t of) { return of && (next() & 0xffff) < of; }
};

struct Packet {
    uint64_t header;
    uint64_t made;
    uint32_t flits;
    uint64_t key;  // what its payload is made of
};

// What the word at a place of a packet's payload must be.
uint64_t word(uint64_t key, uint32_t index) {
    Random hash{key * 0xd1342543de82ef95u + index};
    return hash.next();
}

// A packet that comes out, so far.
struct Coming {
    uint64_t header = 0;
    uint32_t flits = 0;
    Packet packet{};
};

struct Offer {
    bool valid = false;
    uint64_t data = 0;
    uint32_t tags = 0;
};

class Run {
  public:
    Run(const noc_config& config, noc_result& result, noc::Network& net)
        : c_(config), r_(result), net_(net), rng_{config.seed * 2 + 1} {
        ports_ = net.tiles;
        ports_.insert(ports_.end(), net.hosts.begin(), net.hosts.end());
        for (int y = 0; y < c_.height; ++y)
            if (c_.host_rows >> y & 1) host_rows_.push_back(y);
        nodes_ = static_cast<int>(ports_.size());
        queues_.resize(2 * nodes_);
        sent_.resize(2 * nodes_);
        coming_.resize(2 * nodes_);
        offers_.resize(nodes_);
        outs_.resize(nodes_);
        for (int n = 0; n < c_.width * c_.height; ++n) r_.senders += sends(n);
    }

    bool run() {
        net_.settle();
        uint64_t drained = 0;
        if (c_.pattern == NOC_ONE) make(c_.one_src, c_.one_dst, 0);
        while (!r_.error[0]) {
            const bool making = now_ < c_.warm_up + c_.measure && !limit();
            // With a limit, the run ends when all is out; else what was measured must be.
            if (!making && (limit() ? outstanding_ == 0 : waiting_ == 0)) break;
            if (!making && ++drained > c_.drain) break;  // what is missing then is told
            if (c_.pattern != NOC_ONE && !limit()) generate();
            cycle();
        }
        r_.cycles = now_;
        r_.missing = outstanding_;
        return !r_.error[0];
    }

  private:
    const noc_config& c_;
    noc_result& r_;
    noc::Network& net_;
    Random rng_;
    std::vector<noc::External> ports_;
    std::vector<int> host_rows_;
    int nodes_ = 0;
    std::vector<std::deque<Packet>> queues_;  // by node and class
    std::vector<uint32_t> sent_;              // flits of the first packet of each queue
    std::vector<Coming> coming_;
    std::vector<Offer> offers_, outs_;
    // Of each source, destination and class: packets on their way, in order.
    std::unordered_map<uint64_t, std::deque<Packet>> expected_;
    uint64_t now_ = 0, outstanding_ = 0, waiting_ = 0, next_key_ = 0;

    int tiles() const { return c_.width * c_.height; }
    int x_of(int n) const { return n < tiles() ? n % c_.width : 0; }
    int y_of(int n) const { return n < tiles() ? n / c_.width : host_rows_[n - tiles()]; }
    bool limit() const { return c_.pattern == NOC_ONE || (c_.packets && r_.made >= c_.packets); }
    bool measuring() const { return now_ >= c_.warm_up && now_ < c_.warm_up + c_.measure; }

    bool sends(int n) const {
        return c_.pattern != NOC_TRANSPOSE || x_of(n) != y_of(n);
    }

    int target(int src) {
        const int w = c_.width, h = c_.height, x = x_of(src), y = y_of(src);
        switch (c_.pattern) {
            case NOC_TRANSPOSE: return x * w + y;
            case NOC_NEIGHBOR: return y * w + (x + 1) % w;
            case NOC_LAYER: return rng_.below(h) * w + (x + 1) % w;
            case NOC_HOTSPOT:
                // A tenth of all goes to one tile in the middle.
                if (rng_.chance(kAll / 10)) return h / 2 * w + w / 2;
                break;
        }
        if (tiles() == 1) return src;
        const int other = rng_.below(tiles() - 1);
        return other + (other >= src && src < tiles());
    }

    void generate() {
        for (int n = 0; n < tiles(); ++n) {
            if (!sends(n) || !rng_.chance(c_.load)) continue;
            int src = n, dst = target(n);
            if (rng_.chance(c_.to_host) && !host_rows_.empty()) {
                const int host = tiles() + rng_.below(static_cast<uint32_t>(host_rows_.size()));
                (rng_.below(2) ? src : dst) = host;
            }
            make(src, dst, rng_.chance(c_.control));
            if (limit()) return;
        }
    }

    void make(int src, int dst, int kind) {
        const int dst_x = x_of(dst), dst_y = y_of(dst), src_x = x_of(src), src_y = y_of(src);
        uint32_t flits = c_.random_length ? 1 + rng_.below(c_.flits) : c_.flits;
        uint32_t absorb = 0;
        if (rng_.chance(c_.multicast)) {
            absorb = rng_.next() & 0xffff;
            flits = std::min(flits, c_.absorbed_flits);
        }
        const uint64_t key = next_key_++;
        const uint64_t header =
            dst_x | dst_y << 4 | src_x << 8 | src_y << 12 | static_cast<uint64_t>(absorb) << 16 |
            static_cast<uint64_t>(flits - 1) << 32 | (key & 0x7fffff) << 40 |
            static_cast<uint64_t>(dst >= tiles()) << 63;
        const Packet packet{header, now_, flits, key};
        queues_[2 * src + kind].push_back(packet);
        ++r_.made;
        expect(src, dst, kind, packet);
        // Copies: tiles between source and destination on the last dimension, both among them.
        const bool along_y = dst_y != src_y;
        const int from = along_y ? src_y : src_x, to = along_y ? dst_y : dst_x;
        for (int at = std::min(from, to); absorb && at <= std::max(from, to); ++at) {
            const int tile = along_y ? at * c_.width + dst_x : src_y * c_.width + at;
            if (absorb >> at & 1 && tile != dst) expect(src, tile, kind, packet);
        }
    }

    static uint64_t flow(int src, int dst, int kind) {
        return static_cast<uint64_t>(src) << 20 | static_cast<uint64_t>(dst) << 1 | kind;
    }

    void expect(int src, int dst, int kind, const Packet& packet) {
        expected_[flow(src, dst, kind)].push_back(packet);
        ++outstanding_;
        if (!measuring()) return;
        ++waiting_;
        r_.offered_flits += packet.flits;
    }

    void cycle() {
        for (int n = 0; n < nodes_; ++n) {
            drive(n);
            watch(n);
            uint32_t ready = 0;
            for (int k = 0; k < 2; ++k) ready |= static_cast<uint32_t>(!rng_.chance(c_.stall)) << k;
            *ports_[n].out_ready = static_cast<CData>(ready);
        }
        // What is transferred in this cycle.
        for (int n = 0; n < nodes_; ++n) {
            const noc::External& p = ports_[n];
            Offer& in = offers_[n];
            if (in.valid && *p.in_ready >> (in.tags >> 1) & 1) {
                const int q = 2 * n + static_cast<int>(in.tags >> 1);
                if (++sent_[q] == queues_[q].front().flits) {
                    queues_[q].pop_front();
                    sent_[q] = 0;
                }
                in.valid = false;
            }
            Offer& out = outs_[n];
            if (out.valid && *p.out_ready >> (out.tags >> 1) & 1) {
                take(n, out);
                out.valid = false;
            }
        }
        net_.step();
        ++now_;
    }

    // What a source offers: the same until it is taken, or now and then the other class.
    void drive(int n) {
        Offer& offer = offers_[n];
        const noc::External& p = ports_[n];
        bool has[2];
        for (int k = 0; k < 2; ++k) has[k] = !queues_[2 * n + k].empty();
        const bool fresh = !offer.valid && (has[0] || has[1]) && !rng_.chance(c_.pause);
        const bool change = offer.valid && has[0] && has[1] && rng_.below(2);
        if (fresh || change) {
            const int kind = has[0] && has[1] ? rng_.below(2) : has[1];
            const int q = 2 * n + kind;
            const Packet& packet = queues_[q].front();
            const uint32_t index = sent_[q];
            offer.valid = true;
            offer.data = index ? word(packet.key, index) : packet.header;
            offer.tags = (index + 1 == packet.flits) | kind << 1;
        }
        *p.in_valid = offer.valid;
        if (!offer.valid) return;
        p.in_flit[0] = static_cast<WData>(offer.data);
        p.in_flit[1] = static_cast<WData>(offer.data >> 32);
        p.in_flit[2] = offer.tags;
    }

    // What the network offers must stay until it is taken, or be of the other class.
    void watch(int n) {
        const noc::External& p = ports_[n];
        const Offer before = outs_[n];
        Offer& out = outs_[n];
        out.valid = *p.out_valid;
        out.data = p.out_flit[0] | static_cast<uint64_t>(p.out_flit[1]) << 32;
        out.tags = p.out_flit[2];
        if (!before.valid) return;
        if (!out.valid) return fail(n, "an offer was withdrawn", 0);
        const bool same = out.data == before.data && out.tags == before.tags;
        if (!same && (out.tags ^ before.tags) < 2) fail(n, "an offer changed", before.data);
    }

    void take(int n, const Offer& flit) {
        const int kind = static_cast<int>(flit.tags >> 1);
        Coming& coming = coming_[2 * n + kind];
        if (measuring()) ++r_.taken_flits;
        if (coming.flits == 0) {
            coming.header = flit.data;
            if (!find(n, kind, coming)) return fail(n, "a packet that was not due", flit.data);
        } else if (flit.data != word(coming.packet.key, coming.flits)) {
            return fail(n, "a wrong or misplaced flit of the packet", coming.header);
        }
        ++coming.flits;
        const bool last = flit.tags & 1;
        if (last != (coming.flits == coming.packet.flits))
            return fail(n, "a packet of another length", coming.header);
        if (!last) return;
        --outstanding_;
        ++r_.copies;
        const uint64_t made = coming.packet.made;
        if (made >= c_.warm_up && made < c_.warm_up + c_.measure) {
            --waiting_;
            ++r_.measured;
            r_.latency_sum += now_ - made;
            r_.latency_max = std::max(r_.latency_max, now_ - made);
        }
        coming.flits = 0;
    }

    // The packet must be the next of its source, be that a tile or the host port beside it.
    bool find(int n, int kind, Coming& coming) {
        const int x = coming.header >> 8 & 15, y = coming.header >> 12 & 15;
        for (int host = -1; host < static_cast<int>(host_rows_.size()); ++host) {
            if (host >= 0 && (x != 0 || host_rows_[host] != y)) continue;
            const int src = host < 0 ? y * c_.width + x : tiles() + host;
            auto found = expected_.find(flow(src, n, kind));
            if (found == expected_.end() || found->second.empty()) continue;
            if (found->second.front().header != coming.header) continue;
            coming.packet = found->second.front();
            found->second.pop_front();
            return true;
        }
        return false;
    }

    void fail(int n, const char* what, uint64_t header) {
        if (r_.error[0]) return;
        std::snprintf(r_.error, sizeof r_.error, "cycle %llu, %s (%d, %d): %s (header %016llx)",
                      static_cast<unsigned long long>(now_), n < tiles() ? "tile" : "host port",
                      x_of(n), y_of(n), what, static_cast<unsigned long long>(header));
    }
};

}  // namespace

NOC_API int noc_run(const noc_config* config, noc_result* result, uint32_t* link_counts) {
    std::memset(result, 0, sizeof *result);
    std::vector<int> host_rows;
    for (int y = 0; y < config->height; ++y)
        if (config->host_rows >> y & 1) host_rows.push_back(y);
    try {
        noc::Network net(config->width, config->height, host_rows);
        Run run(*config, *result, net);
        const bool good = run.run();
        for (int tile = 0; tile < config->width * config->height; ++tile)
            for (int port = 0; port < noc::kPorts; ++port)
                net.counts(tile, port, link_counts + 4 * (noc::kPorts * tile + port));
        return good ? 0 : 1;
    } catch (const std::exception& failure) {
        std::snprintf(result->error, sizeof result->error, "%s", failure.what());
        return 1;
    }
}
