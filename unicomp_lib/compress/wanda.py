"""Wanda (Sun et al., 2024, arXiv 2306.11695): score weights by their magnitude times the norm of their inputs."""

import torch
from torch import nn
from transformers import PreTrainedModel

from unicomp_lib.checkpoints import decoder
from unicomp_lib.compress import sequential, weight_masks
from unicomp_lib.compress.input_statistics import Statistic

VERSION = "2"


def score(weight: torch.Tensor, squares: torch.Tensor) -> torch.Tensor:
    """S_ij = abs(W_ij) * norm2(X_j) (equation 1), shape (outputs, inputs).

    ``squares`` (inputs,) is the sum of squares of every input over all calibration tokens.
    """
    return weight.float().abs() * squares.sqrt()


@torch.no_grad()
def compress(
    model: PreTrainedModel,
    tokens: torch.Tensor,
    *,
    sparsity: float = 0.5,
    pattern: str = "",
    true_sequential: bool = True,
) -> PreTrainedModel:
    """Prune every linear map of the decoder layers in place and return the model.

    ``tokens`` (samples, length) is the calibration text. In each output row the lowest
    ``sparsity`` share of scores is removed, or all but n of every m inputs with ``pattern="n:m"``;
    the remaining weights are not changed. Layers are pruned in order, each on the outputs of the
    pruned ones before it, and with ``true_sequential`` so are the maps within a layer (``sequential``). That
    is the default, since it takes one pass; without it the maps of a layer are scored by the inputs they have in
    the unpruned layer, in two passes, as in the authors' code. A ``ValueError`` names a sparsity or
    pattern out of range, a linear map whose inputs are not finite, or what of the model cannot be compressed
    (``decoder.compressible``).
    """
    decoder.compressible(model)

    def change(maps: dict[str, nn.Linear], statistic: Statistic) -> None:
        for linear in maps.values():
            keep = weight_masks.mask(score(linear.weight, statistic.value), sparsity=sparsity, pattern=pattern)
            linear.weight.mul_(keep.to(linear.weight))

    sequential.compress(model, tokens, squares, change, true_sequential=true_sequential)
    return model


def squares(inputs: torch.Tensor) -> torch.Tensor:
    """Sum of squares of every input (inputs,) over tokens (tokens, inputs)."""
    return inputs.float().square().sum(0)
