// SPDX-License-Identifier: Apache-2.0
// A program-and-verify controller as somebody else might write it, for one cell at a time: read the
// row, a pulse towards the target, and so on until the code is right, the array refuses, or LIMIT
// pulses were given. Two arrays share the macro.
//
// start takes array, row, column and target; done stays up until the next start.
module user_writer #(
    parameter ROWS = 8,
    parameter COLS = 16,
    parameter LANES = 4,
    parameter ADC_BITS = 6,
    parameter LIMIT = 40
) (
    input  wire                clk,
    input  wire                rst,
    input  wire                start,
    input  wire                array,
    input  wire [         2:0] row,
    input  wire [         3:0] column,
    input  wire [ADC_BITS-1:0] target,
    output reg                 done,
    output reg                 right,
    output reg  [         7:0] given
);
  localparam IDLE = 0, READ = 1, CODES = 2, WRITE = 3, ANSWER = 4;

  reg [2:0] state;
  reg of;
  reg [2:0] at_row;
  reg [3:0] at;
  reg [ADC_BITS-1:0] goal, code;
  reg [1:0] beat;

  wire cmd_ready, code_valid, write_ready, response_valid, response_refused;
  wire [LANES*ADC_BITS-1:0] code_data;
  wire [ROWS-1:0] rows = 1 << at_row;
  wire [LANES-1:0] lane = 1 << at[1:0];
  wire [ADC_BITS-1:0] here = code_data[ADC_BITS*at[1:0]+:ADC_BITS];
  wire [ADC_BITS-1:0] seen = beat == at[3:2] ? here : code;

  crossbar_macro_write #(
      .ID(0), .ROWS(ROWS), .COLS(COLS), .LANES(LANES), .ADC_BITS(ADC_BITS), .ARRAYS(2)
  ) macro (
      .clk(clk), .rst(rst),
      .cmd_valid(state == READ), .cmd_ready(cmd_ready), .cmd_rows({of, rows}),
      .cmd_beats(10'd4), .cmd_fine(4'd4),
      .code_valid(code_valid), .code_ready(state == CODES), .code_data(code_data),
      .write_valid(state == WRITE), .write_ready(write_ready), .write_rows({of, rows}),
      .write_beat({8'd0, at[3:2]}), .write_up(code < goal ? lane : {LANES{1'b0}}),
      .write_down(code > goal ? lane : {LANES{1'b0}}), .write_pulses(6'd1), .write_fire(1'b1),
      .response_valid(response_valid), .response_ready(state == ANSWER),
      .response_refused(response_refused)
  );

  always @(posedge clk) begin
    if (rst) begin
      state <= IDLE;
      done <= 1'b0;
      right <= 1'b0;
      given <= 8'd0;
    end else begin
      case (state)
        IDLE: if (start) begin
          of <= array;
          at_row <= row;
          at <= column;
          goal <= target;
          given <= 8'd0;
          done <= 1'b0;
          state <= READ;
        end
        READ: if (cmd_ready) begin
          beat <= 2'd0;
          state <= CODES;
        end
        CODES: if (code_valid) begin
          beat <= beat + 2'd1;
          code <= seen;
          if (beat == 2'd3) begin
            right <= seen == goal;
            if (seen == goal || given == LIMIT) begin
              done <= 1'b1;
              state <= IDLE;
            end else state <= WRITE;
          end
        end
        WRITE: if (write_ready) state <= ANSWER;
        ANSWER: if (response_valid) begin
          if (response_refused) begin
            done <= 1'b1;
            state <= IDLE;
          end else begin
            given <= given + 8'd1;
            state <= READ;
          end
        end
        default: state <= IDLE;
      endcase
    end
  end
endmodule
