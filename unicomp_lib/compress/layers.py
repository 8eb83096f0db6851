"""Walk a model's decoder layers, feeding each the outputs of the compressed layers before it."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel

from unicomp_lib import hardware
from unicomp_lib.checkpoints import decoder

VERSION = "4"

Observe = Callable[[str, nn.Linear, torch.Tensor], None]
BATCH = 8  # calibration samples in one forward pass of a layer
REFUSED = "its layers cannot be compressed one by one here; choose another model"


@torch.no_grad()
def walk(
    model: PreTrainedModel, tokens: torch.Tensor, *, changes: bool = True
) -> Iterator[tuple[int, nn.Module, "Feed"]]:
    """Yield (index, layer, feed) for each decoder layer in order.

    ``feed`` runs the calibration ``tokens`` (samples, length) through the layer, see ``Feed``. The
    caller compresses the layer in place before asking for the next, whose inputs are then
    computed from the compressed layers, as SparseGPT and Wanda do. Each layer is on the
    accelerator only while it is yielded, so a model that does not fit there can be compressed.
    With ``changes=False`` the outputs of the caller's last full ``feed`` serve as the next inputs, which
    saves a pass: for a caller that leaves a layer's outputs as they are, wants those of the uncompressed
    layer, or compresses the layer during that ``feed``.
    """
    stack = decoder.layers(model)
    _check_own_weights(model, stack)
    home, accelerator = model.device, hardware.device()
    given, reads = _arguments(model, stack, tokens)
    hidden = _first_inputs(model, stack[0], tokens).to(accelerator)
    for index, layer in enumerate(stack):
        layer.to(accelerator)
        feed = Feed(layer, hidden, given[index].to(accelerator), reads[index])
        yield index, layer, feed
        if index + 1 < len(stack):
            hidden = feed(nothing) if changes or feed.outputs is None else feed.outputs
        layer.to(home)


def _check_own_weights(model: PreTrainedModel, stack: nn.ModuleList) -> None:
    owners: dict[int, str] = {}
    for name, linear in decoder.linears(stack).items():
        first = owners.setdefault(id(linear.weight), name)
        if first != name:
            raise ValueError(f"{first} and {name} of {type(model).__name__} are one weight; {REFUSED}")


@dataclass
class Feed:
    """Runs the calibration text through one layer.

    ``feed(observe)`` calls ``observe(name, linear, inputs)`` before each linear map computes, with its
    inputs of shape (samples, length, inputs), for ``batch`` samples at a time, and returns the layer's
    outputs; ``feed(observe, n)`` takes the first n samples. A map that ``observe`` changes computes, and
    feeds the maps after it, as changed. ``outputs`` are those of the last full run.

    ``reads`` are the names of the linear maps in the order in which one sample calls them, those
    that are given the very same tensor together: query, key and value, or gate and up.
    """

    layer: nn.Module
    hidden: torch.Tensor
    arguments: "Arguments"
    reads: tuple[tuple[str, ...], ...]
    outputs: torch.Tensor | None = None

    def __call__(self, observe: Observe, samples: int | None = None, *, batch: int = BATCH) -> torch.Tensor:
        """The layer's outputs, observed."""
        with _observing(self.layer, observe):
            parts = [_run(self.layer, part, self.arguments) for part in self.hidden[:samples].split(batch)]
        outputs = parts[0] if len(parts) == 1 else torch.cat(parts)
        if samples is None:
            self.outputs = outputs
        return outputs

    def split(self) -> "list[Feed]":
        """Feeds of ``BATCH`` samples each."""
        return [replace(self, hidden=part, outputs=None) for part in self.hidden.split(BATCH)]


@dataclass(frozen=True)
class Arguments:
    """What a model gives one of its layers beside the hidden states: its own masks, positions and rotary angles.

    ``per_sample`` are those tensors whose first axis grows with the batch, for one sample; all samples have the
    same length, so that they are repeated for a batch. Everything else is the same for any batch.
    """

    positional: tuple[Any, ...]
    named: dict[str, Any]
    per_sample: frozenset[int]  # by their order among all tensors

    def to(self, device: torch.device) -> "Arguments":
        """The same on a device."""
        positional, named = _map(lambda tensor, _: tensor.to(device), (self.positional, self.named))
        return Arguments(positional, named, self.per_sample)

    def of(self, samples: int, dtype: torch.dtype) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """For a batch of ``samples``, whose layer computes in ``dtype``."""

        def fit(tensor: torch.Tensor, order: int) -> torch.Tensor:
            tensor = tensor.to(dtype) if tensor.is_floating_point() else tensor
            return torch.cat([tensor] * samples) if order in self.per_sample else tensor

        return _map(fit, (self.positional, self.named))


def _run(layer: nn.Module, batch: torch.Tensor, arguments: Arguments) -> torch.Tensor:
    """A layer's outputs, in the type of its weights: whoever casts a layer for a while feeds it in that type."""
    dtype = next(iter(decoder.linears(layer).values())).weight.dtype
    positional, named = arguments.of(len(batch), dtype)
    return _hidden_states(layer(batch.to(dtype), *positional, **named))


@torch.no_grad()
def _arguments(
    model: PreTrainedModel, stack: nn.ModuleList, tokens: torch.Tensor
) -> tuple[list[Arguments], list[tuple[tuple[str, ...], ...]]]:
    """The arguments of every layer and its maps' ``reads``, seen in forward passes of one sample and of two.

    What is the same in both is no matter of the batch, and what two samples have twice is repeated. Raises a
    ``ValueError`` where a layer is given something of the text itself, or where something happens to the hidden
    states between two layers: neither could be known of a layer by itself.
    """
    single = _calls(model, stack, tokens[:1])
    double = _calls(model, stack, torch.cat([tokens[:1], tokens[:1].flip(-1)]))  # two texts of one sample
    family = type(model).__name__
    if [call.layer for call in single] != list(stack):
        raise ValueError(f"{family} does not call its layers once each, one after another; {REFUSED}")
    for index, call in enumerate(single):
        if not torch.isfinite(call.outputs).all():
            raise ValueError(f"layer {index} of {family} gives numbers that are not finite; the model is damaged")
    for before, after in itertools.pairwise(single):
        if not torch.equal(before.outputs, after.inputs):
            raise ValueError(f"{family} changes the hidden states between its layers; {REFUSED}")
    arguments = []
    for one, two in zip(single, double, strict=True):
        pairs = list(enumerate(zip(_tensors(one.rest), _tensors(two.rest), strict=True)))
        constant = {order for order, pair in pairs if _is_same(*pair)}
        repeated = {order for order, pair in pairs if _is_twice(*pair)} - constant
        if len(constant) + len(repeated) < len(pairs):
            raise ValueError(f"{family} gives its layers something that depends on the text; {REFUSED}")
        arguments.append(Arguments(*one.rest, frozenset(repeated)))
    return arguments, [call.reads for call in single]


class _Call(NamedTuple):
    """One call of a layer: its hidden states, its other arguments, what came out, and who read what on the way."""

    layer: nn.Module
    inputs: torch.Tensor
    rest: tuple[tuple[Any, ...], dict[str, Any]]
    outputs: torch.Tensor
    reads: tuple[tuple[str, ...], ...]


def _calls(model: PreTrainedModel, stack: nn.ModuleList, tokens: torch.Tensor) -> list[_Call]:
    """What each layer is given and gives in one forward pass of the model, up to its head."""
    calls: list[_Call] = []
    reads: list[tuple[Read, list[str]]] = []

    def read(name: str, _: nn.Linear, inputs: torch.Tensor) -> None:
        same = [names for earlier, names in reads if earlier.is_of(inputs)]
        if same:
            same[0].append(name)
        else:
            reads.append((Read.of(inputs), [name]))

    def see(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        inputs, rest, named = _split(args, kwargs)
        names = tuple(tuple(names) for _, names in reads)
        calls.append(_Call(layer, inputs, (rest, named), _hidden_states(output), names))
        reads.clear()

    def stop(_: nn.Module, __: Any) -> None:
        raise _Enough

    handles = [layer.register_forward_hook(see, with_kwargs=True) for layer in stack]
    if head := model.get_output_embeddings():
        handles.append(head.register_forward_pre_hook(stop))
    try:
        with ExitStack() as observed, suppress(_Enough):
            for layer in stack:
                observed.enter_context(_observing(layer, read))
            model(input_ids=tokens.to(model.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return calls


class Read(NamedTuple):
    """A tensor as it was read: the same one is other inputs after a change in place."""

    tensor: torch.Tensor
    version: int

    @classmethod
    def of(cls, inputs: torch.Tensor) -> "Read":
        """What is read now."""
        return cls(inputs, inputs._version)

    def is_of(self, inputs: torch.Tensor) -> bool:
        """Whether ``inputs`` are this very tensor, unchanged."""
        return self.tensor is inputs and self.version == inputs._version


def _split(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[torch.Tensor, tuple[Any, ...], dict[str, Any]]:
    named = {name: value for name, value in kwargs.items() if name != "hidden_states"}
    return (args[0], args[1:], named) if args else (kwargs["hidden_states"], (), named)


def _is_twice(one: torch.Tensor, two: torch.Tensor) -> bool:
    return one.ndim > 0 and len(two) == 2 * len(one) and torch.equal(two, torch.cat([one, one]))


def _is_same(one: torch.Tensor, two: torch.Tensor) -> bool:
    """Equal, or one row for every sample that is broadcast to all."""
    return torch.equal(one, two) or (one.ndim > 0 and len(one) == 1 and _is_twice(one, two))


def _tensors(value: Any) -> list[torch.Tensor]:
    tensors: list[torch.Tensor] = []
    _map(lambda tensor, _: tensors.append(tensor), value)
    return tensors


def _map(change: Callable[[torch.Tensor, int], Any], value: Any) -> Any:
    """``value`` with every tensor in its tuples, lists and dictionaries changed; tensors are counted in order."""
    order = itertools.count()

    def walk(part: Any) -> Any:
        if isinstance(part, torch.Tensor):
            return change(part, next(order))
        if isinstance(part, dict):
            return {key: walk(inner) for key, inner in part.items()}
        return type(part)(walk(inner) for inner in part) if type(part) in (tuple, list) else part

    return walk(value)


class _Enough(Exception):
    """Stops a forward pass once what it was for is known."""


def _first_inputs(model: PreTrainedModel, first: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    caught: list[torch.Tensor] = []

    def catch(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        caught.append(_split(args, kwargs)[0])
        raise _Enough

    handle = first.register_forward_pre_hook(catch, with_kwargs=True)
    try:
        for batch in tokens.to(model.device).split(BATCH):
            with suppress(_Enough):
                model(input_ids=batch, use_cache=False)
    finally:
        handle.remove()
    return torch.cat(caught)


def nothing(name: str, linear: nn.Linear, inputs: torch.Tensor) -> None:
    """Observe nothing: for a ``feed`` of which only the outputs are wanted."""


def _hidden_states(output: Any) -> torch.Tensor:
    return output[0] if isinstance(output, tuple) else output


@contextmanager
def _observing(layer: nn.Module, observe: Observe) -> Iterator[None]:
    def hook(name: str) -> Callable[[nn.Linear, tuple[torch.Tensor, ...], dict[str, torch.Tensor]], None]:
        def before(linear: nn.Linear, args: tuple[torch.Tensor, ...], kwargs: dict[str, torch.Tensor]) -> None:
            observe(name, linear, args[0] if args else kwargs["input"])  # what a hook returns would replace the inputs

        return before

    handles = [
        linear.register_forward_pre_hook(hook(name), with_kwargs=True)
        for name, linear in decoder.linears(layer).items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
