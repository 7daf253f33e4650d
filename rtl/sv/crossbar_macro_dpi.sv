// SPDX-License-Identifier: Apache-2.0
// The crossbar macro as a model in C (ohm_dpi.c). ID picks its arrays, number ID * ARRAYS and up,
// among those that the simulation has bound; state is kept by an object an instance, never by a
// static id.
//
// A command is taken when nothing is converted, or in the cycle in which the last beat of the read
// before is transferred; beats follow from the next cycle on, one a cycle unless they must wait.
//
// With OHMTWIN_WRITE_PORT defined this is crossbar_macro_write, which reads at a finer step where
// cmd_fine says so, and pulses its cells. A write is taken when nothing is converted and the answer
// to the one before has been taken; its answer follows in the next cycle, and no read is taken
// before. A write sets the columns of a beat; with write_fire the cells of write_rows in all columns
// set so far get their pulses.
`ifdef OHMTWIN_WRITE_PORT
module crossbar_macro_write #(
`else
module crossbar_macro #(
`endif
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
`ifdef OHMTWIN_WRITE_PORT
    input  logic [               3:0] cmd_fine,
    input  logic                      write_valid,
    output logic                      write_ready,
    input  logic [ROWS+$clog2(ARRAYS)-1:0] write_rows,
    input  logic [               9:0] write_beat,
    input  logic [         LANES-1:0] write_up,
    input  logic [         LANES-1:0] write_down,
    input  logic [               5:0] write_pulses,
    input  logic                      write_fire,
    output logic                      response_valid,
    input  logic                      response_ready,
    output logic                      response_refused,
`endif
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
`ifdef OHMTWIN_WRITE_PORT
  import "DPI-C" function void ohm_dpi_read_fine(
    input chandle macro,
    input bit [ROWS-1:0] rows,
    input int beats,
    input int fine
  );
  import "DPI-C" function bit ohm_dpi_write(
    input chandle macro,
    input bit [ROWS-1:0] rows,
    input int beat,
    input longint unsigned up,
    input longint unsigned down,
    input int pulses,
    input bit fire
  );
`else
  import "DPI-C" function void ohm_dpi_read(
    input chandle macro,
    input bit [ROWS-1:0] rows,
    input int beats
  );
`endif
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
`ifdef OHMTWIN_WRITE_PORT
  int write_index;
  if (ARRAYS > 1) begin : g_write_index
    always_comb write_index = int'({1'b0, write_rows[ROWS+:$clog2(ARRAYS)]});
  end else begin : g_write_alone
    always_comb write_index = 0;
  end
`endif
  int slice;  // which of an output's columns is read
  if (SPAN > 1) begin : g_slice
    always_comb slice = int'({1'b0, cmd_rows[ROWS*DIGIT_BITS+$clog2(ARRAYS)+:$clog2(SPAN)]});
  end else begin : g_whole
    always_comb slice = 0;
  end
  wire transfer = code_valid && code_ready;
  wire accept = cmd_valid && cmd_ready;
  assign code_valid = left != 0;
`ifdef OHMTWIN_WRITE_PORT
  wire begun = write_valid && write_ready;
  assign cmd_ready   = (left == 0 || (left == 1 && code_ready)) && !response_valid && !write_valid;
  assign write_ready = left == 0 && !response_valid;
`else
  assign cmd_ready  = left == 0 || (left == 1 && code_ready);
`endif

  bit [WIDTH-1:0] codes;
  always_ff @(posedge clk) begin
    if (rst) begin
      left <= '0;
`ifdef OHMTWIN_WRITE_PORT
      response_valid <= 1'b0;
`endif
    end else begin
`ifdef OHMTWIN_WRITE_PORT
      if (response_ready) response_valid <= 1'b0;
      if (begun) begin
        if (ARRAYS > 1) ohm_dpi_select(macro, write_index);
        response_valid <= 1'b1;
        response_refused <= ohm_dpi_write(macro, write_rows[ROWS-1:0], int'({22'd0, write_beat}),
                                          64'(write_up), 64'(write_down),
                                          int'({26'd0, write_pulses}), write_fire);
      end
`endif
      if (transfer) left <= left - 10'd1;
      if (accept) begin
        left <= cmd_beats;
        if (ARRAYS > 1) ohm_dpi_select(macro, index);
        if (SPAN > 1) ohm_dpi_slice(macro, SPAN, slice);
`ifdef OHMTWIN_WRITE_PORT
        if (DIGIT_BITS == 1)
          ohm_dpi_read_fine(macro, cmd_rows[ROWS-1:0], int'({22'd0, cmd_beats}),
                            int'({28'd0, cmd_fine}));
`else
        if (DIGIT_BITS == 1) ohm_dpi_read(macro, cmd_rows[ROWS-1:0], int'({22'd0, cmd_beats}));
`endif
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
