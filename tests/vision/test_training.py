import copy

import pytest
import torch

from unicomp_lib.vision import images, masks, network, training


def test_it_learns_colours_and_pruned_weights_stay_zero(model, squares, held_out):
    selected = masks.select(model, method="unstructured", share=0.5)
    masks.apply(model, selected)
    history = training.train(model, squares, epochs=4, rate=0.02, batch=12, masks=selected)
    layers = masks.convolutions(model)
    assert all((layers[name].weight[~mask] == 0).all() for name, mask in selected.items())
    assert masks.sparsity(model) == sum(int((~mask).sum()) for mask in selected.values()) / sum(
        mask.numel() for mask in selected.values()
    )
    assert history[-1]["loss"] < history[0]["loss"]
    training.recalibrate(model, squares)
    right, likelihood = training.correct(model, held_out)
    assert right.float().mean() > 0.8
    assert (likelihood.exp() <= 1).all()


def test_the_seed_alone_decides_and_not_what_was_drawn_before(model, squares):
    states = []
    for drawn in (1, 2):
        torch.manual_seed(drawn)
        trained = copy.deepcopy(model)
        training.train(trained, squares, epochs=1, rate=0.02, batch=12, seed=3)
        states.append(trained.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_recalibration_changes_the_statistics_alone(model, squares):
    before = copy.deepcopy(model.state_dict())
    training.recalibrate(model, squares)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.rpartition(".")[2] for name in changed} == {"running_mean", "running_var", "num_batches_tracked"}
    first = model.conv1.bn
    with torch.no_grad():
        batch = next(iter(squares.batches(len(squares))))[1]
        out = model.conv1.conv(batch)
    assert torch.allclose(first.running_mean, out.mean(dim=(0, 2, 3)), atol=1e-4)


def test_no_epochs_train_nothing(model, squares):
    before = copy.deepcopy(model.state_dict())
    assert training.train(model, squares, epochs=0, rate=0.1) == []
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_augmentation_mirrors_and_shifts_and_no_more():
    pixels = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8)
    out = training.augmented(pixels, torch.Generator().manual_seed(0))
    assert out.shape == pixels.shape
    assert out.min() >= -1
    assert out.max() <= 1
    for moved, image in zip(out, pixels.float() / 127.5 - 1, strict=True):
        inside = moved[:, 4:-4, 4:-4]
        candidates = [
            flipped[:, 4 + down : 28 + down, 4 + right : 28 + right]
            for flipped in (image, image.flip(-1))
            for down in range(-2, 3)
            for right in range(-2, 3)
        ]
        assert any(torch.equal(inside, candidate) for candidate in candidates)


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [
        (65, 32, [32, 33]),
        (64, 32, [32, 32]),
        (66, 32, [32, 32, 2]),
        (20, 64, [20]),
        (3, 2, [3]),
        (2, 2, [2]),
        (33, 32, [33]),
    ],
)
def test_no_batch_has_one_image_and_each_image_is_in_one(count, size, expected):
    order = torch.randperm(count)
    parts = training.batches(order, size)
    assert [len(part) for part in parts] == expected
    assert torch.equal(torch.cat(parts), order)


@pytest.fixture
def few(squares):
    """So many of the images, at 32 pixels, where the last layers see one position."""

    def take(count):
        picked = [index % len(squares) for index in range(count)]
        files = [squares.files[index] for index in picked]
        return images.Images(files, squares.labels[picked], squares.groups, squares.classes, 32)

    return take


@pytest.mark.parametrize(("count", "batch"), [(17, 16), (2, 64), (3, 2), (33, 32)])
def test_a_last_image_alone_and_less_than_a_batch_are_trained(model, few, count, batch):
    before = model.fc.weight.detach().clone()
    history = training.train(model, few(count), epochs=1, rate=0.05, batch=batch)
    assert 0 <= history[0]["accuracy"] <= 1
    assert (model.fc.weight - before).abs().max() > 1e-4  # a cycle of one step has no rate of zero
    training.recalibrate(model, few(count))


def test_too_few_images_are_refused(model, few):
    with pytest.raises(ValueError, match="1 image is too few; BatchNorm needs at least 2, give more images"):
        training.train(model, few(1), epochs=1, rate=0.05)
    with pytest.raises(ValueError, match="1 image is too few"):
        training.recalibrate(model, few(20), number=1)
    with pytest.raises(ValueError, match="batch 1 is not allowed; BatchNorm needs at least 2 images in each"):
        training.train(model, few(20), epochs=1, rate=0.05, batch=1)


def test_recalibration_weighs_batches_by_images(model, few, monkeypatch):
    shown, split = few(24), training.batches
    monkeypatch.setattr(training, "batches", lambda order, _: split(order, 10))  # 10, 10 and 4
    training.recalibrate(model, shown)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        out = model.conv1.conv(images.scaled(shown.pixels(order)))
    assert torch.allclose(model.conv1.bn.running_mean, out.mean((0, 2, 3)), atol=1e-5)
    spread = sum(len(part) * part.transpose(0, 1).flatten(1).var(1) for part in out.split(10)) / 24
    assert torch.allclose(model.conv1.bn.running_var, spread, rtol=1e-4)


def test_loss_and_accuracy_of_an_epoch_are_means_over_images(model, few, monkeypatch):
    seen, step = [], training._step

    def noted(run, shown, indices, *more):
        seen.append((len(indices), *step(run, shown, indices, *more)))
        return seen[-1][1:]

    monkeypatch.setattr(training, "_step", noted)
    (row,) = training.train(model, few(30), epochs=1, rate=0.01, batch=12)
    assert [count for count, *_ in seen] == [12, 12, 6]
    assert row["loss"] == pytest.approx(sum(count * loss for count, loss, _ in seen) / 30)
    assert row["accuracy"] == sum(right for *_, right in seen) / 30


def test_images_of_other_classes_are_refused(squares, held_out):
    with pytest.raises(ValueError, match="the network has 4 classes and the images have 3; give the data that it was"):
        training.train(network.new(4), squares, epochs=1, rate=0.1)
    named = network.new(["blue", "green", "rot"])
    for call in (lambda: training.correct(named, held_out), lambda: training.train(named, squares, epochs=1, rate=0.1)):
        with pytest.raises(ValueError, match="the network's classes are not the images': 'rot' is 'red' there"):
            call()
    right, _ = training.correct(network.new(squares.classes), held_out)
    assert len(right) == len(held_out)
