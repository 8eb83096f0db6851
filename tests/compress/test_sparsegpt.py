import copy

import pytest
import torch

from unicomp_lib.checkpoints import decoder
from unicomp_lib.compress import hessian, layers, sparsegpt
from unicomp_lib.inputs import calibration


def problem(rows=24, inputs=160, tokens=600, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(inputs, inputs, generator=generator, dtype=torch.float64)
    x = torch.randn(tokens, inputs, generator=generator, dtype=torch.float64) @ mix
    return torch.randn(rows, inputs, generator=generator, dtype=torch.float64), x


def reference(weight, x, sparsity, pattern, percdamp=0.01):
    """OBS by its definition: after each input, invert the Hessian of those that are left."""
    weight = weight.clone()
    h = x.T @ x / len(x)
    h += percdamp * h.diagonal().mean() * torch.eye(len(h), dtype=h.dtype)
    n, m = (int(part) for part in pattern.split(":")) if pattern else (0, sparsegpt.BLOCK)
    keep = torch.ones_like(weight, dtype=torch.bool)
    # d_j is 1/[H_{j:}^-1]_jj for the inputs from j on.
    d = torch.stack([torch.linalg.inv(h[j:, j:])[0, 0] for j in range(len(h))])
    for j in range(weight.shape[1]):
        if j % m == 0:
            score = weight[:, j : j + m].square() / d[j : j + m]
            chosen = torch.ones_like(score, dtype=torch.bool)
            if pattern:
                chosen.scatter_(1, score.topk(m - n, dim=1, largest=False).indices, False)
            else:
                flat = chosen.view(-1)
                flat[score.reshape(-1).topk(round(sparsity * score.numel()), largest=False).indices] = False
            keep[:, j : j + m] = chosen
        inverse = torch.linalg.inv(h[j:, j:])
        error = weight[:, j] * ~keep[:, j] / inverse[0, 0]
        weight[:, j:] -= error[:, None] * inverse[0]
    return weight * keep


@pytest.mark.parametrize(("sparsity", "pattern"), [(0.5, ""), (0.3, ""), (0.5, "2:4"), (0.5, "4:8"), (0.5, "16:32")])
def test_one_matrix_equals_a_float64_reference(sparsity, pattern):
    weight, x = problem()
    expected = reference(weight, x, sparsity, pattern)
    factor = hessian.inverse_factor(x.T @ x / len(x))
    pruned = sparsegpt.prune(weight, factor, sparsity=sparsity, pattern=pattern)
    assert torch.equal(pruned == 0, expected == 0)
    assert (pruned - expected).norm() / expected.norm() < 1e-9
    single = sparsegpt.prune(weight.float(), factor.float(), sparsity=sparsity, pattern=pattern)
    assert ((single == 0) == (expected == 0)).float().mean() > 0.999


@pytest.mark.parametrize(("sparsity", "pattern"), [(0.5, ""), (0.5, "2:4"), (0.5, "32:64")])
def test_matrices_that_share_their_inputs_are_stacked_without_a_trace(sparsity, pattern):
    weight, x = problem(rows=24, inputs=192)
    weight[:13] *= 10  # compared with the others, all of these would stay
    factor = hessian.inverse_factor(x.T @ x / len(x))
    stacked = sparsegpt.prune(weight, factor, sparsity=sparsity, pattern=pattern, rows=[13, 7, 4])
    for part, own in zip(weight.split([13, 7, 4]), stacked.split([13, 7, 4]), strict=True):
        alone = sparsegpt.prune(part, factor, sparsity=sparsity, pattern=pattern)
        assert torch.equal(own == 0, alone == 0)
        assert torch.allclose(own, alone, rtol=1e-9, atol=1e-12)


def test_the_update_beats_the_same_mask_without_it():
    weight, x = problem()
    pruned = sparsegpt.prune(weight, hessian.inverse_factor(x.T @ x / len(x)))
    plain = weight * (pruned != 0)
    assert ((pruned - weight) @ x.T).norm() < 0.8 * ((plain - weight) @ x.T).norm()


def test_inputs_that_are_always_zero_leave_the_others_as_if_they_were_not_there():
    weight, x = problem(inputs=64)
    dead = torch.arange(64) % 4 == 1
    x = x / 100  # squares far below the ones that stand in for dead inputs
    x[:, dead] = 0
    statistics = x.T @ x / len(x)
    cleaned = hessian.without_dead(weight, statistics)
    pruned = sparsegpt.prune(cleaned, hessian.inverse_factor(statistics), sparsity=0.5)
    # Of 64 inputs half go: the 16 dead ones first, then a third of the 48 others.
    expected = reference(weight[:, ~dead], x[:, ~dead], 1 / 3, "")
    assert (pruned[:, dead] == 0).all()
    assert torch.equal(pruned[:, ~dead] == 0, expected == 0)
    assert (pruned[:, ~dead] - expected).norm() / expected.norm() < 1e-9


def test_a_pattern_that_crosses_blocks_is_one_clear_sentence():
    weight, x = problem()
    with pytest.raises(ValueError, match=r"pattern='2:5' does not fit blocks of 128 inputs; give n:m whose m divides"):
        sparsegpt.prune(weight, hessian.inverse_factor(x.T @ x), sparsity=0.6, pattern="2:5")
    with pytest.raises(ValueError, match=r"pattern 32:64 needs inputs divisible by 64, this matrix has 160"):
        sparsegpt.prune(weight, hessian.inverse_factor(x.T @ x), sparsity=0.5, pattern="32:64")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(("tokens", "inputs"), [(1, 5), (700, 33), (300, 64)])
def test_products_of_inputs_are_those_in_float64(tokens, inputs, dtype):
    x = (torch.randn(inputs, tokens, generator=torch.Generator().manual_seed(0)) * 100).to(dtype).T  # not contiguous
    expected = x.double().T @ x.double()
    for given, wanted in ((hessian.gram(x), expected), (hessian.lower_gram(x), expected.tril())):
        assert given.dtype == torch.float32
        assert (given.double() - wanted).norm() < 1e-6 * expected.norm()


def test_the_factor_is_that_of_the_inverse():
    _, x = problem()
    statistics = x.T @ x / len(x)
    factor = hessian.inverse_factor(statistics)
    damped = statistics + 0.01 * statistics.diagonal().mean() * torch.eye(160, dtype=torch.float64)
    assert torch.equal(factor, factor.triu())
    assert torch.allclose(factor, torch.linalg.cholesky(torch.linalg.inv(damped), upper=True), rtol=1e-6)


@torch.no_grad()
def test_statistics_are_those_of_the_inputs_and_shared_where_the_input_is(tiny):
    model, tokenizer = tiny
    tokens = calibration.blocks(tokenizer, samples=12, length=16)
    _, layer, feed = next(layers.walk(model, tokens))
    matrices = hessian.hessians(feed)
    assert matrices["self_attn.q_proj"] is matrices["self_attn.v_proj"]
    assert matrices["mlp.gate_proj"] is matrices["mlp.up_proj"]
    x = layer.input_layernorm(model.model.embed_tokens(tokens)).flatten(0, 1).double()
    assert torch.allclose(matrices["self_attn.k_proj"].double(), x.T @ x / len(x), atol=1e-6)


@torch.no_grad()
def test_a_model_keeps_the_exact_rate_and_more_of_its_outputs_than_magnitude(tiny):
    from unicomp_lib.compress import magnitude

    dense, tokenizer = tiny
    tokens = calibration.blocks(tokenizer, samples=8, length=64)
    ours = sparsegpt.compress(copy.deepcopy(dense), tokens, pattern="2:4")
    for part in decoder.linears(decoder.layers(ours)).values():
        assert ((part.weight.view(part.weight.shape[0], -1, 4) != 0).sum(-1) <= 2).all()
    plain = magnitude.compress(copy.deepcopy(dense), pattern="2:4")
    error = [(model(tokens).logits - dense(tokens).logits).norm() for model in (ours, plain)]
    assert error[0] < error[1]
