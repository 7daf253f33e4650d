# SPDX-License-Identifier: Apache-2.0
"""Where every tensor of a network lies, and what work that leaves.

Images lie channels last, so that a row of a kernel's window is one run of bytes; if their readers
pad them, they lie in a halo of the padding's code. Views cost nothing: they rename addresses. The
sources of a Concat are made side by side where they can be. Whoever cannot read what it finds gets
a copy.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ...arch.isa import VecOp
from ..graph import (
    AveragePool,
    Combine,
    Concat,
    Constant,
    Conv,
    Dense,
    MaxPool,
    Multiply,
    Network,
    Operator,
    Pad,
    Shape,
    Sum,
)
from .neighbours import Neighbours, comes_in_time
from .sums import adder_of, partial_sums, plain_sums
from .tasks import Layout, Linear, Task, Term, Vector, Work
from .tensors import (
    Buffer,
    Image,
    Ints,
    Kind,
    Pads,
    alike,
    apply_view,
    channels_last,
    elements,
    is_view,
    padded,
    steady,
)
from .vectors import average_tasks, combine_task, max_task, multiply_task, sum_task
from .wishes import Halo, Wish, halo_of, joins, readers, wishes

__all__ = ["Layout", "Work", "plan_layout"]


def plan_layout(
    network: Network,
    stored: Mapping[str, Ints] | None = None,
    neighbours: Neighbours | None = None,
) -> Layout:
    """Decide where tensors lie.

    Parameters
    ----------
    network : Network
        Without Softmax (:func:`~ohmtwin.host.graph.lower_softmax`).
    stored : mapping of str to int64 [n], optional
        For some layers of the kind Dense, the output that each byte they store holds, -1 for none.
    neighbours : Neighbours, optional
        Of a tile in a mesh.
    """
    return _Planner(network, stored or {}, neighbours).plan()


class _Planner:
    def __init__(
        self, network: Network, stored: Mapping[str, Ints], neighbours: Neighbours | None
    ) -> None:
        self.network = network
        self.stored = stored
        self.neighbours = neighbours or Neighbours(0)
        self.layout = Layout(network)
        self.buffers = self.layout.buffers
        self.views = self.layout.views
        self.tasks: list[Task] = []
        self.copies: dict[tuple[str, Pads, int], Ints] = {}
        self.joint: dict[str, Ints] = {}
        """Tensors that are made as a part of a Concat's output."""

    def plan(self) -> Layout:
        states = {state.input: state for state in self.network.states}
        for entry in self.network.inputs:
            if entry.tensor in states:
                made = self.place(entry.tensor, "state")
                initial = states[entry.tensor].initial
                content = np.where(made.fill < 0, initial, made.fill).astype(np.uint8)
                made.content = content
            elif (adder := adder_of(self.network, entry.tensor)) is not None:
                self.take_sums(entry.tensor, adder)
            elif self.goes_direct(entry.tensor):
                made = self.buffers.new(entry.tensor, "host", int(np.prod(entry.shape)))
                self.views[entry.tensor] = made.base + self.arriving(entry.tensor)
            elif entry.tensor in self.neighbours.given:
                self.take(entry.tensor)
            else:
                self.place(entry.tensor, "input")
        for layer in self.network.layers:
            if is_view(layer):
                self.views[layer.output] = apply_view(layer, self.views[layer.sources[0]])
            elif isinstance(layer, Constant):
                self.constant(layer)
            else:
                self.tasks = []
                self.lower(layer)
                self.layout.work.append(Work(layer, tuple(self.tasks)))
        self.keep_states()
        return self.layout

    def keep_states(self) -> None:
        """Set states at the beginning of a sequence, and carry them from step to step."""
        late: list[Vector] = []
        for state in self.network.states:
            kept = self.views[state.input].ravel()
            still = np.full(kept.size, kept[0])
            put = Term(VecOp.PUT, 0, state.initial, still)
            self.layout.begin.append(Vector(state.input, kept, (put,)))
            made = self.views[state.output].ravel()
            if any(buffer.kind == "state" for buffer in self.buffers.of(made)):
                # Another state may be overwritten before it is read.
                spare = self.buffers.new(f"{state.output} (next)", "made", made.size)
                moved = spare.base + elements((made.size,))
                self.layout.end.append(
                    Vector(state.input, moved, (Term(VecOp.PUT, 1, 0, made),), table=state.table)
                )
                late.append(Vector(state.input, kept, (Term(VecOp.PUT, 1, 0, moved),)))
            else:
                self.layout.end.append(
                    Vector(state.input, kept, (Term(VecOp.PUT, 1, 0, made),), table=state.table)
                )
        self.layout.end += late

    # Where tensors go

    def goes_direct(self, tensor: str) -> bool:
        """Whether one Dense reads all of an input at once, so that no byte of it is stored."""
        network = self.network
        users = readers(network, tensor)
        seen = elements(network.shape(tensor))
        while len(users) == 1 and is_view(users[0]) and users[0].output not in network.outputs:
            seen = apply_view(users[0], seen)
            users = readers(network, users[0].output)
        return (
            len(users) == 1
            and isinstance(users[0], Dense)
            and not users[0].partials
            and seen.size == users[0].inputs
            and len(np.unique(seen)) == np.prod(network.shape(tensor))
            and tensor not in network.outputs
            and comes_in_time(network, self.neighbours, tensor)
        )

    def arriving(self, tensor: str) -> Ints:
        """Where in an input's words its elements are, of the shape of the tensor."""
        shape = self.network.shape(tensor)
        form = self.neighbours.given.get(tensor)
        return elements(shape) if form is None else form.positions.reshape(shape)

    def take(self, tensor: str) -> None:
        """Room for a tensor that other tiles make, as its words come."""
        form = self.neighbours.given[tensor]
        made = self.place(tensor, "input")
        view = self.views[tensor]
        index = np.full(8 * math.ceil(made.size / 8), -1, np.int64)
        index[(view - made.base).ravel()] = elements((view.size,))
        halo = np.flatnonzero(made.fill >= 0)
        if np.array_equal(index, form.index) and (form.fill[halo] == made.fill[halo]).all():
            return
        # They lie in another way than this tile would like: whoever minds makes a copy.
        made.fill = np.full(form.index.size, -1, np.int16)
        made.pitch = made.pixel = 0
        self.views[tensor] = made.base + form.positions.reshape(view.shape)

    def take_sums(self, tensor: str, layer: Dense | Conv) -> None:
        """Room for the sums of a share."""
        shape = self.network.shape(tensor)
        offsets, size = plain_sums(layer, shape)
        form = self.neighbours.given.get(tensor)
        if form is not None:
            offsets, size = form.positions.reshape(shape), form.index.size
        made = self.buffers.new(tensor, "input", size)
        self.views[tensor] = made.base + offsets

    def place(self, tensor: str, kind: Kind, follow: Ints | None = None) -> Buffer:
        """Make a buffer for a tensor, as its readers like it; ``follow`` is a tensor like it."""
        shape = self.network.shape(tensor)
        wanted = self.image_of(tensor, shape)
        if wanted is None and follow is None and len(shape) == 3:
            wanted = channels_last(shape), elements(shape)
        if wanted is None:
            order = elements(shape)
            if follow is not None:
                order = np.argsort(np.argsort(follow.ravel())).reshape(shape)
            made = self.buffers.new(tensor, kind, order.size)
            self.views[tensor] = made.base + order
            return made
        image, ids = wanted
        made = self.buffers.new(tensor, kind, image.fill, image.pitch, image.pixel)
        offsets = np.empty(ids.size, np.int64)
        offsets[ids.ravel()] = image.offsets.ravel()
        self.views[tensor] = made.base + offsets.reshape(shape)
        return made

    def image_of(self, tensor: str, shape: Shape) -> tuple[Image, Ints] | None:
        found = self.wishes(tensor)
        for strong in (True, False):
            for wish in found:
                whole = wish.ids.size == np.prod(shape) == len(np.unique(wish.ids))
                if wish.strong == strong and whole and wish.ids.ndim == 3:
                    return _haloed(wish.ids.shape, halo_of(found, wish.ids)), wish.ids
        return None

    def wishes(self, tensor: str) -> list[Wish]:
        """What readers of a tensor want, on this tile and on others."""
        wanted = self.neighbours.wanted.get(tensor)
        return wishes(self.network, tensor) if wanted is None else list(wanted)

    def target(self, layer: Operator, follow: Ints | None = None) -> Ints:
        """Room for the output of a layer."""
        tensor = layer.output
        self.find_join(layer)
        if tensor in self.joint:
            self.views[tensor] = self.joint[tensor]
        else:
            self.place(tensor, "made", follow)
        return self.views[tensor]

    def find_join(self, layer: Operator) -> None:
        """If a Concat reads this layer, let its sources be made in its own output."""
        if layer.output in self.joint or isinstance(layer, Concat | Pad | Sum | Dense):
            return
        if layer.output in self.neighbours.leaving:
            return
        for reader in readers(self.network, layer.output):
            if joins(self.network, reader):
                self.join(reader)
                return

    def join(self, concat: Operator) -> None:
        """Make the output of a Concat, and name what part of it each source takes."""
        if concat.output in self.views or not isinstance(concat, Concat):
            return
        shape = self.network.shape(concat.output)
        ids = elements(shape)
        found = self.wishes(concat.output)
        for source in concat.sources:
            found += [
                replace(w, ids=ids)
                for w in wishes(self.network, source)
                if np.array_equal(w.ids, elements(self.network.shape(source)))
            ]
        image = _haloed(shape, halo_of(found, ids))
        made = self.buffers.new(concat.output, "made", image.fill, image.pitch, image.pixel)
        self.views[concat.output] = made.base + image.offsets
        begin = 0
        for source, table in zip(concat.sources, concat.tables, strict=True):
            end = begin + self.network.shape(source)[0]
            apart = source in self.views or source in self.neighbours.leaving
            if table is None and not apart and concat.sources.count(source) == 1:
                self.joint.setdefault(source, self.views[concat.output][begin:end])
            begin = end

    def constant(self, layer: Constant) -> None:
        made = self.place(layer.output, "constant")
        content = np.maximum(made.fill, 0).astype(np.uint8)
        content[(self.views[layer.output] - made.base).ravel()] = layer.codes.ravel()
        made.content = content

    # Reading

    def copy(self, source: Ints, target: Ints, name: str) -> None:
        term = Term(VecOp.PUT, 1, 0, source.ravel())
        self.tasks.append(Vector(name, target.ravel(), (term,)))

    def image(self, tensor: str, pads: Pads, code: int, name: str) -> Ints:
        """The view of an image with its halo, of a copy if need be."""
        view = self.views[tensor]
        found = padded(view, pads, code, self.buffers)
        if found is not None and steady(found):
            return found
        key = (tensor, pads, code)
        if key not in self.copies:
            image = channels_last(view.shape, pads, code)
            made = self.buffers.new(
                f"{tensor} (copy)", "made", image.fill, image.pitch, image.pixel
            )
            self.copies[key] = made.base + image.extended
            self.copy(view, made.base + image.offsets, name)
        return self.copies[key]

    # Layers

    def lower(self, layer: Operator) -> None:
        """Append the tasks of a layer."""
        if isinstance(layer, Conv):
            self.conv(layer)
        elif isinstance(layer, Dense):
            self.dense(layer)
        elif isinstance(layer, Concat):
            self.concat(layer)
        elif isinstance(layer, Pad):
            self.pad(layer)
        elif isinstance(layer, MaxPool):
            source = self.image(layer.input, layer.pads, 0, layer.name)
            self.tasks.append(max_task(layer, source, self.target(layer)))
        elif isinstance(layer, AveragePool):
            source = self.image(layer.input, layer.pads, layer.input_zero_point, layer.name)
            shape = self.network.shape(layer.input)
            self.tasks += average_tasks(layer, source, self.target(layer), shape)
        elif isinstance(layer, Sum):
            sources = [self.views[s] for s in layer.sources]
            self.tasks.append(sum_task(layer, sources, self.target(layer)))
        elif isinstance(layer, Combine | Multiply):
            self.elementwise(layer)
        else:
            raise TypeError(f"Layer {layer.name!r} is of a kind that the compiler does not know")

    def elementwise(self, layer: Combine | Multiply) -> None:
        shape = self.network.shape(layer.output)
        follow = next(
            (self.views[s] for s in layer.sources if self.network.shape(s) == shape), None
        )
        sources = [np.broadcast_to(self.views[s], shape) for s in layer.sources]
        target = self.target(layer, follow)
        if isinstance(layer, Combine):
            self.tasks.append(combine_task(layer, sources, target))
        else:
            self.tasks.append(multiply_task(layer, sources, target))

    def conv(self, layer: Conv) -> None:
        source = self.image(layer.input, layer.pads, layer.pad_code, layer.name)
        _, rows, cols = self.network.shape(layer.output)[:3]
        reach = source[
            :,
            : layer.kernel[0] * layer.dilations[0] : layer.dilations[0],
            : layer.kernel[1] * layer.dilations[1] : layer.dilations[1],
        ]
        starts = source[
            0,
            : rows * layer.strides[0] : layer.strides[0],
            : cols * layer.strides[1] : layer.strides[1],
        ]
        if layer.share:
            self.share(layer, reach.ravel(), (starts - source[0, 0, 0]).ravel())
            return
        target = self.target(layer)
        flat = target.reshape(layer.outputs, -1)
        plain = channels_last(target.shape).offsets
        ordered = layer.groups > 1 or bool(layer.partials)
        stored = self.storable(target, plain, flat, ordered=ordered)
        outputs = stored.reshape(layer.outputs, -1)
        self.tasks.append(
            Linear(
                layer,
                source=reach.ravel(),
                source_steps=(starts - source[0, 0, 0]).ravel(),
                target=outputs[:, 0],
                target_steps=outputs[0] - outputs[0, 0],
                partials=partial_sums(layer, self.views),
            )
        )
        if stored is not target:
            self.copy(stored, target, layer.name)

    def share(self, layer: Dense | Conv, source: Ints, steps: Ints, direct: bool = False) -> None:
        """Products whose sums leave the tile; the codes that they store nobody reads."""
        made = self.buffers.new(f"{layer.output} (codes)", "made", layer.outputs)
        self.views[layer.output] = np.full(self.network.shape(layer.output), made.base)
        target = made.base + elements((layer.outputs,))
        self.tasks.append(Linear(layer, source, steps, target, np.zeros_like(steps), direct))

    def dense(self, layer: Dense) -> None:
        source = self.views[layer.input].reshape(-1, layer.inputs)
        direct = self.buffers.of(source)[0].kind == "host"
        if direct:
            source = source - self.buffers.of(source)[0].base
        elif not alike(source):
            made = self.buffers.new(f"{layer.input} (copy)", "made", source.size)
            self.copy(source, made.base + elements(source.shape), layer.name)
            source = made.base + elements(source.shape)
        if layer.share:
            self.share(layer, source[0], source[:, 0] - source[0, 0], direct)
            return
        target = self.target(layer)
        if layer.name in self.stored:
            made = self.buffers.of(target)[0]
            order = self.stored[layer.name]
            made.fill = np.full(len(order), -1, np.int16)
            made.pitch = made.pixel = 0
            at = np.empty(layer.outputs, np.int64)
            at[order[order >= 0]] = np.flatnonzero(order >= 0)
            target = self.views[layer.output] = (made.base + at).reshape(target.shape)
        stored = target
        if layer.name not in self.stored:
            flat = target.reshape(-1, layer.outputs).T
            plain = elements(target.shape)
            stored = self.storable(target, plain, flat, ordered=bool(layer.partials))
        outputs = stored.reshape(-1, layer.outputs)
        self.tasks.append(
            Linear(
                layer,
                source=source[0],
                source_steps=source[:, 0] - source[0, 0],
                target=outputs[0],
                target_steps=outputs[:, 0] - outputs[0, 0],
                direct=direct,
                partials=partial_sums(layer, self.views),
            )
        )
        if stored is not target:
            self.copy(stored, target, layer.name)

    def storable(self, target: Ints, plain: Ints, outputs: Ints, *, ordered: bool = False) -> Ints:
        """``target`` if products can store there, else room from where it is to be copied.

        Parameters
        ----------
        target : int64
            Where the output of a layer is wanted.
        plain : int64
            Offsets of its elements in room of its own that products can store to.
        outputs : int64 [outputs, positions]
            The addresses of ``target``.
        ordered : bool
            Whether outputs have to lie in order.
        """
        first = outputs[:, 0] if ordered else np.sort(outputs[:, 0])
        if alike(outputs.T) and (np.diff(first) == 1).all():
            return target
        made = self.buffers.new(f"{self.buffers.of(target)[0].name} (plain)", "made", target.size)
        return made.base + plain

    def concat(self, layer: Concat) -> None:
        if joins(self.network, layer):
            self.join(layer)
            self.fill_parts(layer, self.views[layer.output])
            return
        parts: list[Ints] = []
        for source, table in zip(layer.sources, layer.tables, strict=True):
            view = self.views[source]
            # What is joined to itself has to lie there twice.
            twice = any(np.isin(view, part).any() for part in parts)
            if table is not None or twice:
                made = self.buffers.new(f"{source} (copy)", "made", view.size)
                moved = made.base + np.argsort(np.argsort(view.ravel())).reshape(view.shape)
                self.tasks.append(
                    Vector(
                        layer.name,
                        moved.ravel(),
                        (Term(VecOp.PUT, 1, 0, view.ravel()),),
                        table=table,
                    )
                )
                view = moved
            parts.append(view)
        self.views[layer.output] = np.concatenate(parts, axis=layer.axis)

    def fill_parts(self, layer: Concat, target: Ints) -> None:
        begin = 0
        for source, table in zip(layer.sources, layer.tables, strict=True):
            end = begin + self.network.shape(source)[0]
            view, part = self.views[source], target[begin:end]
            begin = end
            if not np.array_equal(view, part):
                term = Term(VecOp.PUT, 1, 0, view.ravel())
                self.tasks.append(Vector(layer.name, part.ravel(), (term,), table=table))

    def pad(self, layer: Pad) -> None:
        view = self.views[layer.input]
        if view.ndim == 3 and not layer.before[0] and not layer.after[0]:
            pads = (layer.before[1], layer.before[2], layer.after[1], layer.after[2])
            found = padded(view, pads, layer.code, self.buffers)
            if found is not None and len(np.unique(found)) == found.size:
                self.views[layer.output] = found
                return
        target = self.target(layer)
        inside = tuple(
            slice(before, before + size)
            for before, size in zip(layer.before, view.shape, strict=True)
        )
        border = np.ones(target.shape, np.bool_)
        border[inside] = False
        made = self.buffers.of(target)[0]
        made.fill[target[border] - made.base] = layer.code
        self.copy(view, target[inside], layer.name)


def _haloed(shape: Shape, halo: Halo) -> Image:
    return channels_last(shape, halo.pads, halo.code, apart=halo.apart)
