"""GPTQ (Frantar et al., 2023, arXiv 2210.17323): round, and let the remaining weights compensate."""

from dataclasses import replace

import torch
from transformers import PreTrainedModel

from unicomp_lib.checkpoints import decoder, grid, packed_integers
from unicomp_lib.checkpoints.grid import Grid
from unicomp_lib.compress import hessian, layers

VERSION = "4"

BLOCK = 128  # inputs between two updates of all that follow, as in the paper


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
) -> PreTrainedModel:
    """Quantize the weights of every linear map of the decoder layers in place and return the model.

    ``tokens`` (samples, length) is the calibration text. Inputs are rounded in order of decreasing
    diagonal of the Hessian, without ``act_order`` from first to last, and those not yet rounded are
    updated to preserve the layer's output. Layers are quantized in order, each on the outputs of the
    quantized ones before it. Weights of inputs that are zero on all of ``tokens`` become zero.
    ``scales`` is the type in which groups' scales are saved, see ``grid.SCALES``. A ``ValueError`` names
    bits, a group size, ``scales`` or a ``percdamp`` that are not allowed, a linear map whose inputs are
    not finite, or what of the model cannot be compressed (``decoder.compressible``).
    """
    known = decoder.linears(decoder.compressible(model))
    grid.check({name: linear.in_features for name, linear in known.items()}, bits, group_size, scales)
    hessian.check_percdamp(percdamp)
    for index, layer, feed in layers.walk(model, tokens):
        statistics = hessian.hessians(feed)
        hessian.check(statistics, decoder.linears(layer), index)
        for name, linear in decoder.linears(layer).items():
            weight = hessian.without_dead(linear.weight.float(), statistics[name])
            first = grid.fit(weight, bits=bits, group_size=group_size, symmetric=symmetric, scales=scales)
            order = statistics[name].diagonal().argsort(descending=True, stable=True) if act_order else None
            codes, used = quantize(
                weight, statistics[name], first, order=order, percdamp=percdamp, dtype=linear.weight.dtype
            )
            packed_integers.assign(linear, codes, used)
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

    Weights that are exactly zero stay zero: a pruned model keeps its sparsity. Without ``order``
    each group's grid is fitted when the sweep reaches it, to the weights as updated by then. With
    it the sweep jumps between groups, so the grids stay those of ``first``. ``dtype`` is the type of
    the model's weights, by default that of the scales: rounding to it is part of the error.
    """
    inputs = weight.shape[1]
    permutation = torch.arange(inputs, device=weight.device) if order is None else order
    weight = weight[:, permutation].clone()
    nonzero = weight != 0
    factor = hessian.inverse_factor(statistics[permutation][:, permutation], percdamp).to(weight)
    scale, zero = first.scale.clone(), first.zero.clone()
    size = inputs // scale.shape[1]
    codes = torch.zeros(weight.shape, dtype=torch.int8, device=weight.device)
    for start in range(0, inputs, BLOCK):
        end = min(start + BLOCK, inputs)
        errors = torch.zeros_like(weight[:, start:end])
        for column in range(start, end):
            group = int(permutation[column]) // size
            if order is None and column % size == 0:
                group_weights = weight[:, column : column + size]
                fitted = grid.fit(
                    group_weights, bits=first.bits, group_size=size, symmetric=first.symmetric, scales=first.scales
                )
                scale[:, group], zero[:, group] = fitted.scale[:, 0], fitted.zero[:, 0]
            group_grid = replace(first, scale=scale[:, group, None], zero=zero[:, group, None])
            rounded = grid.codes((weight[:, column] * nonzero[:, column])[:, None], group_grid)
            value = grid.values(rounded, group_grid, dtype)[:, 0].to(weight)
            error = (weight[:, column] - value) / factor[column, column]
            weight[:, column:end] -= error[:, None] * factor[column, column:end]
            codes[:, permutation[column]], errors[:, column - start] = rounded[:, 0], error
        weight[:, end:] -= errors @ factor[start:end, end:]
    return codes, replace(first, scale=scale, zero=zero)
