"""HQQ (Badri and Shaji, 2023, "Half-Quadratic Quantization of Large Machine Learning Models"): better zero points.

The authors published it as a blog post (mobiusml.github.io/hqq_blog) and as code.
"""

from dataclasses import replace

import torch
from transformers import PreTrainedModel

from unicomp_lib.checkpoints import decoder, float_zeros, grid
from unicomp_lib.checkpoints.grid import Grid

VERSION = "1"

# The authors' settings.
NORM, BETA, KAPPA, STEPS = 0.7, 10.0, 1.01, 20


@torch.no_grad()
def compress(model: PreTrainedModel, *, bits: int = 4, group_size: int = 64) -> PreTrainedModel:
    """Round the weights of every linear map of the decoder layers in place and return the model.

    Grids are asymmetric, one for each group of ``group_size`` inputs of an output, and their zero points no
    integers. A ``ValueError`` names bits or a group size that are not allowed, or what of the model cannot be
    compressed (``decoder.compressible``).
    """
    linears = decoder.linears(decoder.compressible(model))
    grid.check({name: linear.in_features for name, linear in linears.items()}, bits, group_size, "bfloat16")
    for linear in linears.values():
        fitted = fit(linear.weight, bits=bits, group_size=group_size)
        float_zeros.assign(linear, grid.codes(linear.weight, fitted), fitted)
    return model


def fit(weight: torch.Tensor, *, bits: int, group_size: int) -> Grid:
    """The grid of a matrix (outputs, inputs) whose zero points have the least error found, sum(abs(e)^0.7).

    Half-quadratic splitting: the error is split into one that may be large, e, and the rest, which is minimised in
    the least-squares sense by the zero point; both are found in turn. Begins with rounding to nearest, and keeps the
    best zero point of each group. Deviation: the authors stop all groups together, as soon as the mean absolute
    error of a matrix grows, and keep the zero points they have by then; and they round the first zero points with 4
    bits alone.
    """
    first = grid.fit(weight, bits=bits, group_size=group_size, symmetric=False)
    grouped = weight.float().view(*first.scale.shape, group_size)
    scale, zero, best, beta = first.scale[..., None], first.zero[..., None], first.zero[..., None], BETA
    least = torch.full_like(zero, float("inf"))
    for _ in range(STEPS):
        zero = zero.to(float_zeros.ZEROS).float()
        rounded = (grouped / scale + zero).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        error = grouped - scale * (rounded - zero)
        size = error.abs().clamp(min=1e-8)
        power = size ** (NORM - 1)
        total = (size * power).sum(-1, keepdim=True)
        best, least = torch.where(total < least, zero, best), torch.minimum(total, least)
        # The large part of the error, by the generalised soft threshold sign(e) max(abs(e) - abs(e)^(p - 1) / beta, 0).
        large = error.sign() * (size - power / beta).clamp(min=0)
        zero = (rounded - (grouped - large) / scale).mean(-1, keepdim=True)
        beta *= KAPPA
    return replace(first, zero=best[..., 0])
