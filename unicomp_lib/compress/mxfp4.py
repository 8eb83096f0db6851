"""MXFP4 (OCP Microscaling Formats, Rouhani et al., 2023, arXiv 2310.10537): 4-bit floats, scales of powers of two."""

import torch
from transformers import PreTrainedModel

from unicomp_lib.checkpoints import decoder, float4
from unicomp_lib.checkpoints.float4 import Scales

VERSION = "1"

TOP = 2  # exponent of 6, the largest value: 6 = 1.5 * 2^2


@torch.no_grad()
def compress(model: PreTrainedModel) -> PreTrainedModel:
    """Round the weights of every linear map of the decoder layers to MXFP4, in place, and return the model.

    A ``ValueError`` names a linear map whose inputs blocks of 32 do not divide, or what of the model cannot be
    compressed (``decoder.compressible``).
    """
    linears = decoder.linears(decoder.compressible(model))
    float4.check({name: linear.in_features for name, linear in linears.items()}, "mxfp4")
    for linear in linears.values():
        float4.assign(linear, fit(linear.weight))
    return model


def fit(weight: torch.Tensor) -> Scales:
    """The blocks' scales of a matrix (outputs, inputs), as exponents.

    Deviation: the OCP's own rule, 2^(floor(log2(max)) - 2), leaves the largest weight between 4 and 8 steps, and
    clips all above 6. As in compressed-tensors, a largest weight above 7 (7/8 of the way to the next power of two)
    gets the next scale, so that it lies between 3.5 and 7.
    """
    peaks = weight.float().abs().view(len(weight), -1, float4.BLOCKS["mxfp4"]).amax(-1)
    mantissa, exponent = torch.frexp(peaks)  # mantissas from 1/2
    exponent = exponent - 1 + (mantissa >= 7 / 8).int() - TOP
    return Scales((exponent.clamp(-float4.BIAS, float4.BIAS) + float4.BIAS).to(torch.uint8))
