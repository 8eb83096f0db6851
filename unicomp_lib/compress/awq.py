"""AWQ (Lin et al., 2024, arXiv 2306.00978): protect the weights that large inputs meet."""

import torch
from torch import nn
from transformers import PreTrainedModel

from unicomp_lib.checkpoints import decoder, grid, packed_integers
from unicomp_lib.checkpoints.grid import Grid
from unicomp_lib.compress import folds, hessian, layers
from unicomp_lib.compress.folds import Fold

VERSION = "1"

STEPS = 20  # exponents tried, as in the authors' code
SHRINKS = [1 - step / 20 for step in range(10)]  # shares of a group's range that are kept, as there


@torch.no_grad()
def compress(
    model: PreTrainedModel, tokens: torch.Tensor, *, bits: int = 4, group_size: int = 64, symmetric: bool = False
) -> PreTrainedModel:
    """Quantize the weights of every linear map of the decoder layers in place and return the model.

    ``tokens`` (samples, length) is the calibration text. Where a layer allows it (``folds``),
    inputs are divided by s = m^a and weights multiplied by it before they are rounded, with m the
    mean magnitude of each input and the exponent a of the least error (equations 4 and 5); then
    each group's range is shrunk where that lowers the error. Layers are quantized in order, each
    on the outputs of the quantized ones before it. A ``ValueError`` names bits or a group size
    that are not allowed, or a model without foldable norms.

    Deviation: the authors measure the error of a whole attention or MLP block for the exponents
    on a subset of the text; here it is the linear maps' own output error over all the text, exact
    from their Hessian: tr(E H E^T) for an error E of the weights.
    """
    found: list[Fold] = []
    for _, layer, feed in layers.walk(model, tokens):
        found = found or folds.find(layer, feed)
        magnitudes = _Magnitudes()
        statistics = hessian.hessians(feed, magnitudes)
        for fold in found:
            shared, magnitude = statistics[fold.readers[0]], magnitudes.mean(fold.readers[0])
            scale = search(
                folds.weights(layer, fold), shared, magnitude, bits=bits, group_size=group_size, symmetric=symmetric
            )
            folds.apply(layer, fold, scale)
            scaled = shared / scale[:, None] / scale
            statistics |= dict.fromkeys(fold.readers, scaled)
        for name, linear in decoder.linears(layer).items():
            used = clip(linear.weight.float(), statistics[name], bits=bits, group_size=group_size, symmetric=symmetric)
            packed_integers.assign(linear, grid.codes(linear.weight, used), used)
    return model


def search(
    weights: list[torch.Tensor], shared: torch.Tensor, magnitude: torch.Tensor, *, bits: int, group_size: int,
    symmetric: bool,
) -> torch.Tensor:  # fmt: skip
    """The scale s (inputs,) of least output error for ``weights`` (outputs, inputs) that share their inputs.

    ``shared`` is their Hessian, ``magnitude`` (inputs,) the mean absolute input. Scales are
    normalised by the root of their largest times their smallest, as in the authors' code. The
    first exponent is 0, plain rounding, so the error never exceeds that of plain rounding.
    """
    weight = torch.cat(weights)
    best, least = torch.ones_like(magnitude), float("inf")
    for step in range(STEPS):
        scale = magnitude.clamp(min=1e-4) ** (step / STEPS)
        scale = scale / (scale.max() * scale.min()).sqrt()
        scaled = weight * scale
        used = grid.fit(scaled, bits=bits, group_size=group_size, symmetric=symmetric)
        error = grid.values(grid.codes(scaled, used), used).float() / scale - weight
        loss = float((error @ shared * error).sum())
        if loss < least:
            best, least = scale, loss
    return best


def clip(weight: torch.Tensor, statistics: torch.Tensor, *, bits: int, group_size: int, symmetric: bool) -> Grid:
    """The grid of ``weight`` (outputs, inputs) whose groups span the share of their range that errs least.

    The error of a group is that of its own part of the output, e H_gg e^T.
    """
    outputs, inputs = weight.shape
    first = grid.fit(weight, bits=bits, group_size=group_size, symmetric=symmetric)
    groups = inputs // group_size
    blocks = statistics.view(groups, group_size, groups, group_size).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    spread = weight.view(outputs, groups, group_size)
    scale, zero = first.scale.clone(), first.zero.clone()
    least = torch.full_like(scale, float("inf"))
    for share in SHRINKS:
        low, high = spread.amin(-1, keepdim=True) * share, spread.amax(-1, keepdim=True) * share
        cut = spread.clamp(low, high).view(outputs, inputs)
        used = grid.fit(cut, bits=bits, group_size=group_size, symmetric=symmetric)
        error = (grid.values(grid.codes(weight, used), used).float() - weight).view(outputs, groups, group_size)
        loss = (torch.einsum("ogi,gij->ogj", error, blocks) * error).sum(-1)
        better = loss < least
        scale, zero = torch.where(better, used.scale, scale), torch.where(better, used.zero, zero)
        least = torch.minimum(loss, least)
    return Grid(scale, zero, bits, symmetric)


class _Magnitudes:
    """Mean absolute input of every linear map, gathered as the calibration text passes."""

    def __init__(self) -> None:
        self.sums: dict[str, torch.Tensor] = {}
        self.tokens: dict[str, int] = {}

    def __call__(self, name: str, linear: nn.Linear, inputs: torch.Tensor) -> None:
        rows = inputs.reshape(-1, inputs.shape[-1]).float()
        self.sums[name] = self.sums.get(name, 0) + rows.abs().sum(0)
        self.tokens[name] = self.tokens.get(name, 0) + len(rows)

    def mean(self, name: str) -> torch.Tensor:
        return self.sums[name] / self.tokens[name]
