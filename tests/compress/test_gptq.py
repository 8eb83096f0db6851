import copy

import pytest
import torch

from unicomp_lib.checkpoints import decoder, grid, models, packed_integers, saving
from unicomp_lib.checkpoints.grid import Grid
from unicomp_lib.compress import gptq, rtn
from unicomp_lib.inputs import calibration


def problem(rows=16, inputs=192, tokens=600, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(inputs, inputs, generator=generator, dtype=torch.float64)
    x = torch.randn(tokens, inputs, generator=generator, dtype=torch.float64) @ mix
    return torch.randn(rows, inputs, generator=generator, dtype=torch.float64), x.T @ x / tokens


def reference(weight, hessian, size, order, percdamp=0.01):
    """OBQ in a fixed order by its definition, in float64: invert the Hessian of the inputs left, each time."""
    weight = weight.clone()
    hessian = hessian + percdamp * hessian.diagonal().mean() * torch.eye(len(hessian), dtype=hessian.dtype)
    fixed = grid.fit(weight, bits=4, group_size=size, symmetric=True)
    codes = torch.zeros(weight.shape, dtype=torch.int8)
    left = list(range(weight.shape[1])) if order is None else order.tolist()
    group = fixed
    while left:
        j = left[0]
        if order is None and j % size == 0:
            group = grid.fit(weight[:, j : j + size], bits=4, group_size=size, symmetric=True)
        index = j // size if order is not None else 0
        column = Grid(group.scale[:, index, None], group.zero[:, index, None], 4, True)
        codes[:, j] = grid.codes(weight[:, j, None], column)[:, 0]
        inverse = torch.linalg.inv(hessian[left][:, left])
        error = (weight[:, j] - grid.values(codes[:, j, None], column)[:, 0].double()) / inverse[0, 0]
        weight[:, left] -= error[:, None] * inverse[0]
        left = left[1:]
    return codes


@pytest.mark.parametrize("ordered", [False, True])
def test_one_matrix_equals_a_float64_reference(ordered):
    weight, hessian = problem()
    order = hessian.diagonal().argsort(descending=True) if ordered else None
    first = grid.fit(weight, bits=4, group_size=64, symmetric=True)
    expected = reference(weight, hessian, 64, order)
    codes, _ = gptq.quantize(weight, hessian, first, order=order)
    assert torch.equal(codes, expected)
    single, _ = gptq.quantize(weight.float(), hessian.float(), first, order=order)
    assert (single == expected).float().mean() > 0.99


def test_the_output_is_nearer_than_with_rounding_alone():
    weight, hessian = problem()
    first = grid.fit(weight, bits=3, group_size=64, symmetric=True)
    ours = grid.values(*gptq.quantize(weight, hessian, first)).double() - weight
    plain = grid.values(grid.codes(weight, first), first).double() - weight
    loss = [torch.trace(error @ hessian @ error.T) for error in (ours, plain)]
    assert loss[0] < 0.6 * loss[1]


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [3, 4, 8])
@torch.no_grad()
def test_reload_equals_memory_and_the_bytes_are_real(tmp_path, bits, symmetric):
    model, tokenizer = models.load(models.TINY)
    tokens = calibration.blocks(tokenizer, samples=4, length=32)
    gptq.compress(model, tokens, bits=bits, group_size=32, symmetric=symmetric)
    saved = saving.save(model, tokenizer, tmp_path, write=packed_integers.save)
    again, _ = models.load(str(tmp_path))
    assert torch.equal(again(tokens).logits, model(tokens).logits)
    assert bits + 0.5 <= saved["bits_per_weight"] <= bits + 1.1  # a 16-bit scale, and a zero point, for 32 weights


@torch.no_grad()
def test_a_model_is_nearer_to_dense_than_with_rounding_alone(tiny):
    dense, tokenizer = tiny
    tokens = calibration.blocks(tokenizer, samples=16, length=64)
    ours = gptq.compress(copy.deepcopy(dense), tokens, bits=3, group_size=32)
    plain = rtn.compress(copy.deepcopy(dense), bits=3, group_size=32)
    error = [(model(tokens).logits - dense(tokens).logits).norm() for model in (ours, plain)]
    assert error[0] < error[1]


@torch.no_grad()
def test_rounding_alone_is_the_grid_of_every_matrix(tiny):
    model, _ = tiny
    old = {name: part.weight.clone() for name, part in decoder.linears(model).items()}
    rtn.compress(model, bits=4, group_size=32, symmetric=False)
    for name, part in decoder.linears(decoder.layers(model)).items():
        weight = old[f"model.layers.{name}"]
        fitted = grid.fit(weight, bits=4, group_size=32, symmetric=False)
        assert torch.equal(part.weight, grid.values(grid.codes(weight, fitted), fitted).float())
    assert torch.equal(model.lm_head.weight, old["lm_head"])


def test_zeros_of_a_pruned_matrix_stay_zeros():
    weight, hessian = problem()
    weight[:, ::2] = 0
    first = grid.fit(weight, bits=4, group_size=64, symmetric=True)
    quantized = grid.values(*gptq.quantize(weight, hessian, first))
    assert (quantized[:, ::2] == 0).all()
    plain = grid.values(grid.codes(weight, first), first).double() - weight
    ours = quantized.double() - weight
    assert torch.trace(ours @ hessian @ ours.T) < torch.trace(plain @ hessian @ plain.T)
