"""Packed ranking over many families: the log-likelihoods of plain lm-eval, or plain ranking."""

import families
import pytest
import torch
from lm_eval.models.huggingface import HFLM

from unicomp_lib.checkpoints import models
from unicomp_lib.evaluate import attention, packable, packed_lm

ROWS = [
    ("Question: which of these is the one that was meant here? Answer:", [" this", " that one there", " b"]),
    ("Q: x? A:", [" y", " a longer option"]),
    ("Short:", [" yes", " no"]),
]
# Attention alone carries information, and positions are an argument.
PACKED = {
    "llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3_text", "phi3", "smollm3", "olmo2", "cohere2",
    "exaone4", "falcon", "opt", "gpt2", "gpt_neox", "mixtral", "qwen2_moe", "olmoe", "deepseek_v3",
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return models.load(models.TINY, precision="float32", on="cpu")[1]


def requests(tokenizer):
    return [(("", ""), tokenizer.encode(p), tokenizer.encode(option)) for p, options in ROWS for option in options]


@pytest.mark.parametrize("family", families.FAMILIES)
@pytest.mark.parametrize("short", [False, True])
def test_ranking_gives_the_log_likelihoods_of_plain_lm_eval(family, short, tokenizer):
    model, given = families.build(family), requests(tokenizer)
    plain = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=400)
    expected = torch.tensor([value for value, _ in plain._loglikelihood_tokens(given, disable_tqdm=True)])
    if short:
        attention.use(model)
    fast = packed_lm.PackedLM(pretrained=model, tokenizer=tokenizer, batch_size=4, max_length=400)
    values = torch.tensor([value for value, _ in fast._loglikelihood_tokens(given, disable_tqdm=True)])
    assert torch.allclose(values, expected, atol=1e-3)


@pytest.mark.parametrize("family", families.FAMILIES)
def test_families_that_cannot_pack_are_told_and_the_others_do(family):
    assert (packable.obstacle(families.build(family)) == "") == (family in PACKED)


def test_an_obstacle_is_said_once(tokenizer, capsys):
    model = families.build("bloom")
    fast = packed_lm.PackedLM(pretrained=model, tokenizer=tokenizer, batch_size=4, max_length=400)
    for _ in range(2):
        fast._loglikelihood_tokens(requests(tokenizer), disable_tqdm=True)
    said = capsys.readouterr().out
    assert said.count("BloomForCausalLM: options are ranked one by one, since its positions are counted") == 1


@pytest.mark.parametrize(
    ("family", "extra", "tokens"),
    [
        ("llama", {}, 2**31),
        ("mistral", {}, families.WINDOW),
        ("mistral", {"sliding_window": None}, 2**31),
        ("qwen2", {}, families.WINDOW),
        ("qwen2", {"use_sliding_window": False}, 2**31),
        ("gemma3_text", {}, families.WINDOW),
        ("gemma3_text", {"layer_types": [families.FULL]}, 2**31),
    ],
)
def test_rows_are_packed_up_to_the_smallest_window(family, extra, tokens):
    assert packable.longest(families.build(family, **extra)) == tokens


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_what_is_known_of_a_model_does_not_hang_on_its_precision(dtype):
    assert packable.obstacle(families.build("llama").to(dtype)) == ""
    assert packable.obstacle(families.build("lfm2").to(dtype)) == "not all of its layers attend"


def test_a_family_that_answers_otherwise_is_found_by_trying(tiny):
    model, _ = tiny
    plain = model.model.forward
    model.model.forward = lambda *args, attention_mask=None, **kwargs: plain(*args, **kwargs)  # ignores the mask
    assert "packed options were off by" in packable.obstacle(model)
