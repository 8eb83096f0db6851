"""Checkpoints of packed integers in the ``compressed-tensors`` format, which vLLM reads too."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from unicomp_lib import files
from unicomp_lib.checkpoints import decoder, grid
from unicomp_lib.checkpoints.grid import Grid

VERSION = "2"


def assign(linear: nn.Linear, codes: torch.Tensor, fitted: Grid) -> None:
    """Give a linear map the weights that its codes represent, and attach the codes for saving."""
    linear.weight.data.copy_(grid.values(codes, fitted))
    # On the CPU, as the layer will be when it leaves the accelerator; modules move no plain attributes.
    linear.codes = codes.cpu()
    linear.grid = replace(fitted, scale=fitted.scale.cpu(), zero=fitted.zero.cpu())  # type: ignore[assignment]


def save(model: PreTrainedModel, folder: Path) -> None:
    """Save codes, scales and zero points packed; everything else in bfloat16."""
    coded = {name: part for name, part in decoder.linears(model).items() if hasattr(part, "codes")}
    state = {
        name: tensor.bfloat16()
        for name, tensor in decoder.state(model).items()
        if name.removesuffix(".weight") not in coded
    }
    for name, linear in coded.items():
        state |= _stored(name, linear.codes, linear.grid)  # type: ignore[arg-type]
    model.config.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = _config(next(iter(coded.values())).grid, model)  # type: ignore[arg-type]
    files.write_text(folder / "config.json", json.dumps(config, indent=2))
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def _stored(name: str, codes: torch.Tensor, fitted: Grid) -> dict[str, torch.Tensor]:
    tensors = {
        "weight_packed": pack_to_int32(codes, fitted.bits),
        "weight_scale": fitted.scale.bfloat16(),
        "weight_shape": torch.tensor(codes.shape),
    }
    if not fitted.symmetric:
        tensors["weight_zero_point"] = pack_to_int32(fitted.zero.to(torch.int8), fitted.bits, packed_dim=0)
    return {f"{name}.{key}": tensor.contiguous() for key, tensor in tensors.items()}


def _config(fitted: Grid, model: PreTrainedModel) -> dict[str, Any]:
    inputs = next(part for part in decoder.linears(model).values() if hasattr(part, "codes")).in_features
    weights = {
        "num_bits": fitted.bits,
        "type": "int",
        "symmetric": fitted.symmetric,
        "strategy": "group",
        "group_size": inputs // fitted.scale.shape[1],
    }
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
        "ignore": ["lm_head"],
    }
