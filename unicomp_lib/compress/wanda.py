"""Wanda (Sun et al., 2024, arXiv 2306.11695): score weights by their magnitude times the norm of their inputs."""

import torch
from torch import nn
from transformers import PreTrainedModel

from unicomp_lib.checkpoints import decoder
from unicomp_lib.compress import hessian, layers, weight_masks

VERSION = "1"


def score(weight: torch.Tensor, squares: torch.Tensor) -> torch.Tensor:
    """S_ij = abs(W_ij) * norm2(X_j) (equation 1), shape (outputs, inputs).

    ``squares`` (inputs,) is the sum of squares of every input over all calibration tokens.
    """
    return weight.float().abs() * squares.sqrt()


@torch.no_grad()
def compress(
    model: PreTrainedModel, tokens: torch.Tensor, *, sparsity: float = 0.5, pattern: str = ""
) -> PreTrainedModel:
    """Prune every linear map of the decoder layers in place and return the model.

    ``tokens`` (samples, length) is the calibration text. In each output row the lowest
    ``sparsity`` share of scores is removed, or all but n of every m inputs with ``pattern="n:m"``;
    the remaining weights are not changed. Layers are pruned in order, each on the outputs of the
    pruned ones before it. A ``ValueError`` names a sparsity or pattern out of range, a linear map
    whose inputs are not finite, or what of the model cannot be compressed (``decoder.compressible``).
    """
    decoder.compressible(model)
    for index, layer, feed in layers.walk(model, tokens):
        squares = _input_squares(feed)
        hessian.check(squares, decoder.linears(layer), index)
        for name, linear in decoder.linears(layer).items():
            keep = weight_masks.mask(score(linear.weight, squares[name]), sparsity=sparsity, pattern=pattern)
            linear.weight.mul_(keep.to(linear.weight))
    return model


def _input_squares(feed: layers.Feed) -> dict[str, torch.Tensor]:
    """Sum of squares of every linear map's inputs over all calibration tokens."""
    sums: dict[str, torch.Tensor] = {}

    def observe(name: str, linear: nn.Linear, inputs: torch.Tensor) -> None:
        squares = inputs.float().square().sum(dim=(0, 1))
        sums[name] = sums[name] + squares if name in sums else squares

    feed(observe)
    return sums
