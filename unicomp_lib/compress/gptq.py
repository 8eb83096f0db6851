"""GPTQ (Frantar et al., 2023, arXiv 2210.17323): round, and let the remaining weights compensate."""

from dataclasses import replace

import torch
from torch import nn
from transformers import PreTrainedModel

from unicomp_lib.checkpoints import decoder, grid, packed_integers
from unicomp_lib.checkpoints.grid import Grid
from unicomp_lib.compress import hessian, sequential
from unicomp_lib.compress.input_statistics import Statistic

VERSION = "5"


@torch.no_grad()
def compress(
    model: PreTrainedModel,
    tokens: torch.Tensor,
    *,
    bits: int = 4,
    group_size: int = 64,
    symmetric: bool = True,
    act_order: bool = True,
    percdamp: float = 0.01,
    scales: str = "bfloat16",
    true_sequential: bool = True,
) -> PreTrainedModel:
    """Quantize the weights of every linear map of the decoder layers in place and return the model.

    ``tokens`` (samples, length) is the calibration text. Inputs are rounded in order of decreasing
    diagonal of the Hessian, without ``act_order`` from first to last, and those not yet rounded are
    updated to preserve the layer's output. Layers are quantized in order, each on the outputs of the
    quantized ones before it, and with ``true_sequential`` so are the maps within a layer (``sequential``).
    The authors' code has that as an option; it is the default here, since it takes one pass instead of two.
    Weights of inputs that are zero on all of ``tokens`` become zero. ``scales`` is the type in which
    groups' scales are saved, see ``grid.SCALES``. A ``ValueError`` names bits, a group size, ``scales`` or a
    ``percdamp`` that are not allowed, a linear map whose inputs are not finite, or what of the model cannot
    be compressed (``decoder.compressible``).
    """
    known = decoder.linears(decoder.compressible(model))
    grid.check({name: linear.in_features for name, linear in known.items()}, bits, group_size, scales)
    hessian.check_percdamp(percdamp)

    def change(maps: dict[str, nn.Linear], statistic: Statistic) -> None:
        shared = statistic.value / statistic.tokens
        dense = torch.cat([linear.weight for linear in maps.values()])
        weight = hessian.without_dead(dense.float(), shared)
        first = grid.fit(weight, bits=bits, group_size=group_size, symmetric=symmetric, scales=scales)
        order = shared.diagonal().argsort(descending=True, stable=True) if act_order else None
        codes, used = quantize(weight, shared, first, order=order, percdamp=percdamp, dtype=dense.dtype)
        rows = [linear.out_features for linear in maps.values()]
        parts = zip(maps.values(), codes.split(rows), used.scale.split(rows), used.zero.split(rows), strict=True)
        for linear, own, scale, zero in parts:
            packed_integers.assign(linear, own, replace(used, scale=scale, zero=zero))

    sequential.compress(model, tokens, hessian.gram, change, true_sequential=true_sequential)
    return model


def quantize(
    weight: torch.Tensor,
    statistics: torch.Tensor,
    first: Grid,
    *,
    order: torch.Tensor | None = None,
    percdamp: float = 0.01,
    dtype: torch.dtype | None = None,
) -> tuple[torch.Tensor, Grid]:
    """Algorithm 1 on one matrix (outputs, inputs): its codes and the grid they lie on.

    Outputs do not depend on each other, so matrices that share their inputs may be stacked. Weights that
    are exactly zero stay zero: a pruned model keeps its sparsity. Without ``order``
    each group's grid is fitted when the sweep reaches it, to the weights as updated by then. With
    it the sweep jumps between groups, so the grids stay those of ``first``. ``dtype`` is the type of
    the model's weights, by default that of the scales: rounding to it is part of the error.
    """
    inputs, size = weight.shape[1], weight.shape[1] // first.scale.shape[1]
    permutation = torch.arange(inputs, device=weight.device) if order is None else order
    factor = hessian.inverse_factor(statistics[permutation][:, permutation], percdamp).to(weight)
    transposed = weight.T[permutation].contiguous()
    nonzero = transposed != 0 if (transposed == 0).any() else None
    scale, zero = first.scale.T.contiguous(), first.zero.T.contiguous()
    codes = torch.empty(transposed.shape, dtype=torch.int8, device=weight.device)
    groups = (permutation // size).tolist()
    low, high = -(2 ** (first.bits - 1)), 2 ** (first.bits - 1) - 1
    dtype = dtype or grid.SCALES[first.scales]

    def choose(j: int, column: torch.Tensor) -> torch.Tensor:
        if order is None and j % size == 0:
            fitted = grid.fit(
                transposed[j : j + size].T, bits=first.bits, group_size=size, symmetric=first.symmetric,
                scales=first.scales,
            )  # fmt: skip
            scale[j // size], zero[j // size] = fitted.scale[:, 0], fitted.zero[:, 0]
        # As ``grid.codes`` and ``grid.values``, on a column: an integer times a scale of any type is exact in float32.
        step, offset = scale[groups[j]], zero[groups[j]]
        code = (column if nonzero is None else column * nonzero[j]).float() / step
        code = code.add_(offset).round_().clamp_(low, high)
        codes[j] = code
        return code.sub_(offset).mul_(step).to(dtype).to(column.dtype)

    hessian.sweep(transposed, factor, choose, span=size if order is None else 1)
    inverse = permutation.argsort()
    return codes[inverse].T.contiguous(), replace(first, scale=scale.T.contiguous(), zero=zero.T.contiguous())
