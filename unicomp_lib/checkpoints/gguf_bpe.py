"""The byte-level BPE tokenizer in the header of a GGUF file, which cuts texts as llama.cpp does."""

from pathlib import Path
from typing import Any

from gguf import GGUFReader, TokenType
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

VERSION = "1"

MODEL = "gpt2"  # what a header calls byte-level BPE, whichever way texts are cut
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLIT, BYTES, BYTES_BY_WORDS, SINGLE_DIGITS = "split ", "bytes", "bytes by words", "single digits"
# llama.cpp's name of each way to cut a text before merges, and whether a piece that is a token is taken whole.
CUTS = {
    (BYTES_BY_WORDS,): ("gpt-2", False),
    (SINGLE_DIGITS, BYTES_BY_WORDS): ("smollm", False),
    (f"{SPLIT}{_WORDS % '{1,3}'}", BYTES): ("llama-bpe", True),
    (f"{SPLIT}{_WORDS % ''}", BYTES): ("qwen2", False),
}
NORMALIZED = "qwen2"  # Qwen's tokenizers alone bring a text to the normal form NFC first; llama.cpp leaves this out
SPECIAL = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}  # and what a header calls their numbers


def read(file: Path) -> PreTrainedTokenizerBase | None:
    """The tokenizer of a GGUF ``file``; None where it is not byte-level BPE.

    transformers reads these headers too, but not ``tokenizer.ggml.pre``, which says how a text is cut before merges,
    nor which tokens open and close a text. A ``ValueError`` names a way to cut that is not one of ``CUTS``.
    """
    facts = {name.removeprefix("tokenizer."): field for name, field in GGUFReader(file).fields.items()}
    if "ggml.model" not in facts or facts["ggml.model"].contents() != MODEL:
        return None
    given = {name.removeprefix("ggml."): field.contents() for name, field in facts.items() if name.startswith("ggml.")}
    tokenizer = built(given, file.name)
    if "chat_template" in facts:
        tokenizer.chat_template = facts["chat_template"].contents()
    return tokenizer


def built(facts: dict[str, Any], name: str) -> PreTrainedTokenizerBase:
    """The tokenizer that a header's ``facts`` describe, by key of ``tokenizer.ggml``; ``name`` is the file's.

    As in llama.cpp, bytes that have no token are left out.
    """
    steps, whole = _cut(facts.get("pre"), name)
    tokens = facts["tokens"]
    types = facts.get("token_type", [TokenType.NORMAL] * len(tokens))
    used = {token: index for index, token in enumerate(tokens) if types[index] != TokenType.UNUSED}
    merges = [tuple(pair.split(" ")) for pair in facts["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=used, merges=merges, ignore_merges=whole))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([_step(step) for step in steps])
    tokenizer.decoder = decoders.ByteLevel()
    if facts["pre"] == NORMALIZED:
        tokenizer.normalizer = normalizers.NFC()
    for kind, special in ((TokenType.CONTROL, True), (TokenType.USER_DEFINED, False)):
        of_kind = [token for token, index in used.items() if types[index] == kind]
        tokenizer.add_tokens([AddedToken(token, special=special, normalized=False) for token in of_kind])
    named = {short: tokens[facts[f"{long}_token_id"]] for short, long in SPECIAL.items() if f"{long}_token_id" in facts}
    if around := _around(facts, named, name, used):
        tokenizer.post_processor = around
    texts = {f"{short}_token": token for short, token in named.items()}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **texts)


def _cut(pre: str | None, name: str) -> tuple[tuple[str, ...], bool]:
    """The steps of a named way to cut texts, and whether a piece that is a token is taken whole."""
    for steps, (known, whole) in CUTS.items():
        if pre == known:
            return steps, whole
    said = f"by {pre!r}" if pre else "in a way that its header does not name (tokenizer.ggml.pre)"
    allowed = ", ".join(known for known, _ in CUTS.values())
    raise ValueError(
        f"the tokenizer of {name} cuts texts {said}; allowed are {allowed}; give another file, or the checkpoint in "
        "safetensors"
    )


def _step(step: str) -> pre_tokenizers.PreTokenizer:
    if step.startswith(SPLIT):
        return pre_tokenizers.Split(Regex(step.removeprefix(SPLIT)), "isolated")
    if step == SINGLE_DIGITS:
        return pre_tokenizers.Digits(individual_digits=True)
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=step == BYTES_BY_WORDS)


def _around(
    facts: dict[str, Any], named: dict[str, str], name: str, numbers: dict[str, int]
) -> processors.PostProcessor | None:
    """What opens and closes a text; where a header does not say, llama.cpp opens those of Llama 3 alone."""
    opened = facts.get("add_bos_token", facts["pre"] == "llama-bpe")
    added = [(short, place) for short, place, on in (("bos", 0, opened), ("eos", 1, facts.get("add_eos_token"))) if on]
    if lacking := [SPECIAL[short] for short, _ in added if short not in named]:
        raise ValueError(f"the tokenizer of {name} adds a token to each text, and no {lacking[0]}_token_id says which")
    ends = {place: named[short] for short, place in added}
    single, pair = (" ".join(filter(None, (ends.get(0), f"${letter}", ends.get(1)))) for letter in "AB")
    special = [(token, numbers[token]) for token in dict.fromkeys(ends.values())]
    return processors.TemplateProcessing(single, f"{single} {pair}", special) if ends else None
