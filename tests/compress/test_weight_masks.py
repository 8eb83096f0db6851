import pytest
import torch

from unicomp_lib.compress import weight_masks


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.99])
def test_every_row_loses_its_share_and_keeps_its_best(sparsity):
    score = torch.rand(7, 100)
    keep = weight_masks.mask(score, sparsity=sparsity)
    assert (keep.sum(1) == 100 - round(100 * sparsity)).all()
    for row, mask in zip(score, keep, strict=True):
        assert sparsity == 0 or row[mask].min() >= row[~mask].max()


def test_a_whole_matrix_is_compared_when_rows_are_not():
    score = torch.cat([torch.zeros(1, 10), torch.ones(1, 10)])
    keep = weight_masks.mask(score, sparsity=0.5, per_row=False)
    assert not keep[0].any()
    assert keep[1].all()


@pytest.mark.parametrize(("n", "m"), [(2, 4), (4, 8), (1, 4)])
def test_a_pattern_holds_in_every_group_and_keeps_the_best(n, m):
    score = torch.rand(5, 8 * m)
    keep = weight_masks.mask(score, sparsity=1 - n / m, pattern=f"{n}:{m}")
    groups, mask = score.view(5, -1, m), keep.view(5, -1, m)
    assert (mask.sum(-1) == n).all()
    expected = torch.zeros_like(mask).scatter(2, groups.topk(n, dim=2).indices, True)
    assert torch.equal(mask, expected)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"sparsity": 1.5}, "sparsity=1.5 is not allowed"),
        ({"sparsity": 0.5, "pattern": "4:2"}, "give n:m with 0 < n < m"),
        ({"sparsity": 0.3, "pattern": "2:4"}, "contradicts"),
        ({"sparsity": 0.8, "pattern": "1:5"}, "divisible by 5"),
    ],
)
def test_bad_input_is_one_clear_sentence(arguments, says):
    with pytest.raises(ValueError, match=says):
        weight_masks.mask(torch.rand(2, 8), **arguments)


@pytest.mark.parametrize("per_row", [True, False])
@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.77])
def test_of_equal_scores_the_first_go(sparsity, per_row):
    score = torch.randint(0, 4, (6, 40), generator=torch.Generator().manual_seed(0)).float()
    keep = weight_masks.mask(score, sparsity=sparsity, per_row=per_row)
    compared = (6, 40) if per_row else (1, 240)
    for row, mask in zip(score.view(compared).tolist(), keep.view(compared).tolist(), strict=True):
        order = sorted(range(len(row)), key=lambda index: row[index])  # stable
        gone = set(order[: round(sparsity * len(row))])
        assert mask == [index not in gone for index in range(len(row))]


@pytest.mark.parametrize(("n", "m"), [(1, 2), (2, 4), (3, 8), (5, 8), (8, 16)])
def test_of_equal_scores_in_a_group_the_first_remain(n, m):
    score = torch.randint(0, 3, (6, 4 * m), generator=torch.Generator().manual_seed(0)).float()
    keep = weight_masks.mask(score, sparsity=1 - n / m, pattern=f"{n}:{m}")
    for group, mask in zip(score.view(-1, m).tolist(), keep.view(-1, m).tolist(), strict=True):
        kept = set(sorted(range(m), key=lambda index: -group[index])[:n])
        assert mask == [index in kept for index in range(m)]
