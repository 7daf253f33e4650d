# SPDX-License-Identifier: Apache-2.0
"""The DPI-C macro inside a cocotb simulation on Verilator: which array answers for which macro.

``crossbar_macro_dpi.sv`` looks for its array when the simulation is evaluated for the first time.
cocotb imports the bench before that, so :class:`DpiArrays` must be made **at import of the bench
module**, outside any test. The simulation must be linked with ``-LDFLAGS -rdynamic``
(:data:`DPI_ARGS`), so that its C functions can be found.
"""

import ctypes
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from types import MappingProxyType

from ..arch.errors import ToolError
from ..behavioral.cengine import FLAGS, SOURCES, CCrossbar
from ..behavioral.image import ArrayImage

__all__ = ["COCOTB_MACRO", "DPI_ARGS", "DPI_SOURCES", "WRITE_PORT", "DpiArrays"]

_SV = Path(str(resources.files(f"{__package__.rpartition('.')[0]}.rtl.sv")))

COCOTB_MACRO = _SV / "crossbar_macro_cocotb.v"
"""The macro that :class:`~.crossbar.CrossbarModel` drives."""

WRITE_PORT = MappingProxyType({"OHMTWIN_WRITE_PORT": "1"})
"""Definitions for :func:`.runner.build` that give either macro a write port, and the name
``crossbar_macro_write``."""

DPI_SOURCES = (
    _SV / "crossbar_macro_dpi.sv",
    _SV / "ohm_dpi.c",
    _SV / "ohm_dpi.h",
    *SOURCES,
)
"""The macro in C, for Verilator."""

_C_FLAGS = [flag for flag in FLAGS if flag.startswith(("-O", "-f")) and flag != "-fPIC"]
DPI_ARGS = ("-LDFLAGS", "-rdynamic", "-CFLAGS", " ".join(_C_FLAGS))
"""Arguments for :func:`.runner.build` that go with :data:`DPI_SOURCES`."""


class DpiArrays:
    """Arrays in C for the macros of this simulation, by their parameter ID.

    Parameters
    ----------
    images : sequence of ArrayImage
    seed : int
        The arrays are numbered 0 and up, as their macros are.

    Raises
    ------
    ToolError
        If the simulation was built without the macro, or memory is short.
    """

    def __init__(self, images: Sequence[ArrayImage], seed: int) -> None:
        lib = ctypes.CDLL(None)
        if not hasattr(lib, "ohm_dpi_bind"):
            raise ToolError(
                "The simulation does not export ohm_dpi_bind; build it with DPI_SOURCES and "
                "DPI_ARGS of tb.dpi"
            )
        lib.ohm_dpi_bind.restype = ctypes.c_void_p
        lib.ohm_dpi_bind.argtypes = (ctypes.c_void_p, ctypes.c_int)
        lib.ohm_dpi_error.restype = ctypes.c_char_p
        lib.ohm_dpi_error.argtypes = (ctypes.c_void_p,)
        lib.ohm_dpi_attached.argtypes = (ctypes.c_void_p,)
        self._lib = lib
        self.arrays = [CCrossbar(image, seed, i, lib) for i, image in enumerate(images)]
        """Read counters can be seen and set here."""
        handles = (ctypes.c_void_p * len(images))(*(array.handle for array in self.arrays))
        self._session = lib.ohm_dpi_bind(handles, len(images))
        if not self._session:
            raise ToolError("No memory is left to bind arrays to the simulation")

    def check(self) -> None:
        """Refuse what the macros could not do.

        Raises
        ------
        ToolError
            If a macro reported an error, or if not every array was asked for by one.
        """
        error = self._lib.ohm_dpi_error(self._session)
        if error:
            raise ToolError(f"The DPI macros failed: {error.decode()}")
        attached = self._lib.ohm_dpi_attached(self._session)
        if attached != len(self.arrays):
            raise ToolError(f"{attached} macros attached to the {len(self.arrays)} arrays")
