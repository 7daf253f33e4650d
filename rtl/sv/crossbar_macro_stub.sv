// SPDX-License-Identifier: Apache-2.0
// The crossbar macro with its ports and timing and nothing behind them: what a simulation costs
// without any crossbar. Codes are a pattern that runs on by itself, so that no tool folds the logic
// that follows.
module crossbar_macro #(
    parameter int ID = 0,
    parameter int ROWS = 128,
    parameter int COLS = 128,
    parameter int LANES = 8,
    parameter int ADC_BITS = 6,
    parameter int DIGIT_BITS = 1,  // a row
    parameter int ARRAYS = 1,
    parameter int SPAN = 1  // columns of an output, where a read converts one of them
) (
    input  logic                      clk,
    input  logic                      rst,
    input  logic                      cmd_valid,
    output logic                      cmd_ready,
    // Of several arrays, the number of the one that is read stands above the rows.
    input  logic [ROWS*DIGIT_BITS+$clog2(ARRAYS)+$clog2(SPAN)-1:0] cmd_rows,
    input  logic [               9:0] cmd_beats,
    output logic                      code_valid,
    input  logic                      code_ready,
    output logic [LANES*ADC_BITS-1:0] code_data
);
  localparam int WIDTH = LANES * ADC_BITS;

  logic [9:0] left = '0;  // beats not yet transferred
  logic [WIDTH-1:0] pattern = WIDTH'(ID + 1);
  wire transfer = code_valid && code_ready;
  assign code_valid = left != 0;
  assign cmd_ready  = left == 0 || (left == 1 && code_ready);
  assign code_data  = pattern;

  always_ff @(posedge clk) begin
    if (rst) begin
      left <= '0;
    end else begin
      if (transfer) begin
        left <= left - 10'd1;
        pattern <= WIDTH'({pattern, ~pattern[WIDTH-1]});
      end
      if (cmd_valid && cmd_ready) left <= cmd_beats;
    end
  end

  // The rows and the size of the array are of no interest here.
  wire unused = &{1'b0, cmd_rows, COLS[0]};
endmodule
