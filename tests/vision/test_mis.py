import math

import pytest
import torch

from unicomp_lib.vision import mis


def constructed(units=3, per_side=20, images=400):
    """Units whose top images all look like one thing and whose bottom images like another."""
    features = torch.zeros(images, 2)
    features[: images // 2, 0], features[images // 2 :, 1] = 1, 1
    top = torch.stack([torch.randperm(images // 2)[:per_side] for _ in range(units)])
    bottom = torch.stack([images // 2 + torch.randperm(images // 2)[:per_side] for _ in range(units)])
    return top, bottom, features


def test_it_has_the_closed_form_on_constructed_images():
    top, bottom, features = constructed()
    scores = mis.score(top, bottom, features, alpha=1.5, tasks=5)
    # s is 1 within a kind and 0 between: D(q+) = 1, D(q-) = -1, Delta = 2.
    assert scores.mis.tolist() == pytest.approx([1 / (1 + math.exp(-3))] * 3)
    assert scores.hard.tolist() == [1, 1, 1]
    assert scores.margin.tolist() == pytest.approx([2, 2, 2])
    turned = mis.score(bottom, top, features, alpha=1.5, tasks=5)
    assert turned.mis.tolist() == scores.mis.tolist()  # which side is called positive does not matter


@pytest.mark.parametrize("pairs", [mis.PAIRS, 0])
def test_it_is_the_definition_written_out(monkeypatch, pairs):
    monkeypatch.setattr(mis, "PAIRS", pairs)
    generator = torch.Generator().manual_seed(3)
    features = torch.nn.functional.normalize(torch.randn(200, 16, generator=generator))
    top, bottom = (torch.stack([torch.randperm(200, generator=generator)[:12]]) for _ in range(2))
    scores = mis.score(top, bottom, features, alpha=2.0, tasks=4, seed=5)
    generator = torch.Generator().manual_seed(5)
    sides = [mis._shuffled(side, 4, generator)[0] for side in (top, bottom)]
    value = 0.0
    for plus, minus in zip(*sides, strict=True):
        similar = {
            (query, kind): sum(float(features[image] @ features[explanation]) for explanation in side[1:]) / 2
            for query, image in (("+", plus[0]), ("-", minus[0]))
            for kind, side in (("+", plus), ("-", minus))
        }
        delta = (similar["+", "+"] - similar["+", "-"]) - (similar["-", "+"] - similar["-", "-"])
        value += 1 / (1 + math.exp(-2 * delta)) / 4
    assert float(scores.mis[0]) == pytest.approx(value, abs=1e-5)


def test_every_task_has_one_image_of_each_bin_and_the_query_is_most_extreme():
    indices = torch.arange(12)[None]
    dealt = mis._shuffled(indices, 4, torch.Generator().manual_seed(0))[0]
    assert dealt.shape == (4, 3)
    for index, first in enumerate((0, 4, 8)):
        assert sorted(dealt[:, index].tolist()) == list(range(first, first + 4))


def test_shuffled_activations_score_one_half():
    features = torch.nn.functional.normalize(torch.randn(600, 32, generator=torch.Generator().manual_seed(0)))
    scores = mis.null(400, 50, features, alpha=6.25, tasks=5).mis
    error = scores.std() / len(scores) ** 0.5
    assert abs(scores.mean() - 0.5) < 4 * error
    assert error < 0.01


def test_numbers_that_make_no_tasks_are_reported():
    with pytest.raises(ValueError, match=r"11 top and 11 bottom images do not make 5 tasks .* tasks \* \(K \+ 1\)"):
        mis.score(torch.zeros(1, 11).long(), torch.zeros(1, 11).long(), torch.eye(2), alpha=1, tasks=5)
