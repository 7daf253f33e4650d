// SPDX-License-Identifier: Apache-2.0
// Stands in for a tile: passes packets on. The payload of a control packet is, first, a header; its
// packet, of the data class, leaves with the words behind it as payload. A data packet that comes
// leaves again for the host port (0, 0), marked as a message of route 2.
module mesh_tile (
    input logic clk,
    input logic rst,
    input logic [3:0] x,
    input logic [3:0] y,
    input logic i__valid,
    input logic [65:0] i__flit,
    output logic [1:0] i__ready,
    output logic o__valid,
    output logic [65:0] o__flit,
    input logic [1:0] o__ready,
    output logic running,
    output logic waiting,
    output logic fault,
    output logic link_fault,
    output logic idle,
    output logic [63:0] state,
    output logic [447:0] counts
);
  assign {running, waiting, fault, link_fault, state} = 0;
  assign idle = !busy;
  assign counts = 0;

  // A queue a class, of flits {last, data}; packets leave one after the other.
  logic [64:0] queue[2][1024];
  logic [9:0] head[2], tail[2], whole[2];
  logic [9:0] tails[2];
  logic body[2];
  logic which, busy;  // class whose packet leaves
  logic slot;
  wire kind = i__flit[65];
  wire [63:0] in = i__flit[63:0];

  assign i__ready = 2'b11;
  assign o__valid = busy;
  assign o__flit = {1'b0, queue[which][head[which]]};

  // What a flit becomes. Header bits: dst_x 3:0, dst_y 7:4, src_x 11:8, src_y 15:12, absorb 31:16,
  // length 39:32, user 62:40 (channel 4, slot 1, route 4, index 6, words 8), host 63.
  wire [63:0] to_host = {
    1'b1, in[39:32] - 8'd1, 6'd0, 4'd2, slot, 4'd0, in[39:32], 16'd0, y, x, 8'd0
  };

  always_ff @(posedge clk) begin
    if (i__valid) begin
      body[kind] <= !i__flit[64];
      if (!kind || body[1]) begin
        queue[kind][tail[kind]] <= {i__flit[64], (kind || body[0]) ? in : to_host};
        tail[kind] <= tail[kind] + 1;
        if (!kind && !body[0]) slot <= !slot;
        if (i__flit[64]) tails[kind] <= tails[kind] + 1;
      end
    end
    if (!busy) begin
      if (tails[0] != whole[0]) begin
        which <= 0;
        busy <= 1;
      end else if (tails[1] != whole[1]) begin
        which <= 1;
        busy <= 1;
      end
    end else if (o__ready[0]) begin
      head[which] <= head[which] + 1;
      if (o__flit[64]) begin
        busy <= 0;
        whole[which] <= whole[which] + 1;
      end
    end
    if (rst) begin
      busy <= 0;
      slot <= 0;
      for (int k = 0; k < 2; k++) begin
        head[k] <= 0;
        tail[k] <= 0;
        whole[k] <= 0;
        tails[k] <= 0;
        body[k] <= 0;
      end
    end
  end
endmodule
