"""AWQ (Lin et al., 2024, arXiv 2306.00978): protect the weights that multiply large inputs."""

from dataclasses import replace

import torch
from torch import nn
from transformers import PreTrainedModel

from unicomp_lib.checkpoints import decoder, grid, packed_integers
from unicomp_lib.checkpoints.grid import Grid
from unicomp_lib.compress import folds, hessian, layers

VERSION = "2"

STEPS = 20  # exponents tried, as in the authors' code
SHRINKS = [1 - step / 20 for step in range(10)]  # shares of a group's range that are tried, also as in that code


@torch.no_grad()
def compress(
    model: PreTrainedModel,
    tokens: torch.Tensor,
    *,
    bits: int = 4,
    group_size: int = 64,
    symmetric: bool = False,
    scales: str = "bfloat16",
) -> PreTrainedModel:
    """Quantize the weights of every linear map of the decoder layers in place and return the model.

    ``tokens`` (samples, length) is the calibration text. Where a layer allows it (``folds``),
    inputs are divided by s = m^a and weights multiplied by it before they are rounded, where m is the
    mean magnitude of each input and a the exponent with the least error (equations 4 and 5); then
    each group's range is shrunk where that lowers the error. Layers are quantized in order, each
    on the outputs of the quantized ones before it. ``scales`` is the type in which groups' scales are
    saved, see ``grid.SCALES``. A ``ValueError`` names bits, a group size or ``scales`` that are not
    allowed, a linear map whose inputs are not finite, a model without foldable norms, or what of it
    cannot be compressed (``decoder.compressible``).

    Deviations: all maps are clipped, queries and keys too, which the authors spare since their error
    shows in the attention: here it is measured for each map. Inputs are those that the quantized
    layers before give. To choose the exponents the authors measure the error of a whole attention or
    MLP block on a subset of the text; here it is the linear maps' own output error over all the text,
    exact from their Hessian: tr(E H E^T) for an error E of the weights.
    """
    known = decoder.linears(decoder.compressible(model))
    grid.check({name: linear.in_features for name, linear in known.items()}, bits, group_size, scales)
    find = folds.Finder()
    for index, layer, feed in layers.walk(model, tokens):
        layer_folds = find(layer, feed)
        magnitudes = _Magnitudes()
        statistics = hessian.hessians(feed, magnitudes)
        hessian.check(statistics, decoder.linears(layer), index)
        for fold in layer_folds:
            shared, magnitude = statistics[fold.readers[0]], magnitudes.mean(fold.readers[0])
            scale = search(
                folds.weights(layer, fold), shared, magnitude, bits=bits, group_size=group_size, symmetric=symmetric,
                scales=scales,
            )  # fmt: skip
            folds.apply(layer, fold, scale)
            scaled = shared / scale[:, None] / scale
            statistics |= dict.fromkeys(fold.readers, scaled)
        for name, linear in decoder.linears(layer).items():
            weight = linear.weight.float()
            best = clip(weight, statistics[name], bits=bits, group_size=group_size, symmetric=symmetric, scales=scales)
            packed_integers.assign(linear, grid.codes(linear.weight, best), best)
    return model


def search(
    weights: list[torch.Tensor], shared: torch.Tensor, magnitude: torch.Tensor, *, bits: int, group_size: int,
    symmetric: bool, scales: str = "bfloat16",
) -> torch.Tensor:  # fmt: skip
    """The scale s (inputs,) with the least output error for ``weights`` (outputs, inputs) that share their inputs.

    ``shared`` is their Hessian, ``magnitude`` (inputs,) the mean absolute input. Scales are
    normalised by the square root of largest times smallest, as in the authors' code. The
    first exponent is 0, plain rounding, so the error never exceeds that of plain rounding.
    """
    weight = torch.cat(weights)
    best, least = torch.ones_like(magnitude), float("inf")
    for step in range(STEPS):
        scale = magnitude.clamp(min=1e-4) ** (step / STEPS)
        scale = scale / (scale.max() * scale.min()).sqrt()
        scaled = weight * scale
        fitted = grid.fit(scaled, bits=bits, group_size=group_size, symmetric=symmetric, scales=scales)
        error = grid.values(grid.codes(scaled, fitted), fitted).float() / scale - weight
        loss = float((error @ shared * error).sum())
        if loss < least:
            best, least = scale, loss
    return best


def clip(
    weight: torch.Tensor, statistics: torch.Tensor, *, bits: int, group_size: int, symmetric: bool,
    scales: str = "bfloat16",
) -> Grid:  # fmt: skip
    """The grid of ``weight`` (outputs, inputs) whose groups span the share of their range with the least error.

    The error of a group is the error of its own contribution to the output, e H_gg e^T.
    """
    outputs, inputs = weight.shape
    first = grid.fit(weight, bits=bits, group_size=group_size, symmetric=symmetric, scales=scales)
    groups = inputs // group_size
    blocks = statistics.view(groups, group_size, groups, group_size).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    grouped = weight.view(outputs, groups, group_size)
    scale, zero = first.scale.clone(), first.zero.clone()
    least = torch.full_like(scale, float("inf"))
    for share in SHRINKS:
        low, high = grouped.amin(-1, keepdim=True) * share, grouped.amax(-1, keepdim=True) * share
        clipped = grouped.clamp(low, high).view(outputs, inputs)
        fitted = grid.fit(clipped, bits=bits, group_size=group_size, symmetric=symmetric, scales=scales)
        error = (grid.values(grid.codes(weight, fitted), fitted).float() - weight).view(outputs, groups, group_size)
        loss = (torch.einsum("ogi,gij->ogj", error, blocks) * error).sum(-1)
        better = loss < least
        scale, zero = torch.where(better, fitted.scale, scale), torch.where(better, fitted.zero, zero)
        least = torch.minimum(loss, least)
    return replace(first, scale=scale, zero=zero)


class _Magnitudes:
    """Mean absolute input of every linear map, accumulated over the calibration text."""

    def __init__(self) -> None:
        self.sums: dict[str, torch.Tensor] = {}
        self.tokens: dict[str, int] = {}

    def __call__(self, name: str, linear: nn.Linear, inputs: torch.Tensor) -> None:
        rows = inputs.reshape(-1, inputs.shape[-1]).float()
        self.sums[name] = self.sums.get(name, 0) + rows.abs().sum(0)
        self.tokens[name] = self.tokens.get(name, 0) + len(rows)

    def mean(self, name: str) -> torch.Tensor:
        return self.sums[name] / self.tokens[name]
