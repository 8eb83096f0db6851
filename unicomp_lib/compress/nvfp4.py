"""NVFP4: 4-bit floats in blocks of 16 with an 8-bit float as scale; "four over six" (Cook et al., arXiv 2512.02010)."""

from collections.abc import Iterable

import torch
from transformers import PreTrainedModel

from unicomp_lib.checkpoints import decoder, float4
from unicomp_lib.checkpoints.float4 import Scales

VERSION = "1"
SMALLEST = 1e-30  # largest weight of a layer of zeros


@torch.no_grad()
def compress(model: PreTrainedModel, *, four_over_six: bool = False) -> PreTrainedModel:
    """Round the weights of every linear map of the decoder layers to NVFP4, in place, and return the model.

    A block's scale maps its largest weight to 6, or with ``four_over_six`` to 4 where that has the smaller squared
    error. The linear maps of a layer share one global scale: vLLM multiplies queries, keys and values as one
    matrix, and takes a single one for it. A ``ValueError`` names a linear map whose inputs blocks of 16 do not
    divide, or what of the model cannot be compressed (``decoder.compressible``).
    """
    stack = decoder.compressible(model)
    float4.check({name: linear.in_features for name, linear in decoder.linears(stack).items()}, "nvfp4")
    for layer in stack:
        linears = decoder.linears(layer).values()
        whole = global_scale((linear.weight for linear in linears), four_over_six=four_over_six)
        for linear in linears:
            float4.assign(linear, fit(linear.weight, whole.to(linear.weight.device), four_over_six=four_over_six))
    return model


def global_scale(weights: Iterable[torch.Tensor], *, four_over_six: bool = False) -> torch.Tensor:
    """The global scale (1,), float32, with which the scale of the block of the largest weight is the largest E4M3.

    A block that is mapped to 4 has a scale 1.5 times as large, and E4M3 has no value between 1.5 times 256 and 448
    that is 1.5 times another: so 256 takes the place of 448.
    """
    peak = torch.stack([weight.float().abs().max() for weight in weights]).max().clamp(min=SMALLEST)
    return (256.0 if four_over_six else float4.E4M3_LARGEST) * float4.LARGEST / peak.view(1)


def fit(weight: torch.Tensor, whole: torch.Tensor, *, four_over_six: bool = False) -> Scales:
    """The blocks' scales of a matrix (outputs, inputs), rounded to E4M3, with the global scale ``whole`` (1,)."""
    blocks = weight.float().view(len(weight), -1, float4.BLOCKS["nvfp4"])
    peaks = blocks.abs().amax(-1)
    six = _scales(peaks / float4.LARGEST, whole)
    if not four_over_six:
        return six
    four = _scales(peaks / 4, whole)
    errors = [(float4.values(float4.codes(weight, one), one, torch.float32) - weight.float()) for one in (four, six)]
    least, usual = (error.view_as(blocks).square().sum(-1) for error in errors)
    return Scales(torch.where(least < usual, four.block.float(), six.block.float()).to(float4.E4M3), whole)


def _scales(wanted: torch.Tensor, whole: torch.Tensor) -> Scales:
    """The nearest scales that NVFP4 has; that of a block of zeros, or of weights too small for it, is the smallest."""
    return Scales((wanted * whole).clamp(float4.E4M3_SMALLEST, float4.E4M3_LARGEST).to(float4.E4M3), whole)
