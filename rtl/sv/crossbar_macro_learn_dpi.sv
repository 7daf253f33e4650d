// SPDX-License-Identifier: Apache-2.0
// The macro of arrays that learn, as a model in C (ohm_learn_dpi.c).
//
// A read is taken when nothing is converted, no write is offered and none is unanswered; beat k of
// one accepted in cycle a is offered in a + 1 + k, as long as no beat has to wait. A write is taken
// when nothing is converted and the answer to the one before has been taken; one with fire or relax
// is answered in the next cycle.
module crossbar_macro_learn #(
    parameter int ARRAYS = 1,
    parameter int ROWS = 64,
    parameter int COLS = 32,
    parameter int LANES = 8,
    parameter int TRANSPOSED_LANES = 8,
    parameter int ADC_BITS = 9,
    localparam int WIDTH = 16 * (LANES > TRANSPOSED_LANES ? LANES : TRANSPOSED_LANES)
) (
    input  logic             clk,
    input  logic             rst,
    input  logic             drive_valid,
    output logic             drive_ready,
    input  logic [      9:0] drive_line,
    input  logic [      7:0] drive_value,
    input  logic             cmd_valid,
    output logic             cmd_ready,
    input  logic [      5:0] cmd_array,
    input  logic             cmd_transposed,
    input  logic [      5:0] cmd_shift,
    input  logic [     10:0] cmd_beats,
    output logic             code_valid,
    input  logic             code_ready,
    output logic [WIDTH-1:0] code_data,
    input  logic             write_valid,
    output logic             write_ready,
    input  logic [      5:0] write_array,
    input  logic [ ROWS-1:0] write_rows,
    input  logic [     10:0] write_beat,
    input  logic [LANES-1:0] write_up,
    input  logic [LANES-1:0] write_down,
    input  logic [      5:0] write_pulses,
    input  logic             write_fire,
    input  logic             write_relax,
    output logic             response_valid,
    input  logic             response_ready,
    output logic             response_refused
);
  import "DPI-C" function chandle ohm_learn_dpi_attach(
    input int arrays,
    input int rows,
    input int cols,
    input int lanes,
    input int transposed_lanes,
    input int adc_bits
  );
  import "DPI-C" function void ohm_learn_dpi_drive(
    input chandle macro,
    input int line,
    input int value
  );
  import "DPI-C" function void ohm_learn_dpi_read(
    input chandle macro,
    input int array,
    input int transposed,
    input int shift,
    input int beats
  );
  import "DPI-C" function void ohm_learn_dpi_beat(
    input chandle macro,
    input int bits,
    output bit [WIDTH-1:0] codes
  );
  import "DPI-C" function bit ohm_learn_dpi_write(
    input chandle macro,
    input int array,
    input bit [ROWS-1:0] rows,
    input int beat,
    input longint unsigned up,
    input longint unsigned down,
    input int pulses,
    input bit fire,
    input bit relax
  );

  chandle macro;
  initial macro = ohm_learn_dpi_attach(ARRAYS, ROWS, COLS, LANES, TRANSPOSED_LANES, ADC_BITS);

  logic [10:0] left = '0;  // beats not yet transferred
  wire transfer = code_valid && code_ready;
  wire accept = cmd_valid && cmd_ready;
  wire begun = write_valid && write_ready;
  assign drive_ready = 1'b1;
  assign code_valid  = left != 0;
  assign cmd_ready   = left == 0 && !response_valid && !write_valid;
  assign write_ready = left == 0 && !response_valid;

  bit [WIDTH-1:0] codes;
  always_ff @(posedge clk) begin
    if (rst) begin
      left <= '0;
      response_valid <= 1'b0;
    end else begin
      if (response_ready) response_valid <= 1'b0;
      if (drive_valid)
        ohm_learn_dpi_drive(macro, int'({22'd0, drive_line}), int'({24'd0, drive_value}));
      if (begun) begin
        response_valid <= write_fire || write_relax;
        response_refused <= ohm_learn_dpi_write(macro, int'({26'd0, write_array}), write_rows,
                                                int'({21'd0, write_beat}), 64'(write_up),
                                                64'(write_down), int'({26'd0, write_pulses}),
                                                write_fire, write_relax);
      end
      if (transfer) left <= left - 11'd1;
      if (accept) begin
        left <= cmd_beats;
        ohm_learn_dpi_read(macro, int'({26'd0, cmd_array}), int'({31'd0, cmd_transposed}),
                           int'({26'd0, cmd_shift}), int'({21'd0, cmd_beats}));
      end
      if (accept || (transfer && left != 1)) begin
        ohm_learn_dpi_beat(macro, WIDTH, codes);
        code_data <= codes;
      end
    end
  end
endmodule
