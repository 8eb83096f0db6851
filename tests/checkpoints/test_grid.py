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
