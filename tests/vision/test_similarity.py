import sys
from types import ModuleType

import pytest
import torch

from unicomp_lib.vision import efficientnet, similarity


class Colours(torch.nn.Module):
    """Stands in for DreamSim: its embedding of an image is the mean colour."""

    def embed(self, pixels):
        assert pixels.shape[1:] == (3, similarity.SIZE, similarity.SIZE)
        assert pixels.min() >= 0
        assert pixels.max() <= 1
        return 3 * pixels.mean(dim=(2, 3))


def test_dreamsim_gives_features_of_length_one_that_tell_the_colours_apart(held_out, home, monkeypatch):
    package = ModuleType("dreamsim")
    package.dreamsim = lambda **given: (Colours(), None)
    monkeypatch.setitem(sys.modules, "dreamsim", package)
    features = similarity.features(held_out, "dreamsim")
    assert torch.allclose(features.norm(dim=1), torch.ones(len(held_out)))
    alike = features @ features.T
    same = held_out.labels[:, None] == held_out.labels
    assert alike[same].min() > alike[~same].max()


def test_the_default_is_the_packaged_network(held_out):
    assert torch.equal(similarity.features(held_out, similarity.OFFLINE), efficientnet.features(held_out))


def test_a_missing_package_and_an_unknown_measure_are_reported(held_out, home, monkeypatch):
    monkeypatch.setitem(sys.modules, "dreamsim", None)
    with pytest.raises(ValueError, match=r"measure 'dreamsim' needs a package .* pip install dreamsim"):
        similarity.features(held_out, "dreamsim")
    with pytest.raises(ValueError, match="measure 'eye' is not known; allowed are efficientnet-lite0, dreamsim"):
        similarity.features(held_out, "eye")
