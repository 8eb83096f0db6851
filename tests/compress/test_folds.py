import copy

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from unicomp_lib.checkpoints import decoder
from unicomp_lib.compress import awq, folds, layers, smoothquant

# Family: what its configuration needs besides the common sizes, and the folds its layers allow.
NORMS = [("input_layernorm", "q_proj k_proj v_proj"), ("post_attention_layernorm", "gate_proj up_proj")]
GEMMA = [NORMS[0], ("pre_feedforward_layernorm", "gate_proj up_proj")]
FAMILIES = {
    "llama": ({"num_key_value_heads": 4}, [*NORMS, ("v_proj", "o_proj"), ("up_proj", "down_proj")]),
    "mistral": ({"num_key_value_heads": 2}, [*NORMS, ("up_proj", "down_proj")]),
    "qwen2": ({"num_key_value_heads": 2}, [*NORMS, ("up_proj", "down_proj")]),
    "qwen3": ({"num_key_value_heads": 2, "head_dim": 16}, [*NORMS, ("up_proj", "down_proj")]),
    "gemma": ({"num_key_value_heads": 4, "head_dim": 16}, [*NORMS, ("v_proj", "o_proj"), ("up_proj", "down_proj")]),
    "gemma3_text": ({"num_key_value_heads": 2, "head_dim": 16}, [*GEMMA, ("up_proj", "down_proj")]),
}


def build(family, **extra):
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        family, vocab_size=200, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        bos_token_id=0, eos_token_id=0, pad_token_id=0, **extra,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.3 * torch.randn_like(parameter)  # norms that do something
    return model, torch.randint(0, 200, (4, 32))


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_folds_are_found_by_structure_and_leave_the_outputs_unchanged(family):
    extra, expected = FAMILIES[family]
    model, tokens = build(family, **extra)
    before = model(tokens).logits
    for _, layer, feed in layers.walk(model, tokens):
        layer_folds = folds.find(layer, feed)
        names = [(f.source.split(".")[-1], " ".join(r.split(".")[-1] for r in f.readers)) for f in layer_folds]
        assert names == expected
        for fold in layer_folds:
            folds.apply(layer, fold, torch.rand(layer.get_parameter(f"{fold.readers[0]}.weight").shape[1]) + 0.5)
    assert torch.allclose(model(tokens).logits, before, atol=1e-4)


@torch.no_grad()
def test_looking_for_folds_changes_nothing(tiny):
    model, _ = tiny
    old = copy.deepcopy(model.state_dict())
    _, layer, feed = next(layers.walk(model, torch.randint(0, 200, (2, 16))))
    folds.find(layer, feed)
    assert all(torch.equal(value, old[name]) for name, value in model.state_dict().items())


def test_a_family_without_linear_maps_is_one_clear_sentence():
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model("gpt2", n_layer=2, n_embd=64, n_head=4, vocab_size=99)
    )
    with pytest.raises(ValueError, match=r"GPT2LMHeadModel has no ModuleList of equal decoder layers with nn.Linear"):
        decoder.layers(model)


@pytest.mark.parametrize("method", [awq, smoothquant])
def test_layers_without_foldable_norms_are_one_clear_sentence(tiny, method):
    model, _ = tiny
    for layer in model.model.layers:
        layer.input_layernorm = layer.post_attention_layernorm = torch.nn.Identity()
    with pytest.raises(ValueError, match="LlamaDecoderLayer has no norm whose output only linear maps read"):
        method.compress(model, torch.randint(0, 200, (2, 16)))
