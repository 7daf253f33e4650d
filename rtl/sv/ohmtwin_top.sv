// SPDX-License-Identifier: Apache-2.0
// The simulation top around `tile`. The clock is its only port, for then nothing outside the model
// can change between two edges and Verilator evaluates no input logic at all; the host's words
// come from and go to the queues of this simulation (sim_harness.cpp) through DPI-C.
//
// Words to the tile are registered here: they are pulled at an edge and offered from the next
// cycle on. Words from the tile are always taken.
module ohmtwin_top (
    input bit clk
);
  import "DPI-C" function chandle ohm_sim_attach();
  import "DPI-C" function bit ohm_sim_pull(input chandle sim, output longint unsigned word);
  import "DPI-C" function void ohm_sim_push(input chandle sim, input longint unsigned word);

  chandle sim;
  initial sim = ohm_sim_attach();

  // Two cycles of reset, from time 0 on.
  bit [1:0] reset_pipe = 2'b11;
  wire rst = reset_pipe[1];

  bit in_valid = 1'b0;
  longint unsigned in_word = 0;
  wire in_ready;
  wire out_valid;
  wire [63:0] out_word;

  tile tile (
      .clk(clk),
      .rst(rst),
      .i__valid(in_valid),
      .i__payload(in_word),
      .i__ready(in_ready),
      .o__valid(out_valid),
      .o__payload(out_word),
      .o__ready(1'b1)
  );

  longint unsigned pulled;
  always_ff @(posedge clk) begin
    reset_pipe <= {reset_pipe[0], 1'b0};
    if (!rst) begin
      if (!in_valid || in_ready) begin
        in_valid <= ohm_sim_pull(sim, pulled);
        in_word <= pulled;
      end
      if (out_valid) ohm_sim_push(sim, out_word);
    end
  end
endmodule
