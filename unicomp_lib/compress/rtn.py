"""Round-to-nearest quantization: the baseline that needs no data."""

import torch
from transformers import PreTrainedModel

from unicomp_lib.checkpoints import decoder, grid, packed_integers

VERSION = "1"


@torch.no_grad()
def compress(
    model: PreTrainedModel, *, bits: int = 4, group_size: int = 64, symmetric: bool = True, scales: str = "bfloat16"
) -> PreTrainedModel:
    """Round the weights of every linear map of the decoder layers in place and return the model.

    Each group of ``group_size`` inputs of an output has its own grid. ``scales`` is the type in which
    groups' scales are saved, see ``grid.SCALES``. A ``ValueError`` names bits, a group size or
    ``scales`` that are not allowed, or what of the model cannot be compressed
    (``decoder.compressible``).
    """
    linears = decoder.linears(decoder.compressible(model))
    grid.check({name: linear.in_features for name, linear in linears.items()}, bits, group_size, scales)
    for linear in linears.values():
        fitted = grid.fit(linear.weight, bits=bits, group_size=group_size, symmetric=symmetric, scales=scales)
        packed_integers.assign(linear, grid.codes(linear.weight, fitted), fitted)
    return model
