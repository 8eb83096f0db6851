"""AWQ (Lin et al., 2024, arXiv 2306.00978): protect the weights that multiply large inputs."""

from dataclasses import replace

import torch
from transformers import PreTrainedModel

from unicomp_lib.checkpoints import decoder, grid, packed_integers
from unicomp_lib.checkpoints.grid import Grid
from unicomp_lib.compress import folds, hessian, input_statistics, layers

VERSION = "4"

STEPS = 20  # exponents tried, as in the authors' code
SHRINKS = [1 - step / 20 for step in range(10)]  # shares of a group's range that are tried, also as in that code
ROWS, BEST = 128, 5  # outputs on which all exponents are compared; how many of these are then measured on all outputs
CACHED = 2**16  # weights that are rounded at once on a CPU, few enough to stay in its cache


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
    inputs are divided by t = m^alpha and weights multiplied by it before they are rounded, where m is the
    mean magnitude of each input and alpha the exponent with the least error (equations 4 and 5, with s for t); then
    each group's range is shrunk where that lowers the error. Layers are quantized in order, and all inputs are
    those of the unquantized model, as in the authors' code: one pass. ``scales`` is the type in which groups'
    scales are saved, see ``grid.SCALES``. A ``ValueError`` names bits, a group size or ``scales`` that are not
    allowed, a linear map whose inputs are not finite, a model without foldable norms, or what of it
    cannot be compressed (``decoder.compressible``).

    Deviations: all maps are clipped, queries and keys too, which the authors spare since their error
    shows in the attention: here it is measured for each map. To choose the exponents the authors measure the
    error of a whole attention or MLP block on a subset of the text; here it is the linear maps' own output error
    over all the text, exact from their Hessian: tr(E H E^T) for an error E of the weights. All exponents are
    compared on some of the outputs, and the best of them on all (``search``).
    """
    known = decoder.linears(decoder.compressible(model))
    grid.check({name: linear.in_features for name, linear in known.items()}, bits, group_size, scales)
    find = folds.Finder()
    for index, layer, feed in layers.walk(model, tokens, changes=False):
        layer_folds = find(layer, feed)
        measured = input_statistics.gather(feed, _measure)
        means = {name: value / count for name, (value, count) in measured.items()}
        hessian.check(means, decoder.linears(layer), index)
        statistics = {name: mean[:-1] for name, mean in means.items()}
        for fold in layer_folds:
            shared, magnitude = statistics[fold.readers[0]], means[fold.readers[0]][-1]
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


def _measure(inputs: torch.Tensor) -> torch.Tensor:
    """X^T X of inputs X (tokens, inputs), and in a last row the sums of their magnitudes."""
    return torch.cat([hessian.gram(inputs), inputs.float().abs().sum(0, keepdim=True)])


def search(
    weights: list[torch.Tensor], shared: torch.Tensor, magnitude: torch.Tensor, *, bits: int, group_size: int,
    symmetric: bool, scales: str = "bfloat16",
) -> torch.Tensor:  # fmt: skip
    """The factors t (inputs,) with the least output error for ``weights`` (outputs, inputs) that share their inputs.

    ``shared`` is their Hessian, ``magnitude`` (inputs,) the mean absolute input. Factors are
    normalised by the square root of largest times smallest, as in the authors' code. All ``STEPS`` exponents
    are compared on ``ROWS`` outputs at even distances, which takes a fraction of the time and shows well which
    exponents are far from the best; the ``BEST`` of them are measured on all outputs. So is the
    first, 0, which is plain rounding: the error never exceeds that of plain rounding.
    """
    weight = torch.cat(weights)
    # tr(E H E^T) is the sum of H * E^T E, which are both symmetric: of one triangle, times two beside the diagonal.
    triangle = 2 * shared.tril() - shared.diagonal().diag()
    factors = [magnitude.clamp(min=1e-4) ** (step / STEPS) for step in range(STEPS)]
    factors = [scale / (scale.max() * scale.min()).sqrt() for scale in factors]

    def loss(weight: torch.Tensor, scale: torch.Tensor) -> float:
        scaled = weight * scale
        fitted = grid.fit(scaled, bits=bits, group_size=group_size, symmetric=symmetric, scales=scales)
        error = rounded(scaled, fitted).div_(scale).sub_(weight)
        return float((hessian.lower_gram(error) * triangle).sum())

    steps = list(range(STEPS))
    if (distance := len(weight) // ROWS) > 1:
        some = weight[::distance]
        steps = [0, *sorted(steps[1:], key=lambda step: loss(some, factors[step]))[:BEST]]
    return factors[min(steps, key=lambda step: loss(weight, factors[step]))]


def rounded(weight: torch.Tensor, fitted: Grid) -> torch.Tensor:
    """What weights (outputs, inputs) become on a grid, in float32: ``grid.values`` of ``grid.codes``.

    Computed in place, some outputs at a time. The product of an integer and a scale of any type is exact
    in float32.
    """
    outputs, groups = fitted.scale.shape
    low, high = -(2 ** (fitted.bits - 1)), 2 ** (fitted.bits - 1) - 1
    at_once = max(1, CACHED // weight.shape[1]) if weight.device.type == "cpu" else outputs
    values = torch.empty(weight.shape, device=weight.device)
    parts = (weight.float(), values, fitted.scale[..., None], fitted.zero[..., None])
    for own, out, scale, zero in zip(*(part.split(at_once) for part in parts), strict=True):
        own, out = (part.view(len(part), groups, -1) for part in (own, out))
        torch.div(own, scale, out=out).add_(zero).round_().clamp_(low, high).sub_(zero).mul_(scale)
        out.copy_(out.to(grid.SCALES[fitted.scales]))
    return values


def clip(
    weight: torch.Tensor, statistics: torch.Tensor, *, bits: int, group_size: int, symmetric: bool,
    scales: str = "bfloat16",
) -> Grid:  # fmt: skip
    """The grid of ``weight`` (outputs, inputs) whose groups span the share of their range with the least error.

    The error of a group is the error of its own contribution to the output, e H_gg e^T.
    """
    outputs, inputs = weight.shape
    groups = inputs // group_size
    blocks = statistics.view(groups, group_size, groups, group_size).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    grouped = weight.view(outputs, groups, group_size)
    ends = torch.stack([grouped.amin(-1), grouped.amax(-1)], dim=-1).view(outputs, 2 * groups)
    best = grid.fit(weight, bits=bits, group_size=group_size, symmetric=symmetric, scales=scales)
    least = torch.full_like(best.scale, float("inf"))
    for share in SHRINKS:
        # The grid of a clipped group is that of its two ends.
        fitted = grid.fit(ends * share, bits=bits, group_size=2, symmetric=symmetric, scales=scales)
        error = rounded(weight, fitted).sub_(weight).view(outputs, groups, group_size)
        loss = torch.linalg.vecdot(torch.einsum("ogi,gij->ogj", error, blocks), error)
        better = loss < least
        scale, zero = torch.where(better, fitted.scale, best.scale), torch.where(better, fitted.zero, best.zero)
        best, least = replace(best, scale=scale, zero=zero), torch.minimum(loss, least)
    return best
