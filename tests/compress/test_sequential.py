import copy
from functools import partial

import families
import pytest
import torch

from unicomp_lib.checkpoints import decoder
from unicomp_lib.compress import gptq, hessian, layers, sequential, sparsegpt, wanda


@torch.no_grad()
def inputs_of(model, tokens, names):
    """Inputs (tokens, inputs) of linear maps over all of their calls, in whole forward passes of the model."""
    seen, maps = {name: [] for name in names}, decoder.linears(decoder.layers(model))
    handles = [
        maps[name].register_forward_hook(
            lambda _, inputs, __, name=name: seen[name].append(inputs[0].double().flatten(0, -2))
        )
        for name in names
    ]
    for sample in tokens:
        model(input_ids=sample[None], use_cache=False)
    for handle in handles:
        handle.remove()
    return {name: torch.cat(parts) for name, parts in seen.items()}


@torch.no_grad()
def prune(linear, inputs):
    score = linear.weight.double().abs() * inputs.norm(dim=0)
    lowest = score.topk(round(0.5 * score.shape[1]), dim=1, largest=False).indices
    linear.weight.scatter_(1, lowest, 0)


def one_by_one(model, tokens, order):
    """Wanda by its definition in float64, each map on what the maps pruned before it give."""
    for name in order:
        prune(decoder.linears(decoder.layers(model))[name], inputs_of(model, tokens, [name])[name])
    return model


def layer_by_layer(model, tokens):
    """Wanda by its definition in float64, each layer on what the layers pruned before it give."""
    for index, layer in enumerate(decoder.layers(model)):
        names = [f"{index}.{name}" for name in decoder.linears(layer)]
        for name, inputs in inputs_of(model, tokens, names).items():
            prune(decoder.linears(decoder.layers(model))[name], inputs)
    return model


def call_order(model, tokens):
    order = []
    maps = decoder.linears(decoder.layers(model))
    handles = [
        part.register_forward_pre_hook(lambda _, __, name=name: order.append(name)) for name, part in maps.items()
    ]
    for sample in tokens:
        model(input_ids=sample[None], use_cache=False)
    for handle in handles:
        handle.remove()
    return list(dict.fromkeys(order))


def assert_same(model, expected):
    theirs = decoder.linears(decoder.layers(expected))
    for name, part in decoder.linears(decoder.layers(model)).items():
        assert torch.equal(part.weight, theirs[name].weight), name


REFUSED = ("gpt2", "mixtral", "qwen2_moe", "olmoe", "deepseek_v3")
COVERED = [name for name in families.FAMILIES if name not in REFUSED]


@pytest.mark.parametrize("family", COVERED)
def test_each_map_is_changed_by_what_the_changed_maps_before_it_give(family):
    model, tokens = families.build(family, layers=2), families.tokens(rows=9, length=32)
    expected = one_by_one(copy.deepcopy(model), tokens, call_order(model, tokens[:1]))
    calls = []
    decoder.layers(model)[1].register_forward_hook(lambda *_: calls.append(1))
    wanda.compress(model, tokens)
    assert_same(model, expected)
    assert len(calls) == 3  # two for the layer's arguments, then the one with all samples


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "cohere2", "lfm2"])
def test_text_that_does_not_fit_is_read_in_batches_and_gives_the_same(family, monkeypatch):
    model, tokens = families.build(family, layers=2), families.tokens(rows=11, length=32)
    expected = wanda.compress(copy.deepcopy(model), tokens)
    monkeypatch.setattr(sequential, "AT_ONCE", 1e5)
    most = []
    for part in decoder.linears(decoder.layers(model)).values():
        part.register_forward_pre_hook(lambda _, inputs: most.append(len(inputs[0])))
    wanda.compress(model, tokens)
    assert_same(model, expected)
    assert max(most) == layers.BATCH


@pytest.mark.parametrize("method", [wanda, sparsegpt, partial(gptq.compress, group_size=32)])
def test_measuring_all_maps_of_a_layer_first_is_an_option(tiny, method):
    method = getattr(method, "compress", method)
    model, tokens = tiny[0], families.tokens()
    together = method(copy.deepcopy(model), tokens, true_sequential=False)
    maps = [decoder.linears(decoder.layers(each)[0]) for each in (method(model, tokens), together)]
    same = {name for name in maps[0] if torch.equal(maps[0][name].weight, maps[1][name].weight)}
    assert same == {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}


@pytest.mark.parametrize("at_once", [sequential.AT_ONCE, 0])
def test_a_map_that_is_called_twice_is_measured_on_both_calls(tiny, at_once, monkeypatch):
    model, _ = tiny
    monkeypatch.setattr(sequential, "AT_ONCE", at_once)
    monkeypatch.setattr(type(model.model.layers[0].mlp), "forward", lambda mlp, x: called_twice(mlp, x))
    tokens = families.tokens(rows=9)
    expected = layer_by_layer(copy.deepcopy(model), tokens)
    wanda.compress(model, tokens)
    assert_same(model, expected)


def called_twice(mlp, x):
    x = x + mlp.down_proj(mlp.up_proj(x))
    return mlp.down_proj(mlp.act_fn(mlp.gate_proj(x)) * mlp.up_proj(x))


class Experts(torch.nn.Module):
    """Linear maps that are given some tokens each, as a table of the tokens' first numbers says."""

    def __init__(self, width, count):
        super().__init__()
        self.maps = torch.nn.ModuleList(torch.nn.Linear(width, width, bias=False) for _ in range(count))
        self.out = torch.nn.Linear(width, width, bias=False)
        self.edges = torch.linspace(-0.5, 0.5, count - 1)

    def forward(self, x):
        chosen, result = torch.bucketize(x[..., 0].contiguous(), self.edges), torch.zeros_like(x)
        for index, part in enumerate(self.maps):
            where = chosen == index
            if where.any():
                result[where] = part(x[where])
        return self.out(result)


def with_experts(model, tokens):
    """The model with experts in layer 1 and a first text of it that does not reach all of them."""
    torch.manual_seed(0)
    model.model.layers[1].mlp = Experts(64, 6)
    first = tokens[:1, :2].repeat(1, tokens.shape[1] // 2)
    reached = call_order(model, first)
    assert len(reached) < len(call_order(model, tokens))
    return model, torch.cat([first, tokens])


def test_experts_that_the_first_sample_does_not_reach_are_measured_on_the_others(tiny, monkeypatch):
    model, tokens = with_experts(tiny[0], families.tokens(rows=10))
    plain = copy.deepcopy(model)
    order = [f"1.mlp.maps.{index}" for index in range(6)] + ["1.mlp.out"]
    order = [name for name in call_order(model, tokens) if "mlp" not in name or name.startswith("0")] + order
    expected = one_by_one(copy.deepcopy(model), tokens, order)
    wanda.compress(model, tokens)
    assert_same(model, expected)
    # In batches it is not known which maps come before which: the layer's maps are measured first.
    monkeypatch.setattr(sequential, "AT_ONCE", 0)
    zero = [name for name in order if name.startswith("0")]
    expected = one_by_one(copy.deepcopy(plain), tokens, zero)
    names = [name for name in order if name.startswith("1")]
    for name, inputs in inputs_of(expected, tokens, names).items():
        prune(decoder.linears(decoder.layers(expected))[name], inputs)
    wanda.compress(plain, tokens)
    assert_same(plain, expected)


def test_an_expert_that_no_token_reaches_is_named(tiny):
    model, tokens = tiny[0], families.tokens(rows=2)
    model.model.layers[1].mlp = Experts(64, 3)
    model.model.layers[1].mlp.edges += 1000
    with pytest.raises(ValueError, match=r"mlp.maps.1 of layer 1 got no inputs from the calibration text"):
        wanda.compress(model, tokens)


def test_a_tensor_that_is_changed_in_place_is_no_shared_input(tiny):
    model, tokens = tiny[0], families.tokens(rows=9)
    factors = torch.linspace(0.1, 3, 64)

    def change(_, inputs):
        inputs[0].mul_(factors)

    for layer in model.model.layers:
        layer.self_attn.k_proj.register_forward_pre_hook(change)
    seen = []
    sequential.compress(model, tokens, wanda.squares, lambda maps, statistic: seen.append((list(maps), statistic)))
    names = [names for names, _ in seen][:3]
    assert names == [["self_attn.q_proj"], ["self_attn.k_proj", "self_attn.v_proj"], ["self_attn.o_proj"]]
    assert torch.allclose(seen[1][1].value, seen[0][1].value * factors.square(), rtol=1e-4)


@pytest.mark.parametrize("sequentially", [True, False])
def test_maps_that_share_their_inputs_only_in_the_first_sample_are_measured_apart(tiny, sequentially):
    model, tokens = tiny[0], families.tokens(rows=8)
    key = model.model.layers[1].self_attn.k_proj
    even = torch.where(torch.arange(64) % 2 == 0, 1.0, 1e-3)
    key.register_forward_pre_hook(lambda _, inputs: (inputs[0] * even,) if len(inputs[0]) > 2 else None)
    wanda.compress(model, tokens, true_sequential=sequentially)
    kept = [part.weight != 0 for part in (key, model.model.layers[1].self_attn.v_proj)]
    assert kept[0][:, ::2].float().mean() > 0.95
    assert kept[1][:, ::2].float().mean() < 0.6


def test_each_statistic_covers_every_token(tiny):
    model, tokens = tiny[0], families.tokens(rows=9)
    seen = {}

    def note(maps, statistic):
        seen.setdefault(tuple(maps), statistic)

    sequential.compress(model, tokens, hessian.gram, note)
    assert list(seen) == [
        ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), ("self_attn.o_proj",),
        ("mlp.gate_proj", "mlp.up_proj"), ("mlp.down_proj",),
    ]  # fmt: skip
    for names, statistic in seen.items():
        inputs = inputs_of(model, tokens, [f"0.{names[0]}"])[f"0.{names[0]}"]
        assert statistic.tokens == tokens.numel()
        assert torch.allclose(statistic.value.double(), inputs.T @ inputs, rtol=1e-4, atol=1e-4)


def test_two_maps_of_one_weight_are_refused(tiny):
    model = tiny[0]
    model.model.layers[1].mlp.up_proj.weight = model.model.layers[0].mlp.up_proj.weight
    before = model.model.layers[0].mlp.up_proj.weight.clone()
    with pytest.raises(
        ValueError, match=r"0.mlp.up_proj and 1.mlp.up_proj of LlamaForCausalLM are one weight; its lay"
    ):
        wanda.compress(model, families.tokens())
    assert torch.equal(model.model.layers[0].mlp.up_proj.weight, before)
