"""The profile ``paper`` at toy size: fetched from a pretended hub, then run offline to its last figure."""

import copy
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable

import hub
import hub_content
import polars as pl
import pytest
import torch
import yaml
from checkout import copied, environment, unicomp

from unicomp_lib import paths, tables
from unicomp_lib.evaluate.tasks import folder
from unicomp_lib.vision import network

LLAMA, QWEN = "meta-llama/Llama-3.2-3B-Instruct", "Qwen/Qwen2.5-3B-Instruct"
PAPER = yaml.safe_load((paths.project() / "params" / "paper.yaml").read_text())
MODEL = "qwen2.5-3b"  # the one that is run: of the four, it has most variants
DATA = paths.project().parent / "shared" / "data"
NETWORK = "googlenet"

SHORT = {"samples": 3, "length": 64}
BY_MODEL = {"layers": 1, "hidden": 96, "neurons": 128}  # of students of a model of two layers, 128 channels wide
TRAINED = {"training_samples": 4, "accumulate": 2}  # two steps
IMAGES = {"size": 32}
# Of 24 images. DreamSim's package takes its weights from GitHub, which no test may need.
EXPLAINED = {"measure": "efficientnet-lite0", "tasks_per_unit": 3, "explanations": 2}
SMALL = {
    "fidelity": {"samples": 4, "length": 64},
    "efficiency": {"prompt": 16, "generate": 4, "repeats": 2},
}
# All variants are evaluated for fidelity. These are asked the tasks too: a packed one, and two that differ in the
# calibration text, as the figure of that needs them.
ASKED = {
    "performance": ("dense", "gptq-int4", "wanda-50", "wanda-50-reasoning"),
    "reliability": ("dense", "gptq-int4"),
    "efficiency": ("dense", "gptq-int4", "awq-int4-published"),
}

TIME = "it would be the same steps once more"
# What of the profile is not run here, and why.
LEFT_OUT = {
    "models": {name: f"{TIME}; it is fetched" for name in PAPER["models"] if name != MODEL},
    "variants": {},
    "tasks": {
        "ifbench_full_generate": "six of its checkers need data that no package registry has; ifbench_generate is asked"
    },
    "prunings": {
        name: TIME
        for name in PAPER["vision"]["prunings"]
        if name not in ("unstructured-90", "filters-50", "connections-50-iterative", "unstructured-90-as-pruned")
    },
    "figures": {},
}  # fmt: skip
if not (DATA / folder.ARCHIVE).is_file():
    LEFT_OUT["tasks"] |= {
        name: f"{folder.ARCHIVE} is not beside this checkout"
        for name in PAPER["evaluations"]["reliability"]["tasks"]
        if name.startswith("trustllm_")
    }


def named(content: dict) -> dict[str, set[str]]:
    """The names that a profile gives to each of its parts."""
    return {
        "models": set(content["models"]),
        "variants": set(content["compressions"]),
        "tasks": {name for entry in content["evaluations"].values() for name in entry.get("tasks", {})},
        "prunings": set(content["vision"]["prunings"]),
        "figures": set(content["figures"]),
    }


def toy(models: Iterable[str] = (MODEL,)) -> dict:
    """``params/paper.yaml`` with these models, all its variants and figures, one item of each task and few prunings.

    ``LEFT_OUT`` says what is not there.
    """
    content = copy.deepcopy(PAPER)
    content["models"] = {name: content["models"][name] for name in models}
    content["calibration"] |= SHORT
    content["compressions"] = {
        name: _small(entry, content["models"]) for name, entry in content["compressions"].items()
    }
    if list(models) == [MODEL]:  # which has no published student of Minitron: it takes that of another
        [student] = PAPER["compressions"]["minitron-published"]["checkpoint"].values()
        content["compressions"]["minitron-published"]["checkpoint"] = {MODEL: student}
    for dimension, settings in content["evaluations"].items():
        settings |= SMALL.get(dimension, {})
        if dimension in ASKED:
            settings["without"] = [name for name in content["compressions"] if name not in ASKED[dimension]]
        if "tasks" in settings:
            asked = [name for name in settings["tasks"] if name not in LEFT_OUT["tasks"]]
            settings["tasks"] = dict.fromkeys(asked, 1)
    content["evaluations"]["performance"]["tasks"]["ifbench_generate"] = 1
    vision = content["vision"]
    vision["shared"] |= IMAGES
    vision["interpretability"] |= EXPLAINED
    kept = {name: entry for name, entry in vision["prunings"].items() if name not in LEFT_OUT["prunings"]}
    vision["prunings"] = {name: entry | _briefly(entry) for name, entry in kept.items()}
    del content["cluster"]
    return content


def _small(entry: dict, models: Iterable[str]) -> dict:
    """A compression on short texts, with one seed, for these models."""
    changed = {"seeds": [0]} | SHORT | TRAINED
    small = entry | {name: value for name, value in changed.items() if name in entry}
    for name, value in small.items():
        if isinstance(value, dict):
            small[name] = {model: BY_MODEL.get(name, value[model]) for model in models if model in value}
    return small


def _briefly(entry: dict) -> dict:
    """How long a pruned network is retrained: an epoch a step, where it is at all."""
    if not entry["epochs"]:
        return {}
    return {"epochs": 2, "steps": 2} if entry.get("schedule") == "iterative" else {"epochs": 1}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A pretended hub's folder, with the models and the data sets."""
    home = hub_content.stocked(tmp_path_factory.mktemp("hub"))
    dense = {name: source.partition("@")[0] for name, source in PAPER["models"].items()}
    hub_content.publish_models(home, list(dense.values()))
    for entry in PAPER["compressions"].values():
        for model, source in entry.get("checkpoint", {}).items():
            repository, _, revision = source.partition("@")
            if revision == "main":
                hub_content.publish_models(home, [repository], layers=1, hidden=96)
            else:
                hub_content.publish_rounded(home, repository, of=dense[model])
    return home


@pytest.fixture(scope="module")
def study(tmp_path_factory, image_folder):
    """A copy of the checkout with the toy profile, and with a cache that has the packages' assets and nothing else.

    ``data`` has what the profile looks for there: images in folders, weights of torchvision's form, and TrustLLM.
    """
    checkout = copied(tmp_path_factory.mktemp("paper") / "study")
    (checkout / "toy.yaml").write_text(yaml.safe_dump(toy(), sort_keys=False))
    (checkout / "all.yaml").write_text(yaml.safe_dump(toy(PAPER["models"]), sort_keys=False))
    data = checkout / "data"
    data.mkdir()
    (data / "imagenet").symlink_to(image_folder)
    weights = network.new(len(list((image_folder / "train").iterdir()))).state_dict()
    torch.save(weights | {"aux1.fc2.bias": torch.zeros(3)}, data / "googlenet-1378be20.pth")
    if (DATA / folder.ARCHIVE).is_file():
        (data / folder.ARCHIVE).symlink_to(DATA / folder.ARCHIVE)
    home = checkout.with_name("home")
    home.mkdir()
    for part in ("assets", "models"):
        (paths.home() / part).mkdir(parents=True, exist_ok=True)
        (home / part).symlink_to(paths.home() / part)
    return checkout


def surroundings(checkout, endpoint, **extra):
    home = checkout.with_name("home")
    return {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home / "hf"),
        "UNICOMP_HOME": str(home),
        "HF_HUB_OFFLINE": "0",
        **extra,
    }


def test_a_gated_repository_is_said_before_anything_is_downloaded(study, site):
    content = toy()
    content["models"]["llama-3.2-3b"] = f"{LLAMA}@{'1' * 40}"
    (study / "gated.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    gated = {LLAMA, "Idavidrein/gpqa"}
    with hub.serving(hub.Hub(site, gated=gated)) as server:
        done = unicomp(study, "prefetch", "--profile", "gated.yaml", **surroundings(study, server.endpoint))
    assert done.returncode == 2, done.stdout
    assert f"accept its terms at https://huggingface.co/{LLAMA}, and" in done.stderr
    assert "accept its terms at https://huggingface.co/datasets/Idavidrein/gpqa, and" in done.stderr
    assert not any("/resolve/" in request for request in server.requests)


def test_a_branch_is_the_commit_that_it_was_when_it_was_downloaded(study, site):
    content = {
        "models": {"ours": f"{QWEN}@main"},
        "compressions": {
            "dense": {"method": "dense"},
            "theirs": {"method": "published", "checkpoint": f"{LLAMA}@main"},
            "fixed": {"method": "published", "checkpoint": f"{LLAMA}@{'1' * 40}", "label": "fixed"},
        },
        "evaluations": {"fidelity": {"samples": 4, "length": 64}},
    }
    (study / "branch.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    command = ("reproduce", "--profile", "branch.yaml", "--only", "compress/*")
    home = {"HF_HOME": str(study.with_name("branch"))}
    offline = surroundings(study, "http://127.0.0.1:9", HF_HUB_OFFLINE="1", **home)
    done = unicomp(study, *command, **offline)
    assert done.returncode == 2
    assert f"no commit of {QWEN}@main, {LLAMA}@main has been downloaded; where" in done.stderr
    assert done.stderr.endswith("run nox -s prefetch -- --profile branch.yaml\n")
    done = unicomp(study, *command, "--dry-run", **offline)
    assert f"so that their commits are not known: {QWEN}@main, {LLAMA}@main" in done.stdout
    with hub.serving(hub.Hub(site)) as server:
        online = unicomp(study, *command, **surroundings(study, server.endpoint, **home))
    assert online.returncode == 0, online.stdout[-3000:] + online.stderr[-3000:]
    commits = {name: hashlib.sha1(name.encode()).hexdigest() for name in (QWEN, LLAMA)}
    assert f"note: {LLAMA}@main is {LLAMA}@{commits[LLAMA]} here from now on" in online.stdout
    ran = [json.loads(file.read_text()) for file in (study / "runs").glob("compress.ours.*/record.json")]
    given = {record["name"]: record["parameters"]["model"] for record in ran}
    assert given == {
        "compress/ours/dense": f"{QWEN}@{commits[QWEN]}",
        "compress/ours/theirs": f"{LLAMA}@{commits[LLAMA]}",
        "compress/ours/fixed": f"{LLAMA}@{'1' * 40}",
    }
    done = unicomp(study, *command, "--dry-run", **offline)
    assert "0 of 3 steps to run" in done.stdout
    assert "not downloaded yet" not in done.stdout
    # The branch moves: steps are those of another commit.
    (study.with_name("branch") / "hub" / f"models--{LLAMA.replace('/', '--')}" / "refs" / "main").write_text("2" * 40)
    assert "1 of 3 steps to run" in unicomp(study, *command, "--dry-run", **offline).stdout


def only(source: str) -> dict:
    """A study of one model of the hub and nothing else of it."""
    return {
        "models": {"ours": source},
        "compressions": {"dense": {"method": "dense"}},
        "evaluations": {"fidelity": {"samples": 4, "length": 64}},
    }


def test_a_model_that_breaks_off_leaves_no_half_file_and_is_fetched_the_next_time(study, tmp_path):
    repository = "ours/large"
    hub_content.publish_models(tmp_path, [repository], hidden=256)
    weights = (tmp_path / "models" / repository / "model.safetensors").read_bytes()
    assert len(weights) > hub.LARGE
    (study / "broken.yaml").write_text(yaml.safe_dump(only(f"{repository}@{'1' * 40}"), sort_keys=False))
    home = {"HF_HOME": str(tmp_path / "hf")}
    found = []
    for broken in (100, 0):
        with hub.serving(hub.Hub(tmp_path, broken=broken)) as server:
            done = unicomp(
                study, "prefetch", "--profile", "broken.yaml", **surroundings(study, server.endpoint, **home)
            )
        assert done.returncode == (2 if broken else 0), done.stdout + done.stderr
        assert not broken or f"model {repository} could not be downloaded from the hub" in done.stderr
        assert not broken or server.broken < broken
        found.append([file.read_bytes() for file in (tmp_path / "hf").rglob("*.safetensors")])
    assert found == [[], [weights]]


def test_a_model_that_is_missing_is_named_before_anything_is_downloaded(study, site):
    (study / "missing.yaml").write_text(yaml.safe_dump(only(f"Qwen/Nowhere@{'1' * 40}"), sort_keys=False))
    with hub.serving(hub.Hub(site)) as server:
        done = unicomp(study, "prefetch", "--profile", "missing.yaml", **surroundings(study, server.endpoint))
    assert done.returncode == 2, done.stdout
    assert "model Qwen/Nowhere could not be downloaded from the hub" in done.stderr
    assert "correct its name, or log in with: hf auth login" in done.stderr
    assert not any("/resolve/" in request for request in server.requests)


@pytest.fixture(scope="module")
def fetched(study, site):
    """Fetched twice: the requests of the first time and of the second."""
    asked = []
    with hub.serving(hub.Hub(site)) as server:
        for _ in range(2):
            done = unicomp(study, "prefetch", "--profile", "all.yaml", **surroundings(study, server.endpoint))
            assert done.returncode == 0, done.stderr
            asked.append(list(server.requests))
            server.requests.clear()
    return asked


def test_what_is_there_is_not_asked_for_again(fetched):
    first, second = fetched
    given = [source for entry in PAPER["compressions"].values() for source in entry.get("checkpoint", {}).values()]
    for source in [*PAPER["models"].values(), *given]:
        repository, _, revision = source.partition("@")
        found = [request for request in first if request.startswith(f"GET /{repository}/resolve/")]
        assert any(".safetensors" in request for request in found), repository
        assert revision == "main" or all(revision in request for request in found), repository
    assert second == []


def test_only_safe_weights_and_no_code_are_downloaded(fetched):
    asked = " ".join(request for request in fetched[0] if "/Qwen/" in request)
    assert ".safetensors" in asked
    assert ".bin" not in asked
    assert ".py" not in asked


@pytest.fixture(scope="module")
def results(study, fetched):
    """The whole plan, run without a hub."""
    offline = surroundings(study, "http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    command = [sys.executable, "-m", "unicomp_lib", "reproduce", "--profile", "toy.yaml"]
    env = environment(study) | offline
    done = subprocess.run(command, cwd=study, env=env, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return study / "results" / "toy"


def test_the_plan_runs_offline_to_its_last_figure(results, study):
    scores = tables.read(results / "scores.parquet")
    language, networks = scores.filter(pl.col("model") != NETWORK), scores.filter(pl.col("model") == NETWORK)
    drawn = {file.stem for file in (study / "figures" / "toy").glob("*.png") if file.stat().st_size > 200}
    wanted = named(PAPER)
    ran = {
        "models": set(language["model"]),
        "variants": set(language["variant"]) - {"dense-rerun", "all"},
        "tasks": set(language["task"]) & wanted["tasks"],
        "prunings": set(networks["variant"]) - {"dense", "untrained", "all"},
        "figures": drawn & wanted["figures"],
    }
    said = ", ".join(f"{len(ran[part])} of {len(names)} {part}" for part, names in wanted.items())
    steps = len([file for file in (study / "runs").glob("*/record.json") if ".ours." not in file.parent.name])
    print(f"\npaper at toy size, offline: {said}; {steps} steps")
    for part, reasons in LEFT_OUT.items():
        for name, reason in reasons.items():
            print(f"left out of {part}: {name}, since {reason}")
    assert ran == {part: names - set(LEFT_OUT[part]) for part, names in wanted.items()}, said
    assert "ifbench_generate" in set(language["task"])


def test_the_figure_of_networks_shows_the_images_that_they_saw(results, study):
    [record] = (study / "runs").glob("figures.vision-*/record.json")
    given = json.loads(record.read_text())["parameters"]
    assert given["data"] == str(study / PAPER["vision"]["shared"]["data"])
    assert given["size"] == IMAGES["size"]


def test_no_variant_but_dense_keeps_its_weights(results, study):
    left = {file.parents[1].name for file in (study / "runs").glob(f"compress.{MODEL}.*/checkpoint/*.safetensors")}
    assert len(left) == 1, left
    assert all(name.startswith(f"compress.{MODEL}.dense") for name in left), left


def test_no_generated_item_is_without_an_answer_of_its_own(results):
    rows = pl.concat([tables.read(file) for file in (results / "items").glob("*.performance.parquet")], how="diagonal")
    generated = rows.filter(pl.col("format") == "generate", pl.col("metric") == "tokens")
    assert generated["value"].max() > 1
