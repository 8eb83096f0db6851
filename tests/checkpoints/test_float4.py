"""4-bit floats against the list of their values, and against compressed-tensors' own rounding, packer and reader."""

import itertools
import json

import pytest
import torch
from compressed_tensors.compressors.mxfp4.base import MXFP4PackedCompressor
from compressed_tensors.compressors.nvfp4.base import NVFP4PackedCompressor
from compressed_tensors.quantization import preset_name_to_scheme
from compressed_tensors.quantization.utils.fp4_utils import cast_to_fp4
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, CompressedTensorsConfig

from unicomp_lib.checkpoints import float4, models, saving
from unicomp_lib.compress import mxfp4, nvfp4

VALUES = [0, 0.5, 1, 1.5, 2, 3, 4, 6]  # E2M1: codes 0 to 7, and 8 to 15 for their negatives
METHODS = {"nvfp4": nvfp4.compress, "mxfp4": mxfp4.compress}
READERS = {"nvfp4": NVFP4PackedCompressor, "mxfp4": MXFP4PackedCompressor}


def test_the_nearest_value_is_the_nearest_of_all_and_even_half_way():
    signed = torch.tensor([sign * value for sign in (-1, 1) for value in VALUES], dtype=torch.float64)
    given = torch.linspace(-8, 8, 4097)  # has all half-way cases
    found = float4.nearest(given)
    assert torch.equal((found.double() - given.double()).abs(), (given.double()[:, None] - signed).abs().amin(1))
    assert torch.equal(found, cast_to_fp4(given.clone()))
    halves = torch.tensor([(low + high) / 2 for low, high in itertools.pairwise(VALUES)])
    assert float4.nearest(halves).tolist() == [0, 1, 1, 2, 2, 4, 4]
    assert float4.nearest(-halves).tolist() == [0, -1, -1, -2, -2, -4, -4]


def test_every_exponent_of_mxfp4_is_its_power_of_two():
    exponents = torch.arange(255, dtype=torch.uint8)[:, None]
    assert float4.Scales(exponents).values[:, 0].double().tolist() == [2.0 ** (code - 127) for code in range(255)]


def saved(form, folder):
    model, tokenizer = models.load(models.TINY, on="cpu")
    METHODS[form](model)
    measured = saving.save(model, tokenizer, folder, write=float4.save)
    return model, measured


@pytest.mark.parametrize("form", METHODS)
@torch.no_grad()
def test_reload_equals_memory_and_other_readers_have_the_same_weights(form, tmp_path):
    model, measured = saved(form, tmp_path)
    again, _ = models.load(str(tmp_path), on="cpu")
    tokens = torch.arange(40).view(2, 20)
    assert torch.equal(again(tokens).logits, model(tokens).logits)
    assert {"nvfp4": 4.5, "mxfp4": 4.25}[form] == pytest.approx(measured["bits_per_weight"], abs=0.02)
    peer = AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.bfloat16, quantization_config=CompressedTensorsConfig(dequantize=True)
    )
    theirs, stored = dict(peer.named_parameters()), load_file(tmp_path / "model.safetensors")
    scheme = preset_name_to_scheme(f"{form}A16", ["Linear"])
    for name, weight in again.named_parameters():
        assert torch.equal(theirs[name], weight)
        if f"{name}_packed" in stored:
            local = {key.removeprefix(name.removesuffix("weight")): part for key, part in stored.items() if name in key}
            assert torch.equal(READERS[form].decompress(local, scheme)["weight"].to(weight.dtype), weight)


@pytest.mark.parametrize("form", METHODS)
def test_a_float32_model_is_read_as_precisely_as_it_was_rounded(form, tmp_path):
    model, tokenizer = models.load(models.TINY, precision="float32", on="cpu")
    METHODS[form](model)
    saving.save(model, tokenizer, tmp_path, write=float4.save)
    again, _ = models.load(str(tmp_path), precision="float32", on="cpu")
    for one, other in zip(again.parameters(), model.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("form", METHODS)
def test_blocks_that_do_not_divide_the_inputs_are_refused_and_nothing_is_changed(form, tiny):
    model, _ = tiny
    model.model.layers[1].mlp.down_proj = torch.nn.Linear(float4.BLOCKS[form] * 3 + 8, 64)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    sentence = (
        rf"{form.upper()} has blocks of {float4.BLOCKS[form]} inputs, which do not divide the "
        rf"{float4.BLOCKS[form] * 3 + 8} inputs of 1.mlp.down_proj; choose RTN or GPTQ with a group_size that does"
    )
    with pytest.raises(ValueError, match=sentence):
        METHODS[form](model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("lost", "sentence"),
    [
        ("weight_scale", "it lacks model.layers.1.mlp.up_proj.weight_scale"),
        ("weight_global_scale", "it lacks model.layers.1.mlp.up_proj.weight_global_scale"),
        ("weight_packed", "it lacks model.layers.1.mlp.up_proj.weight, which its model needs"),
    ],
)
def test_a_part_that_is_missing_is_named(tmp_path, lost, sentence):
    saved("nvfp4", tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    for name in [key for key in stored if key.startswith("model.layers.1.mlp.up_proj") and key.endswith(lost)]:
        del stored[name]
    if lost == "weight_packed":
        stored = {name: part for name, part in stored.items() if "layers.1.mlp.up_proj" not in name}
    save_file(stored, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=sentence):
        models.load(str(tmp_path), on="cpu")


def test_scales_of_another_shape_are_named(tmp_path):
    saved("mxfp4", tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight_scale"
    save_file(stored | {name: stored[name][:, :1].contiguous()}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=rf"{name} is \(128, 1\) and must be \(128, 2\)"):
        models.load(str(tmp_path), on="cpu")


def test_a_checkpoint_of_another_tool_is_read_by_transformers(tmp_path):
    saved("mxfp4", tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    config["quantization_config"]["version"] = "0.20.0"
    path.write_text(json.dumps(config))
    assert not float4.is_saved(tmp_path)
    assert models.own_reader(tmp_path) is None
    models.load(str(tmp_path), on="cpu")
