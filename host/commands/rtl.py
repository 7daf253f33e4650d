# SPDX-License-Identifier: Apache-2.0
"""``ohmtwin rtl``: everything that another flow needs of a chip, in one folder."""

import shutil
import tempfile
from importlib import resources
from pathlib import Path

from ...arch.chip import load_chip
from ...arch.errors import InputError
from ..verilator_build import WRITE_PORT, emit_chip

__all__ = ["FILE_LIST", "write_rtl"]

FILE_LIST = "ohmtwin.f"
"""Also marks a folder as ours to overwrite."""

_SV = ("crossbar_macro_dpi.sv", "crossbar_macro_stub.sv", "crossbar_macro_cocotb.v")
_WRITE_SV = ("crossbar_macro_dpi.sv", "crossbar_macro_cocotb.v")
_DPI = ("ohm_dpi.c", "ohm_dpi.h")
_C = (
    "ohm_crossbar.c",
    "ohm_crossbar.h",
    "ohm_noise.h",
    "ohm_pulses.h",
    "ohm_rows.h",
    "ohm_step.h",
    "gaussian_table.h",
)

_LIST = """\
// Chip {name}: configuration hash {hash:016x}. Use it with -F, which takes paths from here:
//   verilator --cc -F {folder}/ohmtwin.f
{others}tile.v
{macro}
ohm_dpi.c
ohm_crossbar.c
"""

_WRITE = """\
// In place of crossbar_macro_dpi.sv: crossbar_macro_cocotb.v (driven by a cocotb model).
+define+{define}
"""

_OTHERS = """\
// In place of crossbar_macro_dpi.sv: crossbar_macro_stub.sv (no arrays at all), or
// crossbar_macro_cocotb.v (driven by a cocotb model).
"""


def write_rtl(output: Path, chip_name: str) -> None:
    """Write the tile's Verilog, the crossbar macros, their C sources and a file list.

    Files are made in another folder first, so that a failure leaves none behind; an earlier output
    of this command is overwritten.

    Raises
    ------
    InputError
        If the folder cannot be made or holds something else.
    ToolError
        If Amaranth or its Yosys is missing or fails.
    """
    chip = load_chip(chip_name)
    _check_folder(output)
    sv = resources.files(__package__).joinpath("..", "..", "rtl", "sv")
    csrc = resources.files(__package__).joinpath("..", "..", "behavioral", "csrc")
    macros = _WRITE_SV if chip.program_verify else _SV
    texts = {"tile.v": emit_chip(chip)}
    texts |= {name: (sv / name).read_text(encoding="utf-8") for name in (*macros, *_DPI)}
    texts |= {name: (csrc / name).read_text(encoding="utf-8") for name in _C}
    texts[FILE_LIST] = _LIST.format(
        name=chip.name,
        hash=chip.structure_hash,
        folder=output.name or ".",
        macro=macros[0],
        others=_WRITE.format(define=WRITE_PORT) if chip.program_verify else _OTHERS,
    )
    try:
        output.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output, prefix=".new-") as temporary:
            for name, text in texts.items():
                Path(temporary, name).write_text(text, encoding="utf-8")
            for name in texts:  # the list last: it tells that the folder is complete
                shutil.move(Path(temporary, name), output / name)
    except OSError as error:
        raise InputError(f"-o {output} cannot be written: {error.strerror}") from None
    print(f"{len(texts)} files in {output}; {output / FILE_LIST} lists what to compile")


def _check_folder(output: Path) -> None:
    if output.exists() and not output.is_dir():
        raise InputError(f"-o {output} is a file; name a folder")
    if not output.absolute().parent.is_dir():
        raise InputError(f"-o {output}: there is no folder {output.absolute().parent}; make it")
    if output.is_dir() and any(output.iterdir()) and not (output / FILE_LIST).is_file():
        raise InputError(
            f"-o {output} holds files that this command did not write; name a new or empty folder"
        )
