"""quanto's own checkpoint format: packed weights as safetensors, and a map of how to unpack them."""

import importlib
import json
from pathlib import Path

import torch
from optimum import quanto
from optimum.quanto.tensor.packed import PackedTensor
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from unicomp_lib import files
from unicomp_lib.checkpoints import configs, decoder

VERSION = "3"
MAP = "quanto_map.json"
BYTES = ("qint8", "qfloat8", "qfloat8_e4m3fn")  # stored a byte a weight, in the shape of the matrix
ALIGNMENT = 16  # bytes, and inputs: what torch's int8 kernel reads at once
MANY = 64  # rows of activations from which expanding the weights takes less time than torch's int8 kernel

_products = importlib.import_module("optimum.quanto.library.qbytes_mm")
_kernel, _plain = _products.qbytes_int8pack_mm, _products.qbytes_mm


def save(model: PreTrainedModel, folder: Path) -> None:
    """Save the packed weights as safetensors, quanto's map of them and the configuration. See ``configs.save``."""
    configs.save(model, folder)
    save_file(decoder.state(model), folder / "model.safetensors")
    modules = quanto.quantization_map(model)
    for name, settings in modules.items():
        settings["rounds_outputs"] = _rounds_outputs(model.get_submodule(name))
    files.write_text(folder / MAP, json.dumps(modules))


@torch.no_grad()
def load(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Load what ``save`` wrote, computing in ``dtype``; outputs equal those before saving."""
    network = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=dtype)
    # Scales and norms are cast here: model.to(dtype) would cast the rotary frequencies too. Each is a copy:
    # tensors lie in a safetensors file at multiples of 8 bytes, and kernels need more.
    state = {
        name: tensor.to(dtype if tensor.is_floating_point() else tensor.dtype, copy=True)
        for name, tensor in load_file(folder / "model.safetensors").items()
    }
    modules = json.loads((folder / MAP).read_text(encoding="utf-8"))
    whole = {f"{name}.weight": f"{name}.weight._data" for name in modules if modules[name]["weights"] in BYTES}
    configs.check_shapes(network, state | {name: state[data] for name, data in whole.items() if data in state}, folder)
    stored = set(state)
    quanto.requantize(network, state, modules, device=torch.device("cpu"))
    network.tie_weights()
    configs.check_names(network, stored, folder)
    for name, settings in modules.items():
        if not settings["rounds_outputs"]:
            network.get_submodule(name).disable_output_quantization()
    configs.load_generation(network, folder)
    return network


def multiply(activations: torch.Tensor, weights: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """quanto's product of bfloat16 activations and int8 weights, by torch's kernel only where that is safe and fast.

    The kernel (``torch._weight_int8pack_mm``) reads 16 bytes at once. Where data do not begin at a
    multiple of 16 bytes, or rows are not multiples of 16, it ends the process or gives wrong
    numbers; quanto calls it for any multiple of 4. Such rows are multiplied as floating-point numbers, and so are
    many rows of activations, for which the kernel takes up to twice as long.
    """
    if weights.shape[-1] % ALIGNMENT or activations.numel() >= MANY * activations.shape[-1]:
        return _plain(activations, weights, scales)
    return _kernel(_aligned(activations), _aligned(weights), _aligned(scales))


def _aligned(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.contiguous()
    return tensor.clone() if tensor.data_ptr() % ALIGNMENT else tensor


_products.qbytes_int8pack_mm = multiply  # type: ignore[attr-defined]  # quanto looks it up by name at each call


def unpack(packed: PackedTensor) -> torch.Tensor:
    """The integers (rows, columns) of a packed tensor, each byte of which holds those of rows far apart.

    quanto compiles C++ for this at the first use, beside its own files and under a lock that a process killed
    meanwhile leaves behind: all later ones wait for it without end.
    """
    bits, data = packed._bits, packed._data
    return torch.cat([data >> shift & (2**bits - 1) for shift in range(0, 8, bits)])[: packed.shape[0]]


PackedTensor.unpack = unpack
# Nor are products compiled for GPUs: without its extensions quanto multiplies expanded weights.
importlib.import_module("optimum.quanto.library.extensions.extension")._extensions.clear()


def _rounds_outputs(module: torch.nn.Module) -> bool:
    """Whether a module rounds its outputs too, which quanto's own map leaves out.

    Calibration disables that wherever the next operation needs floating point. A reload that
    enables it again gives a different, far worse model.
    """
    hook = module._quantize_hooks.get("output")  # type: ignore[union-attr, operator]
    return hook is not None and hook.id in module._forward_hooks
