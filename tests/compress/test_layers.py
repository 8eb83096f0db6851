import families
import pytest
import torch

from unicomp_lib import hardware
from unicomp_lib.checkpoints import decoder
from unicomp_lib.compress import layers


@torch.no_grad()
def test_the_inputs_of_each_layer_are_what_the_changed_layers_before_it_give(tiny):
    model, _ = tiny
    tokens = torch.randint(0, 200, (5, 16))
    seen = {}
    for index, layer, feed in layers.walk(model, tokens):
        out = feed(lambda name, _, inputs, index=index: seen.setdefault((index, name), inputs), 2)
        assert out.shape == (2, 16, 64)
        layer.mlp.down_proj.weight.zero_()
    state = model(tokens[:2], output_hidden_states=True).hidden_states[1]
    assert torch.allclose(seen[1, "self_attn.q_proj"], model.model.layers[1].input_layernorm(state), atol=1e-6)


@torch.no_grad()
def test_one_layer_at_a_time_is_on_the_accelerator(tiny, monkeypatch):
    model, _ = tiny
    # The same memory under another name: what matters is which layer is moved there, and when.
    there = torch.device("cpu", 0)
    monkeypatch.setattr(hardware, "device", lambda: there)
    stack = decoder.layers(model)
    away = set()
    plain = type(stack[0]).to

    def to(layer, device):
        (away.add if device == there and device.index == 0 else away.discard)(list(stack).index(layer))
        return plain(layer, device)

    monkeypatch.setattr(type(stack[0]), "to", to)
    for index, _, _ in layers.walk(model, torch.randint(0, 200, (2, 8))):
        assert away == {index}
    assert away == set()


def test_a_model_without_decoder_layers_is_one_clear_sentence():
    with pytest.raises(ValueError, match=r"Linear has no ModuleList of equal decoder layers with nn.Linear inside"):
        decoder.layers(torch.nn.Linear(2, 2))


@pytest.mark.parametrize("changes", [True, False])
@torch.no_grad()
def test_unchanged_layers_need_only_one_pass(tiny, changes):
    model, _ = tiny
    tokens = torch.randint(0, 200, (3, 16))
    calls = []
    model.model.layers[0].register_forward_hook(lambda _, inputs, __: calls.append(len(inputs[0])))
    inputs = {}
    for index, _, feed in layers.walk(model, tokens, changes=changes):
        feed(lambda name, _, values, index=index: inputs.__setitem__((index, name), values))
    assert calls.count(3) == (1 if not changes else 2)  # passes of all samples; the others ask for masks and positions
    state = model(tokens, output_hidden_states=True).hidden_states[1]
    assert torch.allclose(inputs[1, "self_attn.q_proj"], model.model.layers[1].input_layernorm(state), atol=1e-6)


@torch.no_grad()
def own_states(model, tokens):
    """What each layer gives in the model's own forward pass."""
    states = {}
    handles = [
        layer.register_forward_hook(
            lambda _, __, output, index=index: states.__setitem__(
                index, (output[0] if isinstance(output, tuple) else output).clone()
            )
        )
        for index, layer in enumerate(decoder.layers(model))
    ]
    model(input_ids=tokens, use_cache=False)
    for handle in handles:
        handle.remove()
    return states


@pytest.mark.parametrize("family", families.FAMILIES)
@torch.no_grad()
def test_an_unchanged_walk_gives_the_models_own_hidden_states(family):
    """Each layer gets its own mask, window, positions and rotary angles; or the family is refused in a sentence."""
    model = families.build(family)
    tokens = families.tokens(rows=11)  # more than one batch
    if family in REFUSED:
        with pytest.raises(ValueError, match="has no ModuleList of equal decoder layers"):
            next(layers.walk(model, tokens))
        return
    given = {index: feed(layers.nothing) for index, _, feed in layers.walk(model, tokens)}
    states = own_states(model, tokens)
    for index, state in states.items():
        assert float((given[index] - state).abs().max() / state.abs().max()) < 1e-4, index


REFUSED = {"gpt2"}  # its maps are no nn.Linear


@torch.no_grad()
def test_a_model_that_changes_the_states_between_its_layers_is_refused(tiny):
    model, _ = tiny
    model.model.layers[1].register_forward_pre_hook(lambda _, inputs: (2 * inputs[0], *inputs[1:]))
    calls = torch.randint(1, 200, (2, 8))
    plain = type(model.model).forward
    with pytest.raises(ValueError, match="LlamaForCausalLM changes the hidden states between its layers"):
        next(layers.walk(model, calls))
    assert type(model.model).forward is plain


@torch.no_grad()
def test_a_model_that_calls_its_layers_more_than_once_is_refused(tiny):
    model, _ = tiny
    plain = model.model.forward
    model.model.forward = lambda *args, **kwargs: (plain(*args, **kwargs), plain(*args, **kwargs))[1]
    with pytest.raises(ValueError, match="LlamaForCausalLM does not call its layers once each, one after another"):
        next(layers.walk(model, torch.randint(1, 200, (2, 8))))


@torch.no_grad()
def test_layers_that_are_given_something_of_the_text_are_refused(tiny):
    model, _ = tiny
    layer = model.model.layers[1]
    plain, tokens = layer.forward, torch.randint(1, 200, (2, 8))
    embed = model.model.embed_tokens
    seen = []
    embed.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    layer.forward = lambda hidden, *args, extra=None, **kwargs: plain(hidden, *args, **kwargs)
    layer.register_forward_pre_hook(
        lambda _, args, kwargs: (args, {**kwargs, "extra": seen[-1].float()}), with_kwargs=True, prepend=True
    )
    with pytest.raises(ValueError, match="gives its layers something that depends on the text"):
        next(layers.walk(model, tokens))


@torch.no_grad()
def test_a_damaged_model_is_refused_by_the_number_of_its_layer(tiny):
    model, _ = tiny
    model.model.layers[1].mlp.up_proj.weight[3, 3] = float("nan")
    with pytest.raises(ValueError, match="layer 1 of LlamaForCausalLM gives numbers that are not finite"):
        next(layers.walk(model, torch.randint(1, 200, (2, 8))))
