"""4-bit floats (E2M1) with a scale for each block of inputs: NVFP4 and MXFP4, packed as compressed-tensors does."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from compressed_tensors.compressors.nvfp4.helpers import pack_fp4_to_uint8, unpack_fp4_from_uint8
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from unicomp_lib.checkpoints import configs, decoder, int8

VERSION = "1"

LARGEST = 6.0  # of the values 0, 0.5, 1, 1.5, 2, 3, 4 and 6, and their negatives
E4M3, E4M3_LARGEST, E4M3_SMALLEST = torch.float8_e4m3fn, 448.0, 2**-9
BIAS = 127  # an E8M0 scale 2^e is stored as e + 127
BLOCKS = {"nvfp4": 16, "mxfp4": 32}  # inputs that share a scale


@dataclass(frozen=True)
class Scales:
    """Scales of blocks of consecutive inputs, as they are stored.

    ``block`` (outputs, blocks) is E4M3 and divided by ``whole`` (1,), float32, in NVFP4. In MXFP4 it is uint8,
    the exponents of powers of two, and there is no ``whole``.
    """

    block: torch.Tensor
    whole: torch.Tensor | None = None

    @property
    def form(self) -> str:
        """The format's name in ``BLOCKS``."""
        return "mxfp4" if self.whole is None else "nvfp4"

    @property
    def values(self) -> torch.Tensor:
        """The scales as numbers, float32 (outputs, blocks)."""
        if self.whole is None:
            exponents = self.block.int().cpu() - BIAS  # on a CPU, where powers of two are exact
            return torch.ldexp(torch.ones(exponents.shape), exponents).to(self.block.device)
        return self.block.float() / self.whole


def check(inputs: dict[str, int], form: str) -> None:
    """Raise a ``ValueError`` that names a linear map, given with its inputs, which blocks of ``form`` do not divide."""
    for name, width in inputs.items():
        if width % BLOCKS[form]:
            raise ValueError(
                f"{form.upper()} has blocks of {BLOCKS[form]} inputs, which do not divide the {width} inputs of {name};"
                " choose RTN or GPTQ with a group_size that does"
            )


def nearest(values: torch.Tensor) -> torch.Tensor:
    """The nearest E2M1 values, half-way cases to even mantissas; beyond 6, 6."""
    size = values.abs()
    step = torch.where(size < 2, 0.5, torch.where(size < 4, 1.0, 2.0))
    return ((values / step).round() * step).clamp(-LARGEST, LARGEST)


def codes(weight: torch.Tensor, scales: Scales) -> torch.Tensor:
    """The E2M1 values (outputs, inputs), float32, of weights on their blocks' scales."""
    blocks = weight.float().view(*scales.block.shape, -1)
    return nearest(blocks / scales.values[..., None]).view(weight.shape)


def values(codes: torch.Tensor, scales: Scales, dtype: torch.dtype) -> torch.Tensor:
    """The weights (outputs, inputs) that E2M1 values represent: computed in float32, and rounded once to ``dtype``."""
    blocks = codes.view(*scales.block.shape, -1)
    return (blocks * scales.values[..., None]).view(codes.shape).to(dtype)


def assign(linear: nn.Linear, scales: Scales) -> None:
    """Round a linear map's weights to their blocks' scales, and attach the packed tensors for saving."""
    rounded = codes(linear.weight, scales)
    linear.weight.data.copy_(values(rounded, scales, linear.weight.dtype))
    packed = {"weight_packed": pack_fp4_to_uint8(rounded.cpu()), "weight_scale": scales.block.cpu()}
    if scales.whole is not None:
        packed["weight_global_scale"] = scales.whole.cpu().clone()  # a layer shares one, and files share none
    linear.fp4, linear.form = packed, scales.form  # type: ignore[assignment]


def save(model: PreTrainedModel, folder: Path) -> None:
    """Save packed weights and their scales; everything else as it is. See ``configs.save``."""
    maps = decoder.linears(model)
    packed: dict[str, Any] = {name: part for name, part in maps.items() if hasattr(part, "fp4")}
    state = {
        name: tensor for name, tensor in decoder.state(model).items() if name.removesuffix(".weight") not in packed
    }
    for name, linear in packed.items():
        state |= {f"{name}.{key}": tensor.contiguous() for key, tensor in linear.fp4.items()}
    form = next(iter(packed.values())).form
    configs.save(model, folder, _config(form, [name for name in maps if name not in packed]))
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def is_saved(folder: Path) -> bool:
    """Whether a folder holds what ``save`` wrote."""
    return bool(_form(folder))


def load(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Load what ``save`` wrote, expanded: no CPU multiplies such weights as they are stored."""
    state = load_file(folder / "model.safetensors")
    for key in [key for key in state if key.endswith(".weight_packed")]:
        name = key.removesuffix("_packed")
        packed, scales = state.pop(key), _scales(state, name, folder)
        state[name] = _expand(name, packed, scales, dtype, folder)
    return int8.rebuild(folder, dtype, state, decoder.linear)


def _scales(state: dict[str, torch.Tensor], name: str, folder: Path) -> Scales:
    needed = [f"{name}_scale"] + [f"{name}_global_scale"] * (_form(folder) == "nvfp4")
    configs.refuse(set(needed) - set(state), set(), folder)
    return Scales(*[state.pop(key) for key in needed])


def _expand(name: str, packed: torch.Tensor, scales: Scales, dtype: torch.dtype, folder: Path) -> torch.Tensor:
    outputs, inputs = len(packed), 2 * packed.shape[1]
    expected = (outputs, inputs // BLOCKS[scales.form])
    if scales.block.shape != expected:
        configs.refuse_shape(f"{name}_scale", tuple(scales.block.shape), expected, folder)
    return values(unpack_fp4_from_uint8(packed, outputs, inputs, torch.float32), scales, dtype)


def _form(folder: Path) -> str:
    """The format of a folder that holds what ``save`` wrote, else an empty string."""
    found = configs.quantization(folder)
    return next((form for form in BLOCKS if found == _config(form, found.get("ignore", []))), "")


def _config(form: str, ignore: list[str]) -> dict[str, Any]:
    """The ``quantization_config`` of a model all of whose linear maps are in ``form`` but those of ``ignore``."""
    weights = {
        "num_bits": 4,
        "type": "float",
        "symmetric": True,
        "strategy": {"nvfp4": "tensor_group", "mxfp4": "group"}[form],
        "group_size": BLOCKS[form],
        "scale_dtype": {"nvfp4": "torch.float8_e4m3fn", "mxfp4": "torch.uint8"}[form],
    }
    return {
        "quant_method": "compressed-tensors",
        "format": f"{form}-pack-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
        "ignore": ignore,
    }
