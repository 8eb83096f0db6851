"""Save a compressed model, and measure from the file what was really saved."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from optimum.quanto import QTensor
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from unicomp_lib import files, hardware, paths
from unicomp_lib.checkpoints import configs, decoder, models

VERSION = "3"

DEVICE_MEMORY = "device_memory.json"  # the most bytes that making a checkpoint took on an accelerator


def plain(model: PreTrainedModel, folder: Path) -> None:
    """Save a model in transformers' own format. See ``configs.save_generation`` for its generation settings."""
    settings = model.generation_config
    model.generation_config = GenerationConfig()  # transformers would refuse to save some
    try:
        model.save_pretrained(folder)
    finally:
        model.generation_config = settings
    configs.save_generation(model, folder)


def save(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    write: Callable[[PreTrainedModel, Path], None] = plain,
) -> dict[str, float]:
    """Save model and tokenizer into ``folder`` and return ``measure`` of the saved files.

    ``write`` is the format: ``plain`` safetensors, ``quanto_form.save``, ``packed_integers.save`` or
    ``int8.save``. The caller passes it, so that a change of one format leaves the results of all
    other methods valid. A ``ValueError`` names a tensor that is not finite.
    """
    decoder.check_finite(model.state_dict().items(), type(model).__name__)
    folder.mkdir(parents=True, exist_ok=True)
    write(model, folder)
    tokenizer.save_pretrained(folder)
    if used := hardware.device_memory():
        files.write_text(folder / DEVICE_MEMORY, json.dumps(used))
    if folder.is_relative_to(paths.home()):  # a notebook that is run by hand: nobody else tells its user
        print(f"the checkpoint is {folder}; give this folder to another notebook as its checkpoint")
    return measure(folder)


def device_memory(folder: Path) -> float:
    """The most bytes that making the checkpoint in ``folder`` took on an accelerator; 0 where none was used."""
    path = folder / DEVICE_MEMORY
    return float(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else 0.0


def measure(folder: Path) -> dict[str, float]:
    """What the saved files hold.

    ``bytes_on_disk`` of all safetensors; ``parameters`` of the model; over all weights of the
    decoder layers (parameters of two dimensions or more: linear maps, and what else a family has,
    such as experts) ``linear_weights``, their ``sparsity`` (share that is exactly zero once the
    file is loaded, rounded to zero or pruned) and ``bits_per_weight`` (stored bits per weight, scales
    and offsets included).
    """
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    known = {name: part.numel() for name, part in decoder.weights(model).items()}
    weights = sum(known.values())
    return {
        "bytes_on_disk": float(sum(shard.stat().st_size for shard in paths.shards(folder))),
        "parameters": float(sum(parameter.numel() for parameter in model.parameters())),
        "linear_weights": float(weights),
        "sparsity": _zeros(folder, list(known)) / weights,
        "bits_per_weight": 8 * _stored(folder, model) / weights,
    }


@torch.no_grad()
def _zeros(folder: Path, names: list[str]) -> int:
    model, _ = models.load(str(folder), on="cpu")
    zeros = 0
    for name in names:
        owner, _, leaf = name.rpartition(".")
        weight: Any = getattr(model.get_submodule(owner), leaf)  # a parameter, or the integers of an Int8Linear
        expanded = weight.dequantize() if isinstance(weight, QTensor) else weight
        zeros += int((expanded == 0).sum())
    return zeros


def _stored(folder: Path, model: PreTrainedModel) -> int:
    """Bytes of all that the files hold for the decoder layers, norms and biases apart.

    Not by the names of the weights: a format may store a weight as several tensors, and
    transformers stores experts one by one.
    """
    stack = decoder.layers(model)
    prefix = next(name for name, module in model.named_modules() if module is stack)
    others = {name for name in model.state_dict() if name.startswith(f"{prefix}.")} - set(decoder.weights(model))
    stored = 0
    for shard in paths.shards(folder):
        with safe_open(shard, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118, safe_open is no mapping
                if name.startswith(f"{prefix}.") and name not in others:
                    tensor = tensors.get_tensor(name)
                    stored += tensor.numel() * tensor.element_size()
    return stored
