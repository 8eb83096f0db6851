"""Packed integers with floating-point zero points, as HQQ has them: compressed-tensors packs only whole ones."""

from pathlib import Path
from typing import Any

import torch
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32, unpack_from_int32
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from unicomp_lib.checkpoints import configs, decoder, grid, int8
from unicomp_lib.checkpoints.grid import Grid

VERSION = "1"

ZEROS = torch.float16  # type of saved zero points: with 4 bits they are off by 1/256 of a step at most
METHOD = "unicomp-float-zeros"  # a name of our own, so that no other engine reads these files as something else


def assign(linear: nn.Linear, codes: torch.Tensor, fitted: Grid) -> None:
    """Give a linear map the weights that its codes represent, and attach what is saved of them."""
    linear.weight.data.copy_(values(codes, fitted.scale, fitted.zero, linear.weight.dtype))
    linear.float_zeros = {  # type: ignore[assignment]
        "weight_packed": pack_to_int32(codes.cpu(), fitted.bits),
        "weight_scale": fitted.scale.to(grid.SCALES[fitted.scales]).cpu(),
        "weight_zero_point": fitted.zero.to(ZEROS).cpu(),
        "weight_shape": torch.tensor(codes.shape),
    }
    linear.bits = fitted.bits  # type: ignore[assignment]


def values(codes: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The weights s * (q - z) of codes (outputs, inputs), computed in float32 and rounded once to ``dtype``.

    ``scale`` and ``zero`` have the shape (outputs, groups).
    """
    grouped = codes.float().view(*scale.shape, -1)
    return (scale.float()[..., None] * (grouped - zero.float()[..., None])).view(codes.shape).to(dtype)


def save(model: PreTrainedModel, folder: Path) -> None:
    """Save codes, scales and zero points; everything else as it is. See ``configs.save``."""
    coded: dict[str, Any] = {
        name: part for name, part in decoder.linears(model).items() if hasattr(part, "float_zeros")
    }
    state = {name: tensor for name, tensor in decoder.state(model).items() if name.removesuffix(".weight") not in coded}
    for name, linear in coded.items():
        state |= {f"{name}.{key}": tensor.contiguous() for key, tensor in linear.float_zeros.items()}
    bits = next(iter(coded.values())).bits
    configs.save(model, folder, {"quant_method": METHOD, "num_bits": bits})
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def is_saved(folder: Path) -> bool:
    """Whether a folder holds what ``save`` wrote."""
    return configs.quantization(folder).get("quant_method") == METHOD


def load(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Load what ``save`` wrote, expanded."""
    state, bits = load_file(folder / "model.safetensors"), configs.quantization(folder)["num_bits"]
    for key in [key for key in state if key.endswith(".weight_packed")]:
        name = key.removesuffix("_packed")
        needed = [f"{name}_{part}" for part in ("shape", "scale", "zero_point")]
        configs.refuse(set(needed) - set(state), set(), folder)
        shape, scale, zero = (state.pop(part) for part in needed)
        if zero.shape != scale.shape:
            configs.refuse_shape(f"{name}_zero_point", tuple(zero.shape), tuple(scale.shape), folder)
        codes = unpack_from_int32(state.pop(key), bits, torch.Size(shape.tolist()))
        state[name] = values(codes, scale, zero, dtype)
    return int8.rebuild(folder, dtype, state, decoder.linear)
