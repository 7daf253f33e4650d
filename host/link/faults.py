# SPDX-License-Identifier: Apache-2.0
"""A line that fails: seeded faults in a stream of bytes."""

from collections import deque
from dataclasses import dataclass, fields
from random import Random

from ...arch.errors import InputError
from ...arch.link import DELIMITER

__all__ = ["FaultInjector", "FaultRates"]

_END = bytes([DELIMITER])


@dataclass(frozen=True)
class FaultRates:
    """How often a line fails.

    Parameters
    ----------
    flip : float
        Probability that a byte is replaced by another one.
    lose, insert : float
        Probability that a byte is lost; that a random one is put before it.
    drop, repeat, truncate, late : float
        Probability that a frame is lost; comes twice; loses its end, delimiter included; comes
        again up to ``memory`` frames later.
    memory : int
        Frames that the line may hold back.

    Raises
    ------
    InputError
        If a probability is not between 0 and 1, or the memory below 1.
    """

    flip: float = 0.0
    lose: float = 0.0
    insert: float = 0.0
    drop: float = 0.0
    repeat: float = 0.0
    truncate: float = 0.0
    late: float = 0.0
    memory: int = 300

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "memory" and not 0 <= value <= 1:
                raise InputError(
                    f"Fault rate {field.name} is a probability from 0 to 1, not {value}"
                )
        if self.memory < 1:
            raise InputError(f"The memory of a line holds at least one frame, not {self.memory}")

    @classmethod
    def bytes_and_frames(cls, byte_errors: float, frame_faults: float = 0.0) -> "FaultRates":
        """Byte errors (nine flips to one byte lost or made up), and every fault of frames."""
        return cls(
            flip=0.9 * byte_errors,
            lose=0.05 * byte_errors,
            insert=0.05 * byte_errors,
            drop=frame_faults,
            repeat=frame_faults,
            truncate=frame_faults,
            late=frame_faults,
        )


class FaultInjector:
    """One direction of a line.

    Bytes come out in the order in which they went in, but for the faults; a frame (what ends in a
    delimiter) comes out when all of it is there.

    Parameters
    ----------
    rates : FaultRates
    seed : int
        Same seed and same bytes, however cut: same faults.

    Attributes
    ----------
    faults : int
        Faults so far.
    """

    def __init__(self, rates: FaultRates, seed: int) -> None:
        self.rates = rates
        self.faults = 0
        self._random = Random(seed)
        self._part = bytearray()
        self._old: deque[bytes] = deque(maxlen=rates.memory)
        self._any_byte = 1 - (1 - rates.flip) * (1 - rates.lose) * (1 - rates.insert)
        self._frame_faults = (rates.drop, rates.repeat, rates.truncate, rates.late)

    def feed(self, data: bytes) -> bytes:
        """Put bytes in; returns what comes out."""
        self._part += data
        *frames, rest = bytes(self._part).split(_END)
        self._part = bytearray(rest)
        return b"".join(self._pass(frame + _END) for frame in frames)

    def _pass(self, frame: bytes) -> bytes:
        self._old.append(frame)
        drop, repeat, truncate, late = (
            rate > 0 and self._random.random() < rate for rate in self._frame_faults
        )
        self.faults += drop + repeat + truncate + late
        if drop:
            frame = b""
        if repeat:
            frame += frame
        if truncate and frame:
            frame = frame[: self._random.randrange(len(frame))]
        if late:
            frame += self._random.choice(self._old)
        return self._damage(frame) if self._any_byte else frame

    def _damage(self, data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            if self._random.random() >= self._any_byte:
                out.append(byte)
                continue
            self.faults += 1
            # One fault a byte, of each kind as often as its rate says.
            kind = self._random.random() * (self.rates.flip + self.rates.lose + self.rates.insert)
            if kind < self.rates.flip:
                out.append(byte ^ self._random.randrange(1, 256))
            elif kind >= self.rates.flip + self.rates.lose:
                out += bytes([self._random.randrange(256), byte])
        return bytes(out)
