"""HQQ against its own equations, written out group by group in float64, against its authors' code, and what is saved.

Their package builds for CUDA and brings packages of its own, so it runs in a Python that UNICOMP_HQQ_PYTHON names.
"""

import os
import subprocess

import pytest
import torch
from safetensors.torch import load_file, save_file

from unicomp_lib.checkpoints import decoder, float_zeros, grid, models, saving
from unicomp_lib.compress import hqq

INTERPRETER = os.environ.get("UNICOMP_HQQ_PYTHON", "")

# Arguments: a file with the matrix "weight", and the file that gets what each number of bits makes of it.
AUTHORS = """
import sys, torch
from hqq.core.quantize import Quantizer
from safetensors.torch import load_file, save_file

weight, made = load_file(sys.argv[1])["weight"], {}
for bits in (2, 3, 4, 8):
    asked = dict(nbits=bits, channel_wise=True, group_size=64, optimize=True, round_zero=bits == 4, axis=1)
    codes, found = Quantizer.quantize(weight, **asked, bitpack=False, device="cpu", compute_dtype=torch.float32)
    made[str(bits)] = Quantizer.dequantize(codes, found).contiguous()
save_file(made, sys.argv[2])
"""


def matrix(rows=6, columns=128):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, columns, generator=generator) ** 3 + 0.3


def error(group, scale, zero, bits):
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    codes = (group / scale + zero).round().clamp(low, high)
    return codes, group - scale * (codes - zero)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_zero_point_is_the_best_of_the_authors_iteration(bits):
    weight = matrix()
    start = grid.fit(weight, bits=bits, group_size=64, symmetric=False)
    found = hqq.fit(weight, bits=bits, group_size=64)
    assert torch.equal(found.scale, start.scale)
    for row in range(6):
        for place in range(2):
            group = weight[row, 64 * place : 64 * place + 64]
            scale, zero, beta = start.scale[row, place], start.zero[row, place], 10.0
            tried = {}
            for _ in range(20):
                zero = zero.half().float()
                codes, left = error(group, scale, zero, bits)
                tried.setdefault(float(zero), float(left.abs().double().pow(0.7).sum()))
                large = left.sign() * torch.relu(left.abs() - left.abs().clamp(min=1e-8).pow(-0.3) / beta)
                zero = (codes - (group - large) / scale).mean()
                beta *= 1.01
            best = min(tried.values())
            assert tried[float(found.zero[row, place])] == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_no_group_is_farther_than_rounding_to_nearest_and_most_are_nearer(bits):
    weight = matrix(64, 256)
    start = grid.fit(weight, bits=bits, group_size=64, symmetric=False)
    found = hqq.fit(weight, bits=bits, group_size=64)
    sizes = []
    for one in (start, found):
        left = weight - float_zeros.values(grid.codes(weight, one), one.scale, one.zero, torch.float32)
        sizes.append(left.view(64, 4, 64).abs().pow(0.7).sum(-1))
    assert (sizes[1] <= sizes[0] * (1 + 1e-5)).all()
    assert (sizes[1] < 0.999 * sizes[0]).float().mean() > 0.5


@pytest.mark.skipif(not INTERPRETER, reason="UNICOMP_HQQ_PYTHON names no Python interpreter that has hqq")
@pytest.mark.parametrize("draw", ["normal", "heavy tails"])
def test_it_is_as_close_as_the_authors_code(draw, tmp_path):
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(64, 256, generator=generator)
    weight = weight if draw == "normal" else weight * weight.abs()
    given, made = tmp_path / "given.safetensors", tmp_path / "made.safetensors"
    save_file({"weight": weight}, given)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([INTERPRETER, "-c", AUTHORS, str(given), str(made)], env=environment, check=True)
    theirs = load_file(made)

    def distance(values):
        return float((values - weight).abs().pow(0.7).sum())

    for bits in (2, 3, 4, 8):
        found = hqq.fit(weight, bits=bits, group_size=64)
        ours = float_zeros.values(grid.codes(weight, found), found.scale, found.zero, torch.float32)
        # Scales are saved in bfloat16 here, which 8 bits are fine enough to notice.
        assert distance(ours) <= (1.05 if bits == 8 else 1.02) * distance(theirs[str(bits)]), bits
    start = grid.fit(weight, bits=4, group_size=64, symmetric=False)
    nearest = float_zeros.values(grid.codes(weight, start), start.scale, start.zero, torch.float32)
    if draw == "normal":  # with heavy tails, nothing is gained over rounding to nearest
        assert distance(nearest) > 1.02 * distance(theirs["4"])


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
@pytest.mark.parametrize("bits", [3, 4])
@torch.no_grad()
def test_reload_equals_memory(bits, precision, tmp_path):
    model, tokenizer = models.load(models.TINY, precision=precision, on="cpu")
    hqq.compress(model, bits=bits, group_size=32)
    saved = saving.save(model, tokenizer, tmp_path, write=float_zeros.save)
    again, _ = models.load(str(tmp_path), precision=precision, on="cpu")
    tokens = torch.arange(40).view(2, 20)
    assert torch.equal(again(tokens).logits, model(tokens).logits)
    packed = {3: 32 / 10, 4: 4}[bits]  # ten codes of 3 bits to a word
    assert saved["bits_per_weight"] == pytest.approx(packed + 1, abs=0.2)


@torch.no_grad()
def test_the_values_are_scale_times_code_less_zero(tiny):
    model, _ = tiny
    weight = model.model.layers[0].mlp.up_proj.weight.clone()
    hqq.compress(model, group_size=32)
    linear = model.model.layers[0].mlp.up_proj
    fitted = hqq.fit(weight, bits=4, group_size=32)
    assert (fitted.zero != fitted.zero.round()).any()
    codes = grid.codes(weight, fitted).double().view(128, 2, 32)
    expected = fitted.scale.double()[..., None] * (codes - fitted.zero.double()[..., None])
    assert torch.allclose(linear.weight.double(), expected.view(128, 64), rtol=1e-6, atol=1e-9)


def test_what_is_missing_or_of_another_shape_is_named(tmp_path):
    model, tokenizer = models.load(models.TINY, on="cpu")
    saving.save(hqq.compress(model, group_size=32), tokenizer, tmp_path, write=float_zeros.save)
    whole, name = load_file(tmp_path / "model.safetensors"), "model.layers.1.mlp.up_proj.weight_zero_point"
    save_file({key: part for key, part in whole.items() if key != name}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=f"it lacks {name}"):
        models.load(str(tmp_path), on="cpu")
    save_file(whole | {name: whole[name][:, :1].contiguous()}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=rf"{name} is \(128, 1\) and must be \(128, 2\)"):
        models.load(str(tmp_path), on="cpu")


def test_settings_out_of_range_are_refused_and_nothing_is_changed(tiny):
    model, _ = tiny
    before = [linear.weight.clone() for linear in decoder.linears(model).values()]
    for options, sentence in (({"bits": 5}, "bits=5 is not allowed"), ({"group_size": 48}, "group_size=48 does not")):
        with pytest.raises(ValueError, match=sentence):
            hqq.compress(model, **options)
    assert all(map(torch.equal, before, (linear.weight for linear in decoder.linears(model).values())))
