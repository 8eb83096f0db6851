from functools import partial

import pytest
import torch

from unicomp_lib.checkpoints import grid


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_codes_are_the_nearest_and_errors_at_most_half_a_step(bits, symmetric):
    weight = torch.randn(6, 128)
    fitted = grid.fit(weight, bits=bits, group_size=32, symmetric=symmetric)
    codes = grid.codes(weight, fitted)
    assert codes.min() >= -(2 ** (bits - 1))
    assert codes.max() <= 2 ** (bits - 1) - 1
    error = (grid.values(codes, fitted).float() - weight).abs()
    step = fitted.scale.repeat_interleave(32, dim=1)
    # Rounding the scale to bfloat16 moves every value by up to 1/256 of itself, once more for the product.
    assert (error <= step / 2 + weight.abs() / 100 + step * 0.02 * 2**bits / 16).all()


def test_an_asymmetric_grid_spans_a_lopsided_group():
    weight = torch.rand(4, 64) + 1
    asymmetric, symmetric = (grid.fit(weight, bits=4, group_size=64, symmetric=kind) for kind in (False, True))
    assert (asymmetric.scale < 0.6 * symmetric.scale).all()


def test_groups_of_zeros_and_bad_input():
    weight = torch.zeros(2, 64)
    fitted = grid.fit(weight, bits=4, group_size=32, symmetric=False)
    assert torch.equal(grid.values(grid.codes(weight, fitted), fitted).float(), weight)
    with pytest.raises(ValueError, match="bits=5 is not allowed; give one of 2, 3, 4, 8"):
        grid.fit(weight, bits=5, group_size=32, symmetric=True)
    with pytest.raises(ValueError, match="group_size=128 does not divide 64 inputs; give a divisor such as 64"):
        grid.fit(weight, bits=4, group_size=128, symmetric=True)


@pytest.mark.parametrize(
    ("inputs", "advice"), [(100, 100), (1000, 125), (576, 96), (4096, 128), (257, 257), (250, 125)]
)
def test_the_group_size_that_is_proposed_fits(inputs, advice):
    weight = torch.randn(3, inputs)
    for wrong in (0, -4, 999):
        with pytest.raises(
            ValueError, match=rf"group_size={wrong} does not divide {inputs} inputs; .* such as {advice}$"
        ):
            grid.fit(weight, bits=4, group_size=wrong, symmetric=True)
    grid.fit(weight, bits=4, group_size=advice, symmetric=True)


@pytest.mark.parametrize("scales", grid.SCALES)
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_scales_are_the_nearest_of_their_type(bits, symmetric, scales):
    weight = torch.randn(6, 128)
    fitted = grid.fit(weight, bits=bits, group_size=32, symmetric=symmetric, scales=scales)
    groups = weight.view(6, 4, 32).double()
    span = 2 * groups.abs().amax(-1) if symmetric else groups.amax(-1).clamp(min=0) - groups.amin(-1).clamp(max=0)
    assert torch.equal(fitted.scale, fitted.scale.to(grid.SCALES[scales]).float())
    error = (fitted.scale.double() * (2**bits - 1) / span - 1).abs()
    assert error.max() <= torch.finfo(grid.SCALES[scales]).eps / 2 + 1e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("scales", grid.SCALES)
def test_values_are_rounded_once(dtype, scales):
    weight = torch.randn(6, 128)
    fitted = grid.fit(weight, bits=4, group_size=32, symmetric=False, scales=scales)
    codes = grid.codes(weight, fitted)
    exact = (codes.double() - fitted.zero.repeat_interleave(32, 1)) * fitted.scale.repeat_interleave(32, 1)
    values = grid.values(codes, fitted, dtype)
    assert values.dtype == dtype
    assert torch.equal(values, exact.to(dtype))


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(
    ("scales", "size", "others"),
    [
        ("float16", 1e-7, ["bfloat16", "float32"]),
        ("float16", 2e-5, ["bfloat16", "float32"]),
        ("float16", 7e4, ["bfloat16", "float32"]),
        ("float16", 1e30, ["bfloat16", "float32"]),
        ("bfloat16", 1e-39, ["float32"]),
        ("bfloat16", 3.4024e38, ["float32"]),
        ("float32", float("nan"), []),
    ],
)
def test_scales_out_of_range_are_refused(scales, size, others, symmetric):
    weight = torch.linspace(-1, 1, 64).repeat(3, 1)
    weight[1] *= size
    fit = partial(grid.fit, weight / 2, bits=4, group_size=64, symmetric=symmetric)
    advice = f"give {' or '.join(others)}" if others else "no other type does: the model is not whole"
    with pytest.raises(
        ValueError, match=rf"scales='{scales}' cannot hold the scale \S+ of a group of weights; {advice}$"
    ):
        fit(scales=scales)
    for other in others:
        fit(scales=other)


@pytest.mark.parametrize("scales", grid.SCALES)
@pytest.mark.parametrize("symmetric", [True, False])
def test_groups_of_zeros_and_of_small_weights_fit_every_type(symmetric, scales):
    weight = torch.zeros(3, 64)
    weight[1] = torch.linspace(-1, 1, 64) * 3e-4
    fitted = grid.fit(weight, bits=4, group_size=64, symmetric=symmetric, scales=scales)
    error = (grid.values(grid.codes(weight, fitted), fitted).float() - weight).abs()
    assert (error[[0, 2]] == 0).all()
    assert error[1].max() < 0.6 * fitted.scale[1]


def test_types_of_scales_that_are_not_known_are_named():
    with pytest.raises(ValueError, match="scales='float64' is not allowed; give one of bfloat16, float16, float32"):
        grid.fit(torch.randn(2, 64), bits=4, group_size=64, symmetric=True, scales="float64")
