// SPDX-License-Identifier: Apache-2.0
// Counts on a stream. BREAK 1: the payload changes while it waits; 2: valid falls while it waits.
module bad_stream #(
    parameter BREAK = 0
) (
    input  wire       clk,
    input  wire       rst,
    output reg        o_valid,
    input  wire       o_ready,
    output reg  [7:0] o_payload
);
  always @(posedge clk) begin
    if (rst) begin
      o_valid   <= 1'b0;
      o_payload <= 8'd0;
    end else begin
      o_valid <= 1'b1;
      if (o_valid && o_ready) o_payload <= o_payload + 8'd1;
      if (o_valid && !o_ready && o_payload == 8'd5) begin
        if (BREAK == 1) o_payload <= 8'h80;
        if (BREAK == 2) o_valid <= 1'b0;
      end
    end
  end
endmodule
