// SPDX-License-Identifier: Apache-2.0
// The crossbar macro as a model in C (ohm_dpi.c). ID picks its arrays, number ID * ARRAYS and up,
// among those that the simulation has bound; state is kept by an object an instance, never by a
// static id.
//
// A command is taken when nothing is converted, or in the cycle in which the last beat of the read
// before is transferred; beats follow from the next cycle on, one a cycle unless they must wait.
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

  import "DPI-C" function chandle ohm_dpi_attach(
    input string path,
    input int id,
    input int arrays,
    input int cols,
    input int lanes,
    input int adc_bits
  );
  import "DPI-C" function void ohm_dpi_select(input chandle macro, input int index);
  import "DPI-C" function void ohm_dpi_slice(input chandle macro, input int span, input int slice);
  import "DPI-C" function void ohm_dpi_read(
    input chandle macro,
    input bit [ROWS-1:0] rows,
    input int beats
  );
  import "DPI-C" function void ohm_dpi_read_digits(
    input chandle macro,
    input bit [ROWS*DIGIT_BITS-1:0] digits,
    input int digit_bits,
    input int beats
  );
  import "DPI-C" function longint unsigned ohm_dpi_beat(input chandle macro);
  import "DPI-C" function void ohm_dpi_beat_wide(
    input chandle macro,
    input int bits,
    output bit [WIDTH-1:0] codes
  );

  chandle macro;
  initial macro = ohm_dpi_attach($sformatf("%m"), ID, ARRAYS, COLS, LANES, ADC_BITS);

  logic [9:0] left = '0;  // beats not yet transferred
  int index;  // which array is read
  if (ARRAYS > 1) begin : g_index
    always_comb index = int'({1'b0, cmd_rows[ROWS*DIGIT_BITS+:$clog2(ARRAYS)]});
  end else begin : g_alone
    always_comb index = 0;
  end
  int slice;  // which of an output's columns is read
  if (SPAN > 1) begin : g_slice
    always_comb slice = int'({1'b0, cmd_rows[ROWS*DIGIT_BITS+$clog2(ARRAYS)+:$clog2(SPAN)]});
  end else begin : g_whole
    always_comb slice = 0;
  end
  wire transfer = code_valid && code_ready;
  wire accept = cmd_valid && cmd_ready;
  assign code_valid = left != 0;
  assign cmd_ready  = left == 0 || (left == 1 && code_ready);

  bit [WIDTH-1:0] codes;
  always_ff @(posedge clk) begin
    if (rst) begin
      left <= '0;
    end else begin
      if (transfer) left <= left - 10'd1;
      if (accept) begin
        left <= cmd_beats;
        if (ARRAYS > 1) ohm_dpi_select(macro, index);
        if (SPAN > 1) ohm_dpi_slice(macro, SPAN, slice);
        if (DIGIT_BITS == 1) ohm_dpi_read(macro, cmd_rows[ROWS-1:0], int'({22'd0, cmd_beats}));
        else
          ohm_dpi_read_digits(macro, cmd_rows[ROWS*DIGIT_BITS-1:0], DIGIT_BITS,
                              int'({22'd0, cmd_beats}));
      end
      if (accept || (transfer && left != 1)) begin
        if (WIDTH <= 64) begin
          code_data <= WIDTH'(ohm_dpi_beat(macro));
        end else begin
          ohm_dpi_beat_wide(macro, WIDTH, codes);
          code_data <= codes;
        end
      end
    end
  end
endmodule
