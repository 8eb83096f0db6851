"""Smaller models cut out of a larger one: fewer layers, heads, neurons or hidden channels."""

import copy
from dataclasses import dataclass

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from unicomp_lib.checkpoints import decoder

VERSION = "2"

# What each axis of a decoder's parameters runs over; an axis of None is never cut. The Llama form,
# which Qwen, Mistral and Gemma share.
AXES: dict[str, tuple[str | None, ...]] = {
    "q_proj.weight": ("heads", "hidden"), "q_proj.bias": ("heads",),
    "k_proj.weight": ("groups", "hidden"), "k_proj.bias": ("groups",),
    "v_proj.weight": ("groups", "hidden"), "v_proj.bias": ("groups",),
    "o_proj.weight": ("hidden", "heads"), "o_proj.bias": ("hidden",),
    "gate_proj.weight": ("neurons", "hidden"), "gate_proj.bias": ("neurons",),
    "up_proj.weight": ("neurons", "hidden"), "up_proj.bias": ("neurons",),
    "down_proj.weight": ("hidden", "neurons"), "down_proj.bias": ("hidden",),
    "embed_tokens.weight": (None, "hidden"), "lm_head.weight": (None, "hidden"),
    "q_norm.weight": (None,), "k_norm.weight": (None,),
}  # fmt: skip


# Lists of a configuration that hold the indices of some layers, not a value for each.
INDEX_LISTS = ("_only_layers", "indices", "idxs")


@dataclass(frozen=True)
class Selection:
    """The parts of a model that a student takes over, as indices in increasing order.

    ``layers`` of the decoder; ``hidden`` channels, the same throughout; and for every layer of the
    whole model its ``groups`` (key-value heads with the query heads that share them) and
    ``neurons`` of the MLP.
    """

    layers: torch.Tensor
    hidden: torch.Tensor
    groups: list[torch.Tensor]
    neurons: list[torch.Tensor]


def whole(model: PreTrainedModel) -> Selection:
    """All of a model, to be narrowed with ``dataclasses.replace``. See ``decoder.check_cache``."""
    decoder.check_cache(model)
    config, count = model.config, len(decoder.layers(model))
    return Selection(
        torch.arange(count),
        torch.arange(config.hidden_size),
        [torch.arange(groups(model))] * count,
        [torch.arange(getattr(config, "intermediate_size", None) or 0)] * count,
    )


@torch.no_grad()
def cut(model: PreTrainedModel, selection: Selection) -> PreTrainedModel:
    """A new model of the same family with the ``selection`` of ``model``'s parts, on the same device.

    Layers can be cut out of any family, channels, heads and neurons where the axes of all parameters are known.
    Raises a ``ValueError`` for a shape that the family does not allow, and one that names the
    parameter whose axes are not known.
    """
    config = copy.deepcopy(model.config)
    _cut_layers(config, selection, len(decoder.layers(model)))
    narrower = _is_narrower(selection, whole(model))
    if narrower:
        for name in model.state_dict():
            axes(name)
        _narrow(config, selection, head_width(model))
    _check(config)
    with torch.device(model.device):  # billions of random numbers, all replaced below, take minutes on a CPU
        student = AutoModelForCausalLM.from_config(config, dtype=model.dtype)
    state, ratio = model.state_dict(), _queries_per_group(model.config)
    sliced = {}
    for name in student.state_dict():
        source, layer = _source(name, selection)
        if source not in state:
            raise ValueError(
                f"{type(model).__name__} makes a layer by its index, so that its student would have {name} where the "
                "model has none; keep the first layers, or choose another method"
            )
        tensor = state[source]
        for axis, role in enumerate(axes(name) if narrower else ()):
            if role:
                indices = _indices(role, selection, layer, head_width(model), ratio)
                tensor = tensor.index_select(axis, indices.to(tensor.device))
        sliced[name] = tensor
    student.load_state_dict(sliced)
    student.tie_weights()
    student.generation_config = copy.deepcopy(model.generation_config)
    return student.eval()


def _cut_layers(config: PreTrainedConfig, selection: Selection, count: int) -> None:
    """Set the number of layers, and cut the lists that say something of every layer, such as ``layer_types``."""
    config.num_hidden_layers = len(selection.layers)
    for name, value in list(vars(config).items()):
        if "layer" in name and isinstance(value, list) and len(value) == count and not name.endswith(INDEX_LISTS):
            setattr(config, name, [value[index] for index in selection.layers.tolist()])


def _is_narrower(selection: Selection, full: Selection) -> bool:
    def sizes(of: Selection) -> tuple[int, set[int], set[int]]:
        return len(of.hidden), {len(part) for part in of.groups}, {len(part) for part in of.neurons}

    return sizes(selection) != sizes(full)


def _narrow(config: PreTrainedConfig, selection: Selection, head: int) -> None:
    ratio = _queries_per_group(config)
    config.hidden_size, config.head_dim = len(selection.hidden), head
    config.num_key_value_heads = len(selection.groups[0])
    config.num_attention_heads = len(selection.groups[0]) * ratio
    config.intermediate_size = len(selection.neurons[0])


def _queries_per_group(config: PreTrainedConfig) -> int:
    return int(config.num_attention_heads // _groups(config))


def _groups(config: PreTrainedConfig) -> int:
    return int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)


def _check(config: PreTrainedConfig) -> None:
    """Refuse at once a shape that transformers would refuse to save after hours of training."""
    try:
        config.validate()
    except StrictDataclassError as error:
        reason = str(error.__cause__ or error).rstrip(".")
        raise ValueError(f"{type(config).__name__} allows no such student ({reason}); choose another size") from error


def cast(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """Cast the parameters in place; ``model.to(dtype)`` would cast the rotary frequencies too."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    model.config.dtype = dtype
    return model


def groups(model: PreTrainedModel) -> int:
    """Key-value heads, with the query heads that share them; without such groups every head is one."""
    return _groups(model.config)


def head_width(model: PreTrainedModel) -> int:
    """Channels of one attention head."""
    config = model.config
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def _source(name: str, selection: Selection) -> tuple[str, int]:
    """Name in the whole model of a student's parameter, and the layer of the whole model it is in."""
    parts = name.split(".")
    position = next((index for index, part in enumerate(parts) if part.isdigit()), None)
    if position is None:
        return name, 0
    layer = int(selection.layers[int(parts[position])])
    return ".".join([*parts[:position], str(layer), *parts[position + 1 :]]), layer


def axes(name: str) -> tuple[str | None, ...]:
    """What each axis of a parameter runs over; see ``AXES``. An unknown parameter is a ``ValueError``."""
    suffix = ".".join(name.split(".")[-2:])
    if suffix in AXES:
        return AXES[suffix]
    if suffix.endswith("norm.weight"):
        return ("hidden",)
    raise ValueError(
        f"parameter {name} has no known axes; students are cut from decoders with {', '.join(list(AXES)[:14:2])}"
    )


def _indices(role: str, selection: Selection, layer: int, head: int, ratio: int) -> torch.Tensor:
    if role == "hidden":
        return selection.hidden
    if role == "neurons":
        return selection.neurons[layer]
    width = head * (ratio if role == "heads" else 1)  # the query heads of a group are adjacent
    return (selection.groups[layer][:, None] * width + torch.arange(width)).flatten()
