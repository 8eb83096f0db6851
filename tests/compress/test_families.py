"""Every family of models: what is saved reads back as it was in memory, or the family is refused in one sentence."""

import families
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from unicomp_lib import hardware
from unicomp_lib.checkpoints import (
    decoder,
    float4,
    float8,
    float_zeros,
    int8,
    models,
    packed_integers,
    quanto_form,
    saving,
)
from unicomp_lib.compress import (
    awq,
    fp8,
    gptq,
    hqq,
    magnitude,
    mxfp4,
    nvfp4,
    quanto,
    rtn,
    sinq,
    smoothquant,
    sparsegpt,
    students,
    wanda,
)

FORMS = {
    "plain": (magnitude.compress, saving.plain),
    "packed": (lambda model: rtn.compress(model, group_size=32), packed_integers.save),
    "int8": (int8.replace, int8.save),
    "fp8": (fp8.compress, float8.save),
    "nvfp4": (nvfp4.compress, float4.save),
    "float zeros": (lambda model: hqq.compress(model, group_size=32), float_zeros.save),
    "quanto": (lambda model: quanto.compress(model, weights="int8"), quanto_form.save),
}
SCALES = {"float16": 4.6, "float32": 5.1}  # bits of a weight in groups of 32
EXPERTS = ("mixtral", "qwen2_moe", "olmoe", "deepseek_v3")
REFUSED = (*EXPERTS, "gpt2")


@pytest.fixture(scope="module")
def tokenizer():
    return models.load_tokenizer(models.TINY)


@torch.no_grad()
def reload(model, tokenizer, form, folder):
    """The model compressed and saved in a form, read back, and what was measured of the files."""
    compress, write = FORMS[form]
    compress(model)
    saved = saving.save(model, tokenizer, folder, write=write)
    again, _ = models.load(str(folder), on="cpu")
    tokens = families.tokens()
    torch.testing.assert_close(again(tokens).logits, model(tokens).logits, rtol=0, atol=0)
    return again, saved


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", [name for name in families.FAMILIES if name not in REFUSED])
def test_reload_equals_memory(family, form, tokenizer, tmp_path):
    model = students.cast(families.build(family), torch.bfloat16)
    if (family, form) == ("falcon", "packed"):
        with pytest.raises(ValueError, match="transformers reads no packed weights of this family"):
            reload(model, tokenizer, form, tmp_path)
        return
    _, saved = reload(model, tokenizer, form, tmp_path)
    bits = {"plain": 16, "packed": 4.6, "int8": 8.3, "fp8": 8.3, "nvfp4": 4.6, "float zeros": 5.1, "quanto": 8.3}[form]
    assert bits - 0.2 <= saved["bits_per_weight"] <= bits
    if form == "plain":
        assert saved["sparsity"] == pytest.approx(0.5, abs=2e-3)
    assert saved["parameters"] == sum(parameter.numel() for parameter in families.build(family).parameters())


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
@pytest.mark.parametrize("family", [name for name in families.FAMILIES if name not in (*REFUSED, "falcon")])
@torch.no_grad()
def test_reload_equals_memory_whatever_the_type_of_the_scales(family, precision, scales, tokenizer, tmp_path):
    model = students.cast(families.build(family), hardware.dtype(precision))
    rtn.compress(model, group_size=32, symmetric=False, scales=scales)
    saved = saving.save(model, tokenizer, tmp_path, write=packed_integers.save)
    again, _ = models.load(str(tmp_path), precision=precision, on="cpu")
    tokens = families.tokens()
    torch.testing.assert_close(again(tokens).logits, model(tokens).logits, rtol=0, atol=0)
    assert SCALES[scales] - 0.1 <= saved["bits_per_weight"] <= SCALES[scales] + 0.2


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", ["llama", "gpt_neox", "bloom"])
def test_heads_are_tied_or_not_as_their_configuration_says(family, form, tokenizer, tmp_path):
    for tie in (True, False):
        model = students.cast(families.build(family, tie_word_embeddings=tie), torch.bfloat16)
        again, _ = reload(model, tokenizer, form, tmp_path / str(tie))
        embeddings, head = again.get_input_embeddings().weight, again.get_output_embeddings().weight
        assert (embeddings.data_ptr() == head.data_ptr()) is tie


def test_linear_maps_outside_the_layers_stay_dense(tokenizer, tmp_path):
    for form in FORMS:
        model = students.cast(families.build("opt", word_embed_proj_dim=48), torch.bfloat16)
        before = model.model.decoder.project_in.weight.clone()
        again, _ = reload(model, tokenizer, form, tmp_path / form)
        assert torch.equal(again.model.decoder.project_in.weight, before)


@pytest.mark.parametrize("form", FORMS)
def test_a_family_without_linear_maps_is_refused(form, tokenizer, tmp_path):
    with pytest.raises(ValueError, match=r"GPT2LMHeadModel has no ModuleList of equal decoder layers with nn.Linear"):
        reload(families.build("gpt2"), tokenizer, form, tmp_path)


METHODS = {
    "magnitude": lambda model, tokens: magnitude.compress(model),
    "rtn": lambda model, tokens: rtn.compress(model, group_size=32),
    "int8": lambda model, tokens: int8.replace(model),
    "fp8": lambda model, tokens: fp8.compress(model),
    "nvfp4": lambda model, tokens: nvfp4.compress(model),
    "mxfp4": lambda model, tokens: mxfp4.compress(model),
    "hqq": lambda model, tokens: hqq.compress(model, group_size=32),
    "sinq": lambda model, tokens: sinq.compress(model, group_size=32),
    "quanto": lambda model, tokens: quanto.compress(model),
    "wanda": wanda.compress,
    "sparsegpt": sparsegpt.compress,
    "gptq": lambda model, tokens: gptq.compress(model, tokens, group_size=32),
    "awq": lambda model, tokens: awq.compress(model, tokens, group_size=32),
    "smoothquant": smoothquant.compress,
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", EXPERTS)
def test_experts_out_of_reach_are_refused(family, method):
    model = families.build(family)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"\d\d% of the weights of \w+'s layers belong to no nn.Linear, such as model"):
        METHODS[method](model, families.tokens())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("family", EXPERTS)
def test_a_record_counts_all_weights_of_the_decoder(family, tokenizer, tmp_path):
    model = students.cast(families.build(family), torch.bfloat16)
    for linear in decoder.linears(decoder.layers(model)).values():
        linear.weight.data.zero_()
    saved = saving.save(model, tokenizer, tmp_path)
    weights = [part for part in decoder.layers(model).parameters() if part.ndim >= 2]
    total = sum(part.numel() for part in weights)
    assert saved["linear_weights"] == total
    assert saved["sparsity"] == sum(int((part == 0).sum()) for part in weights) / total < 0.6
    assert saved["bits_per_weight"] == 16


def test_small_weights_that_are_no_linear_map_are_no_obstacle():
    model = families.build("lfm2")
    missed = [name for name in decoder.weights(model) if name.endswith("conv.conv.weight")]
    assert missed
    assert len(decoder.compressible(model)) == 4


def test_layers_of_several_classes_are_one_stack():
    config = AutoConfig.for_model(
        "jamba", vocab_size=99, hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, attn_layer_period=2, attn_layer_offset=1, expert_layer_period=2, num_experts=4,
        use_mamba_kernels=False,
    )  # fmt: skip
    stack = decoder.layers(AutoModelForCausalLM.from_config(config))
    assert len(stack) == 4
    assert len({type(layer) for layer in stack}) == 2


def test_lists_inside_a_layer_are_not_the_stack(tiny):
    model, _ = tiny
    for layer in model.model.layers:
        layer.experts = torch.nn.ModuleList(torch.nn.Linear(4, 4) for _ in range(9))
    assert decoder.layers(model) is model.model.layers


@pytest.mark.parametrize("method", METHODS)
def test_a_weight_that_is_not_finite_is_named(tiny, method):
    model, _ = tiny
    model.model.layers[1].mlp.up_proj.weight.data[3, 3] = float("nan")
    with pytest.raises(ValueError, match=r"model.layers.1.mlp.up_proj.weight holds NaN or infinite values"):
        METHODS[method](model, torch.randint(1, 257, (2, 16)))


@pytest.mark.parametrize("method", ["wanda", "sparsegpt", "gptq", "awq", "smoothquant"])
def test_inputs_that_are_not_finite_are_named(tiny, method):
    model, _ = tiny
    linear = model.model.layers[1].mlp.down_proj
    linear.register_forward_pre_hook(lambda _, args: (args[0] + float("inf"),))
    linear.register_forward_hook(lambda _, args, output: torch.zeros_like(output))
    with pytest.raises(ValueError, match=r"the inputs of mlp.down_proj of layer 1 are NaN or infinite"):
        METHODS[method](model, torch.randint(1, 257, (2, 16)))


def test_a_linear_map_that_no_token_reaches_is_named(tiny):
    model, _ = tiny
    model.model.layers[0].mlp.spare = torch.nn.Linear(64, 8)
    with pytest.raises(ValueError, match=r"mlp.spare of layer 0 got no inputs from the calibration text"):
        gptq.compress(model, torch.randint(1, 257, (2, 16)), group_size=32)
