"""What is pruned: scores of weights, filters or connections, and the masks made from them."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from unicomp_lib.vision import finite
from unicomp_lib.vision.googlenet import convolutions

VERSION = "2"

Masks = dict[str, torch.Tensor]  # name of a convolution -> booleans of its weight's shape, false where pruned

METHODS = ("unstructured", "filters", "connections")
CRITERIA = ("l1", "random")
SCOPES = ("layerwise", "global")


def select(
    model: nn.Module,
    *,
    method: str,
    share: float,
    criterion: str = "l1",
    scope: str = "layerwise",
    before: Masks | None = None,
    seed: int = 0,
) -> Masks:
    """Masks that prune ``share`` of the weights, filters or connections of the model's convolutions.

    ``unstructured`` prunes single weights, ``filters`` whole output channels (dimension 0), ``connections``
    an output's whole input channels (dimension 1), but not those of the first convolution, which are the
    image's colour channels. ``layerwise`` prunes the same share of each convolution, ``global`` the lowest
    scores of all; a group's score is the mean magnitude of its weights, so that kernel sizes are comparable.
    Exactly ``round(share * n)`` of n are pruned, those of ``before`` first. At least one remains in each
    convolution: ``layerwise``, it is left over (see ``spared``); a ``global`` share that leaves fewer than there are
    convolutions is a ``ValueError``, as are weights that are not finite.
    """
    _check(method=method, criterion=criterion, scope=scope, share=share)
    scores = _scores(model, method, criterion, seed)
    if before:
        pruned = {name: ~_grouped(before[name].float(), method).bool() for name in scores}
        scores = {name: score.masked_fill(pruned[name], -1.0) for name, score in scores.items()}
    masks = _lowest_globally(scores, share) if scope == "global" else _lowest_by_layer(scores, share)
    shapes = {name: layer.weight.shape for name, layer in convolutions(model).items()}
    return {name: _spread(keep, method).expand(shapes[name]).clone() for name, keep in masks.items()}


def apply(model: nn.Module, masks: Masks) -> None:
    """Set what is pruned to zero, in place.

    The BatchNorm after a convolution that lost a whole filter would turn its zeros into a constant: its
    weight and bias are set to zero there too, so that the channel is silent.
    """
    layers = convolutions(model)
    parts = dict(model.named_modules())
    with torch.no_grad():
        for name, mask in masks.items():
            there = mask.to(layers[name].weight.device)
            layers[name].weight.mul_(there)
            norm, silent = parts[name.removesuffix("conv") + "bn"], ~there.flatten(1).any(1)
            norm.weight.masked_fill_(silent, 0)  # nothing here waits for an accelerator
            norm.bias.masked_fill_(silent, 0)


@contextmanager
def skipping(model: nn.Module, masks: Masks) -> Iterator[None]:
    """Inside, the convolutions of ``model`` do not compute the filters and connections that ``masks`` prune whole.

    Outputs, and gradients of the weights that are kept, are the same but for rounding.
    """
    layers = convolutions(model)
    skipped = []
    for name, mask in masks.items():
        outputs, inputs = (mask.transpose(0, axis).flatten(1).any(1) for axis in (0, 1))
        if not (outputs.all() and inputs.all()):
            device, layer = layers[name].weight.device, layers[name]
            kept = [None if part.all() else part.nonzero().flatten().to(device) for part in (outputs, inputs)]
            layer.forward = partial(_convolved, layer, kept[0], kept[1])  # type: ignore[method-assign]
            skipped.append(layer)
    try:
        yield
    finally:
        for layer in skipped:
            del layer.forward


def _convolved(
    layer: nn.Conv2d, outputs: torch.Tensor | None, inputs: torch.Tensor | None, x: torch.Tensor
) -> torch.Tensor:
    """What ``layer`` gives, of which only ``outputs`` and ``inputs`` do something; None: all of them do."""
    weight = layer.weight
    if outputs is not None:
        weight = weight.index_select(0, outputs)
    if inputs is not None:
        # Channels are chosen where they are last in memory, as they are in training.
        weight = weight.index_select(1, inputs)
        x = x.movedim(1, -1).index_select(-1, inputs).movedim(-1, 1)
    y = functional.conv2d(x, weight, None, layer.stride, layer.padding)
    if outputs is None:
        return y
    last = y.movedim(1, -1)
    zeros = last.new_zeros(*last.shape[:-1], layer.out_channels)
    return zeros.index_copy(-1, outputs, last).movedim(-1, 1)


def geometric(rate: float, step: int, steps: int) -> float:
    """Share pruned after ``step`` of ``steps`` when every step prunes the same share of what remains."""
    return 1 - (1 - rate) ** (step / steps)


def spared(model: nn.Module, method: str, share: float) -> list[str]:
    """Names of the convolutions of which a ``layerwise`` share would leave nothing, so that one is kept of each."""
    counts = {name: score.numel() for name, score in _scores(model, method, "l1", 0).items()}
    return [name for name, count in counts.items() if round(share * count) == count]


def sparsity(model: nn.Module) -> float:
    """Share of the convolutions' weights that are zero."""
    weights = [layer.weight for layer in convolutions(model).values()]
    return sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)


def _check(*, share: float, **given: str) -> None:
    allowed = {"method": METHODS, "criterion": CRITERIA, "scope": SCOPES}
    for name, value in given.items():
        if value not in allowed[name]:
            raise ValueError(f"{name} {value!r} is not known; allowed are {', '.join(allowed[name])}")
    if not 0 <= share < 1:
        raise ValueError(f"rate {share} is not allowed; give a share from 0 to below 1, such as 0.5")


def _scores(model: nn.Module, method: str, criterion: str, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = {}
    for index, (name, layer) in enumerate(convolutions(model).items()):
        if method == "connections" and index == 0:
            continue
        magnitudes = _grouped(layer.weight.detach().abs(), method)
        finite.check({name: magnitudes}, "weight", "before pruning")
        scores[name] = torch.rand(magnitudes.shape, generator=generator) if criterion == "random" else magnitudes.cpu()
    return scores


def _grouped(weight: torch.Tensor, method: str) -> torch.Tensor:
    """(outputs, inputs, height, width) to the mean of each group that is pruned together."""
    over = {"unstructured": (), "filters": (1, 2, 3), "connections": (0, 2, 3)}[method]
    return weight.mean(dim=over) if over else weight


def _spread(keep: torch.Tensor, method: str) -> torch.Tensor:
    shape = {"unstructured": keep.shape, "filters": (-1, 1, 1, 1), "connections": (1, -1, 1, 1)}[method]
    return keep.reshape(shape)


def _lowest_by_layer(scores: dict[str, torch.Tensor], share: float) -> dict[str, torch.Tensor]:
    return {name: _without_lowest(score, round(share * score.numel())) for name, score in scores.items()}


def _lowest_globally(scores: dict[str, torch.Tensor], share: float) -> dict[str, torch.Tensor]:
    count = sum(score.numel() for score in scores.values())
    if count - round(share * count) < len(scores):
        most = math.floor(1e4 * (1 - len(scores) / count)) / 1e4
        raise ValueError(
            f"rate {share} leaves {count - round(share * count)} to {len(scores)} convolutions, of which each keeps at "
            f"least one; give a rate up to {most}"
        )
    # The best of each layer is never pruned, so that no layer is lost entirely.
    kept = {name: score.flatten().index_fill(0, score.argmax(), torch.inf) for name, score in scores.items()}
    mask = _without_lowest(torch.cat(list(kept.values())), round(share * count))
    parts = mask.split([len(score) for score in kept.values()])
    return {name: part.reshape(scores[name].shape) for name, part in zip(scores, parts, strict=True)}


def _without_lowest(score: torch.Tensor, count: int) -> torch.Tensor:
    keep = torch.ones(score.numel(), dtype=torch.bool)
    keep[score.flatten().argsort(stable=True)[: min(count, score.numel() - 1)]] = False
    return keep.reshape(score.shape)
