import torch
from compressed_tensors.quantization import preset_name_to_scheme
from compressed_tensors.quantization.lifecycle.forward import fake_quantize
from compressed_tensors.quantization.utils import calculate_qparams

from unicomp_lib.checkpoints import float4
from unicomp_lib.compress import mxfp4

ARGS = preset_name_to_scheme("MXFP4A16", ["Linear"]).weights


def test_scales_and_weights_are_those_of_compressed_tensors():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 96, generator=generator) * torch.logspace(-6, 3, 64)[:, None]
    blocks = weight.view(64, -1, 32)
    scales = mxfp4.fit(weight)
    theirs, zero = calculate_qparams(blocks.amin(-1), blocks.amax(-1), ARGS)
    assert torch.equal(scales.values, theirs)
    expected = fake_quantize(weight, theirs, zero, ARGS)
    assert torch.equal(float4.values(float4.codes(weight, scales), scales, torch.float32), expected)


def test_the_scale_of_every_peak_lies_between_3_5_and_7_steps_below_it():
    peaks = torch.cat([2.0 ** torch.linspace(-20, 20, 4001), torch.tensor([1.75, 3.5, 7.0, 1.7499999])])
    weight = torch.zeros(len(peaks), 32)
    weight[:, 5] = -peaks
    steps = peaks / mxfp4.fit(weight).values[:, 0]
    assert ((steps >= 3.5) & (steps < 7)).all()
    assert mxfp4.fit(weight).values[-4:, 0].tolist() == [0.5, 1, 2, 0.25]


def test_zeros_and_the_smallest_weights_stay_finite():
    weight = torch.zeros(3, 32)
    weight[1, 0], weight[2, 0] = 1e-44, 2e38
    scales = mxfp4.fit(weight)
    found = float4.values(float4.codes(weight, scales), scales, torch.float32)
    assert found.isfinite().all()
    assert (found[0] == 0).all()
    assert found[2, 0] > 1.5e38
