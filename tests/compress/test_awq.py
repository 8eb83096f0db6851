import copy

import pytest
import torch

from unicomp_lib.checkpoints import grid, models, packed_integers, saving
from unicomp_lib.compress import awq, rtn
from unicomp_lib.inputs import calibration


def problem(seed=0, rows=24, inputs=64, tokens=500):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(tokens, inputs, generator=generator)
    x[:, :4] *= 20  # a few salient inputs
    return torch.randn(rows, inputs, generator=generator), x


def rounded(weight, bits=3, size=32):
    fitted = grid.fit(weight, bits=bits, group_size=size, symmetric=False)
    return grid.values(grid.codes(weight, fitted), fitted).float()


def test_the_scale_is_the_best_exponent_by_the_outputs_themselves():
    weight, x = problem()
    magnitude = x.abs().mean(0)
    scale = awq.search([weight], x.T @ x / len(x), magnitude, bits=3, group_size=32, symmetric=False)
    errors = {}
    for step in range(awq.STEPS):
        trial = magnitude ** (step / awq.STEPS)
        trial = trial / (trial.max() * trial.min()).sqrt()
        # As the layer computes it: scaled weights on divided inputs, against the float outputs.
        errors[step] = (((x / trial) @ rounded(weight * trial).T - x @ weight.T).square().mean(), trial)
    best = min(errors.values(), key=lambda pair: pair[0])[1]
    assert torch.allclose(scale, best)
    assert errors[0][0] > 1.5 * min(error for error, _ in errors.values())  # and scaling was worth it


@pytest.mark.parametrize("seed", range(3))
def test_some_outputs_show_which_exponents_are_worth_measuring_on_all(seed):
    weight, x = problem(seed=seed, rows=700)
    magnitude, options = x.abs().mean(0), {"bits": 3, "group_size": 32, "symmetric": False}
    factors = [magnitude ** (step / awq.STEPS) for step in range(awq.STEPS)]
    factors = [trial / (trial.max() * trial.min()).sqrt() for trial in factors]
    errors = [((x / trial) @ rounded(weight * trial).T - x @ weight.T).square().mean() for trial in factors]
    scale = awq.search([weight[:300], weight[300:]], x.T @ x / len(x), magnitude, **options)
    assert torch.allclose(scale, factors[int(torch.stack(errors).argmin())])


def test_every_group_has_the_shrink_of_least_output_error():
    weight, x = problem()
    clipped = awq.clip(weight, x.T @ x / len(x), bits=3, group_size=32, symmetric=True)
    for row, group in ((0, 0), (5, 1), (23, 0)):
        part = slice(32 * group, 32 * group + 32)
        block, inputs = weight[row : row + 1, part], x[:, part]
        trials = []
        for share in awq.SHRINKS:
            narrowed = block.clamp(block.min() * share, block.max() * share)
            fitted = grid.fit(narrowed, bits=3, group_size=32, symmetric=True)
            error = inputs @ (grid.values(grid.codes(block, fitted), fitted).float() - block).T
            trials.append((error.square().mean().item(), fitted.scale.item()))
        assert clipped.scale[row, group].item() == min(trials)[1]


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("scales", grid.SCALES)
@pytest.mark.parametrize("bits", grid.BITS)
def test_rounding_is_that_of_the_grid(bits, scales, symmetric, monkeypatch):
    monkeypatch.setattr(awq, "CACHED", 200)  # so that outputs are rounded in several parts
    weight, _ = problem(rows=7)
    fitted = grid.fit(weight, bits=bits, group_size=16, symmetric=symmetric, scales=scales)
    weight *= 1.5  # beyond the ends of the grid
    assert torch.equal(awq.rounded(weight, fitted), grid.values(grid.codes(weight, fitted), fitted).float())


@torch.no_grad()
def test_scales_are_searched_on_the_inputs_of_the_unquantized_model(tiny):
    model, tokenizer = tiny
    tokens = calibration.blocks(tokenizer, samples=9, length=32)
    layer = model.model.layers[1]
    x = layer.input_layernorm(model(tokens, output_hidden_states=True).hidden_states[1]).flatten(0, 1)
    weights = [part.weight.clone() for part in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj)]
    norm = layer.input_layernorm.weight.clone()
    options = {"bits": 3, "group_size": 32, "symmetric": False}
    scale = awq.search(weights, x.T @ x / len(x), x.abs().mean(0), **options)
    awq.compress(model, tokens, **options)
    assert torch.allclose(norm / layer.input_layernorm.weight, scale, rtol=1e-4)


@torch.no_grad()
def test_a_model_is_nearer_to_dense_than_with_rounding_alone(tiny):
    dense, tokenizer = tiny
    tokens = calibration.blocks(tokenizer, samples=16, length=64)
    options = {"bits": 3, "group_size": 32, "symmetric": False}
    ours = awq.compress(copy.deepcopy(dense), tokens, **options)
    plain = rtn.compress(copy.deepcopy(dense), **options)
    error = [(model(tokens).logits - dense(tokens).logits).norm() for model in (ours, plain)]
    assert error[0] < error[1]


@pytest.mark.parametrize("symmetric", [True, False])
@torch.no_grad()
def test_reload_equals_memory_and_the_bytes_are_real(tmp_path, symmetric):
    model, tokenizer = models.load(models.TINY)
    tokens = calibration.blocks(tokenizer, samples=4, length=32)
    awq.compress(model, tokens, bits=4, group_size=32, symmetric=symmetric)
    saved = saving.save(model, tokenizer, tmp_path, write=packed_integers.save)
    again, _ = models.load(str(tmp_path))
    assert torch.equal(again(tokens).logits, model(tokens).logits)
    assert 4.5 <= saved["bits_per_weight"] <= 5.1
