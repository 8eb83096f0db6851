"""The vision study on an accelerator: trained, pruned, trained again, scored and explained."""

import copy
import sys
from types import ModuleType

import pytest
import torch

from unicomp_lib import hardware
from unicomp_lib.vision import (
    accuracy,
    efficientnet,
    exemplars,
    explained,
    images,
    masks,
    network,
    pruning,
    resume,
    similarity,
    training,
)


class Projected(torch.nn.Module):
    """Stands in for DreamSim, with weights on the device that it is asked for."""

    def __init__(self, device):
        super().__init__()
        self.projection = torch.nn.Linear(3, 5, bias=False, device=device)
        with torch.no_grad():
            self.projection.weight.copy_(torch.arange(15.0).view(5, 3).cos())

    def embed(self, pixels):
        return self.projection(pixels.mean(dim=(2, 3)))


def kinds(model):
    return {tensor.device.type for tensor in model.state_dict().values()}


@pytest.mark.slow
def test_a_network_is_trained_pruned_and_scored_on_it(accelerator, squares, held_out, home, monkeypatch):
    monkeypatch.setattr(resume, "EVERY", 0)
    dense = network.new(squares.classes)
    assert kinds(dense) == {accelerator.type}
    training.train(dense, squares, epochs=1, rate=0.02, batch=30)
    for method, criterion, recalibrate in zip(masks.METHODS, ("l1", "random", "l1"), (True, False, False)):
        pruned = copy.deepcopy(dense)
        with resume.State() as state:
            pruning.prune(
                pruned, squares, method=method, rate=0.5, criterion=criterion, epochs=0, recalibrate=recalibrate,
                state=state,
            )  # fmt: skip
        assert kinds(pruned) == {accelerator.type}
    pruning.prune(pruned, squares, method="filters", rate=0.4, epochs=2, schedule="iterative", precision="bfloat16")
    rows = accuracy.rows(pruned, dense, held_out, task="squares", repeats=1)
    assert rows["value"].is_not_null().all()
    saved = network.load(str(network.save(pruned, home / "checkpoint")))
    assert kinds(saved) == {accelerator.type}
    right = [training.correct(model, held_out)[1] for model in (saved, copy.deepcopy(saved).to("cpu"))]
    assert torch.allclose(*right, atol=1e-4)


def test_how_alike_images_look_is_computed_on_it_as_on_the_cpu(accelerator, held_out, monkeypatch):
    package, used, load = ModuleType("dreamsim"), [], efficientnet.load

    def kept(model):
        used.append(model)
        return model

    package.dreamsim = lambda **given: (kept(Projected(given["device"])), None)
    monkeypatch.setitem(sys.modules, "dreamsim", package)
    monkeypatch.setattr(efficientnet, "load", lambda: kept(load()))
    monkeypatch.setattr(images.Images, "cached", lambda _, name, compute, made_with=None: compute())
    for measure in (similarity.OFFLINE, similarity.DREAMSIM):
        there = similarity.features(held_out, measure)
        with monkeypatch.context() as patched:
            patched.setattr(hardware, "device", lambda: torch.device("cpu"))
            here = similarity.features(held_out, measure)
        assert there.device.type == "cpu"
        assert torch.allclose(there, here, atol=1e-4)
    assert [kinds(model) for model in used] == [{accelerator.type}, {"cpu"}] * 2


@pytest.mark.slow
def test_units_are_explained_on_it_as_on_the_cpu(accelerator, model, held_out, monkeypatch):
    alike = torch.nn.functional.normalize(torch.rand(len(held_out), 5))
    monkeypatch.setattr(explained.similarity, "features", lambda *_: alike)
    here, there = model.to("cpu"), copy.deepcopy(model).to(accelerator)
    tops = [
        torch.tensor(explained.explain(one, one, held_out, alpha=6.25, tasks=2, explanations=2)["top"].to_list())
        for one in (here, there)
    ]
    if accelerator.type != "cuda":  # pretended: it computes as the CPU does
        assert torch.equal(*tops)
    # The random network hardly tells some images apart: where a device rounds otherwise, that decides between these.
    seen, _ = exemplars.extremes(here, held_out, len(held_out))
    values = torch.empty_like(seen.values["top"]).scatter_(1, seen.places["top"], seen.values["top"])
    ours, theirs = (values.gather(1, top) for top in tops)
    size = values.abs().amax(1, keepdim=True)
    assert ((ours - theirs).abs() <= 2e-3 * size).all()
    far = (values.amax(1) - values.amin(1)) > 0.01 * size[:, 0]
    assert (tops[0][far] == tops[1][far]).float().mean() > 0.99


@pytest.mark.slow
def test_an_interrupted_training_goes_on_there(accelerator, model, squares, home, monkeypatch):
    monkeypatch.setattr(resume, "EVERY", 0)
    start, whole = copy.deepcopy(model), copy.deepcopy(model)
    training.train(whole, squares, epochs=1, rate=0.02, batch=30)
    keep = resume.State.keep

    def killed(state, run):
        keep(state, run)
        raise KeyboardInterrupt

    monkeypatch.setattr(resume.State, "keep", killed)
    with pytest.raises(KeyboardInterrupt), resume.State() as state:
        training.train(copy.deepcopy(start), squares, epochs=1, rate=0.02, batch=30, state=state)
    monkeypatch.setattr(resume.State, "keep", keep)
    with resume.State() as state:
        training.train(start, squares, epochs=1, rate=0.02, batch=30, state=state)
    assert all(torch.equal(value, start.state_dict()[name]) for name, value in whole.state_dict().items())
