"""Magnitude pruning (Han et al., 2015): remove the smallest weights of each matrix."""

import torch
from transformers import PreTrainedModel

from unicomp_lib.checkpoints import decoder
from unicomp_lib.compress import weight_masks

VERSION = "1"


@torch.no_grad()
def compress(model: PreTrainedModel, *, sparsity: float = 0.5, pattern: str = "") -> PreTrainedModel:
    """Prune every linear map of the decoder layers in place, by S = abs(W), and return the model.

    The lowest ``sparsity`` share of each matrix is removed, or all but n of every m inputs with
    ``pattern="n:m"``. Needs no data. A ``ValueError`` names a sparsity or pattern out of range, or
    what of the model cannot be compressed (``decoder.compressible``).
    """
    for layer in decoder.compressible(model):
        for linear in decoder.linears(layer).values():
            linear.weight.mul_(
                weight_masks.mask(linear.weight.abs(), sparsity=sparsity, pattern=pattern, per_row=False).to(
                    linear.weight
                )
            )
    return model
