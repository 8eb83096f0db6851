import copy

import pytest
import torch
import torch_pruning

from unicomp_lib.vision import googlenet, masks, removal

SHARES = (
    *(("unstructured", "global", share) for share in (0.94, 0.98, 0.999)),
    *(("filters", "global", share) for share in (0.9, 0.992)),
    *((method, "layerwise", share) for method in masks.METHODS for share in (0.9, 0.999)),
    ("connections", "global", 0.99),
)


def off(model, small, size=64):
    """Largest change of a score, as a share of the largest score."""
    x = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before, after = model(x), small(x)
    return float((before - after).abs().max() / before.abs().max())


def silence(layer, inputs=None):
    with torch.no_grad():
        layer.weight[:, slice(None) if inputs is None else inputs] = 0


@pytest.mark.parametrize("method", masks.METHODS)
def test_what_is_removed_changes_no_output(model, method):
    masks.apply(model, masks.select(model, method=method, share=0.5))
    small = removal.removed(model)
    assert off(model, small) < 1e-5
    fewer, less = removal.parameters(small) / removal.parameters(model), removal.macs(small) / removal.macs(model)
    expected = {"unstructured": (1, 1), "filters": (0.25, 0.27), "connections": (0.5, 0.54)}[method]
    assert (fewer, less) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(("method", "scope", "share"), SHARES)
@pytest.mark.parametrize("criterion", masks.CRITERIA)
def test_nothing_changes_at_extreme_rates(model, method, scope, share, criterion):
    masks.apply(model, masks.select(model, method=method, share=share, scope=scope, criterion=criterion))
    small = removal.removed(model)
    assert off(model, small) < 1e-4
    assert removal.parameters(small) < removal.parameters(model)


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_filters_are_removed_as_by_torch_pruning(model, share):
    masks.apply(model, masks.select(model, method="filters", share=share))
    theirs = copy.deepcopy(model)
    for name, layer in googlenet.convolutions(model).items():
        silent = (layer.weight.flatten(1) == 0).all(1).nonzero().flatten().tolist()
        graph = torch_pruning.DependencyGraph().build_dependency(theirs, torch.zeros(1, 3, 64, 64))
        target = googlenet.convolutions(theirs)[name]
        graph.get_pruning_group(target, torch_pruning.prune_conv_out_channels, idxs=silent).prune()
    ours = removal.removed(model)
    assert removal.parameters(ours) == removal.parameters(theirs)
    assert removal.macs(ours) == removal.macs(theirs)
    assert off(theirs, ours) < 1e-5


@pytest.mark.parametrize(
    "emptied",
    [
        ["conv1.conv"],
        ["conv2.conv"],
        ["conv3.conv"],
        ["inception3a.branch1.conv"],
        ["inception4c.branch2.0.conv"],
        ["inception4c.branch2.1.conv"],
        ["inception4b.branch4.1.conv", "inception4b.branch3.0.conv"],
        [f"inception4d.branch{branch}.conv" for branch in ("1", "2.1", "3.1", "4.1")],
        ["inception5b.branch1.conv", "inception5b.branch2.0.conv", "inception5b.branch3.1.conv"],
        list(googlenet.convolutions(googlenet.GoogLeNet(2))),
    ],
    ids=lambda names: names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1}",
)
def test_a_layer_without_weights_leaves_what_its_norm_makes_of_zeros(model, emptied):
    layers = googlenet.convolutions(model)
    for name in emptied:
        silence(layers[name])
    assert (
        min(float(part.bias.detach().max()) for part in model.modules() if isinstance(part, torch.nn.BatchNorm2d)) > 0
    )
    for size in (32, 48, 64, 65):
        assert off(model, removal.removed(model), size) < 1e-4


@pytest.mark.parametrize("seed", range(4))
def test_layers_whose_inputs_are_gone_one_after_another(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for layer in googlenet.convolutions(
        model
    ).values():  # most read one channel, which may itself read nothing that varies
        kept = torch.rand(layer.weight.shape[:2], generator=generator) < 1.5 / layer.in_channels
        with torch.no_grad():
            layer.weight.mul_(kept[:, :, None, None])
    small = removal.removed(model)
    assert off(model, small) < 1e-4
    assert removal.parameters(small) < 0.5 * removal.parameters(model)
    assert removal.macs(small) < 0.5 * removal.macs(model)


def test_colours_that_are_not_read_and_a_second_removal(model):
    silence(model.conv1.conv, [0, 2])
    small = removal.removed(model)
    assert off(model, small) < 1e-5
    assert small.conv1.conv.conv.in_channels == 1


def test_the_network_itself_stays_as_it_is(model):
    masks.apply(model, masks.select(model, method="filters", share=0.9))
    before = copy.deepcopy(model.state_dict())
    removal.removed(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_is_no_googlenet_is_refused():
    with pytest.raises(ValueError, match="only what is pruned from a GoogLeNet can be removed, not from Linear"):
        removal.removed(torch.nn.Linear(2, 2))


def test_macs_are_those_of_the_formula():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1, bias=False))
    assert removal.macs(model, size=32) == 32 * 32 * 8 * 3 * 9


def test_latency_is_measured_in_turn(model):
    seconds = removal.latency({"one": model, "other": model}, size=32, batch=2, repeats=3)
    assert {name: len(times) for name, times in seconds.items()} == {"one": 3, "other": 3}
    assert all(time > 0 for times in seconds.values() for time in times)
