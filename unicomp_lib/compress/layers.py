"""Walk a model's decoder layers, feeding each the outputs of the compressed layers before it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from unicomp_lib import hardware
from unicomp_lib.checkpoints import decoder

VERSION = "2"

Observe = Callable[[str, nn.Linear, torch.Tensor], None]
Feed = Callable[..., torch.Tensor]  # (observe, samples=None) -> the layer's outputs
BATCH = 8  # calibration samples in one forward pass of a layer


@torch.no_grad()
def walk(
    model: PreTrainedModel, tokens: torch.Tensor, *, changes: bool = True
) -> Iterator[tuple[int, nn.Module, Feed]]:
    """Yield (index, layer, feed) for each decoder layer in order.

    ``feed(observe)`` runs the calibration ``tokens`` (samples, length) through the layer, calls
    ``observe(name, linear, inputs)`` with each linear map's inputs of shape (samples, length,
    inputs) and returns the layer's outputs; ``feed(observe, n)`` takes the first n samples. The
    caller compresses the layer in place before asking for the next, whose inputs are then
    computed from the compressed layers, as SparseGPT and Wanda do. Each layer is on the
    accelerator only while it is yielded, so a model that does not fit there can be compressed.
    A caller that leaves each layer's outputs as they are says so by ``changes=False``, and the
    outputs of its last full ``feed`` serve as the next inputs: half the work.
    """
    stack = decoder.layers(model)
    home, accelerator = model.device, hardware.device()
    hidden, arguments = _first_inputs(model, stack[0], tokens)
    hidden = hidden.to(accelerator)
    arguments = {key: _moved(value, accelerator) for key, value in arguments.items()}
    for index, layer in enumerate(stack):
        layer.to(accelerator)
        outputs: list[torch.Tensor] = []

        def feed(
            observe: Observe, samples: int | None = None, layer: nn.Module = layer, hidden: torch.Tensor = hidden,
            outputs: list[torch.Tensor] = outputs,
        ) -> torch.Tensor:  # fmt: skip
            with _observing(layer, observe):
                out = torch.cat([_hidden_states(layer(batch, **arguments)) for batch in hidden[:samples].split(BATCH)])
            if samples is None and not changes:
                outputs[:] = [out]
            return out

        yield index, layer, feed
        if index + 1 < len(stack):
            hidden = outputs[0] if outputs else feed(nothing)
        layer.to(home)


class _InputsCaught(Exception):
    """Stops a forward pass once the inputs of the first decoder layer are known."""


def _first_inputs(
    model: PreTrainedModel, first: nn.Module, tokens: torch.Tensor
) -> tuple[torch.Tensor, dict[str, Any]]:
    caught: list[torch.Tensor] = []
    arguments: dict[str, Any] = {}

    def catch(module: nn.Module, args: tuple[torch.Tensor, ...], kwargs: dict[str, Any]) -> None:
        caught.append(args[0] if args else kwargs["hidden_states"])
        arguments.update({key: value for key, value in kwargs.items() if key != "hidden_states"})
        raise _InputsCaught

    handle = first.register_forward_pre_hook(catch, with_kwargs=True)
    try:
        for batch in tokens.to(model.device).split(BATCH):
            try:
                model(input_ids=batch, use_cache=False)
            except _InputsCaught:
                pass
    finally:
        handle.remove()
    return torch.cat(caught), arguments


def _moved(value: Any, device: torch.device) -> Any:
    # One row of positions and masks is enough and is broadcast: all samples have the same length.
    if isinstance(value, torch.Tensor):
        return value[:1].to(device)
    return tuple(_moved(part, device) for part in value) if isinstance(value, tuple) else value


def nothing(name: str, linear: nn.Linear, inputs: torch.Tensor) -> None:
    """Observe nothing: for a ``feed`` of which only the outputs are wanted."""


def _hidden_states(output: Any) -> torch.Tensor:
    return output[0] if isinstance(output, tuple) else output


@contextmanager
def _observing(layer: nn.Module, observe: Observe) -> Iterator[None]:
    def hook(name: str) -> Callable[[nn.Linear, tuple[torch.Tensor, ...], torch.Tensor], None]:
        def forward(linear: nn.Linear, inputs: tuple[torch.Tensor, ...], _: torch.Tensor) -> None:
            observe(name, linear, inputs[0])  # what a hook returns would replace the output

        return forward

    handles = [linear.register_forward_hook(hook(name)) for name, linear in decoder.linears(layer).items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
