"""Small byte-level BPE tokenizers, trained on the spot, that cut texts before merges as well-known ones do."""

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

FIRST, END = "<|first|>", "<|end|>"
TEXT = [
    "The quick brown fox jumps over the lazy dog, 12345 times; it's what they'd do.\n\n\tAnd again!",
    "Dès Noël, où un zéphyr haï me vêt de glaçons würmiens; Größe 東京 привет мир ½ ² 42,0 %",
    "def f(x):\n    return x ** 2  # I'LL WE'RE 1  22   333\r\n",
] * 3
# As in tokenizer.json of meta-llama/Llama-3.2-1B and Qwen/Qwen2.5-0.5B.
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|"
    r"\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")


def _split(pattern):
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )


CUTS = {
    "gpt-2": lambda: pre_tokenizers.ByteLevel(add_prefix_space=False),
    "smollm": lambda: pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    "llama-bpe": lambda: _split(LLAMA3),
    "qwen2": lambda: _split(QWEN2),
}


def made(kind="gpt-2", *, merges=40, **changes):
    """A tokenizer of one ``kind``; ``changes`` replace its ``pre_tokenizer``, ``normalizer`` or others."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=kind == "llama-bpe"))
    tokenizer.pre_tokenizer = CUTS[kind]()
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=258 + merges, special_tokens=[FIRST, END], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    if kind == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    if kind == "llama-bpe":
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{FIRST} $A", pair=f"{FIRST} $A {FIRST} $B", special_tokens=[(FIRST, 0)]
        )
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=FIRST, eos_token=END)
