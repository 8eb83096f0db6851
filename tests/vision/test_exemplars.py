import torch

from unicomp_lib.vision import exemplars, googlenet, masks, training


def test_a_stream_keeps_the_same_as_sorting_all():
    activations = torch.randn(300, 7, generator=torch.Generator().manual_seed(0))
    activations[5], activations[200] = 0.25, 0.25  # ties: the earlier image stays
    stream = exemplars.Extremes(7, 9)
    for indices in torch.arange(300).split(64):
        stream.add(activations[indices], indices)
    for side, descending in (("top", True), ("bottom", False)):
        order = activations.argsort(dim=0, descending=descending, stable=True)[:9].T
        assert torch.equal(stream.places[side], order)
        assert stream.values[side].shape == (7, 9)  # however many images were added


def test_units_are_spatial_means_of_the_convolutions(model, held_out):
    seen, constant = exemplars.extremes(model, held_out, 3)
    assert not constant.any()
    batch = next(iter(held_out.batches(len(held_out))))[1]
    with torch.no_grad():
        means = model.conv1.conv(batch).mean(dim=(2, 3))
    assert torch.equal(seen.places["top"][:64], means.topk(3, dim=0).indices.T)
    names = exemplars.units(model)
    assert len(names) == len(constant) == 7280
    assert names[64] == ("conv2.conv", 0)


def test_a_silent_unit_is_constant(model, held_out):
    masks.apply(model, masks.select(model, method="filters", share=0.5))
    training.recalibrate(model, held_out)  # or the images' differences fade on their way through the layers
    _, constant = exemplars.extremes(model, held_out, 3)
    silent = torch.cat([(layer.weight.flatten(1) == 0).all(1) for layer in googlenet.convolutions(model).values()])
    assert torch.equal(constant, silent)
