"""Models by name: an asset, a hub repository, a folder or the tiny random one."""

import hashlib
import importlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
from compressed_tensors.offload.module import remove_module_offload
from safetensors import safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    CompressedTensorsConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from unicomp_lib import files, hardware, locks, paths
from unicomp_lib.checkpoints import configs, decoder, quanto_form
from unicomp_lib.inputs import assets

VERSION = "3"

TINY = "tiny-random-llama"
W4A4 = "unicomp-w4a4"  # in a configuration, a form of this study's own: int4_inputs
BY_NAME = {W4A4: "int4_inputs", "awq": "awq_gptq", "gptq": "awq_gptq"}  # readers imported by name, as in with_cache
COMPLETE = "complete.json"  # file written last into a converted checkpoint: the sizes of all others


def checkpoint(model: str) -> tuple[str, str | None]:
    """Resolve a model's name to what ``from_pretrained`` takes: a folder or repository, and a revision.

    ``model`` is the name of an asset in ``params/assets.yaml``, ``tiny-random-llama``, a folder that
    holds a checkpoint (a relative one may be that of the checkout), or ``owner/name@revision`` on the
    Hugging Face hub. A hub model without a revision is a ``ValueError``: its weights could change under
    a finished result.
    """
    if model == TINY:
        return str(_converted(model, _save_tiny)), None
    if model in assets.catalogue():
        return str(_converted(model, _save_gguf)), None
    if folder := paths.checkpoint_folder(model):
        return str(folder), None
    name, _, revision = model.partition("@")
    if "/" not in name or not revision:
        raise ValueError(
            f"model {model!r} is not known; allowed are {TINY}, an asset of params/assets.yaml, "
            "a checkpoint's folder, or owner/name@revision on the hub"
        )
    return name, revision


def load(model: str, *, precision: str = "bfloat16", on: str = "") -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model and its tokenizer, ``on`` a device such as ``cpu``, else on the accelerator if there is one.

    ``precision`` is ``bfloat16`` or ``float32``. See ``checkpoint`` for the names. Weights are
    read from safetensors only, and code from a repository is never run. A ``ValueError`` names a tensor
    that a checkpoint lacks, that its model has no place for, or that is not finite.
    """
    source, revision = checkpoint(model)
    reader = own_reader(Path(source))
    if reader is not None:
        network = reader(Path(source), hardware.dtype(precision))
    else:
        network = _read(source, revision, hardware.dtype(precision))
    decoder.check_finite(network.state_dict().items(), source)
    if hardware.device().type == "cpu":
        for note in hardware.notes(2.0 * network.num_parameters()):
            print(f"note: {note}")
    network = network.to(on or hardware.device()).eval()  # type: ignore[arg-type]
    return with_cache(network), load_tokenizer(model)


def with_cache(network: PreTrainedModel) -> PreTrainedModel:
    """A model that reads its keys and values from a quantized cache, where its configuration says so.

    A ``ValueError`` says why it cannot, see ``quantized_cache.attach``.
    """
    if getattr(network.config, decoder.CACHE, None) is None:
        return network
    # By name: its version is in the keys of the steps that save such checkpoints, and of all that read these. An import
    # would put it into the keys of all steps that load a model.
    attached: PreTrainedModel = importlib.import_module("unicomp_lib.checkpoints.quantized_cache").attach(network)
    return attached


def own_reader(folder: Path) -> Callable[[Path, torch.dtype], PreTrainedModel] | None:
    """The function that reads a folder in a form of this study's own, or of AutoAWQ and AutoGPTQ; None for others."""
    from unicomp_lib.checkpoints import float4, float8, float_zeros, int8

    if (folder / quanto_form.MAP).is_file():
        return quanto_form.load
    if module := BY_NAME.get(str(configs.quantization(folder).get("quant_method"))):
        reader: Callable[[Path, torch.dtype], PreTrainedModel]
        reader = importlib.import_module(f"unicomp_lib.checkpoints.{module}").load
        return reader
    return next((form.load for form in (int8, float8, float4, float_zeros) if form.is_saved(folder)), None)


def _read(source: str, revision: str | None, dtype: torch.dtype) -> PreTrainedModel:
    """The model of a folder or repository in transformers' own formats, every weight of it from the files."""
    expanding = _expanding(Path(source))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="You passed `quantization_config`")  # intended, see _expanding
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                source, revision=revision, dtype=dtype, use_safetensors=True, trust_remote_code=False,
                output_loading_info=True, ignore_mismatched_sizes=True, **expanding,
            )  # fmt: skip
    except (AttributeError, RuntimeError, ValueError) as error:
        if not expanding:
            raise
        # It expands what it has not read, before it says what is missing.
        configs.refuse(_missing(Path(source)), set(), source)
        if not isinstance(error, AttributeError):
            raise
        # Its own initialization of weights, as Falcon's, expects them unpacked.
        raise ValueError(
            f"transformers reads no packed weights of this family ({error}); use int8 or quanto"
        ) from error
    network: PreTrainedModel
    network, info = loaded
    for name, stored, expected in info["mismatched_keys"]:
        configs.refuse_shape(name, tuple(stored), tuple(expected), source)
    configs.refuse(set(info["missing_keys"]), set(info["unexpected_keys"]), source)
    if expanding:
        for module in network.modules():  # compressed-tensors leaves them held on the CPU, deaf to .to(device)
            remove_module_offload(module)
        # transformers takes tensors of any shape for these
        with torch.device("meta"):
            expected = AutoModelForCausalLM.from_config(network.config)
        configs.check_shapes(expected, network.state_dict(), source)
        _expand_precisely(network, Path(source))
    return network


@torch.no_grad()
def _expand_precisely(network: PreTrainedModel, folder: Path) -> None:
    """Expand packed weights anew whose scales the model's type cannot hold.

    transformers rounds such scales to that type before it multiplies; here only the product is rounded.
    """
    modules: dict[str, Any] = dict(network.named_modules())
    shards = [safe_open(shard, framework="pt") for shard in paths.shards(folder)]
    where = {name: shard for shard in shards for name in shard.keys()}  # noqa: SIM118, it is no mapping
    for packed in (name for name in where if name.endswith(".weight_packed")):
        prefix = packed.removesuffix("weight_packed")
        linear = modules.get(prefix.removesuffix("."))
        scale = where[f"{prefix}weight_scale"].get_tensor(f"{prefix}weight_scale")
        if linear is None or torch.promote_types(scale.dtype, linear.weight.dtype) == linear.weight.dtype:
            continue
        local = {name.removeprefix(prefix): name for name in where if name.startswith(f"{prefix}weight_")}
        stored = {key: where[name].get_tensor(name) for key, name in local.items()} | {"weight_scale": scale.float()}
        weights = PackedQuantizationCompressor.decompress(stored, linear.quantization_scheme)
        linear.weight.copy_(weights["weight"])


def _missing(folder: Path) -> set[str]:
    """Parameters of a folder's model of which its files hold nothing, packed or not."""
    stored = set()
    for shard in paths.shards(folder):
        with safe_open(shard, framework="pt") as tensors:
            stored |= {name.removesuffix("_packed") for name in tensors.keys()}  # noqa: SIM118, it is no mapping
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    return {name for name, _ in network.named_parameters()} - stored


def _expanding(folder: Path) -> dict[str, CompressedTensorsConfig]:
    """Packed integers are expanded once, on load: transformers has no kernel that multiplies them.

    A ``ValueError`` where inputs or the cache are to be quantized too: expanded, the model would be another, and a
    better one.
    """
    config = folder / "config.json"
    if not config.is_file() or '"compressed-tensors"' not in (text := config.read_text(encoding="utf-8")):
        return {}
    quantization = json.loads(text).get("quantization_config") or {}
    if quantization.get("kv_cache_scheme") is not None:
        raise ValueError(
            f"{folder} quantizes its cache too, in a form of compressed-tensors that this study does not compute; it "
            "has one of its own, of the method cache: save the checkpoint without kv_cache_scheme"
        )
    groups = quantization.get("config_groups") or {}
    if any(isinstance(group, dict) and group.get("input_activations") for group in groups.values()):
        raise ValueError(
            f"{folder} quantizes the inputs of its linear maps too, in a form that this study does not compute; it "
            "reads weights alone, and of quantized inputs the forms that its own smoothquant and fp8 save"
        )
    return {"quantization_config": CompressedTensorsConfig(dequantize=True)}


def load_tokenizer(model: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of ``model`` (names as in ``checkpoint``), with padding on the left.

    Its ``model_max_length`` is the number of the model's positions, which many published tokenizers do not know.
    """
    source, revision = checkpoint(model)
    tokenizer = AutoTokenizer.from_pretrained(source, revision=revision, padding_side="left", trust_remote_code=False)
    if longest := configs.positions(source, revision):
        tokenizer.model_max_length = longest
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _converted(model: str, save: Callable[[str, Path], None]) -> Path:
    """A checkpoint converted once and cached; one that is incomplete or cut short is converted again.

    Its folder is named after what went in, so that another pinned file, or another version of this
    module or of the reader of tokenizers, converts anew. Older folders stay: another process may be reading them.
    """
    from unicomp_lib.checkpoints import gguf_bpe

    pinned = assets.asset(model).files if model in assets.catalogue() else {}
    made_from = hashlib.sha256(json.dumps([VERSION, gguf_bpe.VERSION, pinned], sort_keys=True).encode()).hexdigest()
    folder = paths.home() / "models" / f"{model}-{made_from[:12]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locks.held(folder.with_name(f"{folder.name}.lock")):
        if not _is_whole(folder):
            with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
                made = Path(scratch) / "made"
                save(model, made)
                _complete(made)
                if folder.exists():
                    folder.rename(Path(scratch) / "damaged")
                made.rename(folder)
    return folder


def _is_whole(folder: Path) -> bool:
    """Whether the files of a converted checkpoint are those it was completed with, by their sizes."""
    try:
        sizes = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))
        return bool(sizes) and all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def _complete(folder: Path) -> None:
    """Write the sizes of a checkpoint's files, once these are on disk."""
    sizes = {}
    for file in sorted(folder.iterdir()):
        with file.open("rb") as written:
            os.fsync(written.fileno())
        sizes[file.name] = file.stat().st_size
    files.write_text(folder / COMPLETE, json.dumps(sizes))


def _save_gguf(model: str, folder: Path) -> None:
    """Dequantize a GGUF asset to bfloat16, the precision its weights were published in."""
    from transformers import GgufConfig

    from unicomp_lib.checkpoints import gguf_bpe

    (inside,) = (name for name in assets.asset(model).files if name.endswith(".gguf"))
    path = assets.path(model, inside)
    tokenizer = gguf_bpe.read(path) or AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    network = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    network.bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _save_tiny(model: str, folder: Path) -> None:
    """A two-layer Llama with random weights and a byte tokenizer: shapes and code paths, no skill."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|endoftext|>": 0} | {byte: index for index, byte in enumerate(alphabet, start=1)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=4096,
        bos_token_id=0, eos_token_id=0, pad_token_id=0, tie_word_embeddings=True, dtype=torch.bfloat16,
    )  # fmt: skip
    LlamaForCausalLM(config).bfloat16().save_pretrained(folder)
    end = "<|endoftext|>"
    special = {"eos_token": end, "bos_token": end, "pad_token": end}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
