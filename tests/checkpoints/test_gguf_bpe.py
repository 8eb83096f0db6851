"""Tokenizers read from the header of a GGUF file cut texts as the tokenizers do that the header was made of."""

import json
from types import SimpleNamespace

import gguf
import pytest
import tokenizers_made
from gguf import GGUFWriter
from tokenizers import processors

from unicomp_lib.checkpoints import gguf_bpe
from unicomp_lib.exchange import gguf_tokenizer

TEXTS = [
    *tokenizers_made.TEXT, "12345", "1", "a1b22 c333", "x = 1.5e-10", "in 1999, at 7:30", "½ ² ٣٤ 四 Ⅷ", " 007 ",
    "10\n20\t30", "it's I'LL we'Re", "  two  spaces\n\n\nand lines \r\n", "e\u0301 Å ﬁ", "<|first|>12<|end|>",
    "say <added>99", "", " ", "\U00040000 🤖", "<0x0A> ▁ Ġ",
]  # fmt: skip


def header(tokenizer, file, size=320, **changes):
    """A file with a tokenizer's header and no tensors; ``changes`` replace facts, and None leaves one out."""
    facts, _ = gguf_tokenizer.described(tokenizer, SimpleNamespace(vocab_size=size))
    writer = GGUFWriter(file, "llama")
    known = {name: value for name, value in (facts | changes).items() if value is not None}
    gguf_tokenizer.add(writer, known, tokenizer.chat_template)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.mark.parametrize("pre", tokenizers_made.CUTS)
def test_texts_are_cut_as_the_original_does(pre, tmp_path):
    original = tokenizers_made.made(pre)
    original.add_tokens(["<added>"])
    original.chat_template = "{{ messages }}"
    found = gguf_bpe.read(header(original, tmp_path / "model.gguf"))
    assert found.get_vocab() == original.get_vocab()
    assert (found.bos_token, found.eos_token) == (tokenizers_made.FIRST, tokenizers_made.END)
    assert found.chat_template == original.chat_template
    assert found.all_special_ids == original.all_special_ids
    for text in TEXTS:
        for special in (True, False):
            numbers = original(text, add_special_tokens=special)["input_ids"]
            assert found(text, add_special_tokens=special)["input_ids"] == numbers, text
        assert found.decode(numbers) == original.decode(numbers)
        assert found.decode(numbers, skip_special_tokens=True) == original.decode(numbers, skip_special_tokens=True)


def test_digits_are_cut_one_by_one_whatever_the_merges_are(tmp_path):
    original = tokenizers_made.made("gpt-2", merges=400)  # learned over whole numbers
    assert len(original("333")["input_ids"]) < 3
    found = gguf_bpe.read(header(original, tmp_path / "model.gguf", size=700, pre="smollm"))
    for number in ("333", "12345", "22"):
        assert found.convert_ids_to_tokens(found(number)["input_ids"]) == [*number]
    cut = json.loads(found.backend_tokenizer.to_str())["pre_tokenizer"]
    kinds = [(part["type"], part.get("individual_digits"), part.get("use_regex")) for part in cut["pretokenizers"]]
    assert kinds == [("Digits", True, None), ("ByteLevel", None, True)]


@pytest.mark.parametrize(
    ("pre", "first", "last", "around"),
    [
        ("smollm", None, None, (0, 0)), ("smollm", True, False, (1, 0)), ("gpt-2", False, True, (0, 1)),
        ("qwen2", True, True, (1, 1)), ("llama-bpe", None, None, (1, 0)), ("llama-bpe", False, None, (0, 0)),
    ],
)  # fmt: skip
def test_a_text_is_opened_and_closed_as_the_header_says(pre, first, last, around, tmp_path):
    original = tokenizers_made.made(pre, post_processor=processors.ByteLevel(trim_offsets=False))
    found = gguf_bpe.read(header(original, tmp_path / "model.gguf", add_bos_token=first, add_eos_token=last))
    opened, closed = around
    assert found("a 1")["input_ids"] == [*[0] * opened, *original("a 1")["input_ids"], *[1] * closed]


def test_a_byte_without_a_token_is_left_out(tmp_path):
    original = tokenizers_made.made("smollm")
    facts, _ = gguf_tokenizer.described(original, SimpleNamespace(vocab_size=320))
    kinds = [
        gguf.TokenType.UNUSED if token == "ô" else kind  # the letter of byte 0xF4
        for token, kind in zip(facts["tokens"], facts["token_type"], strict=True)
    ]
    changes = {"token_type": kinds, "unknown_token_id": 0}
    found = gguf_bpe.read(header(original, tmp_path / "model.gguf", **changes))
    character = "\U00100000"
    assert found(f"a{character}")["input_ids"] == [
        number for number in original(f"a{character}")["input_ids"] if original.convert_ids_to_tokens(number) != "ô"
    ]


@pytest.mark.parametrize("pre", ["default", "tekken", "deepseek-llm", "starcoder", "SmolLM", "", None])
def test_another_way_to_cut_is_refused_by_its_name(pre, tmp_path):
    file = header(tokenizers_made.made(), tmp_path / "model.gguf", pre=pre)
    says = f"by '{pre}'; " if pre else "in a way that its header does not name .*; "
    with pytest.raises(
        ValueError, match=f"tokenizer of model.gguf cuts texts {says}.*gpt-2, smollm, llama-bpe, qwen2; "
    ):
        gguf_bpe.read(file)


def test_a_token_that_is_added_and_not_named_is_refused(tmp_path):
    file = header(tokenizers_made.made(), tmp_path / "model.gguf", bos_token_id=None, add_bos_token=True)
    with pytest.raises(ValueError, match="adds a token to each text, and no bos_token_id says which"):
        gguf_bpe.read(file)


def test_a_tokenizer_of_another_kind_is_left_to_transformers(tmp_path):
    assert gguf_bpe.read(header(tokenizers_made.made(), tmp_path / "model.gguf", model="llama")) is None
