import copy

import pytest
import torch

from unicomp_lib.vision import masks, pruning, resume, training


class Interruption(Exception):
    """Stands for a kill."""


@pytest.fixture(autouse=True)
def always(monkeypatch, home):
    """The file is written after every batch, in an empty cache."""
    monkeypatch.setattr(resume, "EVERY", 0)


@pytest.fixture
def after(monkeypatch):
    """A function that makes the training end after so many batches."""

    def set_(batches):
        keep, kept = resume.State.keep, []

        def counted(state, run):
            keep(state, run)
            kept.append(1)
            if len(kept) == batches:
                raise Interruption

        monkeypatch.setattr(resume.State, "keep", counted)

    return set_


def same(one, other):
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def train(model, squares, **given):
    with resume.State() as state:
        return training.train(model, squares, **{"epochs": 2, "rate": 0.02, "batch": 25, **given}, state=state)


def files(home):
    return list(home.glob("training/*"))


@pytest.mark.parametrize("batches", [1, 2, 3, 4])
def test_an_interrupted_training_gives_the_same_weights(model, squares, home, after, batches):
    whole, cut = copy.deepcopy(model), copy.deepcopy(model)
    history = training.train(whole, squares, epochs=2, rate=0.02, batch=25)
    after(batches)
    with pytest.raises(Interruption):
        train(cut, squares)
    assert len(files(home)) == 1
    torch.manual_seed(99)
    again = copy.deepcopy(model)  # as a new process has it
    assert train(again, squares) == history
    assert same(again, whole)
    assert files(home) == []


def test_masks_and_precision_go_on_too(model, squares, after):
    selected = masks.select(model, method="unstructured", share=0.5)
    masks.apply(model, selected)
    whole, given = copy.deepcopy(model), {"masks": selected, "precision": "bfloat16", "seed": 4}
    history = training.train(whole, squares, epochs=2, rate=0.02, batch=25, **given)
    after(3)
    with pytest.raises(Interruption):
        train(copy.deepcopy(model), squares, **given)
    assert train(model, squares, **given) == history
    assert same(model, whole)


@pytest.mark.parametrize(("method", "batches"), [("unstructured", 1), ("unstructured", 2), ("filters", 3)])
def test_an_interrupted_pruning_goes_on_in_its_step(model, squares, home, after, batches, method):
    given = {"method": method, "rate": 0.75, "schedule": "iterative", "steps": 2, "epochs": 4, "recalibrate": True}
    whole, again = copy.deepcopy(model), copy.deepcopy(model)
    kept, history = pruning.prune(whole, squares, **given)
    after(batches)
    with pytest.raises(Interruption), resume.State() as state:
        pruning.prune(model, squares, **given, state=state)
    with resume.State() as state:
        masks_, found = pruning.prune(again, squares, **given, state=state)
    assert found == history
    assert all(torch.equal(mask, kept[name]) for name, mask in masks_.items())
    assert same(again, whole)
    assert files(home) == []


def test_another_training_does_not_go_on_there(model, squares, held_out, home, after):
    after(1)
    with pytest.raises(Interruption):
        train(copy.deepcopy(model), squares)
    for given in ({"seed": 1, "epochs": 1}, {"epochs": 1}):
        fresh, other = copy.deepcopy(model), copy.deepcopy(model)
        train(fresh, squares, **given)
        training.train(other, squares, **{"epochs": 2, "rate": 0.02, "batch": 25, **given})
        assert same(fresh, other)
    assert len(files(home)) == 1
    states = [resume.State() for _ in range(3)]
    changed = copy.deepcopy(model)
    changed.fc.bias.data[0] += 1
    for state, network, images in zip(states, (model, changed, model), (squares, squares, held_out), strict=True):
        state.begin(network, images, {})
    assert len({state.path for state in states}) == 3


PRUNING = {
    "method": "filters", "rate": 0.5, "criterion": "l1", "scope": "layerwise", "schedule": "one-shot", "steps": 2,
    "epochs": 2, "learning_rate": 0.02, "recalibrate": False, "precision": "float32", "seed": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "connections"}, {"rate": 0.75}, {"criterion": "random"}, {"scope": "global"},
        {"schedule": "iterative"}, {"epochs": 1}, {"learning_rate": 0.5}, {"recalibrate": True},
        {"precision": "bfloat16"}, {"seed": 1}, {"rate": 0.02, "learning_rate": 0.5},
    ],
    ids=str,
)  # fmt: skip
def test_another_pruning_does_not_go_on_there(model, squares, home, after, changed):
    after(1)
    with pytest.raises(Interruption), resume.State() as state:
        pruning.prune(copy.deepcopy(model), squares, **PRUNING, state=state)
    fresh, whole = copy.deepcopy(model), copy.deepcopy(model)
    with resume.State() as state:
        found, _ = pruning.prune(fresh, squares, **PRUNING | changed, state=state)
    kept, _ = pruning.prune(whole, squares, **PRUNING | changed)
    assert all(torch.equal(mask, kept[name]) for name, mask in found.items())
    assert same(fresh, whole)
    assert len(files(home)) == 1


@pytest.mark.parametrize("damage", [lambda content: content[:100], lambda content: b"", lambda content: b"x" * 999])
def test_a_damaged_file_begins_anew(model, squares, home, after, damage):
    whole = copy.deepcopy(model)
    training.train(whole, squares, epochs=2, rate=0.02, batch=25)
    after(2)
    with pytest.raises(Interruption):
        train(copy.deepcopy(model), squares)
    (file,) = files(home)
    file.write_bytes(damage(file.read_bytes()))
    train(model, squares)
    assert same(model, whole)


def test_a_short_training_writes_nothing(model, squares, home, monkeypatch):
    monkeypatch.setattr(resume, "EVERY", 60)
    monkeypatch.setattr(resume, "save_file", lambda *_: pytest.fail("was written"))
    train(model, squares, epochs=1)
    assert files(home) == []
