"""A checkpoint's configuration: its files, and whether the tensors beside them are those it describes."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, GenerationConfig, PreTrainedModel

from unicomp_lib import files
from unicomp_lib.checkpoints import decoder

VERSION = "1"

GENERATION = "generation_config.json"


def save(model: PreTrainedModel, folder: Path, quantization: dict[str, Any] | None = None) -> None:
    """Write ``config.json``, with ``quantization`` as its ``quantization_config``, and the generation settings."""
    model.config.save_pretrained(folder)
    if quantization is not None:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        files.write_text(folder / "config.json", json.dumps(config | {"quantization_config": quantization}, indent=2))
    save_generation(model, folder)


def save_generation(model: PreTrainedModel, folder: Path) -> None:
    """Write ``generation_config.json`` as it is.

    ``GenerationConfig.save_pretrained`` refuses settings that many published models ship, such as a
    temperature without sampling.
    """
    if model.generation_config is not None:
        model.generation_config.to_json_file(folder / GENERATION, use_diff=True, keys_to_pop=["compile_config"])


def quantization(folder: Path) -> dict[str, Any]:
    """The ``quantization_config`` of a checkpoint; empty where there is none, or no configuration."""
    if not (folder / "config.json").is_file():
        return {}
    found: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("quantization_config")
    return found or {}


def quantizes_cache(source: Path | str, revision: str | None = None) -> bool:
    """Whether the model of a folder or repository reads from a quantized cache, see ``quantized_cache``."""
    return getattr(AutoConfig.from_pretrained(source, revision=revision), decoder.CACHE, None) is not None


def positions(source: Path | str, revision: str | None = None) -> int:
    """Tokens of the longest text that the model of a folder or repository reads; 0 where its configuration says none.

    A scaled rotary embedding counts, where its configuration holds the length before and the factor.
    """
    config = AutoConfig.from_pretrained(source, revision=revision).get_text_config()
    scaled = getattr(config, "rope_parameters", None) or {}
    before, factor = (scaled.get(name) for name in ("original_max_position_embeddings", "factor"))
    longest = int(before * factor) if before and factor else 0
    return max(longest, getattr(config, "max_position_embeddings", None) or 0)


def load_generation(model: PreTrainedModel, folder: Path) -> None:
    """Give a model the generation settings of a checkpoint; one without the file keeps its own."""
    if (folder / GENERATION).is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder)


def check_names(model: PreTrainedModel, stored: set[str], source: Path | str) -> None:
    """Raise a ``ValueError`` unless the ``stored`` tensors are those of the model, names of tied ones apart."""
    expected = set(model.state_dict())
    refuse(expected - stored - decoder.tied(model), stored - expected, source)


def refuse(missing: set[str], unexpected: set[str], source: Path | str) -> None:
    """Raise a ``ValueError`` that names tensors missing from a checkpoint, or without a place in its model.

    Otherwise the one would be filled with random numbers, and the other left out without a word.
    """
    for names, fault in ((missing, "lacks"), (unexpected, "holds")):
        if names:
            first = sorted(names)[0]
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            wrong = "which its model needs" if fault == "lacks" else "which its model has no place for"
            raise ValueError(
                f"{source} does not fit its configuration: it {fault} {first}{more}, {wrong}; save or download it again"
            )


def check_shapes(model: PreTrainedModel, stored: dict[str, torch.Tensor], source: Path | str) -> None:
    """Raise a ``ValueError`` that names a stored tensor of another shape than the model's."""
    for name, tensor in model.state_dict().items():
        if name in stored and stored[name].shape != tensor.shape:
            refuse_shape(name, tuple(stored[name].shape), tuple(tensor.shape), source)


def refuse_shape(name: str, stored: tuple[int, ...], expected: tuple[int, ...], source: Path | str) -> None:
    """Raise the ``ValueError`` of ``check_shapes``."""
    raise ValueError(
        f"{source} does not fit its configuration: {name} is {stored} and must be {expected}; save or download it again"
    )
