import pytest
import torch

from unicomp_lib.learn import storage

WEIGHT = torch.randn(64, 128, generator=torch.Generator().manual_seed(0))


def test_bytes_are_those_of_what_is_stored():
    ways = storage.ways(WEIGHT, dtype=torch.bfloat16, sparsity=0.5, group_size=32)
    sizes = {name: way.bytes for name, way in ways.items()}
    assert sizes["full"] == sizes["zeros, stored"] == 2 * 64 * 128
    # A value of the same type as in the full matrix, and a position, for each weight that is not zero.
    assert sizes["zeros, positions stored"] == 64 * 64 * (2 + 4) + 4 * 65
    assert sizes["int8, inputs too"] == 64 * 128 + 2 * 64
    assert sizes["int4, multiplied"] == sizes["int4, expanded first"] == 64 * 128 // 2 + 4 * 64 * 128 // 32


def test_every_way_multiplies_what_it_represents():
    ways = storage.ways(WEIGHT, dtype=torch.float32, sparsity=0.5, group_size=32)
    inputs = torch.randn(5, 128, generator=torch.Generator().manual_seed(1))
    exact = inputs @ WEIGHT.T
    error = {name: ((way.multiply(inputs) - exact).norm() / exact.norm()).item() for name, way in ways.items()}
    assert error["full"] < 1e-6
    assert error["zeros, stored"] == pytest.approx(error["zeros, positions stored"], rel=1e-3)
    assert error["int8, inputs too"] < 0.02 < error["int4, multiplied"] < 0.2 < error["zeros, stored"]
    assert error["int4, multiplied"] == pytest.approx(error["int4, expanded first"], rel=0.02)


def test_zeros_hold_the_same_numbers_with_and_without_positions():
    ways = storage.ways(WEIGHT, dtype=torch.bfloat16, sparsity=0.7, group_size=32)
    inputs = torch.randn(5, 128, generator=torch.Generator().manual_seed(1)).bfloat16()
    stored, positions = (ways[name].multiply(inputs) for name in ("zeros, stored", "zeros, positions stored"))
    assert positions.dtype == torch.bfloat16
    assert (stored.float() - positions.float()).norm() < 0.01 * stored.float().norm()
    assert ways["zeros, positions stored"].bytes < ways["zeros, stored"].bytes  # from two thirds of zeros on


def test_a_shape_without_a_kernel_is_one_clear_sentence():
    with pytest.raises(ValueError, match="a 64 x 128 matrix in groups of 48 has no 4-bit kernel; allowed are groups"):
        storage.ways(WEIGHT, dtype=torch.float32, sparsity=0.5, group_size=48)


def test_a_product_is_repeated_for_the_time_given():
    calls = []
    timings = storage.timed({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, seconds=0.0)
    assert calls == ["a", "b"] * (1 + storage.FEWEST)  # in turn, and once to warm up
    assert [len(seconds) for seconds in timings.values()] == [storage.FEWEST] * 2
