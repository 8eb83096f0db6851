"""Round-to-nearest weight quantization by optimum-quanto, saved and reloaded by quanto's own means."""

import json
from pathlib import Path

import torch
from optimum import quanto
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from unicomp_lib import files

VERSION = "1"
WEIGHTS = ("int8", "int4")
MAP = "quanto_map.json"


@torch.no_grad()
def compress(model: PreTrainedModel, *, weights: str = "int8") -> PreTrainedModel:
    """Quantize the weights of the decoder layers' linear maps in place and return the model.

    int8 is symmetric with a scale for every output; int4 is asymmetric in groups along the
    inputs, of 128 or the largest smaller multiple of 32 that divides the matrix. Activations
    stay in floating point. A ``ValueError`` lists the allowed ``weights``.
    """
    if weights not in WEIGHTS:
        raise ValueError(f"weights={weights!r} is not allowed; give one of {', '.join(WEIGHTS)}")
    # The head shares its matrix with the embeddings in tied models, and is kept whole in all.
    quanto.quantize(model, weights=quanto.qtypes[f"q{weights}"], exclude="lm_head")
    quanto.freeze(model)
    return model


def save(model: PreTrainedModel, folder: Path) -> None:
    """Save the packed weights as safetensors, quanto's map of them and the configuration."""
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        state.pop("lm_head.weight")
    model.config.save_pretrained(folder)
    save_file(state, folder / "model.safetensors")
    files.write_text(folder / MAP, json.dumps(quanto.quantization_map(model)))


@torch.no_grad()
def load(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Load what ``save`` wrote, computing in ``dtype``; outputs equal those before saving."""
    network = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=dtype)
    state = load_file(folder / "model.safetensors")
    # Scales and norms are cast here: model.to(dtype) would cast the rotary frequencies too.
    state = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    quanto.requantize(network, state, json.loads((folder / MAP).read_text()), device=torch.device("cpu"))
    network.tie_weights()
    return network
