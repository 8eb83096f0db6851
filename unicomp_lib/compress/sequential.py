"""Compress the layers of a model one after another, each linear map the moment its inputs are known."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from unicomp_lib.checkpoints import decoder
from unicomp_lib.compress import hessian, input_statistics, layers
from unicomp_lib.compress.input_statistics import Gathered, Measure, Statistic, Unforeseen

VERSION = "1"

Change = Callable[[dict[str, nn.Linear], Statistic], None]  # compresses maps that share their inputs, in place

AT_ONCE = 4e9  # bytes that the maps of a layer may give for all of the calibration text in one pass


@torch.no_grad()
def compress(
    model: PreTrainedModel, tokens: torch.Tensor, measure: Measure, change: Change, *, true_sequential: bool = True
) -> None:
    """Call ``change`` for the linear maps of every decoder layer, with what ``measure`` says of their inputs.

    ``tokens`` (samples, length) is the calibration text; ``measure`` takes inputs (tokens, inputs) to a
    statistic that adds up over tokens. Maps that read the same tensor, such as query, key and value, are
    changed together.

    With ``true_sequential`` (the term of GPTQ's code) a map is changed the moment its inputs on all
    calibration tokens are known, in the one pass that also gives the next layer's inputs: these inputs come
    from the changed maps before it, in its own layer too. All samples are then in one batch. Where a layer's
    maps would give more than ``AT_ONCE`` bytes, each set of maps that read the same tensor gets a pass
    of its own instead, in batches: the order is the same. Without, all maps of a layer are measured
    unchanged in one pass, and a second gives the next layer's inputs. That is also the order of a layer
    that calls a map twice, since its last inputs depend on its first outputs, and of one that calls other
    maps, in several batches, than its first sample did.

    A ``ValueError`` names a linear map that got no inputs, or whose inputs are not finite.
    """
    for index, layer, feed in layers.walk(model, tokens, changes=not true_sequential):
        step = _Step(index, decoder.linears(layer), measure, change)
        if not true_sequential:
            step.together(feed)
            continue
        originals = {name: linear.weight.clone() for name, linear in step.maps.items()}
        try:
            (step.one_pass if _fits(feed) else step.passes)(feed)
        except Unforeseen:
            for name, linear in step.maps.items():
                linear.weight.copy_(originals[name])
            step.together(feed)
            feed(layers.nothing)


def _fits(feed: layers.Feed) -> bool:
    outputs = sum(linear.out_features for linear in decoder.linears(feed.layer).values())
    return feed.hidden[..., 0].numel() * outputs * feed.hidden.element_size() <= AT_ONCE


class _Reached(Exception):
    """Stops a pass at the last map it was for."""


@dataclass(frozen=True)
class _Step:
    """The linear maps of one layer, and how they are measured and changed."""

    index: int
    maps: dict[str, nn.Linear]
    measure: Measure
    change: Change

    def together(self, feed: layers.Feed) -> None:
        """Measure all maps, then change them."""
        known = input_statistics.gather(feed, self.measure)
        self._check_reached(known)
        shared: dict[int, list[str]] = {}
        for name in self.maps:
            shared.setdefault(id(known[name]), []).append(name)
        for names in shared.values():
            self._change(names, known[names[0]])

    def one_pass(self, feed: layers.Feed) -> None:
        """Change each map in the pass that measures it."""
        groups = {group[0]: group for group in self._groups(feed)}
        gathered = Gathered(self.measure, tuple(groups.values()))

        def observe(name: str, linear: nn.Linear, inputs: torch.Tensor) -> None:
            gathered.add(name, linear, inputs)
            if gathered.calls[name] > 1:
                raise Unforeseen(name)
            if gathered.first.get(name, name) == name:
                self._change(groups.get(name, (name,)), gathered.of(name))

        feed(observe, batch=len(feed.hidden))
        self._check_reached(gathered.all())

    def passes(self, feed: layers.Feed) -> None:
        """Change the maps of each group after a pass that ends with them."""
        parts = feed.split()
        known: dict[str, Statistic] = {}
        for group in self._groups(feed):
            gathered = Gathered(self.measure, (group,))
            for part in parts:
                self._once(part, gathered, group)
            known |= gathered.all()
            self._change(group, known.get(group[0]))
        feed.outputs = torch.cat([self._once(part, None, ()) for part in parts])
        self._check_reached(known)

    def _once(self, feed: layers.Feed, gathered: Gathered | None, group: tuple[str, ...]) -> torch.Tensor:
        """Run one batch to the last map of ``group``, or to the end, where each known map is called at most once."""
        known = {name for names in feed.reads for name in names}
        called: set[str] = set()

        def observe(name: str, linear: nn.Linear, inputs: torch.Tensor) -> None:
            if name in called or name not in known:
                raise Unforeseen(name)
            called.add(name)
            if gathered and name in group:
                gathered.add(name, linear, inputs)
                if name == group[-1]:
                    raise _Reached

        try:
            return feed(observe)
        except _Reached:
            return feed.hidden

    def _groups(self, feed: layers.Feed) -> tuple[tuple[str, ...], ...]:
        groups = input_statistics.groups(feed)
        if not groups:
            raise Unforeseen
        return groups

    def _change(self, names: Sequence[str], statistic: Statistic | None) -> None:
        if statistic:
            hessian.check({names[0]: statistic.value}, names[:1], self.index)
            self.change({name: self.maps[name] for name in names}, statistic)

    def _check_reached(self, known: dict[str, Statistic]) -> None:
        hessian.check({name: statistic.value for name, statistic in known.items()}, self.maps, self.index)
