"""Statistics of the inputs of a layer's linear maps over all calibration tokens."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from unicomp_lib.compress import layers

VERSION = "1"

Measure = Callable[[torch.Tensor], torch.Tensor]  # of inputs (tokens, inputs)
Combine = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # statistics of two texts into that of both

CHUNK = 4096  # tokens that are measured at once


class Unforeseen(Exception):
    """The calibration text makes a layer call its linear maps otherwise than its first sample did."""


class Statistic(NamedTuple):
    """What was measured of a linear map's inputs, and on how many tokens."""

    value: torch.Tensor
    tokens: int


class Gathered:
    """Statistics of a layer's linear maps, gathered call by call; those of ``groups`` read one tensor and share one.

    Every map of a group must be given its first map's inputs, call by call: ``Unforeseen`` says that it was not.
    """

    def __init__(self, measure: Measure, groups: tuple[tuple[str, ...], ...], combine: Combine = torch.add) -> None:
        self.measure, self.combine = measure, combine
        self.first = {name: group[0] for group in groups for name in group}
        self.calls: dict[str, int] = {}
        self._known: dict[str, Statistic] = {}
        self._read: dict[str, layers.Read] = {}

    def add(self, name: str, linear: nn.Linear, inputs: torch.Tensor) -> None:
        """Take in what a linear map is given; an ``Observe``."""
        first = self.first.get(name, name)
        self.calls[name] = self.calls.get(name, 0) + 1
        if name != first:
            if self.calls[name] != self.calls.get(first) or not self._read[first].is_of(inputs):
                raise Unforeseen(name)
            return
        self._read[first] = layers.Read.of(inputs)
        for rows in inputs.reshape(-1, inputs.shape[-1]).split(CHUNK):
            if len(rows):  # an expert may be given no token
                known, new = self._known.get(name), Statistic(self.measure(rows), len(rows))
                self._known[name] = (
                    Statistic(self.combine(known.value, new.value), known.tokens + new.tokens) if known else new
                )

    def of(self, name: str) -> Statistic | None:
        """The statistic of a map so far; None where it got no inputs."""
        return self._known.get(self.first.get(name, name)) if name in self.calls else None

    def all(self) -> dict[str, Statistic]:
        """The statistic of every map that got inputs."""
        for name, first in self.first.items():
            if self.calls.get(name) != self.calls.get(first):
                raise Unforeseen(name)
        return {name: known for name in self.calls if (known := self.of(name))}


def groups(feed: layers.Feed) -> tuple[tuple[str, ...], ...]:
    """The maps of a layer that share their inputs; none where one of them is called more than once."""
    names = [name for group in feed.reads for name in group]
    return feed.reads if len(set(names)) == len(names) else ()


def gather(feed: layers.Feed, measure: Measure, combine: Combine = torch.add) -> dict[str, Statistic]:
    """The statistic of each linear map of a layer that gets inputs; maps that share their inputs share one.

    Calibration tokens are measured some at a time, and what is measured is put together by ``combine``.
    """
    gathered = Gathered(measure, groups(feed), combine)
    try:
        feed(gathered.add)
        return gathered.all()
    except Unforeseen:
        gathered = Gathered(measure, (), combine)  # every map by itself
        feed(gathered.add)
        return gathered.all()
