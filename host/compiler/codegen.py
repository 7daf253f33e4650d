# SPDX-License-Identifier: Apache-2.0
"""From a mapping and a layout to the instructions of a tile (docs/tile.md)."""

import dataclasses
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...arch.chip import RowSchedule
from ...arch.errors import CapacityError
from ...arch.isa import Reg, VecOp
from ...behavioral.program import InputLayout, OutputSegment
from ..graph import Network
from .emit_host import receive, send
from .emit_linear import LinearEmitter
from .emit_vector import VectorEmitter
from .flatten import Flat, flatten, host_input, host_order, host_outputs, place_syncs
from .gather import Gather
from .layout import Layout, Work
from .mapping import Mapping
from .memories import Memories
from .memory import Life, check_memory, plan_memory
from .neighbours import Form, Neighbours
from .peephole import optimise
from .tasks import Linear, Task, Term, Vector
from .tensors import Ints, elements, is_share, is_view
from .tree import Builder, Loop, Node, Region

__all__ = ["Code", "generate", "sent_layers"]

_WORD = 8


@dataclass(frozen=True, eq=False)
class Code:
    """A generated program.

    Parameters
    ----------
    flat : Flat
        Instructions, and what each is part of.
    memories : Memories
        Parameters and tables.
    data : uint64 [n]
        What data memory holds at the start.
    input : InputLayout
    outputs : tuple of OutputSegment
    shapes : dict
        Of the tensors in ``outputs``, of a sample.
    data_words : int
        Words of data memory in use.
    forms : dict
        The words as which tensors leave, by tensor.
    takes : tuple of (str, int)
        Inputs and how many words of each a sample takes, in order.
    """

    flat: Flat
    memories: Memories
    data: NDArray[np.uint64]
    input: InputLayout
    outputs: tuple[OutputSegment, ...]
    shapes: dict[str, tuple[int, ...]]
    data_words: int
    forms: dict[str, Form]
    takes: tuple[tuple[str, int], ...]


def sent_layers(network: Network, trace: bool) -> set[str]:
    """Layers whose codes a run returns: all with a trace, else those that make the outputs."""
    if trace:
        return {layer.name for layer in network.layers if not isinstance(layer, Gather)}
    makers = {layer.output: layer for layer in network.layers}
    found = set()
    for output in network.outputs:
        layer = makers[output]
        while is_view(layer) and layer.sources[0] in makers:
            layer = makers[layer.sources[0]]
        found.add(layer.name)
    return found


def generate(
    mapping: Mapping,
    layout: Layout,
    *,
    trace: bool,
    steps: int | None = None,
    neighbours: Neighbours | None = None,
) -> Code:
    """The program of one tile: an endless loop, a sample a pass.

    Parameters
    ----------
    mapping : Mapping
    layout : Layout
        Of the same network.
    trace : bool
        Also send every layer's sums and codes, not only the codes of the outputs.
    steps : int, optional
        Steps of a sample, for networks with states.
    neighbours : Neighbours, optional
        Of a tile in a mesh; the layout has been planned with them.

    Raises
    ------
    CapacityError
        If a memory of the tile is too small.
    """
    return _Generator(mapping, layout, trace, steps, neighbours).generate()


class _Generator:
    def __init__(
        self,
        mapping: Mapping,
        layout: Layout,
        trace: bool,
        steps: int | None,
        neighbours: Neighbours | None,
    ) -> None:
        self.mapping, self.layout = mapping, layout
        self.chip = mapping.chip
        self.network = layout.network
        self.trace, self.steps = trace, steps
        # What a sense amplifier compares is not to be had.
        self.taps = trace and not mapping.chip.sense_amplifier
        self.sent = sent_layers(layout.network, trace)
        self.memories = Memories(self.chip)
        self.builder = Builder(self.chip)
        self.neighbours = neighbours or Neighbours(0)
        self.builder.stretch -= self.neighbours.message_words
        self.forms: dict[str, Form] = {}
        self.waiting: list[Work] = []
        """Layers whose codes are still to be sent."""
        self.bases: list[int] = []
        self.filled_anew = False
        """Whether halos are written for every sample, as their memory is used for other tensors."""

    # Memory

    def lives(self, filled_anew: bool) -> list[Life]:
        """When each buffer is in use. Work k of a step happens at k + 1, what follows last."""
        layout, buffers = self.layout, self.layout.buffers
        end = len(layout.work) + 2
        first: dict[int, int] = {}
        last: dict[int, int] = {}

        def touch(addresses: Ints, at: int) -> None:
            for buffer in buffers.of(addresses):
                first.setdefault(buffer.number, at)
                last[buffer.number] = at

        for buffer in buffers.all:
            if buffer.kind == "input":
                first[buffer.number] = last[buffer.number] = 0
        for number, needed in enumerate(self.arrivals()):
            for tensor in needed:
                # It may come while the codes of the work before are still to be sent.
                for buffer in buffers.of(layout.views[tensor]):
                    first[buffer.number] = last[buffer.number] = number
        for number, work in enumerate(layout.work, start=1):
            for task in work.tasks:
                if not (isinstance(task, Linear) and task.direct):
                    touch(task.reads, number)
                touch(task.writes, number)
            if work.layer.name in self.sent:
                # It is sent before the next layer stores anything.
                touch(layout.views[work.tensor], number)
        for task in (*layout.begin, *layout.end):
            touch(task.reads, end)
            touch(task.writes, end)
        found = []
        for buffer in buffers.all:
            if buffer.kind == "host" or buffer.number not in first:
                continue
            lasts = buffer.lasting or (
                buffer.kind == "made" and buffer.has_halo and not filled_anew
            )
            life = (0, end) if lasts else (first[buffer.number], last[buffer.number])
            found.append(Life(buffer, *life))
        return found

    def plan(self) -> int:
        """Place all buffers; returns the words in use."""
        lives = self.lives(False)
        bases, words = plan_memory(lives)
        if words > self.chip.data_words and any(one.buffer.has_halo for one in lives):
            self.filled_anew = True
            # What fills reads needs a byte that is always there.
            self.zero = self.layout.buffers.new(
                "zero", "constant", 1, content=np.zeros(1, np.uint8)
            )
            lives = [*self.lives(True), Life(self.zero, 0, len(self.layout.work) + 2)]
            bases, words = plan_memory(lives)
        check_memory(words, lives, self.chip, self.network.name)
        self.bases = [bases.get(b.number, 0) for b in self.layout.buffers.all]
        self.placed = {life.buffer.number for life in lives}
        return words

    def physical(self, addresses: Ints) -> Ints:
        return self.layout.buffers.physical(addresses, self.bases)

    def regions(self, addresses: Ints) -> tuple[Region, ...]:
        return tuple(
            (self.bases[b.number], self.bases[b.number] + b.size)
            for b in self.layout.buffers.of(addresses)
        )

    def data(self) -> NDArray[np.uint64]:
        """What data memory holds at the start: constants, states, halos."""
        size = 0
        image = np.zeros(_WORD * self.chip.data_words, np.uint8)
        for buffer in self.layout.buffers.all:
            if buffer.number not in self.placed or buffer.kind in ("host", "input"):
                continue
            if buffer.content is not None:
                content = buffer.content
            elif buffer.has_halo and not self.filled_anew:
                content = np.maximum(buffer.fill, 0).astype(np.uint8)
            else:
                continue
            base = self.bases[buffer.number]
            image[base : base + buffer.size] = content
            size = max(size, base + buffer.size)
        return image[: _WORD * math.ceil(size / _WORD)].view("<u8").astype(np.uint64)

    # Work

    def vector(self, task: Vector) -> None:
        moved = dataclasses.replace(
            task,
            target=self.physical(task.target),
            terms=tuple(
                dataclasses.replace(term, source=self.physical(term.source)) for term in task.terms
            ),
        )
        VectorEmitter(
            self.builder,
            self.memories,
            moved,
            reads=self.regions(task.reads),
            writes=self.regions(task.writes),
        ).emit()

    def linear(self, task: Linear) -> None:
        moved = dataclasses.replace(
            task,
            source=self.host_elements(task) if task.direct else self.physical(task.source),
            target=self.physical(task.target),
            partials=tuple(self.physical(one) for one in task.partials),
        )
        LinearEmitter(
            self.builder,
            self.memories,
            self.mapping.layer(task.name),
            moved,
            tap=self.taps or task.layer.share,
            reads=() if task.direct else self.regions(task.reads),
            writes=self.regions(task.writes),
            source=self.root(task.layer.input) if task.direct else "",
        ).emit(self.send_waiting)

    def host_elements(self, task: Linear) -> Ints:
        """Numbers of the elements that products take from the host, among those of all inputs."""
        tensor = self.root(task.layer.input)
        form = self.neighbours.given.get(tensor)
        source = task.source if form is None else form.index[task.source]
        return source + self.first_element(tensor)

    def root(self, tensor: str) -> str:
        """The input that a tensor is a view of."""
        makers = {layer.output: layer for layer in self.network.layers}
        while tensor in makers:
            tensor = makers[tensor].sources[0]
        return tensor

    def first_element(self, tensor: str) -> int:
        """Number of an input's first element among those of all inputs that are fed."""
        before = 0
        for entry in self.network.fed:
            if entry.tensor == tensor:
                return before
            before += math.prod(entry.shape)
        raise ValueError(f"{tensor} is not fed")

    def fill_halos(self, task: Task, done: set[int]) -> None:
        """Write the halos of what a task is the first to write to."""
        for buffer in self.layout.buffers.of(task.writes):
            if not buffer.has_halo or buffer.kind != "made" or buffer.number in done:
                continue
            done.add(buffer.number)
            for code in np.unique(buffer.fill[buffer.fill >= 0]).tolist():
                where = buffer.base + np.flatnonzero(buffer.fill == code)
                still = np.full(where.size, self.zero.base)
                self.vector(Vector(task.name, where, (Term(VecOp.PUT, 0, code, still),)))

    def arrivals(self) -> list[list[str]]:
        """In a mesh, the inputs to be received before each work: what it reads, and whatever is
        produced before that. Inputs that are loaded straight into row registers come by themselves.
        """
        if not self.neighbours.message_words:
            return []
        fed = [entry.tensor for entry in self.network.fed]
        numbers = {
            buffer.number: at
            for at, tensor in enumerate(fed)
            for buffer in self.layout.buffers.of(self.layout.views[tensor])
        }
        direct = {n for n in numbers if self.layout.buffers.all[n].kind == "host"}
        if self.neighbours.eager:
            now = [tensor for tensor in fed if not self.is_direct(tensor, direct)]
            return [now, *([] for _ in self.layout.work[1:])]
        found: list[list[str]] = []
        done = 0
        for work in self.layout.work:
            read: set[int] = set()
            for task in work.tasks:
                if isinstance(task, Linear) and task.direct:
                    view = self.layout.views[self.root(task.layer.input)]
                    read |= {b.number for b in self.layout.buffers.of(view)}
                else:
                    read |= {b.number for b in self.layout.buffers.of(task.reads)}
            # An input as it lies, or its halo, takes no task, and may be sent all the same.
            read |= {b.number for b in self.layout.buffers.of(self.layout.views[work.tensor])}
            until = max((numbers[n] + 1 for n in read if n in numbers), default=0)
            wanted = [t for t in fed[done:until] if not self.is_direct(t, direct)]
            found.append(wanted)
            done = max(done, until)
        found[-1] += [t for t in fed[done:] if not self.is_direct(t, direct)]
        return found

    def is_direct(self, tensor: str, direct: set[int]) -> bool:
        buffers = self.layout.buffers.of(self.layout.views[tensor])
        return any(buffer.number in direct for buffer in buffers)

    def receive(self, tensors: Collection[str]) -> None:
        """Bring in inputs that are not loaded straight into row registers."""
        for entry in self.network.fed:
            if entry.tensor not in tensors:
                continue
            view = self.layout.views[entry.tensor]
            (buffer,) = self.layout.buffers.of(view)
            if buffer.kind == "host":
                continue
            self.builder.note = f"input {entry.name}: receive"
            words = math.ceil(buffer.size / _WORD)
            index = np.full(words * _WORD, -1, np.int64)
            offsets = (view - buffer.base).ravel()
            index[offsets] = elements((offsets.size,)) + self.first_element(entry.tensor)
            fill = np.zeros(words * _WORD, np.uint8)
            fill[: buffer.size] = np.maximum(buffer.fill, 0)
            receive(self.builder, self.bases[buffer.number], index, fill, entry.tensor)

    def send(self, work: Work) -> None:
        """Send a layer's codes: all words that hold some of them."""
        self.builder.note = f"layer {work.layer.name}: send codes"
        view = self.layout.views[work.tensor].ravel()
        forms = []
        for buffer in self.layout.buffers.of(view):
            inside = np.flatnonzero(view >> 32 == buffer.number)
            offsets = view[inside] - buffer.base
            first = int(offsets.min()) // _WORD
            words = int(offsets.max()) // _WORD + 1 - first
            if work.tensor in self.neighbours.leaving and buffer.has_halo:
                # Whoever takes it needs the halo too.
                first, words = 0, math.ceil(buffer.size / _WORD)
            index = np.full(words * _WORD, -1, np.int64)
            index[offsets - _WORD * first] = inside
            fill = np.full(words * _WORD, -1, np.int16)
            part = buffer.fill[_WORD * first : _WORD * (first + words)]
            fill[: part.size] = part
            forms.append((index, np.where(index < 0, fill, -1).astype(np.int16)))
            address = self.bases[buffer.number] + _WORD * first
            send(self.builder, address, index, work.layer.name)
        self.forms[work.tensor] = Form(*(np.concatenate(part) for part in zip(*forms, strict=True)))

    def send_waiting(self) -> None:
        """Send the codes of the layers before, while products run."""
        note = self.builder.note
        for work in self.waiting:
            self.send(work)
        self.waiting.clear()
        self.builder.note = note

    def pass_over(self) -> None:
        """One pass over a sample, or over a step of it."""
        arrivals = self.arrivals()
        if not arrivals:
            self.receive([entry.tensor for entry in self.network.fed])
        done: set[int] = set()
        for at, work in enumerate(self.layout.work):
            if arrivals and arrivals[at]:
                self.receive(arrivals[at])
            for number, task in enumerate(work.tasks):
                single = isinstance(task, Linear) and len(task.source_steps) == 1
                if number or not single:
                    self.send_waiting()
                self.builder.note = f"layer {work.layer.name}"
                if self.filled_anew:
                    self.fill_halos(task, done)
                if isinstance(task, Linear):
                    self.linear(task)
                else:
                    self.vector(task)
            if work.layer.name in self.sent:
                self.send_waiting()
                if not is_share(work.layer):
                    self.waiting.append(work)
        self.send_waiting()
        for task in self.layout.end:
            self.builder.note = f"state {task.name}: next step"
            self.vector(task)

    # All of it

    def generate(self) -> Code:
        chip, builder = self.chip, self.builder
        words = self.plan()
        builder.note = "set up"
        zero_skip = chip.row_schedule is RowSchedule.ZERO_SKIP
        builder.set(Reg.SCHEDULE, int(zero_skip))
        for value in chip.budget_values:
            builder.set(Reg.ROWS_PER_READ, value)
        builder.set(Reg.PLANES, chip.used_passes)
        with builder.loop(0):
            for task in self.layout.begin:
                builder.note = f"state {task.name}: begin"
                self.vector(task)
            if self.steps is None:
                self.pass_over()
            else:
                with builder.loop(self.steps, steps=True):
                    self.pass_over()
        root = optimise(builder.root)
        sample = root[-1]
        if not isinstance(sample, Loop):
            raise TypeError("A program ends in its endless loop")
        sample.note = "every sample"
        sample.body = place_syncs(sample.body, chip, self.neighbours.message_words)
        flat = flatten(root)
        outputs, shapes = self.outputs(sample.body)
        for work in self.layout.work:
            if is_share(work.layer):
                parts = [s.index for s in outputs if s.tensor == work.layer.name]
                index = np.concatenate(parts)
                self.forms[work.tensor] = Form(index, np.full(index.size, -1, np.int16))
        if len(flat.instructions) > chip.program_words:
            raise CapacityError(
                f"The program of network '{self.network.name}' takes {len(flat.instructions)} "
                f"instructions, chip '{chip.name}' holds {chip.program_words}; raise program_words"
            )
        return Code(
            flat,
            self.memories,
            self.data(),
            self.input_layout(sample.body),
            outputs,
            shapes,
            words,
            self.forms,
            host_order(sample.body),
        )

    def input_layout(self, body: Sequence[Node]) -> InputLayout:
        sizes = [math.prod(entry.shape) for entry in self.network.fed]
        order, fill = host_input(body, self.steps, sizes)
        return InputLayout(order, fill)

    def outputs(
        self, body: Sequence[Node]
    ) -> tuple[tuple[OutputSegment, ...], dict[str, tuple[int, ...]]]:
        shapes = dict(self.shapes())
        sizes = {name: math.prod(shape) for name, shape in shapes.items()}
        unit = self.chip.cell_code.sum_unit
        segments = tuple(
            dataclasses.replace(s, unit=unit) if s.dtype == "int32" else s
            for s in host_outputs(body, sizes)
        )
        lead = () if self.steps is None else (self.steps,)
        return segments, {name: (*lead, *shape) for name, shape in shapes.items()}

    def shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Tensors that are sent and their shapes, of a step."""
        for work in self.layout.work:
            shape = self.network.shape(work.tensor)
            linear = any(isinstance(task, Linear) for task in work.tasks)
            if self.taps and linear and not is_share(work.layer):
                yield f"{work.layer.name}.acc", shape
            if work.layer.name in self.sent:
                yield work.layer.name, shape
