"""Checkpoints that others have compressed: taken as they are, once it is known that they can be compared with dense."""

import importlib
import shutil
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedTokenizerBase

from unicomp_lib import paths
from unicomp_lib.checkpoints import configs, models, saving
from unicomp_lib.inputs import hub

VERSION = "2"

OTHERS = ("awq", "gptq")  # what AutoAWQ and AutoGPTQ save
QUANTIZED = ("compressed-tensors", *OTHERS)  # forms of other tools that ``models.load`` reads
TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")
COPIED = ("*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt")  # no code, and nothing pickled
# Texts that tokenizers of one vocabulary may still cut in different ways.
PROBES = (
    "The quick brown fox, 1234.5 times!", " leading and  double spaces", "naïve Größe 東京 привет",
    "def f(x):\n\treturn x**2\n", "<|im_start|>user\nHi<|im_end|>",
)  # fmt: skip
TURN = [{"role": "user", "content": "Hi"}]


def take(model: str, dense: str, folder: Path) -> tuple[dict[str, float], list[str]]:
    """Copy a checkpoint into ``folder``; ``saving.measure`` of it, and a sentence for all in which it is unlike dense.

    ``model`` and ``dense`` are names as in ``models.checkpoint``. The files stay as they are, so that their bytes are
    those that its author saved; a checkpoint without a tokenizer is given dense's. Raises a ``ValueError`` for weights
    that are no safetensors, not whole, or in a form that the study does not read, and for other tokens than dense's.
    """
    source = located(model)
    check_weights(source)
    notes = [] if _has_tokenizer(source) else ["it has no tokenizer of its own, so it reads and writes with dense's"]
    notes += check_tokens(model, dense) if not notes else _check_outputs(model, dense)
    folder.mkdir(parents=True, exist_ok=True)
    copied = {file.name for file in parts(source)}
    for name in copied:
        shutil.copyfile(source / name, folder / name)
    if others := sorted({file.name for file in source.glob("*.safetensors")} - copied):
        notes.append(f"left out, since they are no part of the model: {', '.join(others)}")
    if not _has_tokenizer(source):
        models.load_tokenizer(dense).save_pretrained(folder)
    try:
        return saving.measure(folder), notes
    except ValueError as error:  # of the copy, which is not where the user would look
        raise ValueError(str(error).replace(str(folder), model)) from error


def parts(folder: Path) -> list[Path]:
    """The files of a checkpoint's folder that make the model: its weights, configuration and tokenizer."""
    return [*paths.shards(folder), *(file for pattern in COPIED for file in folder.glob(pattern))]


def located(model: str) -> Path:
    """The folder of a checkpoint's files: its own, or that of the hub's cache, downloaded if need be."""
    source, revision = models.checkpoint(model)
    if revision is None:
        return Path(source)
    from huggingface_hub import snapshot_download

    with hub.asking(f"model {source}", f"https://huggingface.co/{source}"):
        return Path(snapshot_download(source, revision=revision, allow_patterns=list(hub.OF_MODELS)))


def check_weights(folder: Path) -> None:
    """Raise a ``ValueError`` unless the weights are safetensors in a form that ``models.load`` reads."""
    if reason := paths.unreadable(folder):
        raise ValueError(reason)
    if configs.quantization(folder).get("quant_method") in OTHERS:
        # By name, as in models.with_cache. The notebook imports it, so that its version is in the keys of its steps.
        importlib.import_module("unicomp_lib.checkpoints.awq_gptq").settings(folder)
    if models.own_reader(folder) is not None:
        return
    config: Any = AutoConfig.from_pretrained(folder)
    quantized = getattr(config, "quantization_config", None) or {}
    form = quantized.get("quant_method") if isinstance(quantized, dict) else getattr(quantized, "quant_method", None)
    if form and str(form) not in QUANTIZED:
        raise ValueError(
            f"the weights of {folder} are in the form {str(form)!r}, which the study does not read; allowed are plain "
            f"safetensors and {', '.join(QUANTIZED)}: save it in one of these"
        )


def check_tokens(model: str, dense: str) -> list[str]:
    """Sentences on what differs in tokenizer and chat template.

    A ``ValueError`` says so where a text gives other tokens, or the model has another number of outputs: its
    distribution of the next token cannot be compared with dense's then.
    """
    ours, theirs = models.load_tokenizer(model), models.load_tokenizer(dense)
    for text in PROBES:
        cut, dense_cut = (tokenizer(text, add_special_tokens=False)["input_ids"] for tokenizer in (ours, theirs))
        if cut != dense_cut:
            raise ValueError(
                f"{model} has another tokenizer than {dense}: {text!r} is {len(cut)} tokens {_first(cut)} and not "
                f"{len(dense_cut)} tokens {_first(dense_cut)}; give a checkpoint of the same model"
            )
    notes = []
    vocabulary, known = ours.get_vocab(), theirs.get_vocab()
    if moved := [token for token, index in known.items() if vocabulary.get(token) != index]:
        raise ValueError(
            f"{model} has another tokenizer than {dense}: the token {moved[0]!r} is number "
            f"{vocabulary.get(moved[0], 'none')} and not {known[moved[0]]}; give a checkpoint of the same model"
        )
    if more := sorted(set(vocabulary) - set(known)):
        notes.append(f"its tokenizer has {len(more)} more tokens than dense's, such as {more[0]!r}")
    return [*notes, *_templates(ours, theirs), *_check_outputs(model, dense)]


def _check_outputs(model: str, dense: str) -> list[str]:
    ours, theirs = (_outputs(name) for name in (model, dense))
    if ours != theirs:
        raise ValueError(
            f"{model} has {ours} outputs and {dense} has {theirs}, so their distributions of the next token cannot be "
            "compared; give a checkpoint with dense's vocabulary"
        )
    return []


def _outputs(model: str) -> int:
    source, revision = models.checkpoint(model)
    config: Any = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
    return int(config.get_text_config().vocab_size)


def _templates(ours: PreTrainedTokenizerBase, theirs: PreTrainedTokenizerBase) -> list[str]:
    if not (ours.chat_template or theirs.chat_template):
        return []
    if not ours.chat_template or not theirs.chat_template:
        lacking, other = ("it has", "dense has one") if theirs.chat_template else ("dense has", "it has one")
        return [f"{lacking} no chat template and {other}: tasks that use it are asked in another way"]
    cut = [
        tokenizer.apply_chat_template(TURN, tokenize=False, add_generation_prompt=True) for tokenizer in (ours, theirs)
    ]
    if cut[0] != cut[1]:
        return ["its chat template is not dense's: what is measured with it is model and template together"]
    return []


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in TOKENIZERS)


def _first(tokens: list[int]) -> str:
    return f"({', '.join(map(str, tokens[:5]))}{', …' if len(tokens) > 5 else ''})"
