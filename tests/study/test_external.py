"""A profile's variants that others have compressed, and a profile's plan on another model."""

import json
import re

import pytest
import yaml

from unicomp_lib import paths
from unicomp_lib.__main__ import main
from unicomp_lib.checkpoints import models, saving
from unicomp_lib.study import external, own_model, params, prefetch, ready
from unicomp_lib.study.params import ParamsError
from unicomp_lib.study.plan import plan
from unicomp_lib.study.steps import Output, keys, resolved
from unicomp_lib.study.variants import facts


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The tiny model, saved where a user's own would lie."""
    folder = tmp_path_factory.mktemp("models") / "mine-awq"
    saving.save(*models.load(models.TINY), folder)
    return folder


def written(folder, models_=None, **compressions):
    content = {
        "models": models_ or {"tiny": "tiny-random-llama"},
        "compressions": {"dense": {"method": "dense"}, **compressions},
        "evaluations": {"fidelity": {"samples": 4, "length": 64}},
    }
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return params.load(str(path))


def step(steps, name):
    return next(each for each in steps if each.name == name)


def test_a_given_checkpoint_is_a_variant_beside_the_others(tmp_path, checkpoint):
    profile = written(
        tmp_path, mine={"method": "given", "checkpoint": str(checkpoint)},
        more={"method": "rtn", "bits": 4, "group_size": 32, "base": "mine"},
    )  # fmt: skip
    steps = plan(profile)
    own = step(steps, "compress/tiny/mine")
    assert own.notebook == "compress/given"
    assert own.reads == {"dense": Output("compress/tiny/dense", "checkpoint")}
    assert resolved(own, keys(steps))["model"] == str(checkpoint)
    assert step(steps, "compress/tiny/more").reads["checkpoint"] == Output("compress/tiny/mine", "checkpoint")
    assert "evaluate/tiny/mine/fidelity" in {each.name for each in steps}
    labels = {name: row["label"] for name, row in facts(profile).items()}
    assert labels["mine"].endswith(" mine-awq")
    assert labels["more"] == f"{labels['mine']} + RTN int4"


def test_its_key_follows_the_files_and_not_where_they_lie(tmp_path, checkpoint):
    import shutil

    def key(folder):
        steps = plan(written(tmp_path, mine={"method": "given", "checkpoint": str(folder)}))
        return keys(steps)["compress/tiny/mine"]

    moved = shutil.copytree(checkpoint, tmp_path / "elsewhere" / checkpoint.name)
    assert key(moved) == key(checkpoint)
    (moved / "generation_config.json").write_text("{}")
    assert key(moved) != key(checkpoint)


def test_of_several_models_each_has_its_own(tmp_path, checkpoint):
    two = {"tiny": "tiny-random-llama", "other": "tiny-random-llama"}
    given = {"method": "given", "checkpoint": {"other": str(checkpoint)}}
    on_top = {"method": "magnitude", "sparsity": 0.5, "base": "mine"}
    names = {each.name for each in plan(written(tmp_path, two, mine=given, more=on_top))}
    assert {"compress/other/mine", "compress/other/more", "evaluate/other/more/fidelity"} <= names
    assert not [name for name in names if "tiny/mine" in name or "tiny/more" in name]


def test_values_for_each_model_are_those_of_its_own_steps(tmp_path):
    two = {"tiny": "tiny-random-llama", "other": "tiny-random-llama", "third": "tiny-random-llama"}
    student = {
        "method": "minitron",
        "layers": 0,
        "hidden": {"tiny": 32, "other": 48},
        "neurons": {"tiny": 64, "other": 96},
    }
    clone = {"method": "lrc", "hidden": {"other": 48}}
    tuned = {"method": "finetune", "base": "clone"}
    profile = written(tmp_path, two, student=student, clone=clone, tuned=tuned)
    steps = plan(profile)
    made = {each.name: each.parameters for each in steps if each.stage == "compress"}
    assert (made["compress/tiny/student"]["hidden"], made["compress/tiny/student"]["neurons"]) == (32, 64)
    assert (made["compress/other/student"]["hidden"], made["compress/other/student"]["neurons"]) == (48, 96)
    assert made["compress/other/student"]["layers"] == 0
    assert {"compress/other/clone", "compress/other/tuned"} <= set(made)
    assert not [each.name for each in steps if re.search("third/student|(tiny|third)/(clone|tuned)", each.name)]
    labels = {name: row["label"] for name, row in facts(profile).items()}
    assert labels["student"] == "Minitron width"
    assert labels["clone"] == "Low-Rank Clone 48"
    assert labels["tuned"] == "Low-Rank Clone 48 + Fine-tuning"


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (
            {"method": "lrc", "hidden": {"tinny": 32}},
            "gives hidden for 'tinny', which is no model .*did you mean 'tiny'",
        ),
        ({"method": "lrc", "hidden": {"tiny": "32"}}, "gives hidden='32', a str; compress/lrc.ipynb takes a int"),
        ({"method": "lrc", "hidden": {}}, "gives hidden for no model; give a value, or remove it"),
        ({"method": "wanda", "chat_template": {"tiny": True}}, "gives chat_template for each model; only layers, h"),
        ({"method": "wanda", "hidden": {"tiny": 32}}, "gives parameter 'hidden', which compress/wanda.ipynb does not"),
    ],
)
def test_wrong_values_for_each_model_are_one_sentence(tmp_path, entry, says):
    with pytest.raises(ValueError, match=says):
        plan(written(tmp_path, mine=entry))


def test_published_ones_are_pinned_and_fetched(tmp_path):
    published = {"method": "published", "checkpoint": "owner/name-awq@0123456"}
    profile = written(tmp_path, awq=published)
    own = step(plan(profile), "compress/tiny/awq")
    assert (own.notebook, own.parameters["model"]) == ("compress/given", "owner/name-awq@0123456")
    assert prefetch._models(profile) == [("owner/name-awq", "0123456")]
    assert facts(profile)["awq"]["label"].endswith(" name-awq")
    assert external.sources(profile) == ["owner/name-awq@0123456"]


def test_the_disk_that_is_asked_for_is_that_of_the_given_files(tmp_path, checkpoint):
    profile = written(tmp_path, mine={"method": "given", "checkpoint": str(checkpoint)})
    own = step(plan(profile), "compress/tiny/mine")
    size = (checkpoint / "model.safetensors").stat().st_size
    assert ready.estimated(own, profile) == ready.TABLES + size


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"method": "given"}, "lacks 'checkpoint', the folder of the compressed model; add it"),
        ({"method": "published"}, "lacks 'checkpoint', owner/name@revision on the hub; add it"),
        ({"method": "given", "checkpoint": "nowhere"}, "'nowhere', which is not there"),
        ({"method": "given", "checkpoint": "owner/name@0123456"}, "not there; .*give method: published"),
        ({"method": "published", "checkpoint": "owner/name"}, "a published one is owner/name@revision"),
        ({"method": "published", "checkpoint": "{folder}"}, "for a folder give method: given"),
        ({"method": "given", "checkpoint": "{folder}", "base": "magnitude"}, "gives base, but its checkpoint is taken"),
        ({"method": "given", "checkpoint": "notebooks"}, "holds no checkpoint: it has no config.json"),
        ({"method": "given", "checkpoint": "{folder}", "bits": 4}, "parameter 'bits', which compress/given"),
        ({"method": "given", "checkpoint": {"tinny": "{folder}"}}, "no model of the profile; .*did you mean 'tiny'"),
        ({"method": "given", "checkpoint": "{folder}", "seeds": [0]}, "gives seeds, but given draws nothing"),
        ({"method": "wanda", "checkpoint": "{folder}"}, "gives 'checkpoint', which the study sets itself"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_it_is_one_sentence(tmp_path, checkpoint, entry, says):
    def filled(value):
        return {key: filled(each) for key, each in value.items()} if isinstance(value, dict) else (
            value.format(folder=checkpoint) if isinstance(value, str) else value)  # fmt: skip

    with pytest.raises(ValueError, match=says):
        plan(written(tmp_path, magnitude={"method": "magnitude", "sparsity": 0.5}, mine=filled(entry)))


def test_one_checkpoint_of_several_models_says_of_which(tmp_path, checkpoint):
    two = {"tiny": "tiny-random-llama", "other": "tiny-random-llama"}
    with pytest.raises(ParamsError, match=r"has models tiny, other; say of which, such as checkpoint: \{tiny: "):
        plan(written(tmp_path, two, mine={"method": "given", "checkpoint": str(checkpoint)}))


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Notebooks and profiles of the checkout, with results in a folder of the test."""
    for part in ("notebooks", "params"):
        (tmp_path / part).symlink_to(paths.project() / part)
    monkeypatch.setattr(paths, "project", lambda: tmp_path)
    return tmp_path


def test_the_default_plan_on_another_model_needs_no_file_of_its_user(checkout, checkpoint, capsys):
    arguments = ["reproduce", "--model", f"mine={checkpoint}", "--dry-run"]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "note: left out, since they are made for another model: minitron-depth, minitron-width, lrc-450, " in said
    assert "compress/mine/wanda-50/seed-0" in said
    assert not re.search("googlenet|vision|smollm2-135m/", said)
    path = checkout / "results" / "embedded-mine" / "profile.yaml"
    assert f"other commands take it as --profile {path}" in said
    profile = params.load(str(path))
    assert (profile.name, profile.models, profile.vision) == ("embedded-mine", {"mine": str(checkpoint)}, None)
    tasks = params.load("embedded").evaluations["performance"].parameters["tasks"]
    assert profile.evaluations["performance"].parameters["tasks"] == tasks
    assert main(arguments) == 0  # the same again
    assert main(["status", "--profile", str(path)]) == 0


def test_groups_that_do_not_divide_the_model_are_made_smaller_and_said(checkout, checkpoint, tmp_path):
    folder = tmp_path / "narrow"
    folder.mkdir()
    config = json.loads((checkpoint / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 96}))
    (folder / "model.safetensors").write_bytes((checkpoint / "model.safetensors").read_bytes())
    path, notes = own_model.profile("embedded", f"narrow={folder}")
    assert "gptq-int4 has groups of 32, since 64 does not divide the model's width" in notes
    assert params.load(path).compressions["gptq-int4"].parameters["group_size"] == 32


@pytest.mark.parametrize(
    ("base", "given", "says"),
    [
        ("embedded", "checkpoints", "give NAME=FOLDER"),
        ("embedded", "=x", "give NAME=FOLDER"),
        ("embedded", "a/b=x", "give NAME=FOLDER"),
        ("embedded", "a=", "give NAME=FOLDER"),
        ("mine.yaml", "a=b", "--model goes with a profile of params/ .*; in mine.yaml write the model"),
    ],
)
def test_a_wrong_model_is_one_sentence(checkout, base, given, says):
    with pytest.raises(ParamsError, match=says):
        own_model.profile(base, given)


def test_results_under_one_name_are_of_one_model(checkout, checkpoint):
    own_model.profile("tiny", f"mine={checkpoint}")
    own_model.profile("tiny", "mine=owner/name@1")  # nothing has been run yet
    own_model.profile("tiny", f"mine={checkpoint}")
    (checkout / "results" / "tiny-mine" / "scores.parquet").write_text("")
    own_model.profile("tiny", f"mine={checkpoint}")
    with pytest.raises(ParamsError, match=r"results of tiny-mine are of the model .*; give owner/name@1 another name"):
        own_model.profile("tiny", "mine=owner/name@1")


def test_a_profile_without_models_has_none_to_replace(checkout, checkpoint, capsys):
    assert main(["reproduce", "--profile", "vision", "--model", f"mine={checkpoint}", "--dry-run"]) == 2
    assert "this profile has no models, so that --model replaces nothing" in capsys.readouterr().err


def test_a_model_that_is_not_there_is_refused(checkout, capsys):
    assert main(["reproduce", "--model", "mine=nowhere", "--dry-run"]) == 2
    assert "model 'nowhere' is not known" in capsys.readouterr().err
    assert not (checkout / "results").exists()
