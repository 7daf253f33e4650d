# SPDX-License-Identifier: Apache-2.0
"""The rewriting of Verilog for speed, on modules small enough to be worked by hand."""

from ohmtwin.rtl.lazy import gather, sink


def module(*lines: str) -> str:
    return "\n".join(("module m(clk);", *lines, "endmodule", ""))


def test_an_expression_read_once_moves_into_its_branch_with_its_width() -> None:
    text = sink(
        module(
            "  wire [4:0] \\$1 ;",
            "  assign \\$1  = a + 1'h1;",
            "  always_ff @(posedge clk) begin",
            "    if (go) begin",
            "      a <= \\$1 [3:0];",
            "    end",
            "  end",
        )
    )
    # Five bits for the sum, as the wire had, then the four that are read.
    assert "a <= 4'(5'h0 | (a + 1'h1)) ;" in text
    assert "assign" not in text
    assert "wire" not in text


def test_what_is_read_twice_or_signed_stays() -> None:
    twice = module(
        "  wire [4:0] \\$1 ;",
        "  assign \\$1  = a + 1'h1;",
        "  always_ff @(posedge clk) begin",
        "    a <= \\$1 ;",
        "    b <= \\$1 ;",
        "  end",
    )
    signed = module(
        "  wire [4:0] \\$1 ;",
        "  assign \\$1  = $signed(a) + $signed(b);",
        "  always_ff @(posedge clk) begin",
        "    a <= \\$1 ;",
        "  end",
    )
    assert sink(twice) == twice
    assert sink(signed) == signed


def guarded(name: str, value: str) -> tuple[str, ...]:
    return (
        "  always_comb begin",
        f"    {name} = 1'h0;",
        "    if (go) begin",
        f"      {name} = {value};",
        "    end",
        "  end",
    )


def test_processes_under_one_condition_become_one_in_order() -> None:
    # Written in the wrong order on purpose: z needs y, y needs the wire, the wire needs x.
    text = gather(
        module(
            "  wire w;",
            "  assign w = x & b;",
            *guarded("z", "y"),
            *guarded("y", "w"),
            *guarded("x", "a"),
        )
    )
    assert text.count("always_comb") == 1
    body = text[text.index("if (go)") :]
    assert body.index("x = a") < body.index("w = x & b") < body.index("y = w") < body.index("z = y")
    assert "  reg w;" in text


def test_a_way_back_through_other_logic_keeps_them_apart() -> None:
    # p is read outside too, so it stays outside; as one process x, y and z would be a loop.
    text = module(
        "  output p;",
        "  wire p;",
        "  assign p = x & b;",
        *guarded("x", "a"),
        *guarded("y", "p"),
        *guarded("z", "y"),
    )
    assert gather(text) == text
    # The same with a name that needs an escape.
    escaped = text.replace(" p;", " \\$1 ;").replace("assign p =", "assign \\$1  =")
    escaped = escaped.replace("y = p;", "y = \\$1 ;")
    assert escaped.count("\\$1 ") == 4
    assert gather(escaped) == escaped
    # The same through parts of a signal.
    parts = text.replace("  assign p = x & b;", "  assign p [0] = x;")
    assert gather(parts) == parts
