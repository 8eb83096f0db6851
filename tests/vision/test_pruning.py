import copy

import pytest
import torch

from unicomp_lib.vision import masks, pruning


@pytest.mark.parametrize("schedule", pruning.SCHEDULES)
@pytest.mark.parametrize("method", ["unstructured", "filters"])
def test_both_schedules_reach_the_rate_and_train_equally_long(model, squares, schedule, method):
    selected, history = pruning.prune(model, squares, method=method, rate=0.75, schedule=schedule, epochs=2)
    assert len(history) == 2
    layers = masks.convolutions(model)
    assert all((layers[name].weight[~mask] == 0).all() for name, mask in selected.items())
    assert masks.sparsity(model) == pytest.approx(0.75, abs=0.005)
    assert not model.training


def test_without_retraining_only_what_is_pruned_changes(model, squares):
    before = copy.deepcopy(model.state_dict())
    selected, history = pruning.prune(model, squares, method="unstructured", rate=0.5, epochs=0)
    assert history == []
    for name, value in model.state_dict().items():
        expected = before[name]
        if (layer := name.removesuffix(".weight")) in selected:
            expected = expected * selected[layer]
        assert torch.equal(value, expected)


def test_what_is_not_allowed_is_reported(model, squares):
    with pytest.raises(ValueError, match="schedule 'slow' is not known; allowed are one-shot, iterative"):
        pruning.prune(model, squares, method="filters", rate=0.5, schedule="slow")
    with pytest.raises(ValueError, match="epochs 3 cannot be divided equally among 2 steps; give a multiple"):
        pruning.prune(model, squares, method="filters", rate=0.5, schedule="iterative", epochs=3)


@pytest.mark.parametrize(
    ("method", "scope", "rate"),
    [("unstructured", "global", 0.999), ("filters", "global", 0.99), ("filters", "layerwise", 0.999)],
)
def test_extreme_rates_are_pruned_retrained_and_said(model, squares, method, scope, rate, capsys):
    selected, history = pruning.prune(model, squares, method=method, rate=rate, scope=scope, epochs=1)
    assert len(history) == 1
    assert all(mask.any() for mask in selected.values())
    said = "would leave nothing of" in capsys.readouterr().out
    assert said == (scope == "layerwise")
