// SPDX-License-Identifier: Apache-2.0
// The simulation top around one tile of a mesh: its link as plain variables. All outputs are
// functions of registers, as those of ohmtwin_router.
module ohmtwin_mesh_tile #(
    parameter int STATE_WORDS = 16
) (
    input bit clk,
    input bit [3:0] x,
    input bit [3:0] y,
    input bit in_valid,
    input bit in_last,
    input bit in_kind,
    input longint unsigned in_data,
    output bit [1:0] in_ready,
    output bit out_valid,
    output bit out_last,
    output bit out_kind,
    output longint unsigned out_data,
    input bit [1:0] out_ready,
    output longint unsigned state[STATE_WORDS]
);
  bit [1:0] reset_pipe = 2'b11;
  always_ff @(posedge clk) reset_pipe <= {reset_pipe[0], 1'b0};

  wire [65:0] flit;
  wire [4:0] status;
  wire [63:0] waits;
  wire [64*(STATE_WORDS-2)-1:0] counts;

  mesh_tile tile (
      .clk(clk),
      .rst(reset_pipe[1]),
      .x(x),
      .y(y),
      .i__valid(in_valid),
      .i__flit({in_kind, in_last, in_data}),
      .i__ready(in_ready),
      .o__valid(out_valid),
      .o__flit(flit),
      .o__ready(out_ready),
      .running(status[0]),
      .waiting(status[1]),
      .fault(status[2]),
      .link_fault(status[3]),
      .idle(status[4]),
      .state(waits),
      .counts(counts)
  );

  assign out_data = flit[63:0];
  assign out_last = flit[64];
  assign out_kind = flit[65];
  // Status bits; what the interface waits for; its counters.
  assign state[0] = {59'd0, status};
  assign state[1] = waits;
  for (genvar i = 2; i < STATE_WORDS; i++) begin : each
    assign state[i] = counts[64*(i-2)+:64];
  end
endmodule
