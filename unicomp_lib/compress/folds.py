"""Scales that move between a layer's modules without changing what the layer computes.

AWQ, SmoothQuant and SINQ divide a linear map's inputs by factors t and multiply its weights by t. The division
is folded into the module that produces the inputs, so the model keeps its form.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from unicomp_lib.checkpoints import decoder
from unicomp_lib.compress import layers

VERSION = "2"


@dataclass(frozen=True)
class Fold:
    """A module and the linear maps that read its output, by their names in a layer."""

    source: str
    readers: tuple[str, ...]


class Finder:
    """Finds each layer's own folds, and remembers those of a layer of the same form: the same modules and shapes."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], list[Fold]] = {}

    def __call__(self, layer: nn.Module, feed: layers.Feed) -> list[Fold]:
        """The folds of a layer; see ``find``."""
        parameters = tuple((name, tuple(part.shape)) for name, part in layer.named_parameters())
        modules = tuple((name, type(part)) for name, part in layer.named_modules())
        form = (modules, parameters)
        if form not in self._known:
            self._known[form] = find(layer, feed)
        return self._known[form]


@torch.no_grad()
def find(layer: nn.Module, feed: layers.Feed) -> list[Fold]:
    """All folds of a decoder layer, in the order of its forward pass, found by observing that pass.

    A norm can absorb the scales of the linear maps that are given its very output; a linear map
    those of a later one of matching width, such as up for down. Every candidate is tried with
    scales of powers of two, in float32, and accepted only if the layer's output does not change:
    a gate behind its non-linearity, or value heads that several query heads share, are rejected.
    (In bfloat16 not even a power of two is exact where a norm multiplies by 1 + w.) Raises a
    ``ValueError`` when no norm can be folded.
    """
    folded: set[str] = set()
    accepted = []
    with _in_float32(layer):
        before = feed(layers.nothing, 1)
        for fold in _candidates(layer, feed):
            if not folded & set(fold.readers) and _preserves_output(layer, feed, fold, before):
                accepted.append(fold)
                folded |= set(fold.readers)
    if all(isinstance(layer.get_submodule(fold.source), nn.Linear) for fold in accepted):
        raise ValueError(
            f"{type(layer).__name__} has no norm whose output only linear maps read, as this method needs; "
            "choose a method that moves no scales, such as GPTQ"
        )
    return accepted


def apply(layer: nn.Module, fold: Fold, scale: torch.Tensor) -> None:
    """Divide the output of ``fold.source`` by ``scale`` (inputs,), and multiply its readers' columns by it.

    Computed in float32 and rounded once to the type of the weights.
    """
    source, scale = layer.get_submodule(fold.source), scale.float()
    weight = source.get_parameter("weight")
    if isinstance(source, nn.Linear):
        weight.data = (weight.float() / scale[:, None]).to(weight.dtype)
    else:
        shift = _shift(source, weight)
        weight.data = ((weight.float() + shift) / scale - shift).to(weight.dtype)
    if getattr(source, "bias", None) is not None:
        bias = source.get_parameter("bias")
        bias.data = (bias.float() / scale).to(bias.dtype)
    for name in fold.readers:
        reader = layer.get_parameter(f"{name}.weight")
        reader.data = (reader.float() * scale).to(reader.dtype)


def weights(layer: nn.Module, fold: Fold) -> list[torch.Tensor]:
    """Weights (outputs, inputs) of a fold's readers, in float32."""
    return [layer.get_parameter(f"{name}.weight").float() for name in fold.readers]


@contextmanager
def _in_float32(layer: nn.Module) -> Iterator[None]:
    originals = [(parameter, parameter.data) for parameter in layer.parameters()]
    for parameter, value in originals:
        parameter.data = value.float()
    try:
        yield
    finally:
        for parameter, value in originals:
            parameter.data = value


def _shift(norm: nn.Module, weight: nn.Parameter) -> float:
    """What a norm adds to its weight before it multiplies: 1 for Gemma's, 0 for others."""
    original = weight.data
    weight.data = torch.zeros_like(original)
    probe = torch.ones(1, 1, len(original), dtype=original.dtype, device=original.device)
    probe[..., ::2] = -1  # LayerNorm subtracts the mean
    bias = getattr(norm, "bias", None)
    out = norm(probe) - (bias if bias is not None else 0)
    weight.data = original
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
    candidates = [Fold(norm, tuple(names)) for norm, names in readers.items()]
    parts = decoder.linears(layer)
    behind_norms = {name for fold in candidates for name in fold.readers}
    for index, name in enumerate(order):
        if name not in behind_norms:
            # The latest first: the next map multiplies the output of up, not gate, and of value, not query.
            width = parts[name].in_features
            sources = [earlier for earlier in reversed(order[:index]) if parts[earlier].out_features == width]
            candidates += [Fold(source, (name,)) for source in sources]
    return candidates


def _is_norm(part: nn.Module) -> bool:
    weight = getattr(part, "weight", None)
    return isinstance(weight, nn.Parameter) and weight.ndim == 1 and not list(part.children())


def _preserves_output(layer: nn.Module, feed: layers.Feed, fold: Fold, before: torch.Tensor) -> bool:
    modules = [layer.get_submodule(name) for name in (fold.source, *fold.readers)]
    originals = [(parameter, parameter.data) for part in modules for parameter in part.parameters()]
    like = layer.get_parameter(f"{fold.readers[0]}.weight")
    scale = torch.ones(like.shape[1], dtype=like.dtype, device=like.device)
    scale[::3] = 2
    scale[1::3] = 0.5
    apply(layer, fold, scale)
    after = feed(layers.nothing, 1)
    for parameter, value in originals:
        parameter.data = value
    return torch.allclose(after, before, rtol=1e-4, atol=1e-4 * float(before.std()))
