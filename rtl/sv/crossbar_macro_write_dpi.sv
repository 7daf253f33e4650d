// SPDX-License-Identifier: Apache-2.0
// The crossbar macro with a write port, as a model in C (ohm_dpi.c): reads as in
// crossbar_macro_dpi.sv, at a finer step where cmd_fine says so, and pulses to its cells.
//
// A write is taken when nothing is converted and the answer to the one before has been taken; its
// answer follows in the next cycle, and no read is taken before. A write sets the columns of a
// beat; with write_fire the cells of write_rows in all columns set so far get their pulses.
module crossbar_macro_write #(
    parameter int ID = 0,
    parameter int ROWS = 128,
    parameter int COLS = 128,
    parameter int LANES = 8,
    parameter int ADC_BITS = 6
) (
    input  logic                      clk,
    input  logic                      rst,
    input  logic                      cmd_valid,
    output logic                      cmd_ready,
    input  logic [          ROWS-1:0] cmd_rows,
    input  logic [               9:0] cmd_beats,
    input  logic [               3:0] cmd_fine,
    output logic                      code_valid,
    input  logic                      code_ready,
    output logic [LANES*ADC_BITS-1:0] code_data,
    input  logic                      write_valid,
    output logic                      write_ready,
    input  logic [          ROWS-1:0] write_rows,
    input  logic [               9:0] write_beat,
    input  logic [         LANES-1:0] write_up,
    input  logic [         LANES-1:0] write_down,
    input  logic [               5:0] write_pulses,
    input  logic                      write_fire,
    output logic                      response_valid,
    input  logic                      response_ready,
    output logic                      response_refused
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
  import "DPI-C" function void ohm_dpi_read_fine(
    input chandle macro,
    input bit [ROWS-1:0] rows,
    input int beats,
    input int fine
  );
  import "DPI-C" function longint unsigned ohm_dpi_beat(input chandle macro);
  import "DPI-C" function void ohm_dpi_beat_wide(
    input chandle macro,
    input int bits,
    output bit [WIDTH-1:0] codes
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

  chandle macro;
  initial macro = ohm_dpi_attach($sformatf("%m"), ID, 1, COLS, LANES, ADC_BITS);

  logic [9:0] left = '0;  // beats not yet transferred
  wire transfer = code_valid && code_ready;
  wire accept = cmd_valid && cmd_ready;
  wire begun = write_valid && write_ready;
  assign code_valid  = left != 0;
  assign cmd_ready   = (left == 0 || (left == 1 && code_ready)) && !response_valid && !write_valid;
  assign write_ready = left == 0 && !response_valid;

  bit [WIDTH-1:0] codes;
  always_ff @(posedge clk) begin
    if (rst) begin
      left <= '0;
      response_valid <= 1'b0;
    end else begin
      if (response_ready) response_valid <= 1'b0;
      if (begun) begin
        response_valid <= 1'b1;
        response_refused <= ohm_dpi_write(macro, write_rows, int'({22'd0, write_beat}),
                                          64'(write_up), 64'(write_down),
                                          int'({26'd0, write_pulses}), write_fire);
      end
      if (transfer) left <= left - 10'd1;
      if (accept) begin
        left <= cmd_beats;
        ohm_dpi_read_fine(macro, cmd_rows, int'({22'd0, cmd_beats}), int'({28'd0, cmd_fine}));
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
