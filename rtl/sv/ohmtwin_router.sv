// SPDX-License-Identifier: Apache-2.0
// The simulation top around one router: its links as plain variables, a port of the router in each
// element. All outputs are functions of registers, so a router may be evaluated alone, once a
// cycle, with the outputs that its neighbours had in the cycle before.
module ohmtwin_router (
    input bit clk,
    input bit [3:0] x,
    input bit [3:0] y,
    // Links in: bit k of a port's `ready` is that of message class k.
    input bit [4:0] in_valid,
    input bit [4:0] in_last,
    input bit [4:0] in_kind,
    input longint unsigned in_data[5],
    output bit [9:0] in_ready,
    // Links out.
    output bit [4:0] out_valid,
    output bit [4:0] out_last,
    output bit [4:0] out_kind,
    output longint unsigned out_data[5],
    input bit [9:0] out_ready,
    output bit idle,
    // Of each output: flits, blocked, shared, contended.
    output bit [31:0] counts[20]
);
  bit [1:0] reset_pipe = 2'b11;
  always_ff @(posedge clk) reset_pipe <= {reset_pipe[0], 1'b0};

  wire [65:0] o0, o1, o2, o3, o4;
  wire [639:0] all_counts;

  noc_node router (
      .clk(clk),
      .rst(reset_pipe[1]),
      .x(x),
      .y(y),
      .i__0__valid(in_valid[0]),
      .i__1__valid(in_valid[1]),
      .i__2__valid(in_valid[2]),
      .i__3__valid(in_valid[3]),
      .i__4__valid(in_valid[4]),
      .i__0__flit({in_kind[0], in_last[0], in_data[0]}),
      .i__1__flit({in_kind[1], in_last[1], in_data[1]}),
      .i__2__flit({in_kind[2], in_last[2], in_data[2]}),
      .i__3__flit({in_kind[3], in_last[3], in_data[3]}),
      .i__4__flit({in_kind[4], in_last[4], in_data[4]}),
      .i__0__ready(in_ready[1:0]),
      .i__1__ready(in_ready[3:2]),
      .i__2__ready(in_ready[5:4]),
      .i__3__ready(in_ready[7:6]),
      .i__4__ready(in_ready[9:8]),
      .o__0__valid(out_valid[0]),
      .o__1__valid(out_valid[1]),
      .o__2__valid(out_valid[2]),
      .o__3__valid(out_valid[3]),
      .o__4__valid(out_valid[4]),
      .o__0__flit(o0),
      .o__1__flit(o1),
      .o__2__flit(o2),
      .o__3__flit(o3),
      .o__4__flit(o4),
      .o__0__ready(out_ready[1:0]),
      .o__1__ready(out_ready[3:2]),
      .o__2__ready(out_ready[5:4]),
      .o__3__ready(out_ready[7:6]),
      .o__4__ready(out_ready[9:8]),
      .idle(idle),
      .counts(all_counts)
  );

  assign out_data[0] = o0[63:0];
  assign out_data[1] = o1[63:0];
  assign out_data[2] = o2[63:0];
  assign out_data[3] = o3[63:0];
  assign out_data[4] = o4[63:0];
  assign out_last = {o4[64], o3[64], o2[64], o1[64], o0[64]};
  assign out_kind = {o4[65], o3[65], o2[65], o1[65], o0[65]};
  for (genvar i = 0; i < 20; i++) begin : split
    assign counts[i] = all_counts[32*i+:32];
  end
endmodule
