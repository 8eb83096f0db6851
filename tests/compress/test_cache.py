"""Quantizing the cache is the last step of a compression, and 8 bits of it are hardly noticed."""

import copy

import families
import pytest
import torch

from unicomp_lib.compress import (
    awq,
    cache,
    distill,
    gptq,
    magnitude,
    minitron,
    quanto,
    rotate,
    rtn,
    smoothquant,
    wanda,
)
from unicomp_lib.inputs import calibration

LATER = {
    "rtn": rtn.compress,
    "magnitude": magnitude.compress,
    "quanto": quanto.compress,
    "rotate": rotate.compress,
    "gptq": lambda model: gptq.compress(model, families.tokens(), group_size=32),
    "awq": lambda model: awq.compress(model, families.tokens(), group_size=32),
    "wanda": lambda model: wanda.compress(model, families.tokens()),
    "smoothquant": lambda model: smoothquant.compress(model, families.tokens()),
    "minitron": lambda model: minitron.depth(model, families.tokens(), keep=1),
    "cache": lambda model: cache.compress(model, group_size=16),
    "finetune": distill.language_loss,
    "a student": lambda model: distill.logits_loss(model, model),
}


@pytest.mark.parametrize("method", LATER)
@torch.no_grad()
def test_nothing_is_compressed_after_its_cache(tiny, method):
    model, tokens = tiny[0], families.tokens(rows=1)
    cache.compress(model, group_size=16)
    before = model(tokens).logits
    with pytest.raises(
        ValueError, match="is quantized, which comes last; compress the checkpoint that it was made from"
    ):
        LATER[method](model)
    assert torch.equal(model(tokens).logits, before)


@torch.no_grad()
def test_the_real_model_writes_the_same_with_8_bits_and_fewer_bits_cost_more(dense):
    reference, tokenizer = dense
    tokens = calibration.blocks(tokenizer, samples=1, length=96, seed=5)
    prompt = tokenizer("The capital of France is Paris. The capital of Italy is", return_tensors="pt").input_ids
    expected = reference(tokens).logits.log_softmax(-1)
    written = reference.generate(prompt, max_new_tokens=8, do_sample=False)
    divergences = []
    for form in ("int8", "int4", "int2"):
        model = cache.compress(copy.deepcopy(reference), keys=form, values=form)
        logits = model(tokens).logits.log_softmax(-1)
        divergences.append(float((expected.exp() * (expected - logits)).sum(-1).mean()))
        if form == "int8":
            assert torch.equal(model.generate(prompt, max_new_tokens=8, do_sample=False), written)
    assert divergences[0] < 1e-3 < 10 * divergences[0] < divergences[1] < divergences[2]


@torch.no_grad()
def test_keys_by_channel_cost_the_real_model_less_than_keys_by_token(dense):
    reference, tokenizer = dense
    tokens = calibration.blocks(tokenizer, samples=1, length=96, seed=5)
    expected = reference(tokens).logits.log_softmax(-1)
    divergences = {}
    for form in ("int4", "int2"):
        for per_channel in (False, True):
            model = cache.compress(copy.deepcopy(reference), keys=form, values="", per_channel=per_channel)
            logits = model(tokens).logits.log_softmax(-1)
            divergences[form, per_channel] = float((expected.exp() * (expected - logits)).sum(-1).mean())
    assert divergences["int4", True] < 0.5 * divergences["int4", False]
    assert divergences["int2", True] < 0.5 * divergences["int2", False]
