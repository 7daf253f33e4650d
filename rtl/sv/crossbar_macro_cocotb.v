// SPDX-License-Identifier: Apache-2.0
// The crossbar macro as a shell that a cocotb test drives: its outputs are registers written
// through VPI, its inputs are there to be read. Plain Verilog-2005 for any simulator.
// With OHMTWIN_WRITE_PORT defined it is crossbar_macro_write, whose cells can be pulsed.
`ifdef OHMTWIN_WRITE_PORT
module crossbar_macro_write #(
`else
module crossbar_macro #(
`endif
    parameter ID = 0,
    parameter ROWS = 128,
    parameter COLS = 128,
    parameter LANES = 8,
    parameter ADC_BITS = 6,
    parameter DIGIT_BITS = 1,
    parameter ARRAYS = 1,
    parameter SPAN = 1  // columns of an output, where a read converts one of them
) (
    input  wire                      clk  /*verilator public_flat_rd*/,
    input  wire                      rst  /*verilator public_flat_rd*/,
    input  wire                      cmd_valid  /*verilator public_flat_rd*/,
    output reg                       cmd_ready  /*verilator public_flat_rw*/,
    // Of several arrays, the number of the one that is read stands above the rows.
    input  wire [ROWS*DIGIT_BITS+$clog2(ARRAYS)+$clog2(SPAN)-1:0] cmd_rows  /*verilator public_flat_rd*/,
    input  wire [               9:0] cmd_beats  /*verilator public_flat_rd*/,
`ifdef OHMTWIN_WRITE_PORT
    input  wire [               3:0] cmd_fine  /*verilator public_flat_rd*/,
    input  wire                      write_valid  /*verilator public_flat_rd*/,
    output reg                       write_ready  /*verilator public_flat_rw*/,
    input  wire [ROWS+$clog2(ARRAYS)-1:0] write_rows  /*verilator public_flat_rd*/,
    input  wire [               9:0] write_beat  /*verilator public_flat_rd*/,
    input  wire [         LANES-1:0] write_up  /*verilator public_flat_rd*/,
    input  wire [         LANES-1:0] write_down  /*verilator public_flat_rd*/,
    input  wire [               5:0] write_pulses  /*verilator public_flat_rd*/,
    input  wire                      write_fire  /*verilator public_flat_rd*/,
    output reg                       response_valid  /*verilator public_flat_rw*/,
    input  wire                      response_ready  /*verilator public_flat_rd*/,
    output reg                       response_refused  /*verilator public_flat_rw*/,
`endif
    output reg                       code_valid  /*verilator public_flat_rw*/,
    input  wire                      code_ready  /*verilator public_flat_rd*/,
    output reg  [LANES*ADC_BITS-1:0] code_data  /*verilator public_flat_rw*/
);
  initial begin
    cmd_ready  = 1'b0;
    code_valid = 1'b0;
`ifdef OHMTWIN_WRITE_PORT
    write_ready = 1'b0;
    response_valid = 1'b0;
    response_refused = 1'b0;
`endif
    code_data  = {(LANES * ADC_BITS) {1'b0}};
  end
endmodule
