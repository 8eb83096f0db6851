"""What prefetch brings that is neither an asset nor at the hub; that is tested with the profile paper."""

import sys
from types import ModuleType

import pytest
import torch

from unicomp_lib import paths
from unicomp_lib.inputs import hub
from unicomp_lib.study import params, prefetch

VISION = """
models: {tiny: tiny-random-llama}
calibration: {calibration: general, samples: 1, length: 8}
compressions: {dense: {method: dense}}
evaluations: {}
vision:
  shared: {data: emoji, size: 64}
  train: {epochs: 1}
  interpretability: {measure: dreamsim}
  prunings: {filters-50: {method: filters, rate: 0.5}}
figures: []
"""


@pytest.fixture
def profile(tmp_path):
    (tmp_path / "mine.yaml").write_text(VISION)
    return params.load(str(tmp_path / "mine.yaml"))


@pytest.fixture
def package(monkeypatch):
    """Stands in for DreamSim's package: where it was to keep its weights."""
    asked = []

    def dreamsim(*, pretrained, device, cache_dir):
        assert pretrained
        asked.append(cache_dir)
        return torch.nn.Identity(), None

    stand_in = ModuleType("dreamsim")
    stand_in.dreamsim = dreamsim
    monkeypatch.setitem(sys.modules, "dreamsim", stand_in)
    monkeypatch.setattr(prefetch, "find_spec", lambda name: stand_in)
    monkeypatch.setattr(prefetch, "fetch", lambda name: None)
    return asked


def test_dreamsims_weights_are_fetched_for_a_vision_study_that_measures_with_it(profile, package, home):
    prefetch.prefetch(profile)
    assert package == [str(paths.home() / "dreamsim")]


def test_weights_that_cannot_be_fetched_are_said_with_what_to_do(profile, package, home, monkeypatch):
    def unreachable(**_):
        raise OSError("no route to host")

    monkeypatch.setattr(sys.modules["dreamsim"], "dreamsim", unreachable)
    says = r"DreamSim's weights .*\(.*no route to host.*\); .*measure: efficientnet-lite0"
    with pytest.raises(hub.HubError, match=says):
        prefetch.prefetch(profile)


def test_a_missing_package_is_said_before_anything_is_fetched(profile, package, monkeypatch):
    monkeypatch.setattr(prefetch, "find_spec", lambda name: None)
    with pytest.raises(hub.HubError, match="needs the package dreamsim: pip install dreamsim"):
        prefetch.prefetch(profile)
    assert package == []


@pytest.mark.parametrize(
    ("shared", "interpretability", "expected"),
    [
        ("{data: emoji, size: 64}", "{}", {"emoji-google", "emoji-twitter", "emoji-fluent", "efficientnet-lite0"}),
        ("{data: emoji, size: 64}", "{measure: dreamsim}", {"emoji-google", "emoji-twitter", "emoji-fluent"}),
        ("{data: pictures}", "{}", {"efficientnet-lite0"}),
    ],
)
def test_a_study_of_images_alone_is_fetched_whole_and_nothing_else(
    tmp_path, monkeypatch, package, shared, interpretability, expected
):
    wanted = f"vision: {{shared: {shared}, interpretability: {interpretability}, prunings: {{}}}}\nfigures: []\n"
    (tmp_path / "images.yaml").write_text(wanted)
    fetched = []
    monkeypatch.setattr(prefetch, "fetch", fetched.append)
    prefetch.prefetch(params.load(str(tmp_path / "images.yaml")))
    assert set(fetched) == expected
