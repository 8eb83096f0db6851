"""A rotation leaves a model as it is, and spreads what stands out."""

import re

import families
import pytest
import torch

from unicomp_lib.checkpoints import decoder, models, packed_integers, saving
from unicomp_lib.compress import rotate, rtn, students

ROTATED = ("llama", "qwen2", "qwen3", "mistral", "smollm3")
FORM = "a rotation needs a model of Llama's form, and"
OTHERS = {
    "gemma": "a rotation would change the outputs of GemmaForCausalLM by",
    "gemma2": "the layers of Gemma2ForCausalLM have the norms",
    "olmo2": "the layers of Olmo2ForCausalLM have the norms",
    "phi3": f"{FORM} Phi3ForCausalLM has model.layers.0.self_attn.qkv_proj.weight, which is of another; choose a model",
    "cohere2": "the layers of Cohere2ForCausalLM have the norms",
    "falcon": f"{FORM} FalconForCausalLM has",
    "opt": f"{FORM} OPTForCausalLM has",
    "bloom": f"{FORM} BloomForCausalLM has",
    "gpt_neox": f"{FORM} GPTNeoXForCausalLM has",
    "lfm2": f"{FORM} Lfm2ForCausalLM has",
    "mixtral": "89% of the weights of MixtralForCausalLM's layers belong to no nn.Linear",
}


@pytest.mark.parametrize("size", [2, 12, 64, 96, 576])
def test_a_rotation_is_orthogonal_and_differs_by_its_seed(size):
    matrix = rotate.rotation(size)
    assert torch.allclose(matrix @ matrix.T, torch.eye(size, dtype=torch.float64), atol=1e-12)
    assert torch.equal(matrix, rotate.rotation(size))
    assert not torch.equal(matrix, rotate.rotation(size, seed=1)) or size == 2
    if size == 64:
        assert torch.allclose(matrix.abs(), torch.tensor(1 / 8, dtype=torch.float64))


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("family", ROTATED)
@torch.no_grad()
def test_the_outputs_stay_and_every_norm_is_one(family, tie):
    model = families.build(family, tie_word_embeddings=tie)
    weights = decoder.linears(decoder.layers(model))
    before, dense = model(families.tokens()).logits, {name: part.weight.clone() for name, part in weights.items()}
    rotate.compress(model)
    logits = model(families.tokens()).logits
    assert (logits - before).abs().max() < 1e-3 * before.abs().max()
    assert all((layer.input_layernorm.weight == 1).all() for layer in decoder.layers(model))
    assert not any(torch.allclose(part.weight, dense[name]) for name, part in weights.items())


@torch.no_grad()
def test_the_real_model_stays_as_it_is(dense):
    model, tokenizer = models.load("smollm2-135m-instruct", precision="float32", on="cpu")
    tokens = tokenizer("The capital of France is Paris, and its river is the Seine.", return_tensors="pt").input_ids
    before = model(tokens).logits
    rotate.compress(model)
    assert (model(tokens).logits - before).abs().max() < 1e-3


@torch.no_grad()
def test_a_channel_that_stands_out_is_spread_and_rounding_loses_less():
    model = families.build("llama", hidden_size=128, tie_word_embeddings=False)
    for layer in decoder.layers(model):
        layer.mlp.up_proj.weight[:, 7] *= 40
        layer.mlp.gate_proj.weight[:, 7] *= 40
    before, errors = model(families.tokens()).logits, []
    for turn in (False, True):
        other = families.build("llama", hidden_size=128, tie_word_embeddings=False)
        other.load_state_dict(model.state_dict())
        if turn:
            rotate.compress(other)
        rtn.compress(other, group_size=64)
        errors.append(float((other(families.tokens()).logits - before).norm()))
    assert errors[1] < 0.9 * errors[0]


@pytest.mark.parametrize("family", OTHERS)
@torch.no_grad()
def test_other_families_are_refused_and_left_as_they_were(family):
    model = families.build(family)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    expected = model(families.tokens()).logits
    with pytest.raises(ValueError, match=f"^{re.escape(OTHERS[family])}"):
        rotate.compress(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(model(families.tokens()).logits, expected)


@pytest.mark.parametrize("rounded", [False, True])
@torch.no_grad()
def test_reload_equals_memory(rounded, tmp_path):
    model, tokenizer = models.load(models.TINY, on="cpu")
    rotate.compress(model)
    assert model.dtype == torch.bfloat16
    if rounded:
        rtn.compress(model, group_size=32)
    saved = saving.save(model, tokenizer, tmp_path, write=packed_integers.save if rounded else saving.plain)
    again, _ = models.load(str(tmp_path), on="cpu")
    assert torch.equal(again(families.tokens()).logits, model(families.tokens()).logits)
    assert again.lm_head.weight is not again.model.embed_tokens.weight
    assert saved["parameters"] == sum(part.numel() for part in students.cast(model, torch.float32).parameters())
