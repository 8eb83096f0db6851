"""Walk a model's decoder layers, feeding each what the compressed layers before it give."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

VERSION = "1"

Observe = Callable[[str, nn.Linear, torch.Tensor], None]
BATCH = 8  # calibration samples in one forward pass of a layer


def decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """The stack of decoder layers, found by structure: the longest ``ModuleList`` of one class.

    Raises a ``ValueError`` naming what is missing when a model has none.
    """
    stacks = [
        module
        for module in model.modules()
        if isinstance(module, nn.ModuleList) and len({type(layer) for layer in module}) == 1 and linears(module[0])
    ]
    if not stacks:
        raise ValueError(f"{type(model).__name__} has no ModuleList of equal decoder layers with nn.Linear inside")
    return max(stacks, key=len)


def linears(module: nn.Module) -> dict[str, nn.Linear]:
    """The linear maps of a layer by name: what every method here compresses.

    Embeddings and the output head lie outside the decoder layers, so tied embeddings stay whole.
    """
    return {name: part for name, part in module.named_modules() if isinstance(part, nn.Linear)}


@torch.no_grad()
def walk(model: PreTrainedModel, tokens: torch.Tensor) -> Iterator[tuple[int, nn.Module, Callable[[Observe], None]]]:
    """Yield (index, layer, feed) for each decoder layer in order.

    ``feed(observe)`` runs the calibration ``tokens`` (samples, length) through the layer and calls
    ``observe(name, linear, inputs)`` with each linear map's inputs of shape (samples, length,
    inputs). The caller compresses the layer in place before asking for the next, whose inputs
    are then computed from the compressed layers, as SparseGPT and Wanda do.
    """
    stack = decoder_layers(model)
    hidden, arguments = _first_inputs(model, stack[0], tokens)
    for index, layer in enumerate(stack):

        def feed(observe: Observe, layer: nn.Module = layer, hidden: torch.Tensor = hidden) -> None:
            with _observing(layer, observe):
                for batch in hidden.split(BATCH):
                    layer(batch, **arguments)

        yield index, layer, feed
        hidden = torch.cat([_first(layer(batch, **arguments)) for batch in hidden.split(BATCH)])


class _Reached(Exception):
    """Stops a forward pass once the first decoder layer has its inputs."""


def _first_inputs(
    model: PreTrainedModel, first: nn.Module, tokens: torch.Tensor
) -> tuple[torch.Tensor, dict[str, Any]]:
    caught: list[torch.Tensor] = []
    arguments: dict[str, Any] = {}

    def catch(module: nn.Module, args: tuple[torch.Tensor, ...], kwargs: dict[str, Any]) -> None:
        caught.append(args[0] if args else kwargs["hidden_states"])
        arguments.update({key: value for key, value in kwargs.items() if key != "hidden_states"})
        raise _Reached

    handle = first.register_forward_pre_hook(catch, with_kwargs=True)
    try:
        for batch in tokens.to(model.device).split(BATCH):
            try:
                model(input_ids=batch, use_cache=False)
            except _Reached:
                pass
    finally:
        handle.remove()
    # Positions and masks are kept for one row and broadcast: all samples have the same length.
    return torch.cat(caught), {key: _one_row(value) for key, value in arguments.items()}


def _one_row(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value[:1]
    return tuple(_one_row(part) for part in value) if isinstance(value, tuple) else value


def _first(output: Any) -> torch.Tensor:
    return output[0] if isinstance(output, tuple) else output


@contextmanager
def _observing(layer: nn.Module, observe: Observe) -> Iterator[None]:
    def hook(name: str) -> Callable[[nn.Linear, tuple[torch.Tensor, ...], torch.Tensor], None]:
        return lambda linear, inputs, _: observe(name, linear, inputs[0])

    handles = [linear.register_forward_hook(hook(name)) for name, linear in linears(layer).items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
