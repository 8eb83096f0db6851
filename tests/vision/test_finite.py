import pytest
import torch

from unicomp_lib.vision import finite, googlenet, masks, network, pruning, training

BAD = (float("nan"), float("inf"), float("-inf"))


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", ["conv1.conv.weight", "inception4c.branch2.1.conv.weight", "fc.bias"])
def test_a_weight_is_named_before_training_and_before_pruning(model, squares, name, bad):
    with torch.no_grad():
        weight = model.get_parameter(name)
        weight[(0,) * weight.ndim] = bad
    with pytest.raises(finite.NotFinite, match=rf"before training: the weight or statistic of {name} is not finite"):
        training.train(model, squares, epochs=1, rate=0.01)
    if "conv." in name:
        with pytest.raises(finite.NotFinite, match=rf"before pruning: the weight of {name.removesuffix('.weight')} is"):
            masks.select(model, method="filters", share=0.5, criterion="random")


def test_statistics_of_a_norm_count_and_how_many_are_not_finite(model, squares):
    model.inception3a.branch1.bn.running_var[0] = float("inf")
    model.inception3b.branch1.bn.running_mean[0] = float("nan")
    says = r"of inception3a.branch1.bn.running_var and of 1 more is not finite; the network is damaged or"
    with pytest.raises(finite.NotFinite, match=says):
        training.train(model, squares, epochs=1, rate=0.01)


def test_a_training_that_diverges_stops_with_epoch_batch_and_layer(model, squares):
    with pytest.raises(
        finite.NotFinite, match=r"epoch 1, batch [1-3] of 3: the .* of .* is not finite|the loss is not"
    ):
        training.train(model, squares, epochs=3, rate=1e30, batch=20)


@pytest.mark.parametrize(("epoch", "batch"), [(1, 1), (1, 3), (2, 2)])
@pytest.mark.parametrize("layer", ["conv2.bn", "inception4a.branch3.0.conv", "fc"])
def test_an_activation_is_named_with_epoch_and_batch(model, squares, layer, epoch, batch):
    calls = []

    def spoil(part, given, out):
        calls.append(1)
        return out * float("nan") if len(calls) >= 3 * (epoch - 1) + batch else out

    model.get_submodule(layer).register_forward_hook(spoil)
    says = (
        rf"epoch {epoch}, batch {batch} of 3: the loss is not finite; the first activation that is not is of {layer};"
    )
    with pytest.raises(finite.NotFinite, match=says):
        training.train(model, squares, epochs=2, rate=0.01, batch=20)


def test_a_gradient_is_named(model, squares):
    model.fc.bias.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(finite.NotFinite, match=r"epoch 1, batch 1 of 2: the gradient of fc.bias is not finite"):
        training.train(model, squares, epochs=1, rate=0.01, batch=40)


def test_pruning_and_recalibration_stop_too(model, squares):
    with pytest.raises(finite.NotFinite, match="epoch 2, batch 1 of 1: the loss is not finite"):
        pruning.prune(model, squares, method="filters", rate=0.5, epochs=2, learning_rate=1e30)
    broken = network.new(3)
    broken.conv1.conv.weight.data.mul_(1e30)
    with pytest.raises(
        finite.NotFinite, match=r"after BatchNorm's statistics were estimated again: .* of conv1.bn.running_var"
    ):
        training.recalibrate(broken, squares)


def test_a_score_is_named_and_finite_ones_are_not(model, held_out):
    model.inception5a.branch1.bn.register_forward_hook(lambda part, given, out: out / 0)
    with pytest.raises(finite.NotFinite, match=r"the score is not finite; .* is of inception5a.branch1.bn;"):
        training.correct(model, held_out)


def test_large_numbers_are_finite_and_nothing_is_fine():
    finite.check(
        {"one": torch.tensor([3e38, -3e38]), "none": torch.empty(0), "whole": torch.tensor([2])}, "weight", "here"
    )
    finite.check({}, "weight", "here")
    finite.check_weights(googlenet.GoogLeNet(2), "here")


def test_a_weight_that_no_score_shows_is_named_too(model, held_out):
    model.inception5a.branch1.bn.weight.data[0] = float("-inf")
    model.inception5a.branch1.bn.bias.data[0] = float("-inf")
    with pytest.raises(
        finite.NotFinite, match=r"before scoring: .* of inception5a.branch1.bn.weight and of 1 more is not"
    ):
        training.correct(model, held_out)


def test_large_finite_numbers_whose_sum_overflows_are_finite():
    finite.check({"large": torch.full((4,), 3e38)}, "weight", "here")
