import subprocess
import sys

import pytest
import torch

from unicomp_lib.checkpoints import decoder, quanto_form, saving
from unicomp_lib.checkpoints.models import load
from unicomp_lib.compress import quanto
from unicomp_lib.inputs import calibration


def test_int8_is_round_to_nearest_on_a_scale_for_each_output(tiny):
    model, _ = tiny
    old = model.model.layers[0].mlp.up_proj.weight.detach().clone()
    quanto.compress(model, weights="int8")
    new = model.model.layers[0].mlp.up_proj.weight.dequantize()
    scale = old.abs().amax(dim=1, keepdim=True) / 127
    assert torch.allclose(new, (old / scale).round() * scale, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "least", "most"), [("int8", 8, 9), ("int4", 4, 5.5), ("int2", 2, 3.5), ("float8", 8, 9)]
)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@torch.no_grad()
def test_reload_equals_memory_and_the_bytes_are_real(tmp_path, weights, least, most, precision):
    model, tokenizer = load("tiny-random-llama", precision=precision)
    quanto.compress(model, weights=weights)
    saved = saving.save(model, tokenizer, tmp_path, write=quanto_form.save)
    tokens = torch.randint(len(tokenizer), (2, 40))
    assert torch.equal(load(str(tmp_path), precision=precision)[0](tokens).logits, model(tokens).logits)
    extra = 16 if precision == "float32" else 0  # scales twice as wide, on rows of 64
    assert least <= saved["bits_per_weight"] <= most + extra / 16
    assert saved["bytes_on_disk"] == (tmp_path / "model.safetensors").stat().st_size


def test_the_tied_head_is_not_quantized(tiny):
    model, _ = tiny
    quanto.compress(model, weights="int4")
    assert not isinstance(model.lm_head, quanto.quanto.QModuleMixin)
    assert all(isinstance(part, quanto.quanto.QModuleMixin) for part in decoder.linears(model.model).values())


def test_unknown_weights_are_one_clear_sentence(tiny):
    with pytest.raises(ValueError, match="weights='int3' is not allowed; give one of int8, int4, int2, float8"):
        quanto.compress(tiny[0], weights="int3")


@torch.no_grad()
def test_rounded_activations_survive_the_reload(tmp_path, tiny):
    model, tokenizer = tiny
    tokens = calibration.blocks(tokenizer, samples=8, length=64)
    dense = model(tokens).logits
    quanto.compress(model, tokens, weights="int8", activations="int8")
    compressed = model(tokens).logits
    assert 0 < (compressed - dense).norm() < 0.2 * dense.norm()
    saving.save(model, tokenizer, tmp_path, write=quanto_form.save)
    assert torch.equal(load(str(tmp_path), precision="float32")[0](tokens).logits, compressed)


def test_activations_need_calibration_tokens(tiny):
    with pytest.raises(ValueError, match="activations='int8' needs calibration tokens"):
        quanto.compress(tiny[0], activations="int8")


@pytest.mark.parametrize("bits", [2, 4])
def test_integers_are_unpacked_as_they_were_packed(bits):
    for rows, columns in ((1, 1), (2, 3), (3, 7), (5, 64), (64, 5), (7, 1)):
        codes = torch.randint(0, 2**bits, (rows, columns), dtype=torch.uint8)
        packed = quanto_form.PackedTensor.pack(codes, bits)
        assert torch.equal(packed.unpack(), codes)
        assert packed._data.numel() < codes.numel() or rows == 1


STALE = """
import sys
from importlib import import_module
from pathlib import Path

import optimum.quanto

extensions = import_module("optimum.quanto.library.extensions.extension")._extensions
for extension in extensions.values():
    extension.build_directory = sys.argv[1]

import torch
from unicomp_lib.checkpoints import models, quanto_form, saving
from unicomp_lib.compress import quanto

for weights in ("int4", "int2"):
    model, tokenizer = models.load(models.TINY, on="cpu")
    quanto.compress(model, weights=weights)
    folder = Path(sys.argv[1]).with_name(weights)
    saving.save(model, tokenizer, folder, write=quanto_form.save)
    again, _ = models.load(str(folder), on="cpu")
    assert torch.equal(again(torch.arange(9)[None]).logits, model(torch.arange(9)[None]).logits)
"""


def test_a_lock_left_behind_by_a_killed_compilation_stops_nothing(tmp_path):
    """quanto's own code would compile C++ here, and wait for the lock without end."""
    build = tmp_path / "build"
    build.mkdir()
    (build / "lock").touch()
    done = subprocess.run([sys.executable, "-c", STALE, build], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [file.name for file in build.iterdir()] == ["lock"]
