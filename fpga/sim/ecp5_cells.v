// SPDX-License-Identifier: Apache-2.0
// Cells of the ECP5 for which Yosys ships no simulation model: block RAM and multiplier, as far as
// synth_ecp5 uses them (no pipeline registers; chip select always 0). Written after Lattice, "ECP5
// and ECP5-5G Memory Usage Guide" (FPGA-TN-02204) and "sysDSP Usage Guide" (FPGA-TN-02205), and
// Yosys' techlibs/lattice/brams_map_16kd.v and dsp_map_18x18.v, which instantiate them.

// 2048 bytes of 9 bits, two ports of 1 to 18 bits, or one to write and one to read of up to 36.
module DP16KD (
    input DIA17, input DIA16, input DIA15, input DIA14, input DIA13, input DIA12, input DIA11,
    input DIA10, input DIA9, input DIA8, input DIA7, input DIA6, input DIA5, input DIA4,
    input DIA3, input DIA2, input DIA1, input DIA0, input ADA13, input ADA12, input ADA11,
    input ADA10, input ADA9, input ADA8, input ADA7, input ADA6, input ADA5, input ADA4,
    input ADA3, input ADA2, input ADA1, input ADA0, output DOA17, output DOA16, output DOA15,
    output DOA14, output DOA13, output DOA12, output DOA11, output DOA10, output DOA9,
    output DOA8, output DOA7, output DOA6, output DOA5, output DOA4, output DOA3, output DOA2,
    output DOA1, output DOA0, input DIB17, input DIB16, input DIB15, input DIB14, input DIB13,
    input DIB12, input DIB11, input DIB10, input DIB9, input DIB8, input DIB7, input DIB6,
    input DIB5, input DIB4, input DIB3, input DIB2, input DIB1, input DIB0, input ADB13,
    input ADB12, input ADB11, input ADB10, input ADB9, input ADB8, input ADB7, input ADB6,
    input ADB5, input ADB4, input ADB3, input ADB2, input ADB1, input ADB0, output DOB17,
    output DOB16, output DOB15, output DOB14, output DOB13, output DOB12, output DOB11,
    output DOB10, output DOB9, output DOB8, output DOB7, output DOB6, output DOB5, output DOB4,
    output DOB3, output DOB2, output DOB1, output DOB0, input CEA, input OCEA, input CLKA,
    input WEA, input RSTA, input CSA2, input CSA1, input CSA0, input CEB, input OCEB,
    input CLKB, input WEB, input RSTB, input CSB2, input CSB1, input CSB0
);
  parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18;
  parameter REGMODE_A = "NOREG", REGMODE_B = "NOREG";
  parameter RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC", GSR = "ENABLED";
  parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000";
  parameter CLKAMUX = "CLKA", CLKBMUX = "CLKB";
  parameter [127:0] WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL";
  parameter [319:0] INITVAL_00 = 320'd0, INITVAL_01 = 320'd0, INITVAL_02 = 320'd0,
  INITVAL_03 = 320'd0,
  INITVAL_04 = 320'd0, INITVAL_05 = 320'd0, INITVAL_06 = 320'd0, INITVAL_07 = 320'd0,
  INITVAL_08 = 320'd0, INITVAL_09 = 320'd0, INITVAL_0A = 320'd0, INITVAL_0B = 320'd0,
  INITVAL_0C = 320'd0, INITVAL_0D = 320'd0, INITVAL_0E = 320'd0, INITVAL_0F = 320'd0,
  INITVAL_10 = 320'd0, INITVAL_11 = 320'd0, INITVAL_12 = 320'd0, INITVAL_13 = 320'd0,
  INITVAL_14 = 320'd0, INITVAL_15 = 320'd0, INITVAL_16 = 320'd0, INITVAL_17 = 320'd0,
  INITVAL_18 = 320'd0, INITVAL_19 = 320'd0, INITVAL_1A = 320'd0, INITVAL_1B = 320'd0,
  INITVAL_1C = 320'd0, INITVAL_1D = 320'd0, INITVAL_1E = 320'd0, INITVAL_1F = 320'd0,
  INITVAL_20 = 320'd0, INITVAL_21 = 320'd0, INITVAL_22 = 320'd0, INITVAL_23 = 320'd0,
  INITVAL_24 = 320'd0, INITVAL_25 = 320'd0, INITVAL_26 = 320'd0, INITVAL_27 = 320'd0,
  INITVAL_28 = 320'd0, INITVAL_29 = 320'd0, INITVAL_2A = 320'd0, INITVAL_2B = 320'd0,
  INITVAL_2C = 320'd0, INITVAL_2D = 320'd0, INITVAL_2E = 320'd0, INITVAL_2F = 320'd0,
  INITVAL_30 = 320'd0, INITVAL_31 = 320'd0, INITVAL_32 = 320'd0, INITVAL_33 = 320'd0,
  INITVAL_34 = 320'd0, INITVAL_35 = 320'd0, INITVAL_36 = 320'd0, INITVAL_37 = 320'd0,
  INITVAL_38 = 320'd0, INITVAL_39 = 320'd0, INITVAL_3A = 320'd0, INITVAL_3B = 320'd0,
  INITVAL_3C = 320'd0, INITVAL_3D = 320'd0, INITVAL_3E = 320'd0, INITVAL_3F = 320'd0;

  reg [8:0] mem[0:2047];
  wire [13:0] ada = {
      ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0
  };
  wire [13:0] adb = {
      ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0
  };
  wire [17:0] dia = {
      DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5,
      DIA4, DIA3, DIA2, DIA1, DIA0
  };
  wire [17:0] dib = {
      DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5,
      DIB4, DIB3, DIB2, DIB1, DIB0
  };
  reg [35:0] qa = 0, qb = 0;
  assign {
      DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5,
      DOA4, DOA3, DOA2, DOA1, DOA0
  } = DATA_WIDTH_B == 36 ? qb[17:0] : qa[17:0];
  assign {
      DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5,
      DOB4, DOB3, DOB2, DOB1, DOB0
  } = DATA_WIDTH_B == 36 ? qb[35:18] : qb[17:0];

  task load(input integer slice, input [319:0] value);
    integer j;
    for (j = 0; j < 16; j = j + 1) begin
      mem[(slice*16+j)*2] = value[j*20+:9];
      mem[(slice*16+j)*2+1] = value[j*20+9+:9];
    end
  endtask
  initial begin
    load(0, INITVAL_00);
    load(1, INITVAL_01);
    load(2, INITVAL_02);
    load(3, INITVAL_03);
    load(4, INITVAL_04);
    load(5, INITVAL_05);
    load(6, INITVAL_06);
    load(7, INITVAL_07);
    load(8, INITVAL_08);
    load(9, INITVAL_09);
    load(10, INITVAL_0A);
    load(11, INITVAL_0B);
    load(12, INITVAL_0C);
    load(13, INITVAL_0D);
    load(14, INITVAL_0E);
    load(15, INITVAL_0F);
    load(16, INITVAL_10);
    load(17, INITVAL_11);
    load(18, INITVAL_12);
    load(19, INITVAL_13);
    load(20, INITVAL_14);
    load(21, INITVAL_15);
    load(22, INITVAL_16);
    load(23, INITVAL_17);
    load(24, INITVAL_18);
    load(25, INITVAL_19);
    load(26, INITVAL_1A);
    load(27, INITVAL_1B);
    load(28, INITVAL_1C);
    load(29, INITVAL_1D);
    load(30, INITVAL_1E);
    load(31, INITVAL_1F);
    load(32, INITVAL_20);
    load(33, INITVAL_21);
    load(34, INITVAL_22);
    load(35, INITVAL_23);
    load(36, INITVAL_24);
    load(37, INITVAL_25);
    load(38, INITVAL_26);
    load(39, INITVAL_27);
    load(40, INITVAL_28);
    load(41, INITVAL_29);
    load(42, INITVAL_2A);
    load(43, INITVAL_2B);
    load(44, INITVAL_2C);
    load(45, INITVAL_2D);
    load(46, INITVAL_2E);
    load(47, INITVAL_2F);
    load(48, INITVAL_30);
    load(49, INITVAL_31);
    load(50, INITVAL_32);
    load(51, INITVAL_33);
    load(52, INITVAL_34);
    load(53, INITVAL_35);
    load(54, INITVAL_36);
    load(55, INITVAL_37);
    load(56, INITVAL_38);
    load(57, INITVAL_39);
    load(58, INITVAL_3A);
    load(59, INITVAL_3B);
    load(60, INITVAL_3C);
    load(61, INITVAL_3D);
    load(62, INITVAL_3E);
    load(63, INITVAL_3F);
    if (REGMODE_A != "NOREG" || REGMODE_B != "NOREG" || CLKAMUX != "CLKA" || CLKBMUX != "CLKB")
      $fatal(1, "DP16KD: a mode that this model does not know");
  end

  function [35:0] look(input integer width, input [13:0] a);
    case (width)
      1: look = {35'd0, mem[a[13:3]][a[2:0]]};
      2: look = {34'd0, mem[a[13:3]][{a[2:1], 1'b0}+:2]};
      4: look = {32'd0, mem[a[13:3]][{a[2], 2'b0}+:4]};
      9: look = {27'd0, mem[a[13:3]]};
      18: look = {18'd0, mem[{a[13:4], 1'b1}], mem[{a[13:4], 1'b0}]};
      default:
      look = {
        mem[{a[13:5], 2'd3}], mem[{a[13:5], 2'd2}], mem[{a[13:5], 2'd1}], mem[{a[13:5], 2'd0}]
      };
    endcase
  endfunction

  wire [35:0] da = DATA_WIDTH_A == 36 ? {dib, dia} : {18'd0, dia};
  always @(posedge CLKA) begin
    if (CEA && !WEA) qa <= look(DATA_WIDTH_A, ada);
    if (CEA && WEA) begin
      if (WRITEMODE_A == "READBEFOREWRITE") qa <= look(DATA_WIDTH_A, ada);
      if (WRITEMODE_A == "WRITETHROUGH") qa <= da;
      case (DATA_WIDTH_A)
        1: mem[ada[13:3]][ada[2:0]] <= da[0];
        2: mem[ada[13:3]][{ada[2:1], 1'b0}+:2] <= da[1:0];
        4: mem[ada[13:3]][{ada[2], 2'b0}+:4] <= da[3:0];
        9: mem[ada[13:3]] <= da[8:0];
        18: begin
          if (ada[0]) mem[{ada[13:4], 1'b0}] <= da[8:0];
          if (ada[1]) mem[{ada[13:4], 1'b1}] <= da[17:9];
        end
        default: begin
          if (ada[0]) mem[{ada[13:5], 2'd0}] <= da[8:0];
          if (ada[1]) mem[{ada[13:5], 2'd1}] <= da[17:9];
          if (ada[2]) mem[{ada[13:5], 2'd2}] <= da[26:18];
          if (ada[3]) mem[{ada[13:5], 2'd3}] <= da[35:27];
        end
      endcase
    end
    if (RSTA) qa <= 0;
    if (RSTA && RESETMODE != "SYNC") $fatal(1, "DP16KD: no asynchronous reset in this model");
  end
  wire [35:0] db = DATA_WIDTH_B == 36 ? {dia, dib} : {18'd0, dib};
  always @(posedge CLKB) begin
    if (CEB && !WEB) qb <= look(DATA_WIDTH_B, adb);
    if (CEB && WEB) begin
      if (WRITEMODE_B == "READBEFOREWRITE") qb <= look(DATA_WIDTH_B, adb);
      if (WRITEMODE_B == "WRITETHROUGH") qb <= db;
      case (DATA_WIDTH_B)
        1: mem[adb[13:3]][adb[2:0]] <= db[0];
        2: mem[adb[13:3]][{adb[2:1], 1'b0}+:2] <= db[1:0];
        4: mem[adb[13:3]][{adb[2], 2'b0}+:4] <= db[3:0];
        9: mem[adb[13:3]] <= db[8:0];
        18: begin
          if (adb[0]) mem[{adb[13:4], 1'b0}] <= db[8:0];
          if (adb[1]) mem[{adb[13:4], 1'b1}] <= db[17:9];
        end
        default: begin
          if (adb[0]) mem[{adb[13:5], 2'd0}] <= db[8:0];
          if (adb[1]) mem[{adb[13:5], 2'd1}] <= db[17:9];
          if (adb[2]) mem[{adb[13:5], 2'd2}] <= db[26:18];
          if (adb[3]) mem[{adb[13:5], 2'd3}] <= db[35:27];
        end
      endcase
    end
    if (RSTB) qb <= 0;
    if (RSTB && RESETMODE != "SYNC") $fatal(1, "DP16KD: no asynchronous reset in this model");
  end
endmodule

// The product of two numbers of 18 bits, each signed or not, without registers.
module MULT18X18D (
    input A17, input A16, input A15, input A14, input A13, input A12, input A11, input A10,
    input A9, input A8, input A7, input A6, input A5, input A4, input A3, input A2, input A1,
    input A0, input B17, input B16, input B15, input B14, input B13, input B12, input B11,
    input B10, input B9, input B8, input B7, input B6, input B5, input B4, input B3, input B2,
    input B1, input B0, input C17, input C16, input C15, input C14, input C13, input C12,
    input C11, input C10, input C9, input C8, input C7, input C6, input C5, input C4, input C3,
    input C2, input C1, input C0, input SIGNEDA, input SIGNEDB, input SOURCEA, input SOURCEB,
    input CLK3, input CLK2, input CLK1, input CLK0, input CE3, input CE2, input CE1, input CE0,
    input RST3, input RST2, input RST1, input RST0, output P35, output P34, output P33,
    output P32, output P31, output P30, output P29, output P28, output P27, output P26,
    output P25, output P24, output P23, output P22, output P21, output P20, output P19,
    output P18, output P17, output P16, output P15, output P14, output P13, output P12,
    output P11, output P10, output P9, output P8, output P7, output P6, output P5, output P4,
    output P3, output P2, output P1, output P0
);
  parameter REG_INPUTA_CLK = "NONE", REG_INPUTA_CE = "CE0", REG_INPUTA_RST = "RST0",
  REG_INPUTB_CLK = "NONE", REG_INPUTB_CE = "CE0", REG_INPUTB_RST = "RST0",
  REG_INPUTC_CLK = "NONE", REG_INPUTC_CE = "CE0", REG_INPUTC_RST = "RST0",
  REG_PIPELINE_CLK = "NONE", REG_PIPELINE_CE = "CE0", REG_PIPELINE_RST = "RST0",
  REG_OUTPUT_CLK = "NONE", REG_OUTPUT_CE = "CE0", REG_OUTPUT_RST = "RST0", CLK0_DIV = "ENABLED",
  CLK1_DIV = "ENABLED", CLK2_DIV = "ENABLED", CLK3_DIV = "ENABLED", GSR = "ENABLED",
  SOURCEB_MODE = "B_SHIFT", RESETMODE = "SYNC", MULT_BYPASS = "DISABLED",
  HIGHSPEED_CLK = "NONE", CAS_MATCH_REG = "FALSE";

  wire [17:0] a = {
      A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0
  };
  wire [17:0] b = {
      B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0
  };
  wire signed [18:0] wide_a = {SIGNEDA & a[17], a};
  wire signed [18:0] wide_b = {SIGNEDB & b[17], b};
  wire signed [37:0] product = wide_a * wide_b;
  assign {
      P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
      P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
  } = product[35:0];
  initial
    if (REG_INPUTA_CLK != "NONE" || REG_INPUTB_CLK != "NONE" || REG_PIPELINE_CLK != "NONE"
        || REG_OUTPUT_CLK != "NONE") $fatal(1, "MULT18X18D: this model knows no registers");
endmodule
