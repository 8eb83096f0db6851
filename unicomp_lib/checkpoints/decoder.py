"""A model's decoder layers and linear maps, found by structure, and its tensors as they are saved."""

import torch
from torch import nn
from transformers import PreTrainedModel

VERSION = "1"


def layers(model: PreTrainedModel) -> nn.ModuleList:
    """The stack of decoder layers, found by structure: the longest ``ModuleList`` of one class.

    Raises a ``ValueError`` naming what is missing when a model has none.
    """
    stacks = [
        module
        for module in model.modules()
        if isinstance(module, nn.ModuleList) and len({type(layer) for layer in module}) == 1 and linears(module[0])
    ]
    if not stacks:
        raise ValueError(f"{type(model).__name__} has no ModuleList of equal decoder layers with nn.Linear inside")
    return max(stacks, key=len)


def linears(module: nn.Module) -> dict[str, nn.Linear]:
    """The linear maps of a layer by name: what every method here compresses.

    Embeddings and the output head lie outside the decoder layers, so tied embeddings are not touched.
    """
    return {name: part for name, part in module.named_modules() if isinstance(part, nn.Linear)}


def state(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """A model's tensors as they are saved: a head tied to the embeddings is not saved twice."""
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        tensors.pop("lm_head.weight")
    return tensors
