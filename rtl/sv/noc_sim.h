// SPDX-License-Identifier: Apache-2.0
// Traffic through a network of Verilated routers, with a check of every flit that comes out.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { NOC_UNIFORM, NOC_TRANSPOSE, NOC_HOTSPOT, NOC_NEIGHBOR, NOC_LAYER, NOC_ONE };

// All chances are out of 65536.
typedef struct {
    int32_t width, height;
    uint32_t host_rows;  // bit y: tile (0, y) has a host port
    int32_t pattern;
    uint64_t seed;
    uint32_t load;          // chance that a node makes a flit in a cycle, in packets
    uint32_t flits;         // of a packet, header counted; the most, with random lengths
    uint32_t random_length; // lengths from 1 flit up
    uint32_t control;       // chance that a packet is control
    uint32_t multicast;     // chance that a packet is absorbed on its way, where it can be
    uint32_t absorbed_flits;  // of such a packet at most
    uint32_t to_host;       // chance that a packet goes to or comes from a host port
    uint32_t stall;         // chance that a class is not taken in a cycle
    uint32_t pause;         // chance that a source offers nothing new in a cycle
    uint64_t warm_up, measure, drain;  // cycles
    uint64_t packets;       // make so many, then none; 0: no limit
    int32_t one_src, one_dst;  // of the pattern NOC_ONE: one packet, by node
} noc_config;

typedef struct {
    uint64_t cycles;
    uint64_t made, offered_flits, taken_flits;  // packets made; flits made and out while measuring
    uint64_t senders;            // nodes that the pattern lets send
    uint64_t measured;           // packets made while measuring, that came out
    uint64_t missing;            // packets that have not come out
    uint64_t latency_sum, latency_max;  // cycles from made to tail out, of those measured
    uint64_t copies;             // packets that came out in all
    char error[256];             // what came out that should not have, or changed on offer
} noc_result;

// Runs; link_counts gets {flits, blocked, shared, contended} of each tile and port. 0 if all is well.
int noc_run(const noc_config* config, noc_result* result, uint32_t* link_counts);

#ifdef __cplusplus
}
#endif
