import copy
from dataclasses import replace

import families
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from unicomp_lib.checkpoints import decoder, models, saving
from unicomp_lib.compress import minitron, students
from unicomp_lib.inputs import calibration


@pytest.fixture
def text(tiny):
    return calibration.blocks(tiny[1], samples=8, length=48)


@torch.no_grad()
def test_block_influence_is_one_minus_the_cosine_of_the_states(tiny, text):
    model, _ = tiny
    states = model(text, output_hidden_states=True).hidden_states
    expected = 1 - torch.cosine_similarity(states[0], states[1], dim=-1).mean()
    assert torch.allclose(minitron.block_influence(model, text)[0], expected, atol=1e-6)


@torch.no_grad()
def test_depth_keeps_the_layers_of_most_influence_as_they_are(tiny, text):
    model, _ = tiny
    best = int(minitron.block_influence(model, text).argmax())
    student = minitron.depth(model, text, keep=1)
    skipped = copy.deepcopy(model)
    skipped.model.layers = torch.nn.ModuleList([skipped.model.layers[best]])
    skipped.model.layers[0].self_attn.layer_idx = 0
    assert student.config.num_hidden_layers == 1
    assert torch.equal(student(text).logits, skipped(text, use_cache=False).logits)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gemma"])
@torch.no_grad()
def test_cutting_neurons_and_heads_is_silencing_them(family):
    config = AutoConfig.for_model(
        family, vocab_size=99, hidden_size=96, intermediate_size=96, num_hidden_layers=2, num_attention_heads=8,
        num_key_value_heads=4, head_dim=8, bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    text = torch.randint(0, 99, (4, 24))
    active = minitron.activity(model, text)
    student = minitron.width(model, text, neurons=64, groups=3)
    for index, layer in enumerate(decoder.layers(model)):
        layer.mlp.down_proj.weight[:, active["neurons"][index].argsort()[:32]] = 0
        group = int(active["groups"][index].argmin())
        layer.self_attn.o_proj.weight[:, group * 16 : group * 16 + 16] = 0  # two query heads of width 8
    assert torch.allclose(student(text).logits, model(text).logits, atol=1e-5)
    assert sum(p.numel() for p in student.parameters()) < sum(p.numel() for p in model.parameters())


@torch.no_grad()
def test_hidden_channels_are_the_same_everywhere(tiny, text):
    model, _ = tiny
    chosen = minitron.activity(model, text)["hidden"][0].argsort(descending=True, stable=True)[:48].sort().values
    student = minitron.width(model, text, hidden=48)
    assert torch.equal(student.model.embed_tokens.weight, model.model.embed_tokens.weight[:, chosen])
    ours, theirs = student.model.layers[1], model.model.layers[1]
    assert torch.equal(ours.self_attn.o_proj.weight, theirs.self_attn.o_proj.weight[chosen])
    assert torch.equal(ours.mlp.up_proj.weight, theirs.mlp.up_proj.weight[:, chosen])
    assert torch.equal(ours.input_layernorm.weight, theirs.input_layernorm.weight[chosen])


@torch.no_grad()
def test_keeping_all_is_the_model_and_a_student_reloads(tiny, text, tmp_path):
    model, tokenizer = tiny
    assert torch.equal(students.cut(model, students.whole(model))(text).logits, model(text).logits)
    student = students.cast(minitron.width(model, text, hidden=32, neurons=64, groups=1), torch.bfloat16)
    saved = saving.save(student, tokenizer, tmp_path)
    again, _ = models.load(str(tmp_path))
    assert torch.equal(again(text).logits, student(text).logits)
    assert saved["parameters"] == sum(p.numel() for p in student.parameters())


@pytest.mark.parametrize(
    ("sizes", "says"), [({"hidden": 65}, "hidden=65 .* 1 to the 64"), ({"groups": -1}, "groups=-1")]
)
def test_sizes_out_of_range_are_one_clear_sentence(tiny, text, sizes, says):
    with pytest.raises(ValueError, match=says):
        minitron.width(tiny[0], text, **sizes)
    with pytest.raises(ValueError, match="layers=3 is not allowed; give how many to keep, from 1 to the 2 there are"):
        minitron.depth(tiny[0], text, keep=3)


def test_a_shape_that_cannot_be_saved_is_refused_before_training(tiny, text):
    with pytest.raises(ValueError, match=r"LlamaConfig allows no such student \(The hidden size \(50\) is not a mult"):
        minitron.width(tiny[0], text, hidden=50)


def test_a_model_of_another_form_is_one_clear_sentence():
    config = AutoConfig.for_model(
        "gpt_neox", vocab_size=99, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4
    )
    model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(ValueError, match=r"parameter .* has no known axes; students are cut from decoders with"):
        students.cut(model, replace(students.whole(model), hidden=torch.arange(32)))


@pytest.mark.parametrize("family", families.FAMILIES)
@torch.no_grad()
def test_a_depth_student_is_the_model_without_those_layers(family):
    """Whatever a configuration says of every layer goes with it: windows, rotary or none, kinds of layers."""
    model, stay = families.build(family), [1, 2, 3]
    if family in WITHOUT_STACK:
        with pytest.raises(ValueError, match="has no ModuleList of equal decoder layers"):
            students.whole(model)
        return
    selection = replace(students.whole(model), layers=torch.tensor(stay))
    if family in FIRST_LAYER_DIFFERS:
        with pytest.raises(ValueError, match="makes a layer by its index"):
            students.cut(model, selection)
        return
    student = students.cut(model, selection)
    stack = decoder.layers(model)
    removed = [layer for index, layer in enumerate(stack) if index not in stay]
    for layer in removed:  # passes its inputs on, in the form in which the layer gives its outputs
        plain = layer.forward
        layer.forward = lambda *args, plain=plain, **kwargs: _passed_on(plain(*args, **kwargs), args, kwargs)
    tokens = families.tokens()
    expected = model(tokens, use_cache=False).logits
    found = student(tokens, use_cache=False).logits
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-4
    assert student.generation_config.to_dict() == model.generation_config.to_dict()


WITHOUT_STACK = {"gpt2"}
FIRST_LAYER_DIFFERS = {"deepseek_v3"}


def _passed_on(output, args, kwargs):
    state = args[0] if args else kwargs["hidden_states"]
    return (state, *output[1:]) if isinstance(output, tuple) else state


def test_one_pass_measures_what_two_do_and_serves_for_the_cut(tiny, text):
    model, _ = tiny
    influence, active = minitron.measure(model, text)
    assert torch.equal(influence, minitron.block_influence(model, text))
    for role, scores in minitron.activity(model, text).items():
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(active[role], scores, strict=True))
    pairs = [
        (minitron.depth(model, text, keep=1), minitron.depth(model, text[:0], keep=1, influence=influence)),
        (minitron.width(model, text, hidden=48), minitron.width(model, text[:0], hidden=48, active=active)),
    ]
    for measured, known in pairs:
        assert torch.equal(measured(text).logits, known(text).logits)
