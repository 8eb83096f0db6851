"""What prefetch brings that is neither an asset nor at the hub; that is tested with the profile paper."""

import json
import sys
import zipfile
from types import ModuleType

import pytest
import torch

from unicomp_lib import __main__ as command_line
from unicomp_lib import paths
from unicomp_lib.evaluate.tasks import folder
from unicomp_lib.inputs import hub
from unicomp_lib.study import commands, params, prefetch

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


PROVIDED = """
models: {tiny: tiny-random-llama}
compressions: {dense: {method: dense}}
evaluations:
  reliability: {data_dir: items, tasks: {trustllm_misuse_generate: 0, trustllm_jailbreak_generate: 0, bbq_cloze: 1}}
figures: []
"""


@pytest.fixture
def provided(tmp_path, home):
    """A profile with tasks of TrustLLM, whose folder has no archive."""
    (tmp_path / "items").mkdir()
    (tmp_path / "mine.yaml").write_text(PROVIDED)
    return tmp_path


def lacking(provided):
    return (
        "trustllm_dataset.zip is not there, which 2 tasks of profile mine read; take dataset/dataset.zip of "
        f"github.com/HowieHwong/TrustLLM and put it there as {provided / 'items' / folder.ARCHIVE}\n"
    )


def test_an_archive_that_is_not_there_is_said_before_anything_is_fetched(provided, monkeypatch, capsys):
    said = []
    monkeypatch.setattr(prefetch, "fetch", lambda name: said.append(capsys.readouterr().out))
    command = ["prefetch", "--profile", str(provided / "mine.yaml")]
    assert command_line.main(command) == 1
    assert len(said) > 1
    assert said[0] == f"note: {lacking(provided)}"
    assert "all else that profile mine reads is in" in capsys.readouterr().out
    misuse = [{"prompt": "how?", "source": "a"}]
    with zipfile.ZipFile(provided / "items" / folder.ARCHIVE, "w") as archive:
        archive.writestr("dataset/safety/misuse.json", json.dumps(misuse))
    assert command_line.main(command) == 2  # it is there, and broken
    assert "jailbreak.json cannot be read from" in capsys.readouterr().err


def test_a_plan_says_which_archive_is_not_there_and_a_run_does_not_begin_without_it(provided, monkeypatch, capsys):
    fetched = []
    monkeypatch.setattr(prefetch, "fetch", fetched.append)
    command = ["reproduce", "--profile", str(provided / "mine.yaml")]
    assert command_line.main([*command, "--dry-run"]) == 0
    assert f"note: {lacking(provided)}" in capsys.readouterr().out
    assert command_line.main(command) == 2
    assert lacking(provided) in capsys.readouterr().err
    assert fetched == []


def test_nothing_of_a_branch_is_downloaded_where_a_step_lacks_its_archive(provided, monkeypatch, capsys):
    fetched = []
    monkeypatch.setattr(commands, "prefetch", fetched.append)
    monkeypatch.setattr(commands, "_offline", lambda: False)
    (provided / "mine.yaml").write_text(PROVIDED.replace("tiny-random-llama", "ours/model-135M@main"))
    assert command_line.main(["reproduce", "--profile", str(provided / "mine.yaml")]) == 2
    assert lacking(provided) in capsys.readouterr().err
    assert fetched == []


def test_other_items_that_a_user_provides_are_said_too(provided, capsys):
    tasks = "tasks: {mgsm_de_generate: 1}"
    (provided / "mine.yaml").write_text(
        PROVIDED.replace("reliability: {data_dir: items, ", "performance: {").replace(
            "tasks: {trustllm_misuse_generate: 0, trustllm_jailbreak_generate: 0, bbq_cloze: 1}", tasks
        )
    )
    assert command_line.main(["reproduce", "--profile", str(provided / "mine.yaml"), "--dry-run"]) == 0
    says = (
        "mgsm/mgsm_de.tsv is not there, which 1 task of profile mine reads; set data_dir to a folder that contains it"
    )
    assert f"note: {says}\n" in capsys.readouterr().out
