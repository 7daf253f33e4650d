# SPDX-License-Identifier: Apache-2.0
"""ohmtwin: a digital twin of crossbar compute-in-memory accelerators.

    import ohmtwin as ot

    net = ot.compile("model.onnx", chip="auto", device=ot.devices.rram(), seed=1)
    with ot.connect("verilator", net) as chip:
        tensors = chip.run(net.network.quantize_input(x))
        print(chip.counters)
    print(ot.verify(net, x, levels=("golden", "fast", "verilator")))

Names are loaded when they are first used, so that ``import ohmtwin`` costs nothing.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .arch.chip import Chip, RowSchedule, chip_names, load_chip
    from .arch.errors import InputError, ToolError
    from .behavioral import devices
    from .host.compiler.network import CompiledNetwork
    from .host.compiler.network import compile_network as compile
    from .host.dataset import Dataset, load_dataset
    from .host.graph import Network
    from .host.importer.network import load_network
    from .host.report import Report
    from .host.targets import Target, connect
    from .host.verify import verify

    __version__: str

__all__ = [
    "Chip",
    "CompiledNetwork",
    "Dataset",
    "InputError",
    "Network",
    "Report",
    "RowSchedule",
    "Target",
    "ToolError",
    "__version__",
    "chip_names",
    "compile",
    "connect",
    "devices",
    "load_chip",
    "load_dataset",
    "load_network",
    "verify",
]

_HOME = {
    "Chip": ".arch.chip",
    "CompiledNetwork": ".host.compiler.network",
    "Dataset": ".host.dataset",
    "InputError": ".arch.errors",
    "Network": ".host.graph",
    "Report": ".host.report",
    "RowSchedule": ".arch.chip",
    "Target": ".host.targets",
    "ToolError": ".arch.errors",
    "chip_names": ".arch.chip",
    "connect": ".host.targets",
    "load_chip": ".arch.chip",
    "load_dataset": ".host.dataset",
    "load_network": ".host.importer.network",
    "verify": ".host.verify",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = version("ohmtwin")
    elif name == "compile":
        value = import_module(".host.compiler.network", __name__).compile_network
    elif name == "devices":
        value = import_module(".behavioral.devices", __name__)
    elif name in _HOME:
        value = getattr(import_module(_HOME[name], __name__), name)
    else:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
