"""Scales that move between a layer's modules without changing what the layer computes.

AWQ and SmoothQuant divide a linear map's inputs by s and multiply its weights by s. The division
is folded into whatever produces the inputs, so the model's form stays.
"""

from dataclasses import dataclass

import torch
from torch import nn

from unicomp_lib.checkpoints import decoder
from unicomp_lib.compress import layers

VERSION = "1"


@dataclass(frozen=True)
class Fold:
    """A module that gives inputs and the linear maps that take them, by their names in a layer."""

    source: str
    readers: tuple[str, ...]


@torch.no_grad()
def find(layer: nn.Module, feed: layers.Feed) -> list[Fold]:
    """All folds of a decoder layer, in the order of its forward pass, found by what it does.

    A norm folds into the linear maps that are given its very output; a linear map into a later
    one of its width, such as up into down. Each is tried with scales of powers of two, which are
    exact in floating point, and kept only where the layer's output stays as it was: a gate
    behind its non-linearity, or value heads that several query heads share, drop out. Raises a
    ``ValueError`` when no norm can be folded.
    """
    before = feed(layers.nothing, 1)
    candidates = _candidates(layer, feed)
    taken: set[str] = set()
    found = []
    for fold in candidates:
        if not taken & set(fold.readers) and _holds(layer, feed, fold, before):
            found.append(fold)
            taken |= set(fold.readers)
    if all(isinstance(layer.get_submodule(fold.source), nn.Linear) for fold in found):
        raise ValueError(
            f"{type(layer).__name__} has no norm whose output only linear maps read, as this method needs; "
            "choose a method that changes no scales, such as GPTQ"
        )
    return found


def apply(layer: nn.Module, fold: Fold, scale: torch.Tensor) -> None:
    """Divide what ``fold.source`` gives by ``scale`` (inputs,), and multiply its readers' columns by it."""
    source = layer.get_submodule(fold.source)
    weight = source.get_parameter("weight")
    if isinstance(source, nn.Linear):
        weight.data = (weight / scale[:, None]).to(weight.dtype)
    else:
        shift = _shift(source, weight)
        weight.data = ((weight + shift) / scale - shift).to(weight.dtype)
    if getattr(source, "bias", None) is not None:
        bias = source.get_parameter("bias")
        bias.data = (bias / scale).to(bias.dtype)
    for name in fold.readers:
        read = layer.get_parameter(f"{name}.weight")
        read.data = (read * scale).to(read.dtype)


def weights(layer: nn.Module, fold: Fold) -> list[torch.Tensor]:
    """Weights (outputs, inputs) of a fold's readers, in float32."""
    return [layer.get_parameter(f"{name}.weight").float() for name in fold.readers]


def _shift(norm: nn.Module, weight: nn.Parameter) -> float:
    """What a norm adds to its weight before it multiplies: 1 for Gemma's, 0 for others."""
    kept = weight.data
    weight.data = torch.zeros_like(kept)
    probe = torch.ones(1, 1, len(kept), dtype=kept.dtype, device=kept.device)
    probe[..., ::2] = -1  # LayerNorm takes the mean away
    bias = getattr(norm, "bias", None)
    out = norm(probe) - (bias if bias is not None else 0)
    weight.data = kept
    return 1.0 if out.abs().max() > 0 else 0.0


def _candidates(layer: nn.Module, feed: layers.Feed) -> list[Fold]:
    outputs: list[tuple[str, torch.Tensor]] = []
    readers: dict[str, list[str]] = {}
    order: list[str] = []

    def observe(name: str, linear: nn.Linear, inputs: torch.Tensor) -> None:
        order.append(name)
        for norm, output in outputs:
            if output is inputs:
                readers.setdefault(norm, []).append(name)

    norms = {name: part for name, part in layer.named_modules() if _is_norm(part)}
    handles = [
        norm.register_forward_hook(lambda _, __, output, name=name: outputs.append((name, output)))
        for name, norm in norms.items()
    ]
    try:
        feed(observe, 1)
    finally:
        for handle in handles:
            handle.remove()
    found = [Fold(norm, tuple(names)) for norm, names in readers.items()]
    parts = decoder.linears(layer)
    read = {name for fold in found for name in fold.readers}
    for place, name in enumerate(order):
        if name not in read:
            # The latest first: up, not gate, and value, not query, gives what the next map multiplies.
            wide = [each for each in reversed(order[:place]) if parts[each].out_features == parts[name].in_features]
            found += [Fold(source, (name,)) for source in wide]
    return found


def _is_norm(part: nn.Module) -> bool:
    weight = getattr(part, "weight", None)
    return isinstance(weight, nn.Parameter) and weight.ndim == 1 and not list(part.children())


def _holds(layer: nn.Module, feed: layers.Feed, fold: Fold, before: torch.Tensor) -> bool:
    touched = [layer.get_submodule(name) for name in (fold.source, *fold.readers)]
    kept = [(parameter, parameter.data) for part in touched for parameter in part.parameters()]
    like = layer.get_parameter(f"{fold.readers[0]}.weight")
    scale = torch.ones(like.shape[1], dtype=like.dtype, device=like.device)
    scale[::3] = 2
    scale[1::3] = 0.5
    apply(layer, fold, scale)
    after = feed(layers.nothing, 1)
    for parameter, value in kept:
        parameter.data = value
    return torch.allclose(after.float(), before.float(), rtol=1e-2, atol=1e-2 * float(before.float().std()))
