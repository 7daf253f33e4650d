# SPDX-License-Identifier: Apache-2.0
"""The fast crossbar: the C of ``csrc/`` behind the interface of :class:`~.crossbar.Crossbar`.

The library is compiled for this very processor on first use and kept in the build cache.
"""

import ctypes
import functools
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..arch.ancode import AnCode
from ..arch.errors import ToolError
from ..arch.inputs import MAX_PASSES, InputEncoding
from .ancode import decode
from .buildcache import build_once, file_parts
from .core import EVENTS, MAX_COLUMNS, Event, MvmConfig, MvmResult, check_mvm
from .crossbar import READ_LIMIT, Analog, check_columns, check_digits, check_key, check_masks
from .image import ArrayImage

__all__ = [
    "FLAGS",
    "SOURCES",
    "CCrossbar",
    "Signatures",
    "build",
    "check_status",
    "core_mvm",
    "declare_functions",
    "library",
    "mvm_parameters",
]

_CSRC = Path(__file__).parent / "csrc"

_PARTS = ("crossbar.c", "core.c", "tile.c", "learn.c", "learn_core.c", "crossbar.h", "tile.h")
_HEADERS = ("noise.h", "pulses.h", "rows.h", "step.h", "learn.h")

SOURCES = (*(_CSRC / f"ohm_{part}" for part in _PARTS + _HEADERS), _CSRC / "gaussian_table.h")

FLAGS = (
    "-std=c11",
    "-O3",
    "-march=native",
    "-fPIC",
    "-shared",
    # Square roots become vector instructions only if nobody asks for errno or traps. Contraction
    # is off so that no compiler fuses float operations differently; -ffast-math would change bits.
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
)


_CONFIG_FIELDS = (
    "rows_used",
    "outputs",
    "zero_skip",
    "group",
    "beats",
    "planes",
    "tail",
    "step",
    "top",
    "slices",
    "complement",
    "cell_top",
    "zero",
)

_MAX_CODE = 257
_MAX_BUDGETS = 256


class _Config(ctypes.Structure):
    """``ohm_mvm_config``."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in _CONFIG_FIELDS),
        ("columns", ctypes.c_int32),
        ("weights", ctypes.c_int32 * MAX_COLUMNS),
        ("budgets", ctypes.c_int32 * _MAX_BUDGETS),
        ("code", ctypes.c_int32),
        ("steps", ctypes.c_int32 * _MAX_CODE),
        ("flags", ctypes.c_int32 * _MAX_CODE),
        ("drive", ctypes.c_int32),  # the number of an InputEncoding
        ("pass_weights", ctypes.c_int32 * MAX_PASSES),
        ("thresholds", ctypes.c_uint8 * MAX_PASSES),
    )


Signatures = Mapping[str, tuple[object, tuple[object, ...]]]
"""Result and arguments of functions in C, by their names."""

_SIGNATURES: Signatures = {
    "ohm_array_new": (ctypes.c_void_p, (ctypes.c_int, ctypes.c_int, *[ctypes.c_uint32] * 2)),
    "ohm_array_free": (None, (ctypes.c_void_p,)),
    "ohm_array_program": (
        ctypes.c_int,
        (*[ctypes.c_void_p] * 4, ctypes.c_int64, ctypes.c_int64),
    ),
    "ohm_array_set_adc": (
        ctypes.c_int,
        (ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_void_p),
    ),
    "ohm_array_set_sensing": (
        ctypes.c_int,
        (ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_void_p),
    ),
    "ohm_array_set_drive": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)),
    "ohm_array_read_digits": (
        ctypes.c_int,
        (ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p),
    ),
    "ohm_array_reads": (ctypes.c_uint64, (ctypes.c_void_p,)),
    "ohm_array_set_reads": (None, (ctypes.c_void_p, ctypes.c_uint64)),
    "ohm_array_driven": (ctypes.c_uint64, (ctypes.c_void_p,)),
    "ohm_array_is_narrow": (ctypes.c_int, (ctypes.c_void_p,)),
    "ohm_array_read_many": (
        ctypes.c_int,
        (ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p),
    ),
    "ohm_array_analog": (
        ctypes.c_int,
        (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, *[ctypes.c_void_p] * 4),
    ),
    "ohm_core_mvm": (
        ctypes.c_int,
        (*[ctypes.c_void_p] * 3, ctypes.c_int64, *[ctypes.c_void_p] * 7),
    ),
    "ohm_tile_run": (
        ctypes.c_int,
        (
            *[ctypes.c_void_p] * 3,
            ctypes.c_int64,
            ctypes.c_int,
            ctypes.c_int64,
            *(ctypes.c_void_p, ctypes.c_int64) * 2,
            *[ctypes.c_void_p] * 3,
        ),
    ),
    "ohm_threefry2x32": (
        ctypes.c_int,
        (ctypes.c_int, *[ctypes.c_uint32] * 4, ctypes.c_void_p),
    ),
    "ohm_gaussian": (None, (ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)),
    "ohm_isqrt31": (None, (ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)),
}


_OPTIONAL = ("ohm_core_mvm", "ohm_tile_run")
"""Functions that a simulator may be built without: it only makes reads."""


def declare(lib: ctypes.CDLL) -> ctypes.CDLL:
    """Tell ctypes the signatures of the ``ohm_`` functions of a loaded library."""
    return declare_functions(
        lib, {n: s for n, s in _SIGNATURES.items() if n not in _OPTIONAL or hasattr(lib, n)}
    )


def declare_functions(lib: ctypes.CDLL, signatures: Signatures) -> ctypes.CDLL:
    """Tell ctypes the signatures of functions of a loaded library; returns it."""
    for name, (result, arguments) in signatures.items():
        function = getattr(lib, name)
        function.restype = result
        function.argtypes = arguments
    return lib


def find_compiler() -> str:
    """Return the path of a C compiler.

    Raises
    ------
    ToolError
        If there is none, with how to install one.
    """
    for name in ("cc", "gcc", "clang"):
        path = shutil.which(name)
        if path:
            return path
    raise ToolError(
        "No C compiler was found (cc, gcc or clang), which the fast crossbar needs; install one"
        " with `apt-get install gcc` (Debian, Ubuntu) or `xcode-select --install` (macOS)"
    )


def build(flags: Sequence[str] = FLAGS) -> Path:
    """Compile the C sources into a shared library, unless the cache has it.

    Parameters
    ----------
    flags : sequence of str
        Compiler flags.

    Returns
    -------
    Path
        The shared library.

    Raises
    ------
    ToolError
        If there is no compiler or it fails.
    """
    compiler = find_compiler()
    version = _run([compiler, "--version"])

    def compile_into(folder: Path) -> None:
        # libm last: linkers take what is still missing when they come to it.
        sources = [str(path) for path in SOURCES if path.suffix == ".c"]
        _run([compiler, *flags, *sources, "-o", str(folder / "libohm.so"), "-lm"])

    key: list[str | bytes] = ["crossbar", *file_parts(SOURCES), *flags, version, _processor()]
    return build_once(key, compile_into) / "libohm.so"


@functools.cache
def library() -> ctypes.CDLL:
    """Return the library for this machine, compiled on first use."""
    return declare(ctypes.CDLL(str(build())))


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        first = next((line for line in lines if "error" in line), lines[0])
        raise ToolError(f"The C compiler failed: {' '.join(command[:1])}: {first}")
    return done.stdout


def _processor() -> str:
    """Describe the processor as far as -march=native can tell it from others."""
    parts = [platform.machine(), platform.processor()]
    info = Path("/proc/cpuinfo")
    if info.exists():
        wanted = ("flags", "Features", "model name", "CPU part")
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        parts += sorted({line for line in lines if line.startswith(wanted)})
    return "\n".join(parts)


class CCrossbar:
    """One array with its own noise, in C; the same results as :class:`~.crossbar.Crossbar`.

    Parameters
    ----------
    image : ArrayImage
        What was programmed.
    seed, array : int
        Key of the noise, uint32 each.
    lib : CDLL, optional
        A loaded library that exports the ``ohm_`` functions (a Verilated model does); by default
        the one of :func:`library`.

    Raises
    ------
    ValueError
        If a part of the key is no uint32.
    ToolError
        If the library cannot be built.
    """

    def __init__(
        self, image: ArrayImage, seed: int, array: int, lib: ctypes.CDLL | None = None
    ) -> None:
        check_key(seed, array)
        self._lib = library() if lib is None else declare(lib)
        self._free = self._lib.ohm_array_free
        self._handle = self._lib.ohm_array_new(image.rows, image.cols, seed, array)
        if not self._handle:
            raise MemoryError("No memory for a crossbar array")
        self.seed = seed
        self.array = array
        self._words = (image.rows + 31) // 32
        self._image = image
        self.program(image)

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._free(self._handle)
            self._handle = None

    def program(self, image: ArrayImage) -> None:
        """Load another image of the same shape; the read number stays.

        Raises
        ------
        ValueError
            If the shape differs.
        """
        if image.g.shape != self._image.g.shape:
            raise ValueError(
                f"The array is {self._image.g.shape}, so an image {image.g.shape} cannot be loaded"
            )
        check_status(
            self._lib.ohm_array_program(
                self._handle,
                image.g.ctypes.data,
                image.ref.ctypes.data,
                None if image.q is None else image.q.ctypes.data,
                image.v0,
                image.v1,
            )
        )
        thresholds = None if image.thresholds is None else image.thresholds.ctypes.data
        check_status(
            self._lib.ohm_array_set_sensing(
                self._handle, image.adc_step.bit_length() - 1, image.adc_span, thresholds
            )
        )
        table = None if image.adc_table is None else image.adc_table.ctypes.data
        check_status(self._lib.ohm_array_set_adc(self._handle, image.adc_bits, image.lanes, table))
        drive = None if image.drive is None else image.drive.ctypes.data
        size = 0 if image.drive is None else image.drive.size
        check_status(self._lib.ohm_array_set_drive(self._handle, size, drive))
        self._image = image

    @property
    def image(self) -> ArrayImage:
        """What is loaded."""
        return self._image

    @property
    def handle(self) -> int:
        """The ``ohm_array *``, for code that passes it on to C; valid as long as this object."""
        return int(self._handle)

    @property
    def library(self) -> ctypes.CDLL:
        """The library that the array lives in."""
        return self._lib

    @property
    def narrow(self) -> bool:
        """Whether the image is computed in 32 bits."""
        return bool(self._lib.ohm_array_is_narrow(self._handle))

    @property
    def reads(self) -> int:
        """Number of the next read; settable."""
        return int(self._lib.ohm_array_reads(self._handle))

    @reads.setter
    def reads(self, number: int) -> None:
        if not 0 <= number < READ_LIMIT:
            raise ValueError(f"A read number must be 0 to 2**64 - 1, not {number}")
        self._lib.ohm_array_set_reads(self._handle, number)

    @property
    def driven(self) -> int:
        """As :attr:`.crossbar.Crossbar.driven`."""
        return int(self._lib.ohm_array_driven(self._handle))

    def read(self, row_mask: NDArray[np.bool_], columns: int | None = None) -> NDArray[np.uint16]:
        """As :meth:`.crossbar.Crossbar.read`."""
        codes: NDArray[np.uint16] = self.read_many(np.asarray(row_mask)[None, :], columns)[0]
        return codes

    def read_many(self, masks: NDArray[np.bool_], columns: int | None = None) -> NDArray[np.uint16]:
        """As :meth:`.crossbar.Crossbar.read_many`."""
        return self.read_words(self.row_words(masks), columns)

    def read_words(
        self, words: NDArray[np.uint32], columns: int | None = None
    ) -> NDArray[np.uint16]:
        """As :meth:`read_many`, with masks in the form that :meth:`row_words` gives."""
        words = np.ascontiguousarray(words)
        if words.dtype != np.uint32 or words.ndim != 2 or words.shape[1] != self._words:
            raise ValueError(
                f"Row words must be uint32 [n, {self._words}],"
                f" not {words.dtype} {list(words.shape)}"
            )
        k = check_columns(columns, self.image.cols)
        codes = np.empty((len(words), k), dtype=np.uint16)
        check_status(
            self._lib.ohm_array_read_many(
                self._handle, len(words), words.ctypes.data, k, codes.ctypes.data
            )
        )
        return codes

    def read_digits(
        self, digits: NDArray[np.uint8], columns: int | None = None
    ) -> NDArray[np.uint16]:
        """As :meth:`.crossbar.Crossbar.read_digits`."""
        _, digits = check_digits(digits, self.image)
        digits = np.ascontiguousarray(digits)
        k = check_columns(columns, self.image.cols)
        codes = np.empty((len(digits), k), dtype=np.uint16)
        check_status(
            self._lib.ohm_array_read_digits(
                self._handle, len(digits), digits.ctypes.data, k, codes.ctypes.data
            )
        )
        return codes

    def analog(self, masks: NDArray[np.bool_], columns: int | None = None) -> Analog:
        """As :meth:`.crossbar.Crossbar.analog`."""
        words = self.row_words(masks)
        k = check_columns(columns, self.image.cols)
        out = np.empty((4, len(words), k), dtype=np.int64)
        first = self.reads
        for i, row in enumerate(words):
            self.reads = (first + i) % READ_LIMIT
            outputs = (out[j, i].ctypes.data for j in range(4))
            check_status(self._lib.ohm_array_analog(self._handle, row.ctypes.data, k, *outputs))
        self.reads = first
        return Analog(out[0], out[1], out[2], out[3])

    def row_words(self, masks: NDArray[np.bool_]) -> NDArray[np.uint32]:
        """Pack row masks bool [n, rows] into words, row 0 in bit 0 of the first."""
        masks = check_masks(masks, self.image.rows)
        packed = np.zeros((len(masks), self._words * 4), dtype=np.uint8)
        packed[:, : self.image.rows // 8] = np.packbits(masks, axis=1, bitorder="little")
        return packed.view(np.uint32)


def mvm_parameters(configs: Sequence[MvmConfig]) -> ctypes.Array[_Config]:
    """An array of ``ohm_mvm_config``."""
    return (_Config * len(configs))(
        *(
            _Config(
                *(int(getattr(c, name)) for name in _CONFIG_FIELDS),
                len(c.weights),
                c.weights,
                tuple(c.most_rows(number) for number in range(c.planes * c.slices)),
                *_code_parameters(c.code),
                list(InputEncoding).index(c.inputs.encoding),
                c.inputs.weights,
                c.inputs.thresholds,
            )
            for c in configs
        )
    )


def _code_parameters(code: AnCode | None) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """A * B; for each remainder what a quotient grows by, and the events that it means."""
    if code is None:
        return 0, (), ()
    if code.product > _MAX_CODE:
        raise ValueError(f"A code's A * B must be at most {_MAX_CODE}, not {code.product}")
    decoded = decode(code, np.arange(code.product))
    flags = (decoded.corrected << Event.CORRECTED) | (decoded.detected << Event.DETECTED)
    return code.product, tuple(decoded.values.tolist()), tuple(flags.tolist())


def core_mvm(
    crossbar: CCrossbar,
    x: NDArray[np.uint8],
    config: MvmConfig,
    words: NDArray[np.int32] | None = None,
    flips: NDArray[np.bool_] | None = None,
) -> MvmResult:
    """As :func:`.core.core_mvm`, in C."""
    check_mvm(x, config, crossbar.image.rows, crossbar.image.cols, words, flips)
    known = None if words is None else np.ascontiguousarray(words)
    flags = None if flips is None else np.ascontiguousarray(flips)
    events = np.zeros(EVENTS, dtype=np.int64)
    x = np.ascontiguousarray(x)
    batch = len(x)
    acc = np.empty((batch, config.outputs), dtype=np.int32)
    counts = np.empty((3, batch), dtype=np.uint32)
    check_status(
        crossbar.library.ohm_core_mvm(
            crossbar.handle,
            mvm_parameters([config]),
            None if flags is None else flags.ctypes.data,
            batch,
            x.ctypes.data,
            None if known is None else known.ctypes.data,
            acc.ctypes.data,
            *(counts[i].ctypes.data for i in range(3)),
            events.ctypes.data,
        )
    )
    return MvmResult(acc, counts[0], counts[1], counts[2], events)


def check_status(status: int) -> None:
    """Raise what a status of the C functions stands for."""
    if status == -2:
        raise MemoryError("No memory for a crossbar array")
    if status:
        raise ValueError(f"The crossbar library refused its arguments (status {status})")
