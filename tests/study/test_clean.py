"""Cleaning removes what no plan needs, and nothing else."""

import json
import os
import shutil
import time

import polars as pl
import pytest
import yaml

from unicomp_lib import __main__ as command_line
from unicomp_lib import locks, paths, results, tables
from unicomp_lib.study import clean, params, records, scheduler
from unicomp_lib.study.plan import plan
from unicomp_lib.study.steps import keys

DENSE = "compress/tiny/dense"


@pytest.fixture
def study(tmp_path, monkeypatch):
    """An empty checkout with its profiles, and an empty cache."""
    root = tmp_path / "study"
    for folder in ("runs", "data"):
        (root / folder).mkdir(parents=True)
    for name in ("notebooks", "unicomp_lib"):
        (root / name).symlink_to(paths.project() / name)
    shutil.copytree(paths.project() / "params", root / "params")
    monkeypatch.setattr(paths, "project", lambda: root)
    monkeypatch.setenv("UNICOMP_HOME", str(tmp_path / "home"))
    return root


def made(name, key):
    """A run folder with something in it."""
    run = records.folder(name, key)
    (run / "checkpoint").mkdir(parents=True)
    (run / "checkpoint" / "model.safetensors").write_bytes(b"x" * 1000)
    (run / records.STEP).write_text("{}")
    return run


def known(profile):
    return keys(plan(profile))


def test_only_stale_runs_of_the_profiles_steps_go(study, capsys):
    tiny = params.load("tiny")
    current = made(DENSE, known(tiny)[DENSE])
    stale = made(DENSE, "0" * 12)
    foreign = made("compress/other/dense", "0" * 12)
    chapter = made("learn/1_what_a_weight_is_worth", "0" * 12)
    assert command_line.main(["clean", "--profile", "tiny", "--dry-run"]) == 0
    assert f"runs/{stale.name}" in capsys.readouterr().out
    assert stale.is_dir()
    assert command_line.main(["clean", "--profile", "tiny"]) == 0
    assert capsys.readouterr().out.endswith("0.0 MB freed\n")
    assert not stale.exists()
    assert all(run.is_dir() for run in (current, foreign, chapter))
    assert sorted(path.name for path in (study / "runs").iterdir()) == sorted(
        run.name for run in (current, foreign, chapter)
    )


def test_runs_that_another_known_profile_plans_stay(study, tmp_path):
    content = yaml.safe_load((study / "params" / "tiny.yaml").read_text())
    content["calibration"]["samples"] = 5
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    mine = params.load(str(path))
    step = "compress/tiny/wanda-2-4/seed-0"
    assert known(mine)[step] != known(params.load("tiny"))[step]
    run = made(step, known(mine)[step])
    assert clean.find(params.load("tiny")).runs == [run]
    params.own_results(mine)  # as publishing does
    assert clean.find(params.load("tiny")).runs == []
    assert clean.find(mine).runs == []
    path.write_text("models: [")
    with pytest.raises(
        params.ParamsError, match=r"which runs are stale is not known, since .*mine.yaml cannot be read"
    ):
        clean.find(params.load("tiny"))
    path.unlink()
    with pytest.raises(
        params.ParamsError, match=r"results/mine is of the profile .*mine.yaml, which is not there; put"
    ):
        clean.find(params.load("tiny"))


def test_runs_of_a_profile_whose_first_run_was_interrupted_stay(study, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(scheduler, "run", interrupted)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    path = tmp_path / "mine.yaml"
    path.write_text((study / "params" / "tiny.yaml").read_text())
    assert command_line.main(["reproduce", "--profile", str(path)]) != 0
    assert params.owner("mine") == path


def test_another_precision_is_no_stale_run(study):
    embedded = params.load("embedded")
    step = "evaluate/smollm2-135m/dense/fidelity"
    for precision in ("float32", "bfloat16"):
        chosen = embedded.model_copy(update={"precision": precision})
        made(step, known(chosen)[step])
    assert clean.find(embedded).runs == []


def test_what_runs_now_and_what_it_reads_stays(study):
    read, running, idle = (
        made(name, "0" * 12) for name in (DENSE, "compress/tiny/magnitude-50", "compress/tiny/quanto-int8")
    )
    job = {"parameters": {"checkpoint": str(read / "checkpoint")}}
    (running / records.STEP).write_text(json.dumps(job))
    with locks.held(running / records.LOCK):
        left = clean.find(params.load("tiny"))
        assert left.runs == [idle]
        assert left.running == [running.name]
        # One that begins between the look and the removal stays as well.
        left.runs.append(running)
        clean.remove(left)
    assert read.is_dir()
    assert (running / "checkpoint" / "model.safetensors").is_file()
    assert not idle.exists()
    assert clean.find(params.load("tiny")).runs == [read, running]


def aged(folder):
    """The folder with all in it, two hours older."""
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (before := time.time() - 7200, before))


def test_scratch_goes_and_the_rest_of_the_cache_stays(study):
    scratch, asset = paths.home() / "scratch" / "wanda", paths.home() / "assets" / "a"
    for folder in (scratch, asset):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"x" * 500)
        aged(folder)
    left = clean.find(params.load("tiny"))
    assert sum(left.sizes().values()) == 500
    assert clean.remove(left) == 500
    assert not scratch.exists()
    assert (asset / "file").is_file()


def test_scratch_that_a_notebook_at_work_may_hold_stays(study, capsys):
    scratch, states = paths.home() / "scratch" / "wanda", paths.home() / "states"
    (scratch / "checkpoint").mkdir(parents=True)
    states.mkdir()
    (states / "dense.safetensors").write_bytes(b"x" * 500)
    aged(scratch)
    (scratch / "checkpoint" / "epoch.safetensors").write_bytes(b"x" * 500)  # in a folder that is old itself
    os.utime(scratch / "checkpoint", (0, 0))
    assert command_line.main(["clean", "--profile", "tiny"]) == 0
    said = capsys.readouterr().out
    for path in (scratch, states / "dense.safetensors"):
        assert f"kept, since it was written within the last hour: {path}" in said
        assert path.exists()
    aged(paths.home())
    assert command_line.main(["clean", "--profile", "tiny"]) == 0
    assert not scratch.exists()
    assert not (states / "dense.safetensors").exists()


def test_results_of_cells_that_the_profile_no_longer_has_go(study):
    folder = results.folder("tiny")
    row = dict.fromkeys(tables.SCORES) | {"model": "tiny", "variant": "dense", "dimension": "fidelity"}
    kept = [row, row | {"variant": "all"}, row | {"variant": "dense-rerun", "dimension": "performance"}]
    old = [row | {"variant": "wanda-70"}, row | {"model": "other"}, row | {"dimension": "vision"}]
    tables.write(pl.DataFrame([*kept, *old], schema=tables.SCORES), folder / "scores.parquet")
    names = ("tiny.dense.fidelity", "tiny.wanda-70.fidelity")
    for name in names:
        (folder / "items").mkdir(exist_ok=True)
        (folder / "items" / f"{name}.parquet").write_bytes(b"x" * 100)
    (folder / "judged.reliability.parquet").write_bytes(b"x")
    (folder / "judged.performance.parquet").write_bytes(b"x")
    (folder / "mine.txt").write_text("a note of the user")
    clean.remove(clean.find(params.load("tiny")))
    left = tables.read(folder / "scores.parquet")
    assert left.equals(pl.DataFrame(kept, schema=tables.SCORES))
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        "scores.parquet", "items/tiny.dense.fidelity.parquet", "judged.reliability.parquet", "mine.txt",
    }  # fmt: skip


def test_the_committed_results_have_no_leftover():
    left = clean.find(params.load("embedded"))
    assert left.results == []
    assert left.tables == {}
