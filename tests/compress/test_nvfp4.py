import copy

import pytest
import torch
from compressed_tensors.quantization import preset_name_to_scheme
from compressed_tensors.quantization.lifecycle.forward import fake_quantize
from compressed_tensors.quantization.utils import calculate_qparams

from unicomp_lib.checkpoints import decoder, float4
from unicomp_lib.compress import nvfp4

ARGS = preset_name_to_scheme("NVFP4A16", ["Linear"]).weights


def matrix(rows=24, columns=96):
    """Weights whose blocks differ in size by factors up to ten thousand."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.logspace(-4, 0, columns // 16).repeat_interleave(16)
    return torch.randn(rows, columns, generator=generator) * spread


def rounded(weight, scales):
    return float4.values(float4.codes(weight, scales), scales, torch.float32)


def test_scales_and_weights_are_those_of_compressed_tensors():
    weight = matrix()
    blocks = weight.view(24, -1, 16)
    scales = nvfp4.fit(weight, nvfp4.global_scale([weight]))
    theirs, zero = calculate_qparams(blocks.amin(-1), blocks.amax(-1), ARGS, global_scale=scales.whole)
    assert torch.equal(scales.block.float(), theirs.float())
    expected = fake_quantize(weight, theirs, zero, ARGS, global_scale=scales.whole)
    assert torch.allclose(rounded(weight, scales), expected, rtol=1e-6, atol=0)


def test_the_largest_weight_is_kept():
    weight = matrix()
    place = weight.abs().argmax()
    for option in (False, True):
        scales = nvfp4.fit(weight, nvfp4.global_scale([weight], four_over_six=option), four_over_six=option)
        assert rounded(weight, scales).flatten()[place] == pytest.approx(weight.flatten()[place].item(), rel=1e-5)
        largest = float(scales.block.float().max())
        assert 256 <= largest <= 384 if option else largest == 448


def test_four_over_six_takes_the_better_of_two_scales_of_each_block():
    weight, whole = matrix(), torch.tensor([37.0])
    scales = nvfp4.fit(weight, whole, four_over_six=True)
    table = torch.tensor([sign * value for sign in (-1, 1) for value in (0, 0.5, 1, 1.5, 2, 3, 4, 6)])
    fours = 0
    for row in range(24):
        for block in range(6):
            part = weight[row, 16 * block : 16 * block + 16].double()
            tried = {}
            for top in (6, 4):
                stored = (part.abs().max().float() / top * whole).clamp(2**-9, 448).to(torch.float8_e4m3fn)
                values = table.double() * (stored.double() / whole.double())
                nearest = values[(part[:, None] - values).abs().argmin(1)]
                tried[top] = float((nearest - part).square().sum()), float(stored)
            best = 4 if tried[4][0] < tried[6][0] else 6
            fours += best == 4
            assert float(scales.block[row, block]) == tried[best][1]
    assert 0 < fours < 24 * 6


def test_a_block_of_zeros_stays_zero_and_so_does_a_matrix():
    weight = matrix()
    weight[:, 16:32] = 0
    for given in (weight, torch.zeros(4, 32)):
        for option in (False, True):
            scales = nvfp4.fit(given, nvfp4.global_scale([given], four_over_six=option), four_over_six=option)
            found = rounded(given, scales)
            assert found.isfinite().all()
            assert (found[given == 0] == 0).all()


@torch.no_grad()
def test_the_linear_maps_of_a_layer_share_their_global_scale(tiny):
    model, _ = tiny
    dense = copy.deepcopy(model)
    nvfp4.compress(model)
    for layer, before in zip(decoder.layers(model), decoder.layers(dense), strict=True):
        peak = max(float(linear.weight.abs().max()) for linear in decoder.linears(before).values())
        stored = {float(linear.fp4["weight_global_scale"]) for linear in decoder.linears(layer).values()}
        assert len(stored) == 1
        assert stored.pop() == pytest.approx(448 * 6 / peak)


@torch.no_grad()
def test_four_over_six_is_nearer_to_the_model(tiny):
    model, _ = tiny
    errors = []
    for option in (False, True):
        compressed = nvfp4.compress(copy.deepcopy(model), four_over_six=option)
        pairs = zip(compressed.parameters(), model.parameters(), strict=True)
        errors.append(sum(float((one - other).square().sum()) for one, other in pairs))
    assert errors[1] < 0.97 * errors[0]
