// SPDX-License-Identifier: Apache-2.0
// A core as somebody else might write it, around one crossbar macro: it drives the bit planes of 8
// inputs of 4 bits one after another, each in one read, and adds the codes of every column up.
//
// start with x takes the inputs; done stays up from the last sum to the next start.
module user_core #(
    parameter ROWS = 8,
    parameter COLS = 16,
    parameter LANES = 4,
    parameter ADC_BITS = 5
) (
    input  wire                clk,
    input  wire                rst,
    input  wire                start,
    input  wire [  4*ROWS-1:0] x,
    output reg                 done,
    output wire [ 16*COLS-1:0] sums
);
  localparam BEATS = COLS / LANES;

  reg [4*ROWS-1:0] inputs;
  reg [2:0] asked;     // planes asked for
  reg [2:0] plane;     // plane whose codes come
  reg [9:0] beat;
  reg running;

  wire cmd_ready, code_valid;
  wire [LANES*ADC_BITS-1:0] code_data;
  wire cmd_valid = running && asked < 4;
  reg [ROWS-1:0] rows;
  integer r;
  always @* begin
    for (r = 0; r < ROWS; r = r + 1) rows[r] = inputs[4*r+asked[1:0]];
  end

  crossbar_macro #(
      .ID(0), .ROWS(ROWS), .COLS(COLS), .LANES(LANES), .ADC_BITS(ADC_BITS)
  ) macro (
      .clk(clk), .rst(rst),
      .cmd_valid(cmd_valid), .cmd_ready(cmd_ready), .cmd_rows(rows), .cmd_beats(BEATS[9:0]),
      .code_valid(code_valid), .code_ready(running), .code_data(code_data)
  );

  reg [15:0] acc[0:COLS-1];
  genvar c;
  generate
    for (c = 0; c < COLS; c = c + 1) begin : column
      assign sums[16*c+:16] = acc[c];
    end
  endgenerate

  integer i;
  always @(posedge clk) begin
    if (rst) begin
      running <= 1'b0;
      done <= 1'b0;
      asked <= 3'd0;
      plane <= 3'd0;
      beat <= 10'd0;
      inputs <= {4 * ROWS{1'b0}};
    end else if (start) begin
      running <= 1'b1;
      done <= 1'b0;
      asked <= 3'd0;
      plane <= 3'd0;
      beat <= 10'd0;
      inputs <= x;
      for (i = 0; i < COLS; i = i + 1) acc[i] <= 16'd0;
    end else begin
      if (cmd_valid && cmd_ready) asked <= asked + 3'd1;
      if (running && code_valid) begin
        for (i = 0; i < LANES; i = i + 1)
          acc[beat*LANES+i] <= acc[beat*LANES+i]
                               + ({{(16 - ADC_BITS) {1'b0}}, code_data[ADC_BITS*i+:ADC_BITS]}
                                  << plane);
        if (beat == BEATS - 1) begin
          beat  <= 10'd0;
          plane <= plane + 3'd1;
          if (plane == 3) begin
            running <= 1'b0;
            done <= 1'b1;
          end
        end else beat <= beat + 10'd1;
      end
    end
  end
endmodule
