import copy
import json
from functools import partial

import families
import pytest
import torch
from safetensors.torch import load_file, save_file

from unicomp_lib import hardware
from unicomp_lib.checkpoints import decoder, grid, models, packed_integers, saving
from unicomp_lib.checkpoints.grid import Grid
from unicomp_lib.compress import awq, gptq, hessian, rtn, sparsegpt, students
from unicomp_lib.inputs import calibration


def problem(rows=16, inputs=192, tokens=600, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(inputs, inputs, generator=generator, dtype=torch.float64)
    x = torch.randn(tokens, inputs, generator=generator, dtype=torch.float64) @ mix
    return torch.randn(rows, inputs, generator=generator, dtype=torch.float64), x.T @ x / tokens


def reference(weight, hessian, size, order, scales, percdamp=0.01):
    """OBQ in a fixed order by its definition, in float64: invert the Hessian of the inputs left, each time."""
    weight = weight.clone()
    hessian = hessian + percdamp * hessian.diagonal().mean() * torch.eye(len(hessian), dtype=hessian.dtype)
    fit = partial(grid.fit, bits=4, group_size=size, symmetric=True, scales=scales)
    fixed = fit(weight)
    codes = torch.zeros(weight.shape, dtype=torch.int8)
    left = list(range(weight.shape[1])) if order is None else order.tolist()
    group = fixed
    while left:
        j = left[0]
        if order is None and j % size == 0:
            group = fit(weight[:, j : j + size])
        index = j // size if order is not None else 0
        column = Grid(group.scale[:, index, None], group.zero[:, index, None], 4, True, scales)
        codes[:, j] = grid.codes(weight[:, j, None], column)[:, 0]
        inverse = torch.linalg.inv(hessian[left][:, left])
        error = (weight[:, j] - grid.values(codes[:, j, None], column)[:, 0].double()) / inverse[0, 0]
        weight[:, left] -= error[:, None] * inverse[0]
        left = left[1:]
    return codes


@pytest.mark.parametrize("scales", grid.SCALES)
@pytest.mark.parametrize("ordered", [False, True])
def test_one_matrix_equals_a_float64_reference(ordered, scales):
    weight, hessian = problem()
    order = hessian.diagonal().argsort(descending=True) if ordered else None
    first = grid.fit(weight, bits=4, group_size=64, symmetric=True, scales=scales)
    expected = reference(weight, hessian, 64, order, scales)
    codes, _ = gptq.quantize(weight, hessian, first, order=order)
    assert torch.equal(codes, expected)
    single, _ = gptq.quantize(weight.float(), hessian.float(), first, order=order)
    assert (single == expected).float().mean() > 0.99


@pytest.mark.parametrize("size", [8, 48, 96, 192])
def test_groups_that_cross_blocks_are_fitted_to_weights_that_are_up_to_date(size):
    weight, hessian = problem(rows=4)
    first = grid.fit(weight, bits=4, group_size=size, symmetric=True)
    codes, _ = gptq.quantize(weight, hessian, first)
    assert torch.equal(codes, reference(weight, hessian, size, None, "bfloat16"))


@pytest.mark.parametrize("ordered", [False, True])
def test_matrices_that_share_their_inputs_are_stacked_without_a_trace(ordered):
    weight, statistics = problem(rows=24)
    order = statistics.diagonal().argsort(descending=True) if ordered else None
    fit = partial(grid.fit, bits=4, group_size=64, symmetric=False)
    codes, used = gptq.quantize(weight, statistics, fit(weight), order=order)
    stacked = zip(*(each.split([13, 7, 4]) for each in (weight, codes, used.scale)), strict=True)
    for part, own, scale in stacked:
        alone, grids = gptq.quantize(part, statistics, fit(part), order=order)
        assert torch.equal(own, alone)
        assert torch.equal(scale, grids.scale)


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


@pytest.mark.parametrize("method", [gptq, awq])
@pytest.mark.parametrize("scales", ["float16", "float32"])
@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
@torch.no_grad()
def test_more_precise_scales_are_read_back_as_they_were(tmp_path, precision, scales, method):
    model, tokenizer = models.load(models.TINY, precision=precision)
    tokens = calibration.blocks(tokenizer, samples=4, length=32)
    method.compress(model, tokens, group_size=32, scales=scales)
    saving.save(model, tokenizer, tmp_path, write=packed_integers.save)
    stored = load_file(tmp_path / "model.safetensors")
    assert {part.dtype for name, part in stored.items() if name.endswith("scale")} == {grid.SCALES[scales]}
    assert {part.dtype for name, part in stored.items() if name.endswith("norm.weight")} == {hardware.dtype(precision)}
    again, _ = models.load(str(tmp_path), precision=precision)
    assert torch.equal(again(tokens).logits, model(tokens).logits)


@torch.no_grad()
def test_scales_in_another_file_than_their_codes_are_found(tmp_path):
    model, tokenizer = models.load(models.TINY)
    rtn.compress(model, group_size=32, scales="float16")
    saving.save(model, tokenizer, tmp_path, write=packed_integers.save)
    stored = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    files = {name: "b.safetensors" if name.endswith("scale") else "a.safetensors" for name in stored}
    for file in set(files.values()):
        part = {name: tensor for name, tensor in stored.items() if files[name] == file}
        save_file(part, tmp_path / file, metadata={"format": "pt"})
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    again, _ = models.load(str(tmp_path))
    assert torch.equal(again(families.tokens()).logits, model(families.tokens()).logits)


@pytest.mark.parametrize("method", [gptq, awq])
def test_settings_are_refused_before_the_calibration_text_is_read(tiny, method):
    model, _ = tiny
    for wrong in ({"bits": 5}, {"scales": "float64"}, {"group_size": 7}):
        with pytest.raises(ValueError, match="give"):
            method.compress(model, None, **wrong)


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
        assert torch.equal(part.weight, grid.values(grid.codes(weight, fitted), fitted, torch.float32))
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


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("ordered", [False, True])
def test_inputs_that_are_always_zero_leave_the_others_as_if_they_were_not_there(ordered, symmetric):
    weight, statistics = problem(inputs=64)
    dead = torch.zeros(64, dtype=torch.bool)
    dead[::5] = True
    statistics = statistics / 1e4  # far below the ones that stand in for dead inputs
    statistics[dead] = statistics[:, dead] = 0
    weight[:, dead] *= 100  # would spoil the grid
    cleaned = hessian.without_dead(weight, statistics)
    live, kept = weight[:, ~dead], statistics[~dead][:, ~dead]
    grids = [grid.fit(one, bits=4, group_size=one.shape[1], symmetric=symmetric) for one in (cleaned, live)]
    orders = [one.diagonal().argsort(descending=True) if ordered else None for one in (statistics, kept)]
    codes, used = gptq.quantize(cleaned, statistics, grids[0], order=orders[0])
    expected, _ = gptq.quantize(live, kept, grids[1], order=orders[1])
    assert torch.equal(codes[:, ~dead], expected)
    assert (grid.values(codes, used)[:, dead] == 0).all()


@pytest.mark.parametrize("method", [gptq, sparsegpt])
def test_weights_of_inputs_that_are_always_zero_go(tiny, method):
    model, _ = tiny
    norm, attention = model.model.layers[1].input_layernorm, model.model.layers[1].self_attn
    norm.weight.data[5] = 0
    others = attention.q_proj.weight[:, 6].clone()
    method.compress(model, torch.randint(1, 257, (2, 16)), **({"group_size": 32} if method is gptq else {}))
    for linear in (attention.q_proj, attention.k_proj, attention.v_proj):
        assert (linear.weight[:, 5] == 0).all()
    assert (others != 0).all()
    assert (attention.q_proj.weight[:, 6] != 0).any()


@pytest.mark.parametrize("method", [gptq, sparsegpt])
def test_damping_out_of_range_is_one_clear_sentence(tiny, method):
    model, _ = tiny
    tokens, settings = torch.randint(1, 257, (1, 8)), {"group_size": 32} if method is gptq else {}
    for percdamp in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"percdamp={percdamp} is not allowed; give a number from 0 on"):
            method.compress(model, tokens, percdamp=percdamp, **settings)
    with pytest.raises(ValueError, match=r"Hessian of a linear map's 64 inputs has no inverse with percdamp=0.0; give"):
        method.compress(model, tokens, percdamp=0.0, **settings)
    method.compress(model, tokens, percdamp=0.01, **settings)  # as the sentence advises


def test_no_damping_is_needed_where_tokens_are_many():
    _, statistics = problem(inputs=64)
    factor = hessian.inverse_factor(statistics, 0.0)
    assert torch.allclose(factor.T @ factor @ statistics, torch.eye(64, dtype=torch.float64), atol=1e-6)


@pytest.mark.parametrize(("width", "advice"), [(1000, 8), (96, 32), (72, 8), (60, 4), (257, 0)])
@torch.no_grad()
def test_a_group_size_that_is_proposed_works(tmp_path, width, advice):
    model = students.cast(families.build("llama", layers=1, intermediate_size=width), torch.bfloat16)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    sentence = f"give a divisor such as {advice}$" if advice else "no group size divides those of all linear maps"
    for method in (rtn.compress, partial(gptq.compress, tokens=families.tokens()), partial(awq.compress, tokens=None)):
        with pytest.raises(ValueError, match=rf"group_size=128 does not divide \d+ inputs of 0\.\w+\.\w+; {sentence}"):
            method(model, group_size=128)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    if advice:
        rtn.compress(model, group_size=advice)
        saving.save(model, models.load_tokenizer(models.TINY), tmp_path, write=packed_integers.save)
        again, _ = models.load(str(tmp_path), on="cpu")
        assert torch.equal(again(families.tokens()).logits, model(families.tokens()).logits)
