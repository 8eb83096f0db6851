import copy

import torch

from unicomp_lib.vision import masks, training


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
