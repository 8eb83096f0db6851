"""Linear maps of 4-bit integers whose inputs are rounded to 4 bits too (W4A4), some of them after a rotation."""

from pathlib import Path

import torch
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32, unpack_from_int32
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from unicomp_lib.checkpoints import configs, decoder, grid, int8, models
from unicomp_lib.checkpoints.cache_codes import rotated

VERSION = "1"

# Maps whose inputs are rotated before they are rounded. Those of the others are rotated once for all, in the weights.
TURNED = ("self_attn.o_proj", "mlp.down_proj")
LARGEST, CLIP = 7, 0.9  # codes are -8 to 7; inputs beyond 0.9 of a token's largest are clipped, as in QuaRot's code
SMALLEST = 1e-9


class Int4InputsLinear(nn.Module):
    """A linear map that rounds its inputs to 4 bits, token by token; ``turns`` them before that.

    ``weight`` (outputs, inputs) holds the numbers that the 4-bit codes of the file represent, in the type of the
    model. The product is computed in that type, in which the inputs' codes are exact: there is no kernel for it here,
    so it saves no time.
    """

    weight: torch.Tensor
    coded: dict[str, torch.Tensor]  # what is saved of it: by ``replace``, and none in what ``load`` gives

    def __init__(self, inputs: int, outputs: int, bias: bool, dtype: torch.dtype, *, turns: bool = False) -> None:
        super().__init__()
        self.in_features, self.out_features, self.turns = inputs, outputs, turns
        self.register_buffer("weight", torch.zeros(outputs, inputs, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(outputs, dtype=dtype)) if bias else None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs (..., outputs) of inputs (..., inputs), in the inputs' type."""
        rows = rotated(inputs.float()) if self.turns else inputs.float()
        codes, scale = quantize_rows(rows)
        out = nn.functional.linear(codes.to(self.weight.dtype), self.weight).float() * scale
        if self.bias is not None:
            out = out + self.bias.float()
        return out.to(inputs.dtype)


def quantize_rows(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes (..., inputs) and scales (..., 1) of float32 rows, with s = 0.9 max(abs(row)) / 7."""
    scale = (CLIP * rows.abs().amax(-1, keepdim=True) / LARGEST).clamp(min=SMALLEST)
    return (rows / scale).round().clamp(-LARGEST - 1, LARGEST), scale


@torch.no_grad()
def replace(model: PreTrainedModel, *, turned: tuple[str, ...] = TURNED) -> PreTrainedModel:
    """Let every linear map of the decoder layers round its inputs; their weights have 4-bit codes, as of ``gptq``.

    ``turned``: ends of the names of maps that rotate their inputs, and whose weights are rotated already.
    """
    stack = decoder.compressible(model)
    for name, linear in decoder.linears(stack).items():
        fitted: grid.Grid = linear.grid  # type: ignore[assignment]
        bias, dtype = linear.bias is not None, linear.weight.dtype
        new = Int4InputsLinear(linear.in_features, linear.out_features, bias, dtype, turns=name.endswith(turned))
        new.weight, new.bias = linear.weight.detach(), linear.bias
        new.coded = {
            "weight_packed": pack_to_int32(linear.codes, 4),
            "weight_scale": fitted.scale.to(grid.SCALES[fitted.scales]),
            "weight_shape": torch.tensor(linear.weight.shape),
        }
        stack.set_submodule(name, new)
    return model


def save(model: PreTrainedModel, folder: Path) -> None:
    """Save codes and scales; everything else as it is. See ``configs.save``."""
    coded = {name: part for name, part in model.named_modules() if isinstance(part, Int4InputsLinear)}
    state = {name: tensor for name, tensor in decoder.state(model).items() if name.removesuffix(".weight") not in coded}
    for name, part in coded.items():
        state |= {f"{name}.{key}": tensor.contiguous() for key, tensor in part.coded.items()}
    turned = sorted(name for name, part in coded.items() if part.turns)
    configs.save(model, folder, {"quant_method": models.W4A4, "turned": turned})
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def load(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Load what ``save`` wrote, computing in ``dtype``."""
    state = load_file(folder / "model.safetensors")
    for key in [key for key in state if key.endswith(".weight_packed")]:
        name = key.removesuffix("_packed")
        configs.refuse({f"{name}_{part}" for part in ("shape", "scale")} - set(state), set(), folder)
        shape, scale = torch.Size(state.pop(f"{name}_shape").tolist()), state.pop(f"{name}_scale")
        codes = unpack_from_int32(state.pop(key), 4, shape)
        outputs, groups = scale.shape
        if outputs != shape[0] or shape[1] % groups:
            configs.refuse_shape(f"{name}_scale", (outputs, groups), (shape[0], 1), folder)
        state[name] = grid.values(codes, grid.Grid(scale.float(), torch.zeros_like(scale).float(), 4, True), dtype)
    network = int8.rebuild(folder, dtype, state, Int4InputsLinear)
    for name in configs.quantization(folder)["turned"]:
        network.get_submodule(name).turns = True  # type: ignore[assignment]
    return network
