"""Linear maps of 8-bit integers (W8A8): one scale per output for weights, one per token for inputs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from unicomp_lib.checkpoints import configs, decoder

VERSION = "2"

# Integers from -128 to 127 over a range of twice the largest value, as in compressed-tensors.
STEPS = 255
SMALLEST = 1e-9
ROWS, MULTIPLE = 32, 8  # CUDA's integer product needs more than 16 rows, and widths that are multiples of 8


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
        out = multiply(codes, self.weight).float() * scale * self.weight_scale.float().T
        if self.bias is not None:
            out = out + self.bias.float()
        return out.to(inputs.dtype).view(*inputs.shape[:-1], self.out_features)

    def dequantize(self) -> torch.Tensor:
        """The weights that the integers represent, float32 (outputs, inputs)."""
        return self.weight.float() * self.weight_scale.float()


def multiply(codes: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The exact product (rows, outputs), int32, of int8 codes (rows, inputs) and weights (outputs, inputs).

    torch's kernel takes any shape on a CPU; on an accelerator both are padded with zeros to the shapes it takes.
    """
    rows, outputs = len(codes), len(weight)
    if codes.device.type != "cpu":
        inputs = -codes.shape[1] % MULTIPLE
        codes = nn.functional.pad(codes, (0, inputs, 0, max(0, ROWS - rows)))
        weight = nn.functional.pad(weight, (0, inputs, 0, -outputs % MULTIPLE))
    return torch._int_mm(codes, weight.T)[:rows, :outputs]


def quantize_rows(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """int8 codes and scales (rows, 1) of each row, with s = 2 max(abs(row)) / 255."""
    scale = (2 * rows.abs().amax(-1, keepdim=True) / STEPS).clamp(min=SMALLEST)
    return (rows / scale).round().clamp(-128, 127).to(torch.int8), scale


@torch.no_grad()
def replace(model: PreTrainedModel) -> PreTrainedModel:
    """Round the weights of every linear map of the decoder layers in place, and return the model.

    A ``ValueError`` names what of a model cannot be compressed, see ``decoder.compressible``.
    """
    stack = decoder.compressible(model)
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
    """Save integers and scales in the ``int-quantized`` format of compressed-tensors. See ``configs.save``."""
    configs.save(model, folder, form(list(decoder.linears(model))))
    save_file(decoder.state(model), folder / "model.safetensors", metadata={"format": "pt"})


def is_saved(folder: Path) -> bool:
    """Whether a folder holds what ``save`` wrote: 8-bit weights whose inputs are rounded too."""
    config = folder / "config.json"
    if not config.is_file():
        return False
    quantization = json.loads(config.read_text(encoding="utf-8")).get("quantization_config") or {}
    return quantization == form(quantization.get("ignore", []))


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
    configs.check_names(network, set(state), folder)
    configs.check_shapes(network, state, folder)
    network.load_state_dict(state, strict=False)
    network.tie_weights()
    configs.load_generation(network, folder)
    return network


def form(ignore: list[str], kind: str = "int") -> dict[str, Any]:
    """The ``quantization_config`` of a model all of whose linear maps are of 8 bits but those of ``ignore``.

    ``kind``: ``int``, or ``float`` for FP8.
    """
    shared = {"num_bits": 8, "type": kind, "symmetric": True}
    group = {
        "targets": ["Linear"],
        "weights": {**shared, "strategy": "channel"},
        "input_activations": {**shared, "strategy": "token", "dynamic": True},
    }
    return {
        "quant_method": "compressed-tensors",
        "format": f"{kind}-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
        "ignore": ignore,
    }
