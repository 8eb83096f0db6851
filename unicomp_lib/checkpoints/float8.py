"""Linear maps of 8-bit floats (FP8, W8A8): one scale per output for weights, one per token for inputs."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from unicomp_lib.checkpoints import configs, decoder, int8

VERSION = "1"

E4M3 = torch.float8_e4m3fn  # 4 bits of exponent and 3 of mantissa: 0, and 2^-9 to 448
LARGEST = 448.0
SMALLEST = 1e-9  # scale of a row of zeros


class Float8Linear(nn.Module):
    """A linear map that rounds its inputs to FP8, token by token, and multiplies FP8 numbers.

    ``weight`` (outputs, inputs) holds FP8 numbers in the type of the model, which has all of them, so that any
    machine can multiply them; ``weight_scale`` (outputs, 1). In the file they take a byte each. The scales are
    applied to the product in float32.
    """

    weight: torch.Tensor
    weight_scale: torch.Tensor

    def __init__(self, inputs: int, outputs: int, bias: bool, dtype: torch.dtype) -> None:
        super().__init__()
        self.in_features, self.out_features = inputs, outputs
        self.register_buffer("weight", torch.zeros(outputs, inputs, dtype=dtype))
        self.register_buffer("weight_scale", torch.zeros(outputs, 1, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(outputs, dtype=dtype)) if bias else None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs (..., outputs) of inputs (..., inputs), in the inputs' type."""
        rows, scale = quantize_rows(inputs.float())
        out = nn.functional.linear(rows.to(self.weight.dtype), self.weight).float()
        out = out * scale * self.weight_scale.float().T
        if self.bias is not None:
            out = out + self.bias.float()
        return out.to(inputs.dtype)

    def dequantize(self) -> torch.Tensor:
        """The weights that the numbers represent, float32 (outputs, inputs)."""
        return self.weight.float() * self.weight_scale.float()


def quantize_rows(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """FP8 numbers (..., inputs) and scales (..., 1) of float32 rows, with s = max(abs(row)) / 448."""
    scale = (rows.abs().amax(-1, keepdim=True) / LARGEST).clamp(min=SMALLEST)
    return nearest(rows / scale), scale


def nearest(values: torch.Tensor) -> torch.Tensor:
    """The nearest FP8 numbers, half-way cases to even mantissas; beyond the largest, the largest."""
    return values.clamp(-LARGEST, LARGEST).to(E4M3)


@torch.no_grad()
def replace(model: PreTrainedModel) -> PreTrainedModel:
    """Round the weights of every linear map of the decoder layers in place, and return the model.

    A ``ValueError`` names what of a model cannot be compressed, see ``decoder.compressible``.
    """
    stack = decoder.compressible(model)
    for name, linear in decoder.linears(stack).items():
        weight = linear.weight
        new = Float8Linear(linear.in_features, linear.out_features, linear.bias is not None, weight.dtype)
        # The scale is rounded to the type in which it is saved, then the weights to that scale.
        new.weight_scale = quantize_rows(weight.float())[1].to(weight.dtype)
        new.weight = nearest(weight.float() / new.weight_scale.float()).to(weight.dtype)
        new.bias = linear.bias
        stack.set_submodule(name, new)
    return model


def save(model: PreTrainedModel, folder: Path) -> None:
    """Save FP8 numbers and scales in the ``float-quantized`` format of compressed-tensors. See ``configs.save``."""
    configs.save(model, folder, int8.form(list(decoder.linears(model)), "float"))
    rounded = {f"{name}.weight" for name, part in model.named_modules() if isinstance(part, Float8Linear)}
    state = {name: part.to(E4M3) if name in rounded else part for name, part in decoder.state(model).items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def is_saved(folder: Path) -> bool:
    """Whether a folder holds what ``save`` wrote: FP8 weights whose inputs are rounded too."""
    found = configs.quantization(folder)
    return found == int8.form(found.get("ignore", []), "float")


def load(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Load what ``save`` wrote, multiplying in ``dtype``, in which FP8 numbers are exact."""
    return int8.rebuild(folder, dtype, load_file(folder / "model.safetensors"), Float8Linear)
