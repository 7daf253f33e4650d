# SPDX-License-Identifier: Apache-2.0
"""The flits of one message class that wait at an input of a router."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from ...arch.noc import PORTS, Port

__all__ = ["FlitBuffer", "entry_layout"]


def entry_layout(bits: int) -> data.StructLayout:
    """A flit in a buffer, with the outputs that its packet goes to, a bit a port."""
    return data.StructLayout({"data": bits, "last": 1, "outputs": PORTS})


class FlitBuffer(wiring.Component):
    """A ring of flits with a cursor for the way on and one for the local port.

    A flit pushed in cycle t stands at its cursor from t + 1 on. A packet for one output moves both
    cursors at once. In a packet for two, each has its own: a flit is forgotten when both have
    passed it, and the cursor of the local port waits until the tail is here. So a copy that has
    begun never waits for anything but the local port, and the way on never waits for the copy,
    as long as the packet has no more than ``depth`` flits.

    Parameters
    ----------
    depth : int
        Flits, a power of two.
    bits : int
        Data of a flit.
    multicast : bool
        Whether there are packets for two outputs; without, one cursor serves.

    Members
    -------
    push, i : In(1), In(entry_layout(bits))
        Never without ``ready``.
    ready : Out(1)
        There is room for a flit.
    onward, onward_valid, onward_pop : Out(entry_layout(bits)), Out(1), In(1)
        The next flit for an output other than the local port.
    local, local_valid, local_pop : Out(entry_layout(bits)), Out(1), In(1)
        The next flit for the local port.
    empty : Out(1)

    Raises
    ------
    ValueError
        If the depth is no power of two.
    """

    def __init__(self, *, depth: int, bits: int, multicast: bool = True) -> None:
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"Depth must be a power of two from 2 up, not {depth}")
        self._depth = depth
        self._bits = bits
        self._multicast = multicast
        entry = entry_layout(bits)
        super().__init__(
            {
                "push": In(1),
                "i": In(entry),
                "ready": Out(1),
                "onward": Out(entry),
                "onward_valid": Out(1),
                "onward_pop": In(1),
                "local": Out(entry),
                "local_valid": Out(1),
                "local_pop": In(1),
                "empty": Out(1),
            }
        )
        # One bit more than an address, so that full and empty differ. Looked into by proofs.
        self.write = Signal(range(2 * depth))
        self.onward_at = Signal(range(2 * depth))
        self.local_at = Signal(range(2 * depth), name="local_at") if multicast else self.onward_at
        self.tails = Signal(range(depth + 1))
        self.onward_done = Signal()
        self.local_done = Signal()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth = self._depth
        self._ring(m, "data", ("data",), self._bits)
        # On their own: words of up to 64 bits are simulated faster.
        self._ring(m, "tags", ("last", "outputs"), 1 + PORTS)
        with m.If(self.push):
            m.d.sync += self.write.eq(self.write + 1)
        if self._multicast:
            self._two_cursors(m)
        else:
            there = self.write != self.onward_at
            is_local = self.onward.outputs[Port.LOCAL]
            m.d.comb += [
                self.local.eq(self.onward),
                self.onward_valid.eq(there & ~is_local),
                self.local_valid.eq(there & is_local),
                self.ready.eq((self.write ^ self.onward_at) != depth),
                self.empty.eq(~there),
            ]
            with m.If(self.onward_pop | self.local_pop):
                m.d.sync += self.onward_at.eq(self.onward_at + 1)
        return m

    def _ring(self, m: Module, name: str, fields: tuple[str, ...], bits: int) -> None:
        """A memory for some of the fields, read at both cursors."""
        ring = memory.Memory(shape=bits, depth=self._depth, init=[])
        m.submodules[f"ring_{name}"] = ring
        write = ring.write_port()
        m.d.comb += [
            write.addr.eq(self.write),
            write.data.eq(Cat(self.i[field] for field in fields)),
            write.en.eq(self.push),
        ]
        cursors = [(self.onward_at, self.onward)]
        if self._multicast:
            cursors.append((self.local_at, self.local))
        for at, entry in cursors:
            read = ring.read_port(domain="comb")
            m.d.comb += [read.addr.eq(at), Cat(entry[field] for field in fields).eq(read.data)]

    def _two_cursors(self, m: Module) -> None:
        depth = self._depth
        onward_there = (self.write != self.onward_at) & ~self.onward_done
        local_there = (self.write != self.local_at) & ~self.local_done
        onward_forks = self._forks(self.onward.outputs)
        local_forks = self._forks(self.local.outputs)
        onward_pop_tail = self.onward_pop & self.onward.last
        local_pop_tail = self.local_pop & self.local.last
        m.d.comb += [
            self.onward_valid.eq(onward_there & (self.onward.outputs[: Port.LOCAL] != 0)),
            self.local_valid.eq(
                local_there & self.local.outputs[Port.LOCAL] & (~local_forks | (self.tails != 0))
            ),
            self.ready.eq(
                ((self.write ^ self.onward_at) != depth) & ((self.write ^ self.local_at) != depth)
            ),
            self.empty.eq((self.write == self.onward_at) & (self.write == self.local_at)),
        ]
        # The cursor that is through with a packet for two outputs waits for the other.
        with m.If(self.onward_pop | (self.local_pop & ~local_forks)):
            m.d.sync += self.onward_at.eq(self.onward_at + 1)
        with m.If(self.local_pop | (self.onward_pop & ~onward_forks)):
            m.d.sync += self.local_at.eq(self.local_at + 1)
        ends_onward = onward_pop_tail & onward_forks
        ends_local = local_pop_tail & local_forks
        with m.If(ends_onward | ends_local):
            m.d.sync += [
                self.onward_done.eq(ends_onward & ~ends_local & ~self.local_done),
                self.local_done.eq(ends_local & ~ends_onward & ~self.onward_done),
            ]
        # Tails here that the local cursor has not passed.
        passed = local_pop_tail | (onward_pop_tail & ~onward_forks)
        pushed = self.push & self.i.last
        with m.If(pushed != passed):
            m.d.sync += self.tails.eq(Mux(pushed, self.tails + 1, self.tails - 1))

    @staticmethod
    def _forks(outputs: Value) -> Value:
        return outputs[Port.LOCAL] & (outputs[: Port.LOCAL] != 0)
