"""The profile ``paper`` at toy size: fetched from a pretended hub, then run offline to its last figure."""

import hashlib
import json

import hub
import hub_content
import polars as pl
import pytest
import yaml
from checkout import copied, unicomp

from unicomp_lib import paths, tables

LLAMA, QWEN = "meta-llama/Llama-3.2-3B-Instruct", "Qwen/Qwen2.5-3B-Instruct"
KEPT = ("dense", "gptq-int4")  # one whose checkpoint is packed
SHORT = {"samples": 3, "length": 64}
SMALL = {
    "fidelity": {"text": "wikitext2", "samples": 4, "length": 64},
    "performance": {"batch_size": 16, "rerun": {"batch_size": 8}},
    "reliability": {"batch_size": 16},
    "efficiency": {"seeds": "first", "prompt": 16, "generate": 4, "repeats": 2},
}


def toy() -> dict:
    """``params/paper.yaml`` with one model, one compression, and one item of each task.

    Without TrustLLM's archive, its tasks are left out, and without downloads from elsewhere a part of IFBench.
    """
    content = yaml.safe_load((paths.project() / "params" / "paper.yaml").read_text())
    content["models"] = {name: source for name, source in content["models"].items() if source.startswith(QWEN)}
    content["calibration"] |= SHORT
    content["compressions"] = {
        name: {**entry, **({"seeds": [0]} if "seeds" in entry else {}), **(SHORT if "samples" in entry else {})}
        for name, entry in content["compressions"].items()
        if name in KEPT
    }
    del content["vision"], content["cluster"]
    for dimension, settings in SMALL.items():
        tasks = content["evaluations"][dimension].pop("tasks", {})
        if tasks:
            named = [name.replace("ifbench_full", "ifbench") for name in tasks]
            settings = {**settings, "tasks": {name: 1 for name in named if "trustllm" not in name}}
        content["evaluations"][dimension] = settings
    without = ("vision", "claims", "calibration")  # the last compares two calibrations of one method
    content["figures"] = [figure for figure in content["figures"] if figure not in without]
    return content


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A pretended hub's folder, with the models and the data sets."""
    folder = hub_content.stocked(tmp_path_factory.mktemp("hub"))
    hub_content.publish_models(folder, [LLAMA, QWEN])
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A copy of the checkout with the toy profile, and with a cache that has the packages' assets and nothing else."""
    checkout = copied(tmp_path_factory.mktemp("paper") / "study")
    (checkout / "toy.yaml").write_text(yaml.safe_dump(toy()))
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
    (study / "gated.yaml").write_text(yaml.safe_dump(content))
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
    (study / "branch.yaml").write_text(yaml.safe_dump(content))
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


@pytest.fixture(scope="module")
def fetched(study, site):
    """Fetched twice: the requests of the first time and of the second."""
    asked = []
    with hub.serving(hub.Hub(site)) as server:
        for _ in range(2):
            done = unicomp(study, "prefetch", "--profile", "toy.yaml", **surroundings(study, server.endpoint))
            assert done.returncode == 0, done.stderr
            asked.append(list(server.requests))
            server.requests.clear()
    return asked


def test_what_is_there_is_not_asked_for_again(fetched):
    first, second = fetched
    assert any(request.startswith("GET /Qwen/Qwen2.5-3B-Instruct/resolve/") for request in first)
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
    done = unicomp(study, "reproduce", "--profile", "toy.yaml", **offline)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return study / "results" / "toy"


def test_the_plan_runs_offline_to_its_last_figure(results, study):
    profile = yaml.safe_load((study / "toy.yaml").read_text())
    scores = tables.read(results / "scores.parquet")
    assert set(scores["variant"]) == {*KEPT, "dense-rerun"}
    tasks = {name for entry in profile["evaluations"].values() for name in entry.get("tasks", {})}
    assert tasks <= set(scores["task"])
    for figure in profile["figures"]:
        assert (study / "figures" / "toy" / f"{figure}.png").stat().st_size > 200, figure


def test_no_generated_item_is_without_an_answer_of_its_own(results):
    rows = pl.concat([tables.read(file) for file in (results / "items").glob("*.performance.parquet")], how="diagonal")
    generated = rows.filter(pl.col("format") == "generate", pl.col("metric") == "tokens")
    assert generated["value"].max() > 1
