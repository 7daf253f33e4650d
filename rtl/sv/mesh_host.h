// SPDX-License-Identifier: Apache-2.0
// The host's end of a mesh: what stands behind a host port. It sends words of messages to tiles and
// tensors on routes, with the slots and acknowledgements of any producer (docs/mesh.md), and puts
// together what tiles send. It takes every flit.
//
// As everything on a link it is a Moore machine: offers of cycle t + 1 depend on transfers up to
// cycle t.
#ifndef OHMTWIN_MESH_HOST_H
#define OHMTWIN_MESH_HOST_H

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "mesh_layout.h" // made of arch/noc.py and arch/noc_interface.py

struct Flit {
    bool valid = false;
    bool last = false;
    bool kind = false;
    uint64_t data = 0;
};

// When a message was on the link: cycles of its first and of its last flit.
struct Stamp {
    uint64_t first = 0;
    uint64_t last = 0;
};

struct Leg {
    int x = 0;
    int y = 0;
    int absorb = 0;
};

// A route of the host.
struct Feed {
    int channel = 0;
    std::vector<int> consumers; // tiles
    std::vector<Leg> legs;
    std::deque<std::vector<uint64_t>> waiting;
    std::deque<uint64_t> order;    // of the messages that wait, among those of all routes
    int slot = 0;                  // of the next message
    int unread[2] = {0, 0};        // consumers of a slot that have not acknowledged
    std::vector<Stamp> stamps;     // of messages sent
};

// What one tile sends to the host on one of its routes.
struct Inbox {
    struct Part {
        std::vector<uint64_t> words;
        size_t count = 0;
        Stamp stamp;
    };
    Part parts[2];  // by slot
    int slot = 0;   // of the next message
    std::vector<uint64_t> words;
    std::vector<uint32_t> lengths; // of the messages in `words`
    std::vector<Stamp> stamps;
};

class MeshHost {
  public:
    // confirm: the network may bring packets out of order, so one control packet is under way at a
    // time.
    MeshHost(int x, int y, int columns, int packet_words, bool confirm)
        : x_(x), y_(y), columns_(columns), packet_words_(packet_words), confirm_(confirm) {}

    int add_feed(int channel, const std::vector<int> &consumers, const std::vector<Leg> &legs);
    void send(int feed, const uint64_t *words, size_t n);
    void control(int tile, const uint64_t *words, size_t n);

    // One clock edge: `in` is transferred, and what is on offer if `ready` has the bit of its kind.
    void tick(const Flit &in, unsigned ready, uint64_t cycle);

    const Flit &offer() const { return offer_; }
    // Messages and control packets that have not left yet.
    size_t unsent() const;

    std::vector<Feed> feeds;
    std::map<int, Inbox> inboxes;                   // see key()
    std::map<int, std::vector<uint64_t>> replies;   // by tile
    size_t messages = 0;                            // complete, ever, replies not counted
    std::string error;

    static int key(int tile, int route) { return tile << noc::DATA_ROUTE_BITS | route; }

  private:
    // A packet on its way out, flit by flit.
    struct Packet {
        std::vector<uint64_t> flits;
        size_t next = 0;
    };
    // The message that has the data class.
    struct Sending {
        bool active = false;
        int feed = 0;
        int slot = 0;
        size_t leg = 0;
        size_t at = 0; // words of the leg sent in packets before this one
        Stamp stamp;
        std::vector<uint64_t> words;
        Packet packet;
    };
    struct Receiving {
        bool inside = false;
        uint64_t header = 0;
        size_t at = 0;      // payload words so far
        uint64_t begun = 0; // cycle of the header
    };

    void take(const Flit &in, uint64_t cycle);
    void data_word(const Receiving &from, uint64_t word, uint64_t cycle);
    void answer(uint64_t header);
    void begin_message();
    void fill_packet();
    void sent(uint64_t cycle);
    void choose();
    void fail(const std::string &text) {
        if (error.empty()) error = text;
    }
    int source(uint64_t header) const;

    int x_, y_, columns_, packet_words_;
    bool confirm_;
    bool unconfirmed_ = false;
    Flit offer_;
    bool refused_ = false; // what was on offer was not taken
    Sending data_;
    std::deque<Packet> control_;
    Receiving receiving_[2];
    uint64_t order_ = 0;
};

#endif
