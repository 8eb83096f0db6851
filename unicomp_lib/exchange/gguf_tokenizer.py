"""Tokenizers as llama.cpp knows them: byte-level BPE whose texts are cut as one of its named pre-tokenizers does."""

import json
from typing import Any

from gguf import GGUFWriter, TokenType
from transformers import PreTrainedTokenizerBase

from unicomp_lib.checkpoints.gguf_bpe import BYTES, BYTES_BY_WORDS, CUTS, SINGLE_DIGITS, SPLIT

VERSION = "1"

SPECIAL = ("bos", "eos", "unk", "pad")


def described(tokenizer: PreTrainedTokenizerBase, config: Any) -> tuple[dict[str, Any], list[str]]:
    """What a header says of a tokenizer, by key of ``tokenizer.ggml``, and a sentence for each text it cuts otherwise.

    A ``ValueError`` names what llama.cpp would do in another way, so that the file would not be this model.
    """
    content = _content(tokenizer)
    model, added = content["model"], {token["id"]: token for token in content["added_tokens"]}
    pre, whole = _cut(content)
    if bool(model.get("ignore_merges")) != whole:
        raise _refused(f"ignore_merges={model.get('ignore_merges')} with the pre-tokenizer {pre}")
    odd = [token["content"] for token in added.values() if token["lstrip"] or token["rstrip"] or token["single_word"]]
    if odd:
        raise _refused(f"a token {odd[0]!r} that takes the spaces around it")
    words = {index: token for token, index in tokenizer.get_vocab().items()}
    if not words or max(words) >= config.vocab_size:
        raise _refused(f"{max(words, default=-1) + 1} tokens for a model of {config.vocab_size}")
    facts: dict[str, Any] = {
        "model": "gpt2",
        "pre": pre,
        "tokens": [words.get(index, f"[PAD{index}]") for index in range(config.vocab_size)],
        "token_type": [_type(index, words, added) for index in range(config.vocab_size)],
        "merges": [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]],
        "add_space_prefix": False,
        **_around(tokenizer),
        **_special(tokenizer, config),
    }
    return facts, [*_unnormalized(content), *_without_token(words, model)]


def add(writer: GGUFWriter, facts: dict[str, Any], template: Any) -> None:
    """Write ``described`` and a chat template into a header."""
    for name, value in facts.items():
        key = f"tokenizer.ggml.{name}"
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, value)
    if template:
        writer.add_chat_template(
            template if isinstance(template, str) else [{"name": n, "template": t} for n, t in template.items()]
        )


def _content(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    content: dict[str, Any] = json.loads(backend.to_str()) if backend is not None else {}
    model = content.get("model", {})
    if model.get("type") != "BPE":
        raise _refused(f"a tokenizer of type {model.get('type', type(tokenizer).__name__)}")
    for setting in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(setting):
            raise _refused(f"{setting} {model[setting]!r}")
    if not model["merges"]:
        raise _refused("no merges, without which llama.cpp reads no tokenizer")
    return content


def _cut(content: dict[str, Any]) -> tuple[str, bool]:
    steps = tuple(_step(part) for part in _parts(content["pre_tokenizer"], "pretokenizers"))
    if steps not in CUTS:
        raise _refused(f"the pre-tokenizer {', then '.join(steps) or 'none'}")
    return CUTS[steps]


def _parts(given: dict[str, Any] | None, inside: str) -> list[dict[str, Any]]:
    """The steps of a normalizer or pre-tokenizer, which may be a sequence."""
    if given is None:
        return []
    return [step for part in given[inside] for step in _parts(part, inside)] if given["type"] == "Sequence" else [given]


def _step(part: dict[str, Any]) -> str:
    """One step of a pre-tokenizer in words; ``CUTS`` has those that are known."""
    if part["type"] == "ByteLevel" and not part["add_prefix_space"]:
        return BYTES_BY_WORDS if part["use_regex"] else BYTES
    if part["type"] == "Digits" and part["individual_digits"]:
        return SINGLE_DIGITS
    if part["type"] == "Split" and part["behavior"] == "Isolated" and not part["invert"]:
        return f"{SPLIT}{part['pattern'].get('Regex', part['pattern'])}"
    return json.dumps(part)


def _type(index: int, words: dict[int, str], added: dict[int, dict[str, Any]]) -> int:
    if index not in words:
        return int(TokenType.UNUSED)
    if index not in added:
        return int(TokenType.NORMAL)
    return int(TokenType.CONTROL if added[index]["special"] else TokenType.USER_DEFINED)


def _around(tokenizer: PreTrainedTokenizerBase) -> dict[str, bool]:
    """Whether a text is opened by the first token and closed by the end token."""
    inner, outer = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
    for before, after in ((False, False), (True, False), (False, True), (True, True)):
        if outer == [*[tokenizer.bos_token_id] * before, *inner, *[tokenizer.eos_token_id] * after]:
            return {"add_bos_token": before, "add_eos_token": after}
    raise _refused(f"other tokens around a text than the first and the end token: {outer}")


def _special(tokenizer: PreTrainedTokenizerBase, config: Any) -> dict[str, int]:
    """Numbers of the special tokens, those of the configuration where the tokenizer has none."""
    keys = {"bos": "bos_token_id", "eos": "eos_token_id", "unk": "unknown_token_id", "pad": "padding_token_id"}
    found = {}
    for name in SPECIAL:
        number = getattr(tokenizer, f"{name}_token_id")
        number = getattr(config, f"{name}_token_id", None) if number is None else number
        if isinstance(number, int):
            found[keys[name]] = number
    if "eos_token_id" not in found:
        raise _refused("no end token")
    return found


def _unnormalized(content: dict[str, Any]) -> list[str]:
    kinds = [part["type"] for part in _parts(content["normalizer"], "normalizers")]
    if set(kinds) - {"NFC"}:
        raise _refused(f"the normalizer {', '.join(kinds)}")
    return ["llama.cpp does not bring texts to the normal form NFC as the tokenizer here does: give it such"] * bool(
        kinds
    )


def _without_token(words: dict[int, str], model: dict[str, Any]) -> list[str]:
    """A sentence on bytes of texts that the vocabulary has no token for, if these are not left out here too."""
    from tokenizers.pre_tokenizers import ByteLevel

    if model.get("unk_token") is None:
        return []

    # Every byte of UTF-8: all characters of one and two bytes, and all first bytes of longer ones.
    points = (
        *range(0x800),
        *range(0x800, 0xD800, 0x800),
        *range(0xE000, 0x10000, 0x800),
        *range(0x10000, 0x110000, 0x10000),
    )
    cut = ByteLevel(add_prefix_space=False, use_regex=False)
    ((letters, _),) = cut.pre_tokenize_str("".join(map(chr, points)))
    lacking = set(letters) - set(words.values())
    if not lacking:
        return []
    return [
        f"the tokenizer has no token for {len(lacking)} of the bytes of UTF-8: a rare character that needs one is the "
        "unknown token here, and left out by llama.cpp"
    ]


def _refused(what: str) -> ValueError:
    return ValueError(
        f"llama.cpp cannot cut texts as a tokenizer with {what}; exported are those of byte-level BPE with the "
        f"pre-tokenizers {', '.join(name for name, _ in CUTS.values())}"
    )
