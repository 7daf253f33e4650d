// SPDX-License-Identifier: Apache-2.0
// The Verilated models of a mesh as the lock-step loop sees them: pointers to their ports, and a
// function that brings one over a clock edge.
#ifndef OHMTWIN_MESH_MODELS_H
#define OHMTWIN_MESH_MODELS_H

#include <memory>
#include <string>

#include "verilated.h"

#ifdef OHM_SINGLE_EVAL
// Verilator's own functions behind eval(): what depends on the inputs, and everything that happens
// at a rising edge of the clock. The builder sets the macro only if the generated code of every
// model has this one trigger (see sim_harness.cpp).
#define OHM_MESH_MODEL(NAME)                                                                       \
    void NAME##___024root___eval_ico(NAME##___024root *root);                                      \
    void NAME##___024root___eval_nba(NAME##___024root *root);                                      \
    template <> struct Edge<NAME> {                                                                \
        static void inputs(NAME *model) {                                                          \
            model->rootp->__VicoTriggered[0U] = 1U;                                                \
            NAME##___024root___eval_ico(model->rootp);                                             \
        }                                                                                          \
        static void clock(NAME *model) {                                                           \
            model->rootp->__VnbaTriggered[0U] = 1U;                                                \
            NAME##___024root___eval_nba(model->rootp);                                             \
        }                                                                                          \
    };
#else
#define OHM_MESH_MODEL(NAME)                                                                       \
    template <> struct Edge<NAME> {                                                                \
        static void inputs(NAME *) {}                                                              \
        static void clock(NAME *model) {                                                           \
            model->clk = 1;                                                                        \
            model->eval();                                                                         \
            model->clk = 0;                                                                        \
            model->eval();                                                                         \
        }                                                                                          \
    };
#endif

template <class Model> struct Edge;

// A model, whatever its type.
class Node {
  public:
    virtual ~Node() = default;
    virtual void final() = 0;
    // Over a clock edge; `inputs`: some have changed since the last one.
    void tick(bool inputs) { tick_(model_, inputs); }

  protected:
    void (*tick_)(void *model, bool inputs) = nullptr;
    void *model_ = nullptr;
};

template <class Base, class Model> class Instance final : public Base {
  public:
    Instance(VerilatedContext *context, const std::string &name)
        : verilated_(new Model(context, name.c_str())) {
        verilated_->clk = 0;
        this->model_ = verilated_.get();
        this->tick_ = [](void *at, bool inputs) {
            Model *model = static_cast<Model *>(at);
            if (inputs) Edge<Model>::inputs(model);
            Edge<Model>::clock(model);
        };
        this->ports(*verilated_);
    }
    // The first settling, in which initial blocks run; inputs are to stand before.
    void settle() override { verilated_->eval(); }
    void final() override { verilated_->final(); }

  private:
    std::unique_ptr<Model> verilated_;
};

class RouterNode : public Node {
  public:
    virtual void settle() = 0;

    CData *x, *y, *in_valid, *in_last, *in_kind, *out_valid, *out_last, *out_kind, *idle;
    QData *in_data, *out_data;
    SData *in_ready, *out_ready;
    IData *counts;

  protected:
    template <class Model> void ports(Model &m) {
        x = &m.x, y = &m.y, idle = &m.idle;
        in_valid = &m.in_valid, in_last = &m.in_last, in_kind = &m.in_kind;
        in_data = &m.in_data[0], in_ready = &m.in_ready;
        out_valid = &m.out_valid, out_last = &m.out_last, out_kind = &m.out_kind;
        out_data = &m.out_data[0], out_ready = &m.out_ready;
        counts = &m.counts[0];
    }
};

class TileNode : public Node {
  public:
    virtual void settle() = 0;

    CData *x, *y, *in_valid, *in_last, *in_kind, *in_ready, *out_valid, *out_last, *out_kind,
        *out_ready;
    QData *in_data, *out_data, *state;

  protected:
    template <class Model> void ports(Model &m) {
        x = &m.x, y = &m.y;
        in_valid = &m.in_valid, in_last = &m.in_last, in_kind = &m.in_kind;
        in_data = &m.in_data, in_ready = &m.in_ready;
        out_valid = &m.out_valid, out_last = &m.out_last, out_kind = &m.out_kind;
        out_data = &m.out_data, out_ready = &m.out_ready;
        state = &m.state[0];
    }
};

#endif
