import pytest
import torch
from torch.nn.utils import prune

from unicomp_lib.vision import googlenet, masks

DIMENSION = {"filters": 0, "connections": 1}


@pytest.mark.parametrize("method", masks.METHODS)
@pytest.mark.parametrize("criterion", masks.CRITERIA)
def test_every_layer_loses_exactly_its_share(model, method, criterion):
    selected = masks.select(model, method=method, share=0.3, criterion=criterion)
    layers = googlenet.convolutions(model)
    assert ("conv1.conv" in selected) == (method != "connections")
    for name, mask in selected.items():
        groups = mask if method == "unstructured" else mask.movedim(DIMENSION[method], 0).flatten(1)
        if method != "unstructured":
            assert (groups.any(1) == groups.all(1)).all()  # whole groups
            groups = groups.any(1)
        assert (~groups).sum() == round(0.3 * groups.numel())
        assert mask.shape == layers[name].weight.shape


@pytest.mark.parametrize("method", masks.METHODS)
def test_l1_prunes_what_torch_prunes(method):
    layer = googlenet.Convolution(8, 12, 3)
    model = torch.nn.Sequential(googlenet.Convolution(3, 8, 3), layer)
    selected = masks.select(model, method=method, share=0.25)["1.conv"]
    reference = torch.nn.Conv2d(8, 12, 3, bias=False)
    reference.weight.data = layer.conv.weight.data.clone()
    if method == "unstructured":
        prune.l1_unstructured(reference, "weight", amount=0.25)
    else:
        prune.ln_structured(reference, "weight", amount=0.25, n=1, dim=DIMENSION[method])
    assert torch.equal(selected, reference.weight_mask.bool())


def test_globally_the_smallest_weights_of_all_go(model):
    selected = masks.select(model, method="unstructured", share=0.9, scope="global")
    sizes = torch.cat([layer.weight.abs().flatten() for layer in googlenet.convolutions(model).values()])
    keep = torch.cat([mask.flatten() for mask in selected.values()])
    assert abs((~keep).sum().item() - round(0.9 * len(keep))) <= 0
    # Except for the best of each layer, which is never pruned, no pruned weight is larger than a kept one.
    assert (sizes[keep] < sizes[~keep].max()).sum() <= 57
    assert all(mask.any() for mask in selected.values())


def test_a_later_step_keeps_what_an_earlier_one_pruned(model):
    first = masks.select(model, method="unstructured", share=masks.geometric(0.75, 1, 2), criterion="random", seed=1)
    second = masks.select(model, method="unstructured", share=0.75, criterion="random", before=first, seed=2)
    for name, mask in second.items():
        assert not (mask & ~first[name]).any()
        assert (~mask).sum() == round(0.75 * mask.numel())
    assert masks.geometric(0.75, 1, 2) == pytest.approx(0.5)


def test_a_pruned_filter_is_silent_after_its_norm(model):
    masks.apply(model, masks.select(model, method="filters", share=0.5))
    with torch.no_grad():
        out = model.conv1(torch.randn(2, 3, 32, 32))
    silent = (model.conv1.conv.weight.flatten(1) == 0).all(1)
    assert silent.sum() == 32
    assert (out[:, silent] == 0).all()
    assert (out[:, ~silent] != 0).any()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"method": "rows"}, "method 'rows' is not known; allowed are unstructured, filters, connections"),
        ({"criterion": "l2"}, "criterion 'l2' is not known; allowed are l1, random"),
        ({"scope": "local"}, "scope 'local' is not known; allowed are layerwise, global"),
        ({"share": 1.0}, "rate 1.0 is not allowed; give a share from 0 to below 1"),
    ],
)
def test_what_is_not_known_is_reported(model, given, says):
    with pytest.raises(ValueError, match=says):
        masks.select(model, **({"method": "filters", "share": 0.5} | given))


@pytest.mark.parametrize(
    ("method", "left", "most"),
    [("filters", "7 to 57", 0.9921), ("connections", r"\d+ to 56", 0.9972), ("unstructured", "6 to 57", 0.9999)],
)
def test_a_global_rate_that_empties_a_layer_is_refused_and_the_highest_works(model, method, left, most):
    share = 1 - 1e-6 if method == "unstructured" else 0.999
    with pytest.raises(
        ValueError, match=rf"leaves {left} convolutions, of which each keeps at least one; give a rate up"
    ) as error:
        masks.select(model, method=method, share=share, scope="global")
    highest = float(str(error.value).rpartition(" ")[2])
    assert highest == pytest.approx(most, abs=0.001)
    assert all(mask.any() for mask in masks.select(model, method=method, share=highest, scope="global").values())


def test_layers_that_keep_one_are_named(model):
    assert masks.spared(model, "filters", 0.5) == []
    found = masks.spared(model, "filters", 0.99)
    assert found[0] == "inception3a.branch3.0.conv"
    kept = masks.select(model, method="filters", share=0.99)
    assert {name for name, mask in kept.items() if mask.flatten(1).any(1).sum() == 1} >= set(found)


@pytest.mark.parametrize("method", masks.METHODS)
def test_what_is_skipped_changes_neither_outputs_nor_gradients(model, method):
    selected = masks.select(model, method=method, share=0.9, scope="global")
    masks.apply(model, selected)
    layers = googlenet.convolutions(model)
    batch = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)).contiguous(
        memory_format=torch.channels_last
    )

    def computed():
        model.zero_grad()
        out = model(batch)
        out.square().sum().backward()
        return out.detach(), {name: weight.grad.clone() for name, weight in model.named_parameters()}

    whole, gradients = computed()
    with masks.skipping(model, selected):
        assert any("forward" in vars(layer) for layer in layers.values())
        out, found = computed()
    torch.testing.assert_close(out, whole, rtol=1e-4, atol=1e-4)
    for name, gradient in gradients.items():
        kept = selected.get(name.removesuffix(".weight"), torch.ones_like(gradient, dtype=torch.bool))
        size = float(gradient.abs().max())
        torch.testing.assert_close(found[name][kept], gradient[kept], rtol=1e-3, atol=1e-4 * size)
    assert not any("forward" in vars(layer) for layer in layers.values())
