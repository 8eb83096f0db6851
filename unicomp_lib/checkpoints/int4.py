"""4-bit checkpoints multiplied as they are stored, by torch's integer kernel for CPUs."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedModel

from unicomp_lib.checkpoints import int8

VERSION = "1"

GROUPS = (32, 64, 128, 256)  # group sizes that the kernel supports
ROWS = 16  # it needs outputs divisible by this
MIDDLE = 8  # the kernel's codes are 0 to 15, the saved ones -8 to 7


class Int4Linear(nn.Module):
    """A linear map whose weights stay packed, two to a byte, and are expanded inside the product.

    ``packed`` uint8 (outputs, inputs / 2) in the kernel's own layout; ``scales`` (groups, outputs, 2)
    hold the scale s and the offset -s z of s * (q - z). For one token this reads a quarter of the
    bytes of bfloat16, and decode is bound by bytes; for a long prompt, bound by arithmetic, it is slower.
    """

    packed: torch.Tensor
    scales: torch.Tensor

    def __init__(self, inputs: int, outputs: int, bias: bool, dtype: torch.dtype, *, group_size: int) -> None:
        super().__init__()
        self.in_features, self.out_features, self.group_size = inputs, outputs, group_size
        self.register_buffer("packed", torch.zeros(outputs, inputs // 2, dtype=torch.uint8))
        self.register_buffer("scales", torch.zeros(inputs // group_size, outputs, 2, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(outputs, dtype=dtype)) if bias else None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs (..., outputs) of inputs (..., inputs), in the inputs' type."""
        rows = inputs.reshape(-1, self.in_features)
        out = torch.ops.aten._weight_int4pack_mm_for_cpu(rows, self.packed, self.group_size, self.scales)
        out = out if self.bias is None else out + self.bias
        return out.view(*inputs.shape[:-1], self.out_features)


def fits(folder: Path, dtype: torch.dtype) -> bool:
    """Whether a checkpoint holds packed 4-bit weights of shapes that the kernel supports, and scales ``dtype`` holds.

    The kernel wants scales in the type of the inputs: others would have to be rounded.
    """
    weights = _weight_settings(folder)
    if weights.get("num_bits") != 4 or weights.get("group_size") not in GROUPS:
        return False
    state = load_file(folder / "model.safetensors")
    scales = {tensor.dtype for name, tensor in state.items() if name.endswith(".weight_scale")}
    return all(torch.promote_types(scale, dtype) == dtype for scale in scales) and all(
        len(tensor) % ROWS == 0 for name, tensor in state.items() if name.endswith(".weight_packed")
    )


def load(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Load a checkpoint that ``fits`` without expanding it; only on a CPU. Others are a ``ValueError``."""
    if not fits(folder, dtype):
        raise ValueError(
            f"{folder} holds no packed 4-bit weights in groups of {', '.join(map(str, GROUPS))} with outputs that are "
            f"multiples of {ROWS} and scales that {str(dtype).removeprefix('torch.')} holds, which torch's kernel "
            "needs; load it expanded, by models.load"
        )
    state = load_file(folder / "model.safetensors")
    for key in [key for key in state if key.endswith(".weight_packed")]:
        name = key.removesuffix(".weight_packed")
        shape = torch.Size(state.pop(f"{name}.weight_shape").tolist())
        codes = unpack_from_int32(state.pop(key), 4, shape)
        scale, zero = state.pop(f"{name}.weight_scale").float(), state.pop(f"{name}.weight_zero_point", None)
        shift = torch.zeros(1) if zero is None else unpack_from_int32(zero, 4, scale.shape, packed_dim=0).float()
        state[f"{name}.packed"], state[f"{name}.scales"] = to_kernel_layout(codes, scale, shift)
    return int8.rebuild(folder, dtype, state, partial(Int4Linear, group_size=_weight_settings(folder)["group_size"]))


def to_kernel_layout(codes: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """``packed`` and ``scales`` of ``Int4Linear`` for codes (outputs, inputs) on the grid s * (q - z)."""
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu((codes + MIDDLE).int(), 1)
    return packed, torch.stack([scale.T, -(zero * scale).T], dim=-1).contiguous()


def _weight_settings(folder: Path) -> dict[str, Any]:
    config = folder / "config.json"
    if not config.is_file():
        return {}
    quantization = json.loads(config.read_text(encoding="utf-8")).get("quantization_config")
    if not quantization or quantization.get("format") != "pack-quantized":
        return {}
    group: dict[str, Any] = quantization["config_groups"]["group_0"]
    if group.get("input_activations") or quantization.get("kv_cache_scheme"):
        return {}  # not weights alone: models.load says so
    return dict(group["weights"])
