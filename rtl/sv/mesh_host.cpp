// SPDX-License-Identifier: Apache-2.0
#include "mesh_host.h"

#include <algorithm>

using namespace noc;

namespace {

uint64_t field(uint64_t word, int at, int bits) { return word >> at & ((1ULL << bits) - 1); }

uint64_t header(int x, int y, int src_x, int src_y, int absorb, uint64_t length, uint64_t user) {
    return uint64_t(x) << DST_X_AT | uint64_t(y) << DST_Y_AT | uint64_t(src_x) << SRC_X_AT |
           uint64_t(src_y) << SRC_Y_AT | uint64_t(absorb) << ABSORB_AT | length << LENGTH_AT |
           user << USER_AT;
}

} // namespace

int MeshHost::add_feed(int channel, const std::vector<int> &consumers,
                       const std::vector<Leg> &legs) {
    Feed feed;
    feed.channel = channel;
    feed.consumers = consumers;
    feed.legs = legs;
    feeds.push_back(feed);
    return static_cast<int>(feeds.size()) - 1;
}

void MeshHost::send(int feed, const uint64_t *words, size_t n) {
    feeds[feed].waiting.emplace_back(words, words + n);
    feeds[feed].order.push_back(order_++);
}

void MeshHost::control(int tile, const uint64_t *words, size_t n) {
    const uint64_t kind = confirm_ ? KIND_CONFIRMED : KIND_WORDS;
    for (size_t at = 0; at < n; at += packet_words_) {
        const size_t length = std::min<size_t>(packet_words_, n - at);
        Packet packet;
        packet.flits.push_back(header(tile % columns_, tile / columns_, x_, y_, 0, length,
                                      kind << CONTROL_KIND_AT));
        packet.flits.insert(packet.flits.end(), words + at, words + at + length);
        control_.push_back(packet);
    }
}

size_t MeshHost::unsent() const {
    size_t count = control_.size() + data_.active;
    for (const Feed &feed : feeds) count += feed.waiting.size();
    return count;
}

int MeshHost::source(uint64_t header) const {
    return static_cast<int>(field(header, SRC_Y_AT, SRC_Y_BITS) * columns_ +
                            field(header, SRC_X_AT, SRC_X_BITS));
}

void MeshHost::take(const Flit &in, uint64_t cycle) {
    Receiving &from = receiving_[in.kind];
    if (!from.inside) {
        from.header = in.data;
        from.at = 0;
        from.begun = cycle;
        if (in.kind) answer(in.data);
        if (in.last != (field(in.data, LENGTH_AT, LENGTH_BITS) == 0))
            fail("a packet for the host does not have the length that its header tells");
    } else if (in.kind) {
        fail("a control packet for the host has a payload");
    } else {
        data_word(from, in.data, cycle);
        ++from.at;
        if (in.last != (from.at == field(from.header, LENGTH_AT, LENGTH_BITS)))
            fail("a packet for the host does not have the length that its header tells");
    }
    from.inside = !in.last;
}

void MeshHost::data_word(const Receiving &from, uint64_t word, uint64_t cycle) {
    const uint64_t user = field(from.header, USER_AT, USER_BITS);
    const int tile = source(from.header);
    const int route = static_cast<int>(field(user, DATA_ROUTE_AT, DATA_ROUTE_BITS));
    if (route == HOST_ROUTE) {
        replies[tile].push_back(word);
        return;
    }
    Inbox &inbox = inboxes[key(tile, route)];
    Inbox::Part &part = inbox.parts[field(user, DATA_SLOT_AT, DATA_SLOT_BITS)];
    const size_t total = field(user, DATA_WORDS_AT, DATA_WORDS_BITS) + 1;
    const size_t at = field(user, DATA_INDEX_AT, DATA_INDEX_BITS) * packet_words_ + from.at;
    if (part.count == 0) {
        part.words.assign(total, 0);
        part.stamp.first = from.begun;
    }
    if (part.words.size() != total || at >= total || part.count >= total) {
        fail("a packet for the host does not fit the message that it is part of");
        return;
    }
    part.words[at] = word;
    part.stamp.last = cycle;
    ++part.count;
    while (inbox.parts[inbox.slot].count &&
           inbox.parts[inbox.slot].count == inbox.parts[inbox.slot].words.size()) {
        Inbox::Part &done = inbox.parts[inbox.slot];
        inbox.words.insert(inbox.words.end(), done.words.begin(), done.words.end());
        inbox.lengths.push_back(static_cast<uint32_t>(done.words.size()));
        inbox.stamps.push_back(done.stamp);
        done.count = 0;
        inbox.slot ^= 1;
        ++messages;
    }
}

// A control packet, which is its header alone.
void MeshHost::answer(uint64_t header) {
    const uint64_t user = field(header, USER_AT, USER_BITS);
    const int tile = source(header);
    const int channel = static_cast<int>(field(user, CONTROL_CHANNEL_AT, CONTROL_CHANNEL_BITS));
    const int slot = static_cast<int>(field(user, CONTROL_SLOT_AT, CONTROL_SLOT_BITS));
    switch (field(user, CONTROL_KIND_AT, CONTROL_KIND_BITS)) {
    case KIND_TAKEN:
        unconfirmed_ = false;
        return;
    case KIND_ACK:
        for (Feed &feed : feeds)
            if (feed.channel == channel && feed.unread[slot] > 0 &&
                std::count(feed.consumers.begin(), feed.consumers.end(), tile)) {
                --feed.unread[slot];
                return;
            }
        fail("the host got an acknowledgement of a message that it did not send");
        return;
    default:
        fail("the host got a control packet that is no answer");
    }
}

void MeshHost::begin_message() {
    int best = -1;
    for (size_t i = 0; i < feeds.size(); ++i) {
        const Feed &feed = feeds[i];
        if (feed.waiting.empty() || feed.unread[feed.slot]) continue;
        if (best < 0 || feed.order.front() < feeds[best].order.front()) best = static_cast<int>(i);
    }
    if (best < 0) return;
    Feed &feed = feeds[best];
    data_.active = true;
    data_.feed = best;
    data_.slot = feed.slot;
    data_.leg = 0;
    data_.at = 0;
    data_.words.swap(feed.waiting.front());
    feed.waiting.pop_front();
    feed.order.pop_front();
    feed.unread[feed.slot] = static_cast<int>(feed.consumers.size());
    feed.slot ^= 1;
    fill_packet();
}

void MeshHost::fill_packet() {
    const Feed &feed = feeds[data_.feed];
    const Leg &leg = feed.legs[data_.leg];
    const size_t length = std::min<size_t>(packet_words_, data_.words.size() - data_.at);
    const uint64_t user = uint64_t(feed.channel) << DATA_CHANNEL_AT | uint64_t(data_.slot) << DATA_SLOT_AT |
                          uint64_t(HOST_ROUTE) << DATA_ROUTE_AT |
                          uint64_t(data_.at / packet_words_) << DATA_INDEX_AT |
                          uint64_t(data_.words.size() - 1) << DATA_WORDS_AT;
    data_.packet.flits.clear();
    data_.packet.flits.push_back(header(leg.x, leg.y, x_, y_, leg.absorb, length, user));
    const auto from = data_.words.begin() + static_cast<std::ptrdiff_t>(data_.at);
    data_.packet.flits.insert(data_.packet.flits.end(), from,
                              from + static_cast<std::ptrdiff_t>(length));
    data_.packet.next = 0;
}

// What was on offer has been taken.
void MeshHost::sent(uint64_t cycle) {
    if (offer_.kind) {
        if (++control_.front().next == control_.front().flits.size()) {
            control_.pop_front();
            unconfirmed_ = confirm_;
        }
        return;
    }
    Feed &feed = feeds[data_.feed];
    if (data_.leg == 0 && data_.at == 0 && data_.packet.next == 0)
        data_.stamp.first = cycle;
    if (++data_.packet.next < data_.packet.flits.size()) return;
    data_.at += data_.packet.flits.size() - 1;
    if (data_.at == data_.words.size()) {
        data_.at = 0;
        if (++data_.leg == feed.legs.size()) {
            data_.active = false;
            data_.stamp.last = cycle;
            feed.stamps.push_back(data_.stamp);
            return;
        }
    }
    fill_packet();
}

// Control before data; but one that was refused lets the other go first.
void MeshHost::choose() {
    if (!data_.active) begin_message();
    const bool can_control = !control_.empty() && !unconfirmed_;
    const bool can_data = data_.active;
    if (!can_control && !can_data) {
        offer_.valid = false;
        return;
    }
    bool kind = can_control;
    if (can_control && can_data && refused_) kind = !offer_.kind;
    const Packet &packet = kind ? control_.front() : data_.packet;
    offer_.valid = true;
    offer_.kind = kind;
    offer_.data = packet.flits[packet.next];
    offer_.last = packet.next + 1 == packet.flits.size();
}

void MeshHost::tick(const Flit &in, unsigned ready, uint64_t cycle) {
    if (in.valid) take(in, cycle);
    refused_ = false;
    if (offer_.valid) {
        if (ready >> offer_.kind & 1)
            sent(cycle);
        else
            refused_ = true;
    }
    choose();
}
