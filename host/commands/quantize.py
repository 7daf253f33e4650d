# SPDX-License-Identifier: Apache-2.0
"""``ohmtwin quantize``: from a float ONNX model to one that the twin takes."""

from pathlib import Path
from typing import Annotated

import typer

from ...arch.errors import InputError

__all__ = ["quantize_command"]


def quantize_command(
    model: Annotated[Path, typer.Argument(help="Float network, ONNX.", show_default=False)],
    data: Annotated[
        Path,
        typer.Option("--data", help="Samples to calibrate with: .npz, an array for each input."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE.onnx",
            help="Quantized network to write; by default named after the model, here.",
            show_default=False,
        ),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", metavar="qdq|qoperator", help="Form of the ONNX file.")
    ] = "qdq",
    per_channel: Annotated[
        bool, typer.Option("--per-channel", help="A weight scale for each output channel.")
    ] = False,
    activations: Annotated[
        str, typer.Option("--activations", metavar="uint8|int8", help="Type of activations.")
    ] = "uint8",
    samples: Annotated[
        int | None, typer.Option("--samples", help="Use only the first N samples.")
    ] = None,
    state: Annotated[
        list[str] | None,
        typer.Option(
            "--state",
            metavar="INPUT=OUTPUT",
            help="Step model: the output that feeds this input at the next step. Repeatable.",
        ),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            "--shape",
            metavar="INPUT=n,...",
            help="Fix an input's shape; n is the number of samples. Repeatable.",
        ),
    ] = None,
    unroll: Annotated[
        bool, typer.Option("--unroll", help="Write out all steps of LSTM and GRU.")
    ] = False,
    step: Annotated[
        bool, typer.Option("--step", help="Turn LSTM and GRU into a model of one step.")
    ] = False,
) -> None:
    """Quantize a float ONNX model to 8 bits, with ONNX Runtime.

    The calibration samples should be typical: 100 to 500 of those that the network was trained
    with. Exit code 0 if the model is written, 2 on bad input.
    """
    from ..files import check_output, write_bytes
    from ..float_model import check_float, check_valid
    from ..importer.file import read_model
    from ..quantize import Calibration, Settings, quantize
    from ..quantize_report import summary
    from ..recurrent import Rewritten, to_step
    from ..recurrent import unroll as unroll_model
    from ..samples import load_samples, read_state
    from ..shapes import fix_shapes

    settings = Settings(form, per_channel, activations)
    output = check_output(output or Path(f"{model.stem}_int8.onnx"), "-o")
    if unroll and step:
        raise InputError("--unroll and --step exclude each other; choose one")
    if step and state:
        raise InputError("--step names the states itself; leave out --state")
    source = read_model(model)
    if output.exists() and output.samefile(model):
        raise InputError(f"-o {output} is the model itself; name another file")
    check_valid(source, str(model))
    fix_shapes(source, shape or [])
    made = Rewritten(source)
    if unroll or step:
        made = to_step(source) if step else unroll_model(source)
    check_float(made.model, str(model))
    states = made.state or read_state(state or [], made.model)
    found = load_samples(data, made.model, states).head(samples)
    calibration = Calibration(found.feeds, states, made.shared)
    quantized = quantize(made.model, calibration, settings)
    write_bytes(output, quantized.SerializeToString())
    for line in summary(output, quantized, found, states, settings):
        typer.echo(line)
