"""A checkpoint's weights as they are stored: codes with their scales, or numbers, one tensor at a time."""

import json
from pathlib import Path
from typing import Any

import torch
from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
from gguf import GGMLQuantizationType as Kind
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM

from unicomp_lib import paths
from unicomp_lib.checkpoints import configs, decoder, float4, float8, float_zeros, given, int8, models, quanto_form
from unicomp_lib.exchange import gguf_blocks
from unicomp_lib.exchange.gguf_blocks import Coded

VERSION = "1"

PACKED, SHAPE, SCALE, ZEROS = "_packed", "_shape", "_scale", "_zero_point"  # of compressed-tensors
BYTES, OF_BYTES = "._data", "._scale"  # of quanto, beside which it keeps scales of inputs and outputs
PARTS = (PACKED, SHAPE, SCALE, ZEROS, BYTES, OF_BYTES)
UNUSED = (".input_scale", ".output_scale")
# Forms of this study's own that are not exported, by the functions that read them.
REASONS: dict[Any, str] = {
    int8.load: "its linear maps round their inputs to 8 bits too, which GGUF cannot say: another model would be served",
    float8.load: "its linear maps round their inputs to FP8 too, which GGUF cannot say: another model would be served",
    float4.load: "its weights are floats of 4 bits",
    float_zeros.load: "its zero points are fractions, which no type of GGUF holds without rounding",
    quanto_form.load: "its weights are not quanto's integers of 8 bits, or its inputs are rounded too",
}
# The same for those that ``models`` imports by name.
NAMED = {
    "int4_inputs": "its linear maps round their inputs to 4 bits too, which GGUF cannot say",
    "awq_gptq": "it is in the layout of AutoAWQ or AutoGPTQ",
}
ALLOWED = "exported are dense weights, and integers of 4 or 8 bits as gptq, awq, rtn, sinq and quanto save them"


class Source:
    """The tensors of a folder by the names of its model; a ``ValueError`` says why a folder is not exported."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        given.check_weights(folder)
        self.is_quanto = _check_form(folder)
        self.config: Any = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        self.bits = 8 if self.is_quanto else _bits(folder)
        shards = [safe_open(shard, framework="pt") for shard in paths.shards(folder)]
        self._where = {name: shard for shard in shards for name in shard.keys()}  # noqa: SIM118, it is no mapping
        self.shapes = self._shapes()

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the model's tensors, all of which the files must hold, and no others."""
        with torch.device("meta"):
            network = AutoModelForCausalLM.from_config(self.config)
        shapes = {name: tuple(part.shape) for name, part in network.named_parameters()}
        aliases = network.all_tied_weights_keys if self.config.tie_word_embeddings else {}
        stored = {_weight(name) for name in self._where if not (self.is_quanto and name.endswith(UNUSED))}
        for alias in set(aliases) & stored - set(shapes):
            if not torch.equal(self._tensor(alias), self._tensor(aliases[alias])):
                raise ValueError(
                    f"{self.folder} ties {alias} to {aliases[alias]} but stores other numbers; save it again"
                )
            stored.remove(alias)
        configs.refuse(set(shapes) - stored, stored - set(shapes), self.folder)
        return shapes

    def kind(self, name: str) -> Kind:
        """The type of GGUF that holds a tensor without loss; a ``ValueError`` says why there is none."""
        shape = self.shapes[name]
        if self._is_coded(name):
            scale = name + (OF_BYTES if self.is_quanto else SCALE)
            outputs, groups = self._find(scale).get_slice(scale).get_shape()
            if outputs != shape[0] or shape[1] % groups:
                configs.refuse_shape(scale, (outputs, groups), (shape[0], 1), self.folder)
            try:
                return gguf_blocks.kind(self.bits, name + ZEROS not in self._where, shape[1], shape[1] // groups)
            except ValueError as error:
                raise ValueError(f"{name} of {self.folder} cannot be exported: {error}") from error
        stored = self._find(name).get_slice(name).get_dtype()
        if stored not in gguf_blocks.DENSE:
            raise ValueError(f"{name} of {self.folder} is stored as {stored}, which is not exported; {ALLOWED}")
        # llama.cpp reads what is no matrix, norms and biases, in float32 alone.
        return gguf_blocks.DENSE[stored] if len(shape) > 1 else Kind.F32

    def read(self, name: str) -> torch.Tensor | Coded:
        """A tensor, of the model's shape; what is no matrix in float32."""
        if not self._is_coded(name):
            tensor = self._tensor(name)
            self._check_shape(name, tuple(tensor.shape))
            return tensor if tensor.ndim > 1 else tensor.float()
        if self.is_quanto:
            codes = self._tensor(name + BYTES)
            self._check_shape(name, tuple(codes.shape))
            return Coded(codes, self._tensor(name + OF_BYTES))
        scale, shape = self._tensor(name + SCALE), torch.Size(self._tensor(name + SHAPE).tolist())
        self._check_shape(name, tuple(shape))
        codes = unpack_from_int32(self._tensor(name + PACKED), self.bits, shape)
        if name + ZEROS not in self._where:
            return Coded(codes, scale)
        return Coded(codes, scale, unpack_from_int32(self._tensor(name + ZEROS), self.bits, scale.shape, packed_dim=0))

    def _is_coded(self, name: str) -> bool:
        return name + (BYTES if self.is_quanto else PACKED) in self._where

    def _find(self, name: str) -> Any:
        """The file that holds a tensor."""
        if name not in self._where:
            configs.refuse({name}, set(), self.folder)
        return self._where[name]

    def _tensor(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = self._find(name).get_tensor(name)
        decoder.check_finite([(name, tensor)], str(self.folder))
        return tensor

    def _check_shape(self, name: str, stored: tuple[int, ...]) -> None:
        if stored != self.shapes[name]:
            configs.refuse_shape(name, stored, self.shapes[name], self.folder)


def _weight(name: str) -> str:
    """The name in its model of a tensor of which ``name`` is stored."""
    part = next((part for part in PARTS if name.endswith(f".weight{part}")), "")
    return name.removesuffix(part)


def _check_form(folder: Path) -> bool:
    """Whether a folder holds quanto's integers of 8 bits, and no form that is not exported."""
    if configs.quantizes_cache(folder):
        raise ValueError(
            f"{folder} is not exported to GGUF: its cache is quantized, which GGUF cannot say; export the checkpoint "
            "that it was made from, and choose the types of keys and values in the engine"
        )
    reader = models.own_reader(folder)
    if reader is None:
        return False
    if reader is quanto_form.load:
        settings = json.loads((folder / quanto_form.MAP).read_text(encoding="utf-8")).values()
        if all((each["weights"], each["activations"]) == ("qint8", "none") for each in settings):
            return True
    reason = REASONS.get(reader) or NAMED[reader.__module__.rpartition(".")[2]]
    raise ValueError(f"{folder} is not exported to GGUF: {reason}; {ALLOWED}")


def _bits(folder: Path) -> int:
    """Bits of a folder's packed integers; 16 where its weights are dense."""
    quantization = configs.quantization(folder)
    if not quantization:
        return 16
    groups = list((quantization.get("config_groups") or {}).values())
    weights: dict[str, Any] = (groups[0].get("weights") or {}) if len(groups) == 1 else {}
    wrong = {
        f"its form is {quantization.get('format')!r}": quantization.get("format") != "pack-quantized",
        f"it has {len(groups)} groups of settings": len(groups) != 1,
        "it quantizes inputs or outputs of linear maps too": any(
            group.get("input_activations") or group.get("output_activations") for group in groups
        ),
        "it quantizes its cache too": quantization.get("kv_cache_scheme") is not None,
        f"its codes are of type {weights.get('type')!r}": weights.get("type") != "int",
        "its groups are not of consecutive inputs": weights.get("actorder") in ("group", "dynamic"),
    }
    for reason, is_so in wrong.items():
        if is_so:
            raise ValueError(f"{folder} is not exported to GGUF: {reason}; {ALLOWED}")
    return int(weights["num_bits"])
