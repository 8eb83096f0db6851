"""FP8 (W8A8; Micikevicius et al., 2022, arXiv 2209.05433): weights and inputs as 8-bit floats, without data."""

import torch
from transformers import PreTrainedModel

from unicomp_lib.checkpoints import float8

VERSION = "1"


@torch.no_grad()
def compress(model: PreTrainedModel) -> PreTrainedModel:
    """Round weights and inputs of the decoder layers' linear maps to E4M3, in place, and return the model.

    Weights have one scale per output, inputs one per token, found as they come: s = max(abs(x)) / 448. A
    ``ValueError`` names what of the model cannot be compressed (``decoder.compressible``).
    """
    return float8.replace(model)
