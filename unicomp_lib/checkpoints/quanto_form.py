"""quanto's own checkpoint format: packed weights as safetensors, and a map of how to unpack them."""

import json
from pathlib import Path

import torch
from optimum import quanto
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from unicomp_lib import files
from unicomp_lib.checkpoints import decoder

VERSION = "1"
MAP = "quanto_map.json"


def save(model: PreTrainedModel, folder: Path) -> None:
    """Save the packed weights as safetensors, quanto's map of them and the configuration."""
    model.config.save_pretrained(folder)
    save_file(decoder.state(model), folder / "model.safetensors")
    modules = quanto.quantization_map(model)
    for name, settings in modules.items():
        settings["rounds_outputs"] = _rounds_outputs(model.get_submodule(name))
    files.write_text(folder / MAP, json.dumps(modules))


@torch.no_grad()
def load(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Load what ``save`` wrote, computing in ``dtype``; outputs equal those before saving."""
    network = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=dtype)
    state = load_file(folder / "model.safetensors")
    # Scales and norms are cast here: model.to(dtype) would cast the rotary frequencies too.
    state = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    modules = json.loads((folder / MAP).read_text(encoding="utf-8"))
    quanto.requantize(network, state, modules, device=torch.device("cpu"))
    network.tie_weights()
    for name, settings in modules.items():
        if not settings["rounds_outputs"]:
            network.get_submodule(name).disable_output_quantization()
    return network


def _rounds_outputs(module: torch.nn.Module) -> bool:
    """Whether a module rounds its outputs too, which quanto's own map leaves out.

    Calibration disables that wherever the next operation needs floating point. A reload that
    enables it again gives a different, far worse model.
    """
    hook = module._quantize_hooks.get("output")  # type: ignore[union-attr, operator]
    return hook is not None and hook.id in module._forward_hooks
