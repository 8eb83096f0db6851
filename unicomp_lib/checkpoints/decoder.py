"""A model's decoder layers and linear maps, found by structure, and its tensors as they are saved."""

from collections.abc import Iterable

import torch
from torch import nn
from transformers import PreTrainedModel

VERSION = "2"

CACHE = "cache_quantization"  # entry of a configuration that says how keys and values are held: quantized_cache
OUT_OF_REACH = 0.01  # share of weights outside linear maps from which a model is not compressed: a convolution is less


def layers(model: PreTrainedModel) -> nn.ModuleList:
    """The stack of decoder layers, found by structure: the longest ``ModuleList`` that lies in no other.

    Its layers may differ in class. Lists inside a layer, such as experts, do not count. Raises a
    ``ValueError`` naming what is missing when a model has none with linear maps.
    """
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    inside = {id(part) for outer in lists for part in outer.modules() if part is not outer}
    stacks = [stack for stack in lists if id(stack) not in inside and linears(stack)]
    if not stacks:
        raise ValueError(f"{type(model).__name__} has no ModuleList of equal decoder layers with nn.Linear inside")
    return max(stacks, key=len)


def linears(module: nn.Module) -> dict[str, nn.Linear]:
    """The linear maps of a layer by name: what every method here compresses.

    Embeddings and the output head lie outside the decoder layers, so tied embeddings are not touched.
    """
    return {name: part for name, part in module.named_modules() if isinstance(part, nn.Linear)}


def linear(inputs: int, outputs: int, bias: bool, dtype: torch.dtype) -> nn.Linear:
    """A linear map that a checkpoint's expanded weights are read into."""
    return nn.Linear(inputs, outputs, bias, dtype=dtype)


def weights(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """All weights of the decoder layers by their names in the model: parameters of two dimensions or more."""
    inside = {id(parameter) for parameter in layers(model).parameters()}
    return {name: part for name, part in model.named_parameters() if id(part) in inside and part.ndim >= 2}


def compressible(model: PreTrainedModel) -> nn.ModuleList:
    """The decoder layers of a model that can be compressed.

    A ``ValueError`` names a tensor that is not finite, or the largest weight out of reach of the
    methods where more than 1 % of the weights belong to no linear map: the experts of a mixture are
    one parameter of three dimensions, and a model of which they stay dense is not half as large.
    See ``check_cache`` for a model whose cache is quantized.
    """
    check_cache(model)
    stack, known = layers(model), weights(model)
    check_finite(model.state_dict().items(), type(model).__name__)
    reached = {id(linear.weight) for linear in linears(stack).values()}
    missed = {name: part.numel() for name, part in known.items() if id(part) not in reached}
    share = sum(missed.values()) / sum(part.numel() for part in known.values())
    if share > OUT_OF_REACH:
        raise ValueError(
            f"{share:.0%} of the weights of {type(model).__name__}'s layers belong to no nn.Linear, such as "
            f"{max(missed, key=lambda name: missed[name])}, and no method here compresses them; choose a model "
            "without experts"
        )
    return stack


def check_cache(model: PreTrainedModel) -> None:
    """Raise a ``ValueError`` for a model whose cache is quantized: that is the last step of a compression.

    What would be saved of a later one is a model that reads other keys and values than those it was fitted with.
    """
    if getattr(getattr(model, "config", None), CACHE, None) is not None:
        raise ValueError(
            f"the cache of this {type(model).__name__} is quantized, which comes last; compress the checkpoint that it "
            "was made from, and quantize the cache of the result"
        )


def check_finite(tensors: Iterable[tuple[str, torch.Tensor]], owner: str) -> None:
    """Raise a ``ValueError`` that names the first tensor with NaN or infinite values."""
    for name, tensor in tensors:
        if not _is_finite(tensor):
            raise ValueError(f"{owner} is not whole: {name} holds NaN or infinite values; save or download it again")


def _is_finite(tensor: torch.Tensor) -> bool:
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    tensor = tensor.float() if tensor.element_size() == 1 else tensor  # float8 has no minimum
    # Both ends are NaN where a value is. On a CPU this takes a fiftieth of the time of ``isfinite().all()``.
    return all(bool(end.isfinite()) for end in tensor.aminmax())


def state(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """A model's tensors as they are saved: a tensor with two names, such as a tied head, is not saved twice."""
    aliases = tied(model)
    return {name: tensor.contiguous() for name, tensor in model.state_dict().items() if name not in aliases}


def tied(model: PreTrainedModel) -> set[str]:
    """Second names of tensors, such as that of a head tied to the embeddings, whatever its family calls it."""
    known, aliases = model.all_tied_weights_keys, set()
    owners: dict[tuple[int, torch.Size], str] = {}
    for name, tensor in sorted(model.state_dict().items(), key=lambda item: item[0] in known):  # true names first
        if tensor.numel() and owners.setdefault((tensor.data_ptr(), tensor.shape), name) != name:
            aliases.add(name)
    return aliases
