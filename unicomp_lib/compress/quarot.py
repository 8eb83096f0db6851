"""QuaRot (Ashkboos et al., 2024, arXiv 2404.00456): weights, inputs and cache of 4 bits, after rotations."""

import torch
from torch import nn
from transformers import PreTrainedModel

from unicomp_lib.checkpoints import decoder, int4_inputs, quantized_cache
from unicomp_lib.checkpoints.cache_codes import rotated
from unicomp_lib.compress import cache, gptq, rotate, students

VERSION = "1"


@torch.no_grad()
def compress(
    model: PreTrainedModel, tokens: torch.Tensor, *, group_size: int = 64, rotations: bool = True, seed: int = 0
) -> PreTrainedModel:
    """W4A4KV4, in place; returns the model.

    The hidden states are rotated in the weights (``rotate``, with ``seed``), the inputs of the last map of attention
    and of the MLP when the model runs (``turn``), and keys and values in the cache. Weights are rounded by GPTQ on
    ``tokens`` (samples, length) in groups of ``group_size`` inputs, inputs token by token (``int4_inputs``), and keys
    and values with one group a head. Without ``rotations`` all that is rounded and nothing rotated: what they are
    compared with. A ``ValueError`` is one of ``rotate``, ``gptq`` or ``quantized_cache.attach``.
    """
    quantized_cache.check_layers(model)  # before the work, since the cache comes last
    width = students.head_width(model)
    if rotations:
        rotate.compress(model, seed=seed)
        turn(model)
    gptq.compress(model, tokens, bits=4, group_size=group_size)
    int4_inputs.replace(model, turned=int4_inputs.TURNED if rotations else ())
    return cache.compress(model, keys="int4", values="int4", group_size=width, hadamard=rotations)


@torch.no_grad()
def turn(model: PreTrainedModel) -> None:
    """Rotate the inputs of each layer's maps ``int4_inputs.TURNED`` as they come, and their weights' axis of inputs.

    The outputs stay. The rotation is a Hadamard matrix of all inputs where their number is a power of two, as in
    QuaRot's models, and otherwise of blocks of the largest that divides it: in SmolLM2 64 of 576, which are heads, and
    512 of 1536.
    """
    for name, linear in decoder.linears(decoder.compressible(model)).items():
        if name.endswith(int4_inputs.TURNED):
            linear.weight.copy_(rotated(linear.weight.float()))
            linear.register_forward_pre_hook(_turned)


def _turned(_: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return (rotated(args[0].float()).to(args[0].dtype),)
