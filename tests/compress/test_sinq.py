"""SINQ against algorithm 1 written out for one matrix in float64, and what folding must leave as it is."""

import copy
import math

import families
import pytest
import torch

from unicomp_lib.checkpoints import decoder, grid, models, packed_integers, saving
from unicomp_lib.compress import rtn, sinq


def matrix(rows=48, columns=96):
    generator = torch.Generator().manual_seed(0)
    spread = torch.rand(columns, generator=generator) * 3 + 0.2
    heights = torch.rand(rows, 1, generator=generator) * 2 + 0.3
    return 0.05 * torch.randn(rows, columns, generator=generator) * spread * heights


def by_hand(tile):
    """Scales of columns and rows with the least imbalance, one number at a time."""
    tile = tile.double().numpy()
    rows, columns = tile.shape
    clip = lambda value, low, high: min(max(value, low), high)  # noqa: E731
    row, column = [0.0] * rows, [0.0] * columns
    best, kept = math.inf, None
    aim = min(
        min(clip(tile[i].std(), 1e-3, 1e3) for i in range(rows)),
        min(clip(tile[:, j].std(), 1e-3, 1e3) for j in range(columns)),
    )
    for _ in range(17):
        now = [[tile[i, j] / math.exp(row[i]) / math.exp(column[j]) for j in range(columns)] for i in range(rows)]
        across = [float(torch.tensor(line, dtype=torch.float64).std(correction=0)) for line in now]
        down = [
            float(torch.tensor([line[j] for line in now], dtype=torch.float64).std(correction=0))
            for j in range(columns)
        ]
        if max(across + down) / min(across + down) < best:
            best, kept = max(across + down) / min(across + down), (list(column), list(row))
        step = lambda spread: math.log(clip(clip(spread, 1e-3, 1e3) / (aim + 1e-6), 0.7, 2.0))  # noqa: E731
        column = [clip(value + step(spread), -0.3, 10.0) for value, spread in zip(column, down, strict=True)]
        row = [clip(value + step(spread), -0.3, 10.0) for value, spread in zip(row, across, strict=True)]
    return [torch.tensor(values, dtype=torch.float64).exp() for values in kept]


def imbalance(tile):
    spreads = torch.cat([tile.std(0), tile.std(1)])
    return spreads.max() / spreads.min()


def test_the_scales_are_those_of_the_algorithm():
    tiles = torch.stack([matrix(12, 10), matrix(24, 20)[:12, 10:] ** 2]).double()
    columns, rows = sinq.normalise(tiles)
    for index, tile in enumerate(tiles):
        expected = by_hand(tile)
        # Up to a common factor, which rounding does not see: rounds may be equally balanced.
        for one, other in zip((columns[index, 0], rows[index, :, 0]), expected, strict=True):
            assert torch.allclose(one / one.mean(), other / other.mean(), rtol=1e-6)
            assert one.mean() == pytest.approx(float(other.mean()), rel=0.02)


def test_rows_and_columns_end_with_nearly_the_same_spread():
    tile = matrix()
    columns, rows = sinq.normalise(tile[None])
    assert imbalance(tile / columns[0] / rows[0]) < 0.2 * imbalance(tile)


def test_rounding_loses_less_where_columns_differ():
    weight = matrix()
    scale = sinq.input_scale(weight, 32)
    errors = {}
    for name, given, back in (("plain", weight, torch.ones(96)), ("normalised", weight / scale, scale)):
        fitted = grid.fit(given, bits=4, group_size=32, symmetric=False)
        rounded = grid.values(grid.codes(given, fitted), fitted, torch.float32) * back
        errors[name] = ((rounded - weight) / weight.std(0)).square().mean()
    assert errors["normalised"] < 0.8 * errors["plain"]


@torch.no_grad()
def test_scales_are_folded_and_the_rest_is_rounding_to_nearest(tiny, monkeypatch):
    model, _ = tiny
    dense, tokens = copy.deepcopy(model), torch.arange(40).view(2, 20)
    sinq.compress(model, bits=8, group_size=32)
    expected = dense(tokens).logits
    assert (model(tokens).logits - expected).abs().max() < 0.02 * expected.abs().max()  # 8 bits lose little
    assert not torch.equal(model.model.layers[0].input_layernorm.weight, dense.model.layers[0].input_layernorm.weight)
    monkeypatch.setattr(sinq, "input_scale", lambda weight, size: torch.ones(weight.shape[1]))
    without, plain = copy.deepcopy(dense), copy.deepcopy(dense)
    sinq.compress(without, group_size=32)
    rtn.compress(plain, group_size=32, symmetric=False)
    assert all(map(torch.equal, without.state_dict().values(), plain.state_dict().values()))


@torch.no_grad()
def test_it_draws_no_text_and_reload_equals_memory(tmp_path):
    found = []
    for name in ("a", "b"):
        model, tokenizer = models.load(models.TINY, on="cpu")
        saved = saving.save(sinq.compress(model, group_size=32), tokenizer, tmp_path / name, write=packed_integers.save)
        again, _ = models.load(str(tmp_path / name), on="cpu")
        tokens = torch.arange(40).view(2, 20)
        found.append(again(tokens).logits)
        assert torch.equal(found[-1], model(tokens).logits)
        assert saved["bits_per_weight"] == pytest.approx(4.6, abs=0.1)
    assert torch.equal(*found)


@torch.no_grad()
def test_columns_of_zeros_and_a_single_output_stay_finite():
    weight = matrix()
    weight[:, 3] = 0
    for given in (weight, weight[:1], torch.zeros(4, 64)):
        scale = sinq.input_scale(given, 32)
        assert scale.isfinite().all()
        assert (scale > 0).all()


def test_a_model_without_foldable_norms_is_refused():
    with pytest.raises(ValueError, match="has no norm whose output only linear maps read"):
        sinq.compress(families.build("olmo2"), group_size=32)


def test_settings_out_of_range_are_refused_and_nothing_is_changed(tiny):
    model, _ = tiny
    before = [linear.weight.clone() for linear in decoder.linears(model).values()]
    with pytest.raises(ValueError, match="group_size=48 does not divide"):
        sinq.compress(model, group_size=48)
    assert all(map(torch.equal, before, (linear.weight for linear in decoder.linears(model).values())))
