"""Packed integers in the ``compressed-tensors`` format; vLLM reads those of 4 bits too (tried on a CPU)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from unicomp_lib.checkpoints import configs, decoder, grid
from unicomp_lib.checkpoints.grid import Grid

VERSION = "4"


def assign(linear: nn.Linear, codes: torch.Tensor, fitted: Grid) -> None:
    """Give a linear map the weights that its codes represent, and attach the codes for saving."""
    linear.weight.data.copy_(grid.values(codes, fitted, linear.weight.dtype))
    # On the CPU, as the layer will be when it leaves the accelerator; modules move no plain attributes.
    linear.codes = codes.cpu()
    linear.grid = replace(fitted, scale=fitted.scale.cpu(), zero=fitted.zero.cpu())  # type: ignore[assignment]


def save(model: PreTrainedModel, folder: Path) -> None:
    """Save codes, scales and zero points packed; everything else as it is. See ``configs.save``."""
    maps = decoder.linears(model)
    coded = {name: part for name, part in maps.items() if hasattr(part, "codes")}
    state = {name: tensor for name, tensor in decoder.state(model).items() if name.removesuffix(".weight") not in coded}
    for name, linear in coded.items():
        state |= _stored(name, linear.codes, linear.grid)  # type: ignore[arg-type]
    configs.save(model, folder, _config(next(iter(coded.values())), [name for name in maps if name not in coded]))
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def _stored(name: str, codes: torch.Tensor, fitted: Grid) -> dict[str, torch.Tensor]:
    tensors = {
        "weight_packed": pack_to_int32(codes, fitted.bits),
        "weight_scale": fitted.scale.to(grid.SCALES[fitted.scales]),
        "weight_shape": torch.tensor(codes.shape),
    }
    if not fitted.symmetric:
        tensors["weight_zero_point"] = pack_to_int32(fitted.zero.to(torch.int8), fitted.bits, packed_dim=0)
    return {f"{name}.{key}": tensor.contiguous() for key, tensor in tensors.items()}


def _config(linear: nn.Linear, ignore: list[str]) -> dict[str, Any]:
    """The ``quantization_config`` of a model with linear maps like ``linear``, those of ``ignore`` apart."""
    fitted: Grid = linear.grid  # type: ignore[assignment]
    weights = {
        "num_bits": fitted.bits,
        "type": "int",
        "symmetric": fitted.symmetric,
        "strategy": "group",
        "group_size": linear.in_features // fitted.scale.shape[1],
    }
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
        "ignore": ignore,
    }
