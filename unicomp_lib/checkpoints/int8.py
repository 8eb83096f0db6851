"""Linear maps of 8-bit integers (W8A8): one scale per output for weights, one per token for inputs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from unicomp_lib import files
from unicomp_lib.checkpoints import decoder

VERSION = "1"

# Integers from -128 to 127 over a range of twice the largest value, as in compressed-tensors.
STEPS = 255
SMALLEST = 1e-9
ROWS = 32  # CUDA's integer product needs more than 16 rows


class Int8Linear(nn.Module):
    """A linear map that rounds its inputs to 8 bits, token by token, and multiplies integers.

    ``weight`` int8 (outputs, inputs), ``weight_scale`` (outputs, 1). The product of integers is
    exact, so this equals compressed-tensors' simulated rounding, up to the floating-point type of
    the scales.
    """

    weight: torch.Tensor
    weight_scale: torch.Tensor

    def __init__(self, inputs: int, outputs: int, bias: bool, dtype: torch.dtype) -> None:
        super().__init__()
        self.in_features, self.out_features = inputs, outputs
        self.register_buffer("weight", torch.zeros(outputs, inputs, dtype=torch.int8))
        self.register_buffer("weight_scale", torch.zeros(outputs, 1, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(outputs, dtype=dtype)) if bias else None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs (..., outputs) of inputs (..., inputs), in the inputs' type."""
        rows = inputs.reshape(-1, self.in_features).float()
        codes, scale = quantize_rows(rows)
        missing = max(0, ROWS - len(codes)) if codes.is_cuda else 0
        product = torch._int_mm(nn.functional.pad(codes, (0, 0, 0, missing)), self.weight.T)[: len(codes)]
        out = product.float() * scale * self.weight_scale.float().T
        if self.bias is not None:
            out = out + self.bias.float()
        return out.to(inputs.dtype).view(*inputs.shape[:-1], self.out_features)

    def dequantize(self) -> torch.Tensor:
        """The weights that the integers represent, float32 (outputs, inputs)."""
        return self.weight.float() * self.weight_scale.float()


def quantize_rows(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """int8 codes and scales (rows, 1) of each row, with s = 2 max(abs(row)) / 255."""
    scale = (2 * rows.abs().amax(-1, keepdim=True) / STEPS).clamp(min=SMALLEST)
    return (rows / scale).round().clamp(-128, 127).to(torch.int8), scale


@torch.no_grad()
def replace(model: PreTrainedModel) -> PreTrainedModel:
    """Round the weights of every linear map of the decoder layers in place, and return the model."""
    stack = decoder.layers(model)
    for name, linear in decoder.linears(stack).items():
        dtype = linear.weight.dtype
        new = Int8Linear(linear.in_features, linear.out_features, linear.bias is not None, dtype).to(
            linear.weight.device
        )
        # The scale is rounded to the type in which it is saved, then the weights to that scale.
        new.weight_scale = (2 * linear.weight.float().abs().amax(1, keepdim=True) / STEPS).clamp(min=SMALLEST).to(dtype)
        new.weight = (linear.weight.float() / new.weight_scale.float()).round().clamp(-128, 127).to(torch.int8)
        new.bias = linear.bias
        stack.set_submodule(name, new)
    return model


def save(model: PreTrainedModel, folder: Path) -> None:
    """Save integers and scales in the ``int-quantized`` format of compressed-tensors."""
    model.config.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = _config()
    files.write_text(folder / "config.json", json.dumps(config, indent=2))
    save_file(decoder.state(model), folder / "model.safetensors", metadata={"format": "pt"})


def is_saved(folder: Path) -> bool:
    """Whether a folder holds what ``save`` wrote: 8-bit weights whose inputs are rounded too."""
    config = folder / "config.json"
    if not config.is_file():
        return False
    return json.loads(config.read_text(encoding="utf-8")).get("quantization_config") == _config()


def load(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Load what ``save`` wrote, computing in ``dtype`` between the integer products."""
    return rebuild(folder, dtype, load_file(folder / "model.safetensors"), Int8Linear)


@torch.no_grad()
def rebuild(
    folder: Path,
    dtype: torch.dtype,
    state: dict[str, torch.Tensor],
    make: Callable[[int, int, bool, torch.dtype], nn.Module],
) -> PreTrainedModel:
    """The model of a checkpoint's configuration with linear maps from ``make``, filled from ``state``."""
    config = AutoConfig.from_pretrained(folder)
    del config.quantization_config
    network = AutoModelForCausalLM.from_config(config, dtype=dtype)
    stack = decoder.layers(network)
    for name, linear in decoder.linears(stack).items():
        stack.set_submodule(name, make(linear.in_features, linear.out_features, linear.bias is not None, dtype))
    state = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    missing, unexpected = network.load_state_dict(state, strict=False)
    network.tie_weights()
    if unexpected or set(missing) - {"lm_head.weight"}:
        raise ValueError(f"{folder} does not fit its configuration: {', '.join([*missing, *unexpected][:3])}")
    return network


def _config() -> dict[str, Any]:
    shared = {"num_bits": 8, "type": "int", "symmetric": True}
    group = {
        "targets": ["Linear"],
        "weights": {**shared, "strategy": "channel"},
        "input_activations": {**shared, "strategy": "token", "dynamic": True},
    }
    return {
        "quant_method": "compressed-tensors",
        "format": "int-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
        "ignore": ["lm_head"],
    }
