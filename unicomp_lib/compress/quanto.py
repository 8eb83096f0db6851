"""Round-to-nearest weight quantization by optimum-quanto, saved and reloaded by quanto's own means."""

import json
from pathlib import Path

import torch
from optimum import quanto
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from unicomp_lib import files
from unicomp_lib.compress import layers

VERSION = "2"
WEIGHTS = {"int8": "qint8", "int4": "qint4", "int2": "qint2", "float8": "qfloat8"}
ACTIVATIONS = {"": None, "int8": "qint8"}
MAP = "quanto_map.json"
BATCH = 8  # calibration samples in one forward pass


@torch.no_grad()
def compress(
    model: PreTrainedModel, tokens: torch.Tensor | None = None, *, weights: str = "int8", activations: str = ""
) -> PreTrainedModel:
    """Quantize the decoder layers' linear maps in place and return the model.

    int8 and float8 (e4m3) weights are symmetric with a scale for every output; int4 and int2 are
    asymmetric in groups along the inputs, of 128 or the largest smaller multiple of 32 that divides
    the matrix. Activations stay in floating point, or are int8 with one scale a tensor, the
    moving average of what the calibration text ``tokens`` (samples, length) gives. A
    ``ValueError`` lists what is allowed.
    """
    for name, given, allowed in (("weights", weights, WEIGHTS), ("activations", activations, ACTIVATIONS)):
        if given not in allowed:
            known = ", ".join(each or "nothing" for each in allowed)
            raise ValueError(f"{name}={given!r} is not allowed; give one of {known}")
    if activations and tokens is None:
        raise ValueError(f"activations={activations!r} needs calibration tokens; give them, or leave activations out")
    chosen = {"weights": WEIGHTS[weights], "activations": ACTIVATIONS[activations]}
    # The head shares its matrix with the embeddings in tied models, and is kept whole in all.
    quanto.quantize(model, **{key: quanto.qtypes[name] for key, name in chosen.items() if name}, exclude="lm_head")
    if activations and tokens is not None:
        with quanto.Calibration():
            for batch in tokens.to(model.device).split(BATCH):
                model(input_ids=batch, use_cache=False)
    quanto.freeze(model)
    return model


def save(model: PreTrainedModel, folder: Path) -> None:
    """Save the packed weights as safetensors, quanto's map of them and the configuration."""
    model.config.save_pretrained(folder)
    save_file(layers.state(model), folder / "model.safetensors")
    found = quanto.quantization_map(model)
    for name, kept in found.items():
        kept["rounds_outputs"] = _rounds_outputs(model.get_submodule(name))
    files.write_text(folder / MAP, json.dumps(found))


@torch.no_grad()
def load(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Load what ``save`` wrote, computing in ``dtype``; outputs equal those before saving."""
    network = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=dtype)
    state = load_file(folder / "model.safetensors")
    # Scales and norms are cast here: model.to(dtype) would cast the rotary frequencies too.
    state = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    kept = json.loads((folder / MAP).read_text(encoding="utf-8"))
    quanto.requantize(network, state, kept, device=torch.device("cpu"))
    network.tie_weights()
    for name, found in kept.items():
        if not found["rounds_outputs"]:
            network.get_submodule(name).disable_output_quantization()
    return network


def _rounds_outputs(module: torch.nn.Module) -> bool:
    """Whether a module rounds its outputs too, which quanto's own map leaves out.

    Calibration switches that off wherever the next operation wants floating point. A reload that
    switches it on again gives another, far worse model.
    """
    hook = module._quantize_hooks.get("output")  # type: ignore[union-attr, operator]
    return hook is not None and hook.id in module._forward_hooks
