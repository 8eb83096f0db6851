"""A plan finds what a profile names, says what is not there, and gives keys that hold no folder of this machine."""

import json
import shutil

import pytest
import yaml

from unicomp_lib import paths
from unicomp_lib.checkpoints import grid, models
from unicomp_lib.compress import quanto
from unicomp_lib.study import params, progress, ready, sources
from unicomp_lib.study.plan import plan
from unicomp_lib.study.steps import keys, resolved
from unicomp_lib.vision import images, masks, pruning, similarity

WANDA = "compress/tiny/wanda-2-4/seed-0"
NO_TENSORS = (2).to_bytes(8, "little") + b"{}"  # a file of safetensors


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A checkout's folder beside a user's folder with a profile."""
    (tmp_path / "checkout").mkdir()
    (tmp_path / "user").mkdir()
    for part in ("notebooks", "params"):
        (tmp_path / "checkout" / part).symlink_to(paths.project() / part)
    monkeypatch.setattr(paths, "project", lambda: tmp_path / "checkout")
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    return tmp_path


def profile(folder, edit=lambda content: None):
    content = yaml.safe_load((paths.project() / "params" / "tiny.yaml").read_text(encoding="utf-8"))
    edit(content)
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return params.load(str(path))


def calibrated(folder, text):
    return profile(folder, lambda content: content["compressions"]["wanda-2-4"].update(calibration=text))


def step(of, name=WANDA):
    return next(step for step in plan(of) if step.name == name)


def key(of):
    return keys(plan(of))[WANDA]


def test_a_file_is_found_in_the_checkout_then_beside_the_profile_then_at_home(elsewhere):
    (elsewhere / "user" / "mine.txt").write_text("beside")
    found = calibrated(elsewhere / "user", "mine.txt")
    assert resolved(step(found), keys(plan(found)))["calibration"] == str(elsewhere / "user" / "mine.txt")
    (elsewhere / "checkout" / "mine.txt").write_text("in the checkout")
    assert step(found).located == {"calibration": str(elsewhere / "checkout" / "mine.txt")}
    assert step(calibrated(elsewhere / "user", "~/mine.txt")).located["calibration"].endswith("/user/mine.txt")
    mixture = step(calibrated(elsewhere / "user", "0.5*~/mine.txt + general"))
    assert mixture.located["calibration"] == f"0.5*{elsewhere / 'user' / 'mine.txt'}+general"
    assert step(calibrated(elsewhere / "user", "general")).located == {}


def test_a_key_is_made_of_content_and_not_of_where_it_lies(elsewhere):
    (elsewhere / "user" / "mine.txt").write_text("a text")
    before = key(calibrated(elsewhere / "user", "mine.txt"))
    absolute = key(calibrated(elsewhere / "user", str(elsewhere / "user" / "mine.txt")))
    assert absolute == key(calibrated(elsewhere / "user", "~/mine.txt")) == before
    shutil.move(elsewhere / "user", elsewhere / "moved")
    assert key(calibrated(elsewhere / "moved", "mine.txt")) == before
    (elsewhere / "moved" / "mine.txt").write_text("another")
    assert key(calibrated(elsewhere / "moved", "mine.txt")) != before


def test_weights_of_a_network_count_with_their_content(elsewhere):
    def edit(content):
        content["vision"] = {"shared": {"data": "pictures"}, "train": {"weights": "net.pth"}}

    trained = "vision/dense/train"
    found = profile(elsewhere / "user", edit)
    assert [sentence.partition(" is not there")[0] for sentence in sources.missing(plan(found), found)] == [
        "data 'pictures' of profile mine", "weights 'net.pth' of profile mine",
    ]  # fmt: skip
    (elsewhere / "user" / "net.pth").write_bytes(b"one")
    (elsewhere / "user" / "pictures").mkdir()
    first = keys(plan(found))[trained]
    assert sources.missing(plan(found), found) == []
    given = resolved(step(found, trained), keys(plan(found)))
    assert (given["weights"], given["data"]) == tuple(
        str(elsewhere / "user" / name) for name in ("net.pth", "pictures")
    )
    (elsewhere / "user" / "net.pth").write_bytes(b"two")
    assert keys(plan(found))[trained] != first


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "holds no text; give a file with one text per line"),
        ("\n \n", "holds no text"),
        (b"\x00\x01", "is no text: its line 1 has zero bytes"),
        ("größe".encode("latin-1"), "is not valid UTF-8"),
    ],
)
def test_a_text_that_is_none_is_said_by_the_plan(elsewhere, content, says):
    file = elsewhere / "user" / "mine.txt"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(params.ParamsError, match=f"step {WANDA} of profile mine: (line 1 of )?{file} {says}"):
        plan(calibrated(elsewhere / "user", "mine.txt"))


def test_a_models_folder_is_looked_at_before_anything_runs(elsewhere):
    def of(model):
        return profile(elsewhere / "user", lambda content: content.update(models={"tiny": model}))

    folder = elsewhere / "user" / "model"
    folder.mkdir()
    for file, says in (("config.json", "has no config.json"), ("model.safetensors", "no weights as .safetensors")):
        with pytest.raises(params.ParamsError, match=says):
            plan(of("model"))
        (folder / file).write_text("{")
    with pytest.raises(params.ParamsError, match=r"config\.json is no valid JSON"):
        plan(of("model"))
    (folder / "config.json").write_text(json.dumps({"hidden_size": 96, "intermediate_size": 256}))
    with pytest.raises(params.ParamsError, match=r"model\.safetensors is no whole file of safetensors .*; restore it"):
        plan(of("model"))
    (folder / "model.safetensors").write_bytes(NO_TENSORS)
    dense = step(of("model"), "compress/tiny/dense")
    assert dense.located == {"model": str(folder)}
    with pytest.raises(params.ParamsError, match="is a file; give the folder"):
        plan(of("model/config.json"))


def test_a_group_size_that_does_not_divide_a_model_at_hand_is_said(elsewhere):
    folder = elsewhere / "user" / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(NO_TENSORS)
    (folder / "config.json").write_text(json.dumps({"hidden_size": 96, "intermediate_size": 256}))

    def edit(content):
        content["models"] = {"tiny": "model"}
        content["compressions"]["rtn"] = {"method": "rtn", "group_size": 64}

    found = profile(elsewhere / "user", edit)
    with pytest.raises(params.ParamsError, match=r"group_size=64, .* hidden_size of 96; give a divisor, such as 32"):
        ready.check_fetched([one for one in plan(found) if one.stage == "compress"], found)


READS = "tiny reads 8 tokens"


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"max_position_embeddings": 8}, f"compress/tiny/wanda.* has length=16, and {READS}"),
        ({"n_positions": 8}, f"compress/tiny/wanda.* has length=16, and {READS}"),
        ({"max_position_embeddings": 8, "rope_scaling": {"factor": 4.0}}, ""),  # how far that reaches is its family's
        ({"max_position_embeddings": 16}, ""),
        ({}, ""),
    ],
)
def test_texts_longer_than_a_model_at_hand_reads_are_said(elsewhere, config, says):
    folder = elsewhere / "user" / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(NO_TENSORS)
    (folder / "config.json").write_text(json.dumps(config))

    def edit(content):
        content["models"] = {"tiny": "model"}
        content["calibration"] = {"length": 16}
        content["evaluations"]["efficiency"] |= {"prompt": 6, "generate": 2}

    found = profile(elsewhere / "user", edit)
    every = plan(found)
    timed = f"evaluate/tiny/dense/efficiency has prompt=6 and more, and {READS}; give fewer"
    assert (timed in ready.problems(every, found)) == bool(says)
    compressions = [one for one in every if one.stage == "compress"]
    if says:
        with pytest.raises(params.ParamsError, match=says):
            ready.check_fetched(compressions, found)
    else:
        ready.check_fetched(compressions, found)


def test_more_items_than_a_set_has_is_said_with_their_number(tmp_path):
    (tmp_path / "gsm8k").mkdir()
    rows = [{"question": f"{number} + 1?", "answer": f"#### {number + 1}"} for number in range(7)]
    (tmp_path / "gsm8k" / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def of(number):
        def edit(content):
            asked = {"tasks": {"gsm8k_generate": number}, "data_dir": str(tmp_path), "dense": {}}
            content["evaluations"]["performance"] |= asked

        return profile(tmp_path, edit)

    for number in (0, 7):
        evaluations = [one for one in plan(of(number)) if one.topic == "performance"]
        assert ready.check_fetched(evaluations, of(number)) is None
    too_many = [one for one in plan(of(8)) if one.topic == "performance"]
    with pytest.raises(params.ParamsError, match="8 items of gsm8k_generate are asked for, and the set has 7"):
        ready.check_fetched(too_many, of(8))


def test_a_machine_that_is_too_small_is_told_in_numbers(monkeypatch):
    paper = params.load("paper")
    waiting = [one for one in plan(paper) if one.stage == "compress"]
    assert ready.model_size(paper.models["llama-3.1-8b"], paper) == 16e9
    monkeypatch.setattr(ready, "free", lambda: 10**9)
    monkeypatch.setattr(ready.hardware, "devices", list)
    monkeypatch.setattr(ready.psutil, "virtual_memory", lambda: type("Memory", (), {"total": 30 * 10**9}))
    monkeypatch.setattr(ready.hardware, "unused", lambda: "a GPU seems to be here")
    small, gpu, slow, memory = ready.notes(waiting, paper, workers=2)
    assert "and 1.0 GB are free" in small
    assert memory.startswith("2 steps at once hold at least 32 GB of weights, and this machine has 30 GB of memory")
    assert gpu == "a GPU seems to be here"
    assert slow.startswith("a model with 16 GB of weights would be computed by one thread of the CPU")
    assert ready.notes(waiting, paper, workers=2, here=False) == [small]
    monkeypatch.setattr(ready, "free", lambda: 10**15)
    assert ready.notes(waiting, paper, workers=1) == [gpu, slow]
    monkeypatch.setattr(ready.hardware, "unused", str)
    monkeypatch.setattr(ready.hardware, "devices", lambda: ["0"])
    assert ready.notes(waiting, paper, workers=1) == []
    # Steps that share an accelerator hold as much together.
    monkeypatch.setattr(ready.hardware, "accelerators", lambda: ready.hardware.Accelerators(1, True, "", 80e9))
    assert ready.notes(waiting, paper, workers=5, per_device=5) == []
    assert ready.notes(waiting, paper, workers=2, per_device=2, held=40e9) == []
    (crowded,) = ready.notes(waiting, paper, workers=6, per_device=6)
    assert crowded.startswith("6 steps at once on an accelerator may hold 96 GB, and it has 80 GB; ")
    (crowded,) = ready.notes(waiting, paper, workers=2, per_device=2, held=41e9)
    assert crowded.startswith("2 steps at once on an accelerator may hold 82 GB")
    assert ready.notes(waiting, paper, workers=1, per_device=2, held=41e9) == []
    assert ready.notes(waiting[:1], paper, workers=2, per_device=2, held=41e9) == []


def test_the_disk_of_a_plan_follows_the_form_of_each_checkpoint(monkeypatch):
    monkeypatch.setattr(ready, "model_size", lambda source, profile: 1e9)
    monkeypatch.setattr(ready, "_measured", lambda step: 0.0)
    embedded = params.load("embedded")
    by_name = {one.name: ready.disk([one], embedded) for one in plan(embedded)}
    of = {name: by_name[f"compress/smollm2-135m/{name}"] for name in ("dense", "rtn-int4", "quanto-int8")}
    assert of["dense"] > 1e9 > of["quanto-int8"] > of["rtn-int4"] > 0.25e9
    assert 0 < by_name["evaluate/smollm2-135m/dense/fidelity"] < 1e8


def test_expected_times_are_of_the_same_step_and_of_others_unknown():
    steps = plan(params.load("tiny"))
    first, second, third = steps[:3]
    seen = [progress.Duration(second.name, second.notebook, 7.0)]
    expected = progress.expected(steps, seen, {first.name: 100.0})
    assert expected == {first.name: pytest.approx(100), second.name: 7.0}
    assert third.name not in expected


def test_a_figure_reads_the_scores_and_items_that_its_notebook_asks_for():
    steps = {step.name: step for step in plan(params.load("embedded"))}
    reads = steps["figures/claims"].reads
    for dimension in ("performance", "reliability", "fidelity", "vision"):
        assert reads[f"{dimension}_scores"].step == f"scores/{dimension}"
        scores = steps[f"scores/{dimension}"].reads
        assert reads[f"{dimension}_items"] == scores["images" if dimension == "vision" else "items"]
    assert not any(name.endswith("_items") for name in steps["figures/fidelity"].reads)


def test_what_a_profile_may_say_is_what_the_notebooks_take():
    of = params.CHOICES
    assert of["compress/quanto"] == {"weights": tuple(quanto.WEIGHTS), "activations": tuple(quanto.ACTIVATIONS)}
    assert of["vision/prune"] == {
        "method": masks.METHODS, "criterion": masks.CRITERIA, "scope": masks.SCOPES, "schedule": pruning.SCHEDULES,
    }  # fmt: skip
    assert of["vision/interpretability"]["measure"] == (similarity.OFFLINE, similarity.DREAMSIM)
    allowed = params.Vocabulary.model_fields["bits"].annotation
    assert set(grid.BITS) == set(allowed.__args__[0].__args__)
    assert (sources.TINY, sources.IMAGES) == (models.TINY, images.EMOJI)
