import pytest
import torch
from lm_eval.models.huggingface import HFLM

from unicomp_lib.evaluate import packed_lm


def requests(tokenizer, rows):
    return [
        (("", ""), tokenizer.encode(prompt), tokenizer.encode(option)) for prompt, options in rows for option in options
    ]


ROWS = [
    ("Question: a long one, with many words, so that padding is needed. Answer:", [" yes", " no, not at all", " b"]),
    ("Question: short? Answer:", [" x", " a longer option"]),
    ("Q", [" only one"]),
]


@pytest.mark.parametrize("batch", [1, 2, 16])
def test_log_likelihoods_equal_plain_lm_eval(tiny, batch):
    model, tokenizer = tiny
    given = requests(tokenizer, ROWS)
    plain = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4, max_length=512)
    fast = packed_lm.PackedLM(pretrained=model, tokenizer=tokenizer, batch_size=batch, max_length=512)
    expected = plain._loglikelihood_tokens(given, disable_tqdm=True)
    answers = fast._loglikelihood_tokens(given, disable_tqdm=True)
    assert [greedy for _, greedy in answers] == [greedy for _, greedy in expected]
    assert torch.allclose(torch.tensor([a for a, _ in answers]), torch.tensor([a for a, _ in expected]), atol=1e-4)


def test_a_prompt_too_long_loses_its_beginning_as_in_plain_lm_eval(tiny):
    model, tokenizer = tiny
    given = requests(tokenizer, [("x y z " * 20, [" one", " three of them"])])
    plain = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=40)
    fast = packed_lm.PackedLM(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=40)
    expected = plain._loglikelihood_tokens(given, disable_tqdm=True)
    answers = fast._loglikelihood_tokens(given, disable_tqdm=True)
    assert torch.allclose(torch.tensor([a for a, _ in answers]), torch.tensor([a for a, _ in expected]), atol=1e-4)


SHOTS = "Question: two and two? Answer: four. " * 12


def test_prompts_with_a_common_prefix_give_the_log_likelihoods_of_plain_lm_eval(tiny, monkeypatch):
    model, tokenizer = tiny
    rows = [(SHOTS + prompt, options) for prompt, options in ROWS] + ROWS
    given = requests(tokenizer, rows)
    fast = packed_lm.PackedLM(pretrained=model, tokenizer=tokenizer, batch_size=2, max_length=512)
    read = []
    monkeypatch.setattr(
        packed_lm.prefix, "read", lambda *args, keep=packed_lm.prefix.read: read.append(args) or keep(*args)
    )
    answers = fast._loglikelihood_tokens(given, disable_tqdm=True)
    plain = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4, max_length=512)
    expected = plain._loglikelihood_tokens(given, disable_tqdm=True)
    assert len(read) == 1  # the prefix was computed once
    assert torch.allclose(torch.tensor([a for a, _ in answers]), torch.tensor([a for a, _ in expected]), atol=1e-4)


def test_batches_respect_both_limits_and_lose_nothing():
    lengths = [3000, 900, 800, 20, 10, 5]
    batches = list(packed_lm._batches(lengths, size=2, tokens=2048))
    assert [length for batch in batches for length in lengths[batch]] == lengths
    for batch in batches:
        rows = lengths[batch]
        assert len(rows) <= 2
        assert len(rows) == 1 or len(rows) * rows[0] <= 2048
