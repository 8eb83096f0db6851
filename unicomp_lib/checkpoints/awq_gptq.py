"""Checkpoints in the forms of AutoAWQ and AutoGPTQ, read as their authors saved them and expanded.

transformers reads them with packages that need a GPU. What the integers mean is taken from what these libraries write:
``awq/modules/linear/gemm.py`` (github.com/casper-hansen/AutoAWQ) and ``auto_gptq/nn_modules/qlinear/qlinear_cuda.py``
(github.com/AutoGPTQ/AutoGPTQ).
"""

from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from unicomp_lib import paths
from unicomp_lib.checkpoints import configs, decoder, int8

VERSION = "1"

AWQ, GPTQ = "awq", "gptq"
LAYOUTS = {AWQ: ("gemm",), GPTQ: ("gptq", "gptq_v2")}  # of the integers, by method
BITS = {AWQ: (4,), GPTQ: (2, 4, 8)}  # of which words of 32 bits hold a whole number
ORDER = (0, 2, 4, 6, 1, 3, 5, 7)  # AWQ: the output of every eight whose code is in these four bits, from the lowest on
PARTS = ("qweight", "qzeros", "scales", "g_idx")  # tensors of one linear map, of which the last may not be there
COMPUTED = ".rotary_emb.inv_freq"  # which old files hold, and models compute


class Settings(NamedTuple):
    """What a checkpoint's configuration says: ``group`` is -1 for one scale an output."""

    method: str
    layout: str
    bits: int
    group: int
    ordered: bool
    symmetric: bool


def is_saved(folder: Path) -> bool:
    """Whether a checkpoint's configuration names one of the two forms."""
    return configs.quantization(folder).get("quant_method") in LAYOUTS


def settings(folder: Path) -> Settings:
    """The settings of a checkpoint. A ``ValueError`` names one that is not read."""
    given = configs.quantization(folder)
    method = str(given["quant_method"])
    names = ("version", "format") if method == AWQ else ("checkpoint_format", "format")
    layout = "marlin" if given.get("is_marlin_format") else str(_first(given, *names) or LAYOUTS[method][0]).lower()
    if layout not in LAYOUTS[method]:
        _refuse(folder, f"{names[0]}: {layout}", f"of {method} {' and '.join(LAYOUTS[method])} are read")
    bits = _first(given, "bits", "w_bit")
    if bits not in BITS[method]:
        _refuse(folder, f"bits: {bits}", f"of {method} {', '.join(map(str, BITS[method]))} are read")
    group = _first(given, "group_size", "q_group_size")
    if not isinstance(group, int) or (group < 1 and group != -1):
        _refuse(folder, f"group_size: {group}", "numbers from 1 and -1, for one scale an output, are read")
    if method == AWQ and given.get("zero_point") is False:
        _refuse(folder, "zero_point: false", "the layout gemm has zero points")
    if own := [name for name, changed in (given.get("dynamic") or {}).items() if changed and not name.startswith("-")]:
        _refuse(folder, f"settings of their own for {own[0]}", "one bits and group_size for all matrices are read")
    symmetric = method == GPTQ and given.get("sym") is True
    return Settings(method, layout, bits, group, bool(given.get("desc_act")), symmetric)


def _first(given: dict[str, Any], *names: str) -> Any:
    return next((given[name] for name in names if given.get(name) is not None), None)


def _refuse(folder: Path, what: str, allowed: str) -> NoReturn:
    raise ValueError(
        f"the weights of {folder} are saved with {what}, which the study does not read; {allowed}: take another "
        "checkpoint of the model, or save it anew in the form of compressed-tensors"
    )


@torch.no_grad()
def load(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """The model with its weights expanded, each product s * (q - z) rounded once to ``dtype``.

    A ``ValueError`` names a setting that is not read, see ``settings``, or tensors that contradict it.
    """
    given = settings(folder)
    shards = [safe_open(shard, framework="pt") for shard in paths.shards(folder)]
    where: dict[str, Any] = {name: shard for shard in shards for name in shard.keys()}  # noqa: SIM118, no mapping
    state = {}
    for name in [name.removesuffix(".qweight") for name in where if name.endswith(".qweight")]:
        configs.refuse({f"{name}.{part}" for part in PARTS[:3]} - set(where), set(), folder)
        shard_of = {part: where.pop(f"{name}.{part}") for part in PARTS if f"{name}.{part}" in where}
        tensors = {part: shard.get_tensor(f"{name}.{part}") for part, shard in shard_of.items()}
        state[f"{name}.weight"] = expanded(tensors, given, f"{name} of {folder}").to(dtype)
    state |= {name: shard.get_tensor(name) for name, shard in where.items() if not name.endswith(COMPUTED)}
    return int8.rebuild(folder, dtype, _without_zero_biases(state, folder), decoder.linear)


def expanded(tensors: dict[str, torch.Tensor], given: Settings, where: str) -> torch.Tensor:
    """The float32 weights (outputs, inputs) of one linear map's ``qweight``, ``qzeros``, ``scales`` and ``g_idx``.

    With q and z whole numbers from 0, a weight is s * (q - z); in float32 this product is exact for scales in float16
    and bfloat16. AWQ packs both along the outputs, GPTQ the codes along the inputs. ``where`` is for a ``ValueError``
    that says what does not fit together.
    """
    scales = tensors["scales"]
    _check_types(tensors, where)
    codes = _unpacked(tensors["qweight"], given.bits, axis=1 if given.method == AWQ else 0)
    zeros = _unpacked(tensors["qzeros"], given.bits, axis=1)
    if given.method == AWQ:
        codes, zeros = _ordered(codes), _ordered(zeros)
    inputs, outputs = codes.shape
    groups = 1 if given.group == -1 else -(-inputs // given.group)
    for name, tensor in (("scales", scales), ("zero points", zeros)):
        if tensor.shape != (groups, outputs):
            raise ValueError(
                f"{where} does not fit its configuration: {name} of {tuple(tensor.shape)} for {inputs} inputs in "
                f"groups of {given.group} and {outputs} outputs; save or download it again"
            )
    group = _groups(tensors.get("g_idx"), inputs, groups, given, where)
    zeros = _zero_points(zeros, given, where)
    return (scales.float()[group] * (codes - zeros[group]).float()).T.contiguous()


def _check_types(tensors: dict[str, torch.Tensor], where: str) -> None:
    for name in ("qweight", "qzeros"):
        if tensors[name].dtype != torch.int32:
            raise ValueError(
                f"{where} is packed into {str(tensors[name].dtype).removeprefix('torch.')} and not into int32, which "
                "the study does not read; take another checkpoint of the model"
            )


def _unpacked(words: torch.Tensor, bits: int, *, axis: int) -> torch.Tensor:
    """Whole numbers from 0 of words that hold 32 / ``bits`` of them along an axis, the first in the lowest bits."""
    shifts = torch.arange(0, 32, bits, dtype=torch.int32)
    shifts = shifts[:, None] if axis == 0 else shifts
    return ((words.unsqueeze(axis + 1) >> shifts) & (2**bits - 1)).flatten(axis, axis + 1)


def _ordered(numbers: torch.Tensor) -> torch.Tensor:
    """Numbers of AWQ, unpacked, in the order of the outputs."""
    places = torch.tensor(ORDER).argsort()
    return numbers.unflatten(1, (-1, len(ORDER)))[:, :, places].flatten(1)


def _groups(index: torch.Tensor | None, inputs: int, groups: int, given: Settings, where: str) -> torch.Tensor:
    """The group of each input: in order, or as ``index`` has it where inputs were rounded in another order."""
    if given.method == AWQ or (index is None and not given.ordered):
        return torch.arange(inputs) // (inputs if given.group == -1 else given.group)
    if index is None:
        raise ValueError(f"{where} lacks g_idx, which desc_act: true needs; save or download it again")
    if index.shape != (inputs,) or not ((index >= 0) & (index < groups)).all():
        raise ValueError(f"{where} has a g_idx that does not name one of {groups} groups for each of {inputs} inputs")
    return index.long()


def _zero_points(zeros: torch.Tensor, given: Settings, where: str) -> torch.Tensor:
    """Zero points; AutoGPTQ's first layout holds them less one."""
    if given.layout == "gptq":
        if (zeros == 2**given.bits - 1).any():
            raise ValueError(
                f"{where} has the zero point {2**given.bits}, as AutoGPTQ reads it, or 0, as other readers do; take a "
                "checkpoint with checkpoint_format: gptq_v2, or a symmetric one"
            )
        zeros = zeros + 1
    if given.symmetric and (zeros != 2 ** (given.bits - 1)).any():
        raise ValueError(
            f"{where} does not fit its configuration: sym is true, and a zero point is not {2 ** (given.bits - 1)}; "
            "readers differ in which they take, so take another checkpoint of the model"
        )
    return zeros


def _without_zero_biases(state: dict[str, torch.Tensor], folder: Path) -> dict[str, torch.Tensor]:
    """The tensors without biases of zeros that the model does not have: AutoGPTQ saves one for every matrix."""
    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        known = set(AutoModelForCausalLM.from_config(config).state_dict())
    return {
        name: tensor for name, tensor in state.items() if name in known or not name.endswith(".bias") or tensor.any()
    }
