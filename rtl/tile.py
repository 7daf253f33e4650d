# SPDX-License-Identifier: Apache-2.0
"""A tile: cores, controller, vector unit, memories and the bridge to the host."""

from collections.abc import Callable

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arch.chip import Chip
from ..arch.messages import CORE_FLAGS
from ..arch.registers import (
    CORE_BASE,
    CORE_STRIDE,
    EVENT_BASE,
    EVENT_STRIDE,
    ID_MAGIC,
    ID_VERSION,
    TileRegister,
)
from .bridge import Bridge
from .checks import check_chip
from .controller import COUNTERS, Controller
from .core import Core
from .elements import VectorElements
from .fifo import WordFifo
from .loader import Loader
from .macro import CrossbarMacro
from .rotation import product_members
from .vector_unit import VectorUnit
from .writer import WRITE_COUNTERS, RowWriter

__all__ = ["MacroFactory", "Tile", "network_members"]

_FLAG_BITS = (CORE_FLAGS - 1).bit_length()

MacroFactory = Callable[[int], wiring.Component]
"""The macro of a core, by its number: ports as :class:`~.macro.MacroSignature`."""


def network_members(chip: Chip) -> dict[str, Out]:
    """What a network interface needs to know of its tile."""
    return {
        "in_free": Out(range(chip.fifo_words + 1), init=chip.fifo_words),
        **{name: Out(1) for name in ("start", "stop", "clear")},
        **{name: Out(1) for name in ("running", "waiting", "fault", "link_fault")},
    }


def _share(m: Module, writer: RowWriter, number: int, core: Core, macro: wiring.Component) -> None:
    """A macro is its core's, but while the writer works on it. Beats go to whom has asked."""
    mine = Signal(name=f"writes{number}")
    m.d.comb += [
        mine.eq(writer.active & (writer.core == number)),
        macro.cmd.payload.eq(core.cmd.payload),
        macro.cmd.valid.eq(core.cmd.valid),
        core.cmd.ready.eq(macro.cmd.ready),
        core.codes.payload.eq(macro.codes.payload),
        core.codes.valid.eq(macro.codes.valid),
        macro.codes.ready.eq(core.codes.ready),
        macro.write.payload.eq(writer.write.payload),
    ]
    with m.If(mine):
        m.d.comb += [
            macro.cmd.payload.eq(writer.cmd.payload),
            macro.cmd.valid.eq(writer.cmd.valid),
            core.cmd.ready.eq(0),
            writer.cmd.ready.eq(macro.cmd.ready),
            writer.codes.payload.eq(macro.codes.payload),
            macro.write.valid.eq(writer.write.valid),
            writer.write.ready.eq(macro.write.ready),
            writer.response.valid.eq(macro.response.valid),
            writer.response.payload.eq(macro.response.payload),
            macro.response.ready.eq(writer.response.ready),
        ]
    with m.If(mine & writer.converting):
        m.d.comb += [
            core.codes.valid.eq(0),
            writer.codes.valid.eq(macro.codes.valid),
            macro.codes.ready.eq(writer.codes.ready),
        ]


class Tile(wiring.Component):
    """One tile behind a word stream, as ``docs/tile.md`` describes it.

    Parameters
    ----------
    chip : Chip
        Registers that are set at run time (rows a read, row schedule) shape nothing here.
    macros : callable of core number to Component, optional
        What stands behind the seam of each core; by default the Verilog module ``crossbar_macro``
        with the core's number as ID.
    network : bool
        Whether it is to stand behind a network interface: it has the members that one needs, and
        a READ_REG does not hold up INPUT.

    Members
    -------
    i, o : In(stream of 64), Out(stream of 64)
        Messages from and to the host (``arch/messages.py``).
    in_free : Out(range(fifo_words + 1))
        With ``network``: words that the input FIFO has room for.
    start, stop, clear : Out(1)
        With ``network``: strobes; the program starts, stops, counters are cleared.
    running, waiting, fault, link_fault : Out(1)
        With ``network``: bits of STATUS.

    Raises
    ------
    TypeError
        If ``chip`` is no Chip.
    """

    def __init__(
        self, *, chip: Chip, macros: MacroFactory | None = None, network: bool = False
    ) -> None:
        self._chip = check_chip(chip)
        self._network = network
        self._macros = macros or (lambda core: CrossbarMacro(chip=chip, id=core))
        members = {"i": In(stream.Signature(64)), "o": Out(stream.Signature(64))}
        super().__init__({**members, **(network_members(chip) if network else {})})

    @property
    def chip(self) -> Chip:
        return self._chip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        chip = self._chip
        m.submodules.bridge = bridge = Bridge(chip=chip, network=self._network)
        m.submodules.controller = controller = Controller(chip=chip)
        m.submodules.vector_unit = vector = VectorUnit(chip=chip)
        m.submodules.elements = elements = VectorElements(chip=chip)
        m.submodules.loader = loader = Loader(chip=chip)
        m.submodules.data = data_memory = memory.Memory(shape=64, depth=chip.data_words, init=[])
        m.submodules.input = inputs = WordFifo(depth=chip.fifo_words)
        m.submodules.output = outputs = WordFifo(depth=chip.fifo_words)
        wiring.connect(m, wiring.flipped(self.i), bridge.i)
        wiring.connect(m, wiring.flipped(self.o), bridge.o)

        writer = None
        if chip.program_verify:
            m.submodules.writer = writer = RowWriter(chip=chip)
            self._connect_writer(m, writer, bridge, controller)
        sum_first = loader.sum_first
        if chip.array_bits:
            # KEEP stands still from before a LOAD until its words are in the cores.
            sum_first = loader.sum_first & ~controller.keep
        cores = []
        for number in range(chip.cores):
            core, macro = Core(chip=chip), self._macros(number)
            m.submodules[f"core{number}"] = core
            # A copy that may lie near the core. An instruction that changes the register is two
            # cycles before the one that starts a product.
            skips = Signal(name=f"zero_skip{number}")
            with m.If(~core.start):
                m.d.sync += skips.eq(controller.zero_skip)
            m.submodules[f"macro{number}"] = macro
            if writer is None:
                wiring.connect(m, core.cmd, macro.cmd)
                wiring.connect(m, macro.codes, core.codes)
            else:
                _share(m, writer, number, core, macro)
            m.d.comb += [
                core.start.eq(controller.start[number]),
                core.used.eq(controller.used),
                core.beats.eq(controller.beats),
                core.zero_skip.eq(skips),
                *(
                    getattr(core, name).eq(getattr(controller, name))
                    for name in product_members(chip, In)
                ),
                core.planes.eq(controller.planes),
                controller.busy[number].eq(core.busy),
                core.stop.eq(bridge.stop),
                core.clear.eq(bridge.clear),
                core.counter_select.eq(bridge.read_addr),
                core.even.valid.eq(loader.even.valid[number]),
                core.even.word.eq(loader.even.word),
                core.even.planes.eq(loader.even.planes),
                core.odd.valid.eq(loader.odd.valid[number]),
                core.odd.word.eq(loader.odd.word),
                core.odd.planes.eq(loader.odd.planes),
                core.sum_valid.eq(loader.sum_valid[number]),
                core.sum_first.eq(sum_first),
                core.load_sum.eq(loader.load_sum),
                core.drain_select.eq(vector.drain_select[number]),
                core.drain_sum.eq(vector.drain_sum),
                core.drain_addr.eq(vector.drain_addr),
                vector.drain_data[number].eq(core.drain_data),
            ]
            if chip.events:
                m.d.comb += core.event_select.eq(bridge.read_addr[EVENT_BASE.bit_length() - 1])
            if chip.code_a:
                m.d.comb += [
                    core.write_correction.eq(bridge.write_corrections),
                    core.correction_addr.eq(bridge.addr),
                    core.correction.eq(bridge.word),
                ]
            if chip.flag_words:
                mine = bridge.addr[_FLAG_BITS:] == number
                held = bridge.addr[:_FLAG_BITS] < chip.flag_words
                m.d.comb += [
                    core.write_flags.eq(bridge.write_flags & mine & held),
                    core.flags_addr.eq(bridge.addr[:_FLAG_BITS]),
                    core.flags.eq(bridge.word),
                ]
            cores.append(core)

        m.d.comb += [
            controller.run.eq(bridge.run),
            controller.stop.eq(bridge.stop),
            controller.calm.eq(bridge.calm),
            controller.clear.eq(bridge.clear),
            controller.write_program.eq(bridge.write_program),
            controller.write_addr.eq(bridge.addr),
            controller.write_data.eq(bridge.word),
            controller.in_level.eq(inputs.level),
            controller.out_free.eq(outputs.free),
            vector.issue.eq(controller.issue),
            vector.issue_sum.eq(controller.issue_sum),
            vector.command.eq(controller.command),
            vector.stop.eq(bridge.stop),
            vector.write_params.eq(bridge.write_params),
            vector.write_table.eq(bridge.write_table),
            vector.write_addr.eq(bridge.addr),
            vector.write_data.eq(bridge.word),
            elements.valid.eq(loader.elements_valid),
            elements.i.eq(loader.elements),
            elements.scale.eq(controller.scale),
            elements.offset.eq(controller.offset),
            elements.stop.eq(bridge.stop),
            elements.drain.eq(vector.elements_select),
            elements.drain_addr.eq(vector.drain_addr),
            vector.elements_data.eq(elements.drain_data),
            bridge.running.eq(controller.running),
        ]
        self._move(m, bridge, controller, vector, loader, data_memory, inputs, outputs)
        self._read_registers(m, bridge, controller, cores, writer)
        if self._network:
            m.d.comb += [
                self.in_free.eq(inputs.free),
                self.start.eq(bridge.run & (~controller.running | bridge.stop)),
                self.stop.eq(bridge.stop),
                self.clear.eq(bridge.clear),
                self.running.eq(controller.running),
                self.waiting.eq(controller.waiting),
                self.fault.eq(controller.fault),
                self.link_fault.eq(bridge.link_fault),
            ]
        return m

    def _move(
        self,
        m: Module,
        bridge: Bridge,
        controller: Controller,
        vector: VectorUnit,
        loader: Loader,
        data_memory: memory.Memory,
        inputs: WordFifo,
        outputs: WordFifo,
    ) -> None:
        """Data memory and FIFOs: a word asked for in one cycle goes its way in the next."""
        read = data_memory.read_port()
        write = data_memory.write_port(granularity=8)
        receive = Signal()
        send = Signal()
        address = Signal.like(controller.read_addr)
        m.d.sync += [
            receive.eq(controller.receive),
            send.eq(controller.send),
        ]
        with m.If(controller.receive):
            m.d.sync += address.eq(controller.read_addr)

        m.d.comb += [
            read.en.eq(controller.read_data),
            read.addr.eq(controller.read_addr),
            inputs.push.eq(bridge.push),
            inputs.push_data.eq(bridge.word),
            inputs.pop.eq(controller.pop),
            inputs.clear.eq(bridge.stop),
            bridge.in_level.eq(inputs.level),
            outputs.push.eq(send | vector.tap),
            outputs.pop.eq(bridge.pop),
            outputs.clear.eq(bridge.stop),
            outputs.keep.eq(bridge.keep),
            bridge.pushed.eq(outputs.push),
            bridge.out_level.eq(outputs.level),
            bridge.out_word.eq(outputs.data),
            loader.step.eq(controller.load),
            loader.begin.eq(controller.begin),
            loader.row.eq(controller.row),
            loader.from_host.eq(controller.pop),
            loader.offset.eq(controller.byte),
            loader.count.eq(controller.count),
            loader.vector.eq(controller.vector),
            loader.op.eq(controller.vector_op),
            loader.cores.eq(controller.cores),
            loader.stop.eq(bridge.stop),
            *([loader.zero.eq(controller.zero)] if self._chip.input_code.has_zero else ()),
            loader.data_word.eq(read.data),
            loader.host_word.eq(inputs.data),
        ]
        # Instructions that use them wait for the vector unit, so that no two want them at once.
        with m.If(send):
            m.d.comb += outputs.push_data.eq(read.data)
        with m.Else():
            m.d.comb += outputs.push_data.eq(vector.tap_data)
        with m.If(vector.store != 0):
            m.d.comb += [
                write.en.eq(vector.store),
                write.addr.eq(vector.store_addr),
                write.data.eq(vector.store_data),
            ]
        with m.Elif(receive):
            m.d.comb += [write.en.eq(~0), write.addr.eq(address), write.data.eq(inputs.data)]
        with m.Else():
            m.d.comb += [
                write.en.eq(bridge.write_data.replicate(len(write.en))),
                write.addr.eq(bridge.addr),
                write.data.eq(bridge.word),
            ]

    @staticmethod
    def _connect_writer(
        m: Module, writer: RowWriter, bridge: Bridge, controller: Controller
    ) -> None:
        wiring.connect(m, writer.report, bridge.report)
        m.d.comb += [
            writer.begin.eq(bridge.row_begin),
            writer.address.eq(bridge.word[32:]),
            writer.length.eq(bridge.word[16:32]),
            writer.valid.eq(bridge.row_valid),
            writer.word.eq(bridge.word),
            writer.last.eq(bridge.row_last),
            writer.clear.eq(bridge.clear),
            bridge.row_busy.eq(writer.busy),
            bridge.row_fault.eq(writer.fault),
            bridge.waiting.eq(controller.waiting),
            controller.hold.eq(writer.busy),
        ]

    def _read_registers(
        self,
        m: Module,
        bridge: Bridge,
        controller: Controller,
        cores: list[Core],
        writer: RowWriter | None,
    ) -> None:
        """The register map; what is not in it reads as zero."""
        status = Cat(controller.running, controller.waiting, controller.fault, bridge.link_fault)
        registers = {
            TileRegister.ID: Const(ID_MAGIC << 32 | ID_VERSION, 64),
            TileRegister.CHIP_HASH: Const(self._chip.structure_hash, 64),
            TileRegister.STATUS: status,
            TileRegister.PC: controller.pc,
            **{
                TileRegister.CYCLES + k: getattr(controller, name)
                for k, name in enumerate(COUNTERS)
            },
        }
        if writer is not None:
            for k, name in enumerate(WRITE_COUNTERS):
                registers[TileRegister.WRITE_PULSES + k] = getattr(writer, name)
        with m.If(bridge.capture), m.Switch(bridge.read_addr):
            for address, value in registers.items():
                with m.Case(int(address)):
                    m.d.sync += bridge.read_value.eq(value)
            for number, core in enumerate(cores):
                first = CORE_BASE + CORE_STRIDE * number
                for address in range(first, first + CORE_STRIDE):
                    with m.Case(address):
                        m.d.sync += bridge.read_value.eq(core.counter)
                if self._chip.events:
                    first = EVENT_BASE + EVENT_STRIDE * number
                    with m.Case(*range(first, first + EVENT_STRIDE)):
                        m.d.sync += bridge.read_value.eq(core.counter)
            with m.Default():
                m.d.sync += bridge.read_value.eq(0)
