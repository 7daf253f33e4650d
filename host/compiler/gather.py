# SPDX-License-Identifier: Apache-2.0
"""The operator that joins what several tiles have made of a tensor."""

from dataclasses import dataclass

from ..graph import Concat

__all__ = ["Gather"]


@dataclass(frozen=True, kw_only=True)
class Gather(Concat):
    """A tensor put together from pieces: no layer of the network, so no run returns it."""
