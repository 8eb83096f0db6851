"""QuaRot: its rotations leave a model as it is, and what it rounds is the closed form."""

import copy
import json

import families
import numpy as np
import pytest
import torch
from scipy import linalg

from unicomp_lib.checkpoints import decoder, int4_inputs, models, quantized_cache, saving
from unicomp_lib.compress import quarot, rotate, rtn
from unicomp_lib.exchange import gguf

FULL = ("llama", "qwen3", "smollm3")


@pytest.mark.parametrize("sizes", [{}, {"intermediate_size": 96}, {"intermediate_size": 80}])
@pytest.mark.parametrize("family", FULL)
@torch.no_grad()
def test_rotations_leave_the_outputs_and_turn_the_inputs(family, sizes):
    model = families.build(family, **sizes)
    before, dense = model(families.tokens()).logits, copy.deepcopy(model)
    rotate.compress(model)
    quarot.turn(model)
    assert (model(families.tokens()).logits - before).abs().max() < 1e-3 * before.abs().max()
    last, old = (one.model.layers[1].mlp.down_proj for one in (model, dense))
    assert not torch.allclose(last.weight, old.weight, atol=1e-2)
    seen = []
    last.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    old.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(families.tokens())
    dense(families.tokens())
    width = last.in_features
    size = {96: 32, 80: 16}.get(width, width)
    matrix = torch.block_diag(*[torch.from_numpy(linalg.hadamard(size)).float() / size**0.5] * (width // size))
    assert torch.allclose(seen[0], seen[1] @ matrix, atol=1e-3 * seen[1].abs().max())


@torch.no_grad()
def test_the_real_model_stays_as_it_is(dense):
    model, tokenizer = copy.deepcopy(dense[0]), dense[1]
    tokens = tokenizer("The capital of France is Paris, and its river is the Seine.", return_tensors="pt").input_ids
    before = model(tokens).logits
    rotate.compress(model)
    quarot.turn(model)
    assert (model(tokens).logits - before).abs().max() < 1e-3


@pytest.mark.parametrize("turned", [True, False])
@torch.no_grad()
def test_a_map_multiplies_rounded_inputs_and_rounded_weights(turned):
    model = families.build("llama", layers=1)
    if turned:
        quarot.turn(model)
    rtn.compress(model, group_size=32)
    linear = model.model.layers[0].mlp.down_proj
    weight = linear.weight.double().numpy()
    int4_inputs.replace(model, turned=int4_inputs.TURNED if turned else ())
    inputs = torch.randn(2, 3, 128) * torch.logspace(-2, 2, 128)
    inputs[0, 1] = 0
    rows = inputs.double().numpy().reshape(-1, 128)
    if turned:
        rows = rows @ (linalg.hadamard(128) / np.sqrt(128))
    scale = np.maximum(0.9 * np.abs(rows).max(-1, keepdims=True) / 7, 1e-9)
    expected = scale * np.clip(np.round(rows / scale), -8, 7) @ weight.T
    found = model.model.layers[0].mlp.down_proj(inputs).double().numpy().reshape(-1, 64)
    assert np.allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    assert (found[1] == 0).all()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@torch.no_grad()
def test_reload_equals_memory_and_nothing_else_reads_or_compresses_it(precision, tmp_path):
    model, tokenizer = models.load(models.TINY, precision=precision, on="cpu")
    quarot.compress(model, families.tokens(), group_size=32)
    expected = model(families.tokens()).logits
    saved = saving.save(model, tokenizer, tmp_path / "saved", write=int4_inputs.save)
    again, _ = models.load(str(tmp_path / "saved"), precision=precision, on="cpu")
    assert torch.equal(again(families.tokens()).logits, expected)
    assert 4.5 <= saved["bits_per_weight"] <= 4.6  # a scale of 16 bits for 32 weights
    maps = {name: part for name, part in again.named_modules() if isinstance(part, int4_inputs.Int4InputsLinear)}
    assert len(maps) == 14
    assert {name.rpartition(".")[2] for name, part in maps.items() if part.turns} == {"o_proj", "down_proj"}
    entry = {"keys": "int4", "values": "int4", "group_size": 16, "hadamard": True, "per_channel": False}
    assert json.loads((tmp_path / "saved" / "config.json").read_text())[decoder.CACHE] == entry
    with pytest.raises(ValueError, match="is not exported to GGUF"):
        gguf.export(tmp_path / "saved", tmp_path / "model.gguf")
    with pytest.raises(ValueError, match=r"no nn\.Linear|nn\.Linear inside|which comes last"):
        rtn.compress(again, group_size=32)


@torch.no_grad()
def test_a_file_that_is_not_whole_is_refused(tmp_path):
    model, tokenizer = models.load(models.TINY, on="cpu")
    saving.save(quarot.compress(model, families.tokens(), group_size=32), tokenizer, tmp_path, write=int4_inputs.save)
    state = int4_inputs.load_file(tmp_path / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    for wrong, says in (
        ({key: part for key, part in state.items() if key != f"{name}_scale"}, "it lacks"),
        (state | {f"{name}_scale": state[f"{name}_scale"][:5].clone()}, "_scale is"),
        ({key: part for key, part in state.items() if not key.startswith(name)}, "it lacks"),
    ):
        int4_inputs.save_file(wrong, tmp_path / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ValueError, match=f"does not fit its configuration: .*{says}"):
            models.load(str(tmp_path), on="cpu")


@torch.no_grad()
def test_rotations_save_a_model_with_channels_that_stand_out():
    model = families.build("llama", tie_word_embeddings=False, intermediate_size=128)
    for layer in decoder.layers(model):  # the same outputs, by way of inputs that stand out
        for norm, readers in rotate.READERS.items():
            layer.get_parameter(f"{norm}.weight")[3] *= 60
            for reader in readers:
                layer.get_parameter(f"{reader}.weight")[:, 3] /= 60
        layer.mlp.up_proj.weight[7] *= 60
        layer.mlp.down_proj.weight[:, 7] /= 60
    tokens, errors = families.tokens(), []
    before = model(tokens).logits
    for rotations in (False, True):
        other = quarot.compress(copy.deepcopy(model), tokens, group_size=32, rotations=rotations)
        errors.append(float((other(tokens).logits - before).norm()))
        assert quantized_cache.parsed(other.config.cache_quantization).hadamard is rotations
    assert errors[1] < 0.7 * errors[0]


def test_families_of_another_form_are_refused():
    refused = {
        "gpt2": "has no ModuleList of equal decoder layers", "phi3": "a rotation needs a model of Llama's form",
        "gemma": "would change the outputs", "mistral": "does not hold the keys and values",
    }  # fmt: skip
    for family, says in refused.items():
        with pytest.raises(ValueError, match=says):
            quarot.compress(families.build(family), families.tokens(), group_size=32)


def test_a_cache_that_cannot_be_rounded_is_refused_before_the_work():
    model = families.build("mistral")
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="does not hold the keys and values of all tokens"):
        quarot.compress(model, families.tokens(), group_size=32)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
