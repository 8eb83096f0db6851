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
    model.model.layers[0].register_forward_hook(lambda *_: calls.append(1))
    inputs = {}
    for index, _, feed in layers.walk(model, tokens, changes=changes):
        feed(lambda name, _, values, index=index: inputs.__setitem__((index, name), values))
    assert len(calls) == (2 if changes else 1)
    state = model(tokens, output_hidden_states=True).hidden_states[1]
    assert torch.allclose(inputs[1, "self_attn.q_proj"], model.model.layers[1].input_layernorm(state), atol=1e-6)
