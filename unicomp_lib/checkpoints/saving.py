"""Save a compressed model, and measure from the file what was really saved."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from optimum.quanto import QTensor
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from unicomp_lib.checkpoints import decoder, models

VERSION = "2"


def save(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    write: Callable[[PreTrainedModel, Path], None] = PreTrainedModel.save_pretrained,
) -> dict[str, float]:
    """Save model and tokenizer into ``folder`` and return ``measure`` of the saved files.

    ``write`` is the format: plain safetensors, ``quanto_form.save``, ``packed_integers.save`` or
    ``int8.save``. The caller passes it, so that a change of one format leaves the results of all
    other methods valid.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write(model, folder)
    tokenizer.save_pretrained(folder)
    return measure(folder)


def measure(folder: Path) -> dict[str, float]:
    """What the saved files hold.

    ``bytes_on_disk`` of all safetensors; ``parameters`` of the model; over the linear maps of
    the decoder layers ``linear_weights``, their ``sparsity`` (share that is exactly zero once the
    file is loaded, rounded to zero or pruned) and ``bits_per_weight`` (stored bits per weight, scales
    and offsets included).
    """
    linear, parameters = _sizes(folder)
    stored = 0
    for shard in folder.glob("*.safetensors"):
        with safe_open(shard, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118, safe_open is no mapping
                if any(part in linear for part in _owners(name)):
                    tensor = tensors.get_tensor(name)
                    stored += tensor.numel() * tensor.element_size()
    weights = sum(linear.values())
    return {
        "bytes_on_disk": float(sum(shard.stat().st_size for shard in folder.glob("*.safetensors"))),
        "parameters": float(parameters),
        "linear_weights": float(weights),
        "sparsity": _zeros(folder, linear) / weights,
        "bits_per_weight": 8 * stored / weights,
    }


@torch.no_grad()
def _zeros(folder: Path, linear: dict[str, int]) -> int:
    model, _ = models.load(str(folder), on="cpu")
    zeros = 0
    for name in linear:
        weight: Any = model.get_submodule(name).weight
        expanded = weight.dequantize() if isinstance(weight, QTensor) else weight
        zeros += int((expanded == 0).sum())
    return zeros


def _sizes(folder: Path) -> tuple[dict[str, int], int]:
    """Weights of each decoder linear map, and all parameters, counted from the configuration only."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    stack = decoder.layers(model)
    inside = {id(linear) for linear in decoder.linears(stack).values()}
    linear = {name: part.weight.numel() for name, part in decoder.linears(model).items() if id(part) in inside}
    return linear, sum(parameter.numel() for parameter in model.parameters())


def _owners(name: str) -> list[str]:
    """The modules a stored tensor may belong to: ``a.b.weight._data`` to a.b.weight, a.b and a."""
    parts = name.split(".")
    return [".".join(parts[:cut]) for cut in range(len(parts) - 1, 0, -1)]
