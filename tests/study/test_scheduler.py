import json
import time
from types import SimpleNamespace

import pytest
from distributed import Client

from unicomp_lib import files, paths
from unicomp_lib.study import progress, publish, scheduler
from unicomp_lib.study.progress import Duration
from unicomp_lib.study.scheduler import Outcome
from unicomp_lib.study.steps import Output, Stage, Step


def step(name, *parents, exclusive=False, notebook="n"):
    """A step that is called ``name``, or ``stage/topic``; one of another stage computes nothing."""
    stage, _, topic = name.rpartition("/")
    reads = {parent: Output(parent, "") for parent in parents}
    computes = stage in (Stage.COMPRESS, Stage.EVALUATE)
    return Step(
        stage or topic, notebook, {}, reads, topic=topic if stage else "", computes=computes, exclusive=exclusive
    )


def started(steps, places, devices=False):
    """Names of the steps, in rounds: each round starts what it may, and all of it ends."""
    waiting, rounds = scheduler._ordered(steps, {}), []
    while waiting:
        now = scheduler._startable(waiting, [], scheduler.Room(places, 2 * places if devices else places, devices))
        waiting = [pair for pair in waiting if pair[0] not in now]
        rounds.append([each.name for each in now])
    return rounds


def test_a_step_that_measures_runs_after_all_that_does_not_need_it_and_by_itself():
    steps = [
        step("a"),
        step("t1", "a", exclusive=True),
        step("t2", "a", exclusive=True),
        step("b"),
        step("s", "t1", "b"),
    ]
    assert started(steps, 2) == [["a", "b"], ["t1"], ["t2", "s"]]


def test_steps_start_one_a_free_place_and_what_people_wait_for_first():
    steps = [step(f"evaluate/{place}") for place in range(3)] + [step("compress/a"), step("figures/f", "compress/a")]
    assert started(steps, 2) == [["compress/a", "evaluate/0"], ["figures/f", "evaluate/1"], ["evaluate/2"]]
    found = scheduler._startable(scheduler._ordered(steps, {}), [step("evaluate/9")], scheduler.Room(2, 2, False))
    assert [each.name for each in found] == ["compress/a"]
    # Before the first worker has come, one step waits for it.
    assert len(scheduler._startable(scheduler._ordered(steps, {}), [], scheduler.Room(0, 0, False))) == 1


def test_all_that_the_figure_needs_that_takes_least_comes_first_or_that_the_profile_lists_first():
    steps = [step("compress/a"), step("evaluate/a", "compress/a"), step("compress/b"), step("evaluate/c")]
    steps += [step("figures/f", "evaluate/a"), step("figures/g", "compress/b", "evaluate/c"), step("figures/h")]
    names = ["compress/a", "evaluate/a", "compress/b", "evaluate/c"]
    assert [each.name for each, _ in scheduler._ordered(steps, {})][3:] == names
    quick = dict(zip(names, (60.0, 60.0, 10.0, 20.0), strict=True))
    assert [each.name for each, _ in scheduler._ordered(steps, quick)][3:] == [*names[2:], *names[:2]]


def test_on_accelerators_as_many_steps_compute_as_there_are_and_tables_are_read_beside():
    steps = [step("compress/a"), step("compress/b"), step("scores/a"), step("scores/b")]
    assert started(steps, 1, devices=True) == [["scores/a", "scores/b"], ["compress/a"], ["compress/b"]]
    assert started(steps[:3], 1, devices=True) == [["scores/a", "compress/a"], ["compress/b"]]


def cluster(monkeypatch, outcomes):
    """Threads of this process as workers; a step does nothing and ends as ``outcomes`` says."""

    def client(*_):
        return Client(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None)

    def job(given):
        state, seconds = outcomes.get(given["name"], (scheduler.DONE, 0))
        time.sleep(seconds)
        return Outcome(given["name"], state)

    monkeypatch.setattr(scheduler, "_client", client)
    monkeypatch.setattr(scheduler, "run_job", job)
    monkeypatch.setattr(scheduler, "resolved", lambda *_: {})  # there is no such notebook


def test_a_step_is_blocked_by_what_it_reads_but_not_by_what_it_follows(monkeypatch):
    cluster(monkeypatch, {"a": (scheduler.FAILED, 0)})
    steps = [step("a"), step("b", "a"), step("scores/c", "b"), step("d"), step("t", "d", exclusive=True)]
    found = []
    scheduler.run(
        steps, {each.name: "k" for each in steps}, forced=set(), workers=2,
        opened=lambda *_: None, ended=found.append,
    )  # fmt: skip
    states = {each.name: (each.state, each.reason) for each in found}
    assert states == {
        "a": (scheduler.FAILED, ""),
        "b": (scheduler.BLOCKED, "it reads a, which did not finish"),
        "scores/c": (scheduler.BLOCKED, "it reads b, which did not finish"),
        "d": (scheduler.DONE, ""),
        "t": (scheduler.DONE, ""),
    }


def test_no_worker_has_a_queue_that_another_could_take_from(monkeypatch):
    """Eleven steps on two workers: Dask is never given more than two that have not ended."""
    cluster(monkeypatch, {"0": (scheduler.DONE, 1)})
    steps = [step(str(place)) for place in range(11)]
    open_, most, submit = set(), [], Client.submit

    def counted(client, function, job, **options):
        open_.add(job["name"])
        most.append(len(open_))
        return submit(client, function, job, **options)

    monkeypatch.setattr(Client, "submit", counted)
    scheduler.run(
        steps, {each.name: "k" for each in steps}, forced=set(), workers=2,
        opened=lambda *_: None, ended=lambda outcome: open_.remove(outcome.name),
    )  # fmt: skip
    assert len(most) == 11
    assert max(most) == 2


def test_a_step_that_cannot_begin_has_failed(tmp_path):
    (tmp_path / "run").write_text("no folder")
    found = scheduler.run_job({"name": "b", "run": str(tmp_path / "run"), "parameters": {}, "forced": False})
    assert found.state == scheduler.FAILED
    assert found.reason


def test_each_worker_of_a_machine_with_several_accelerators_sees_its_own(monkeypatch):
    monkeypatch.setattr("unicomp_lib.hardware.devices", lambda: ["0", "3"])
    monkeypatch.setattr("distributed.get_worker", lambda: SimpleNamespace(name=1))
    assert scheduler._environment()["CUDA_VISIBLE_DEVICES"] == "3"
    monkeypatch.setattr("distributed.get_worker", lambda: SimpleNamespace(name="tcp://elsewhere"))
    assert scheduler._own_device() == {}


def test_steps_that_share_an_accelerator_share_its_cores_and_each_accelerator_has_as_many(monkeypatch):
    monkeypatch.setattr("unicomp_lib.hardware.devices", lambda: ["0", "3"])
    monkeypatch.setattr("unicomp_lib.hardware.cores", lambda: 24)
    seen = []
    for name in range(6):
        monkeypatch.setattr("distributed.get_worker", lambda name=name: SimpleNamespace(name=name))
        env = scheduler._environment(per_device=3)
        assert (env["OMP_NUM_THREADS"], env["OPENBLAS_NUM_THREADS"]) == ("4", "4")
        seen.append(env["CUDA_VISIBLE_DEVICES"])
    assert seen == ["0", "3"] * 3


def test_a_job_knows_how_many_share_an_accelerator(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(scheduler.preload, "step", lambda run, *, forced, env: asked.append(env) or 0)
    monkeypatch.setattr("unicomp_lib.hardware.devices", lambda: ["0"])
    monkeypatch.setattr("unicomp_lib.hardware.cores", lambda: 8)
    job = {"name": "a", "run": str(tmp_path), "parameters": {}, "forced": False}
    for given in (job, job | {"per_device": 4}):
        scheduler.run_job(given)
    assert [env["OMP_NUM_THREADS"] for env in asked] == ["8", "2"]


def test_beside_a_step_that_measures_no_other_computes_where_accelerators_are_shared():
    steps = [step("evaluate/a"), step("evaluate/b"), step("evaluate/c"), step("evaluate/t", exclusive=True)]
    assert started(steps, 3, devices=True) == [["evaluate/a", "evaluate/b", "evaluate/c"], ["evaluate/t"]]
    running, room = [steps[0]], scheduler.Room(3, 6, True)
    assert scheduler._startable([(steps[3], [])], running, room) == []
    assert scheduler._startable([(steps[1], [])], [steps[3]], room) == []


def test_time_left_counts_workers_and_what_runs_alone():
    steps = [step("a"), step("b"), step("t", exclusive=True, notebook="slow")]
    assert progress.remaining(steps, [], {}, 2) is None
    assert progress.remaining([], [], {}, 2) == 0
    seen = [Duration("c", "n", 10.0), Duration("d", "n", 30.0), Duration("e", "slow", 7.0)]
    assert progress.remaining(steps, seen, {}, 2) == 20 + 7
    assert progress.remaining([step("u", notebook="new")], seen[:2], {}, 1) == 20
    assert progress.clock(59.6) == "1:00"
    assert progress.clock(3723) == "1:02:03"


def test_time_left_follows_the_run_behind_the_figures_at_this_machines_pace():
    steps = [step("a"), step("b"), step("t", exclusive=True, notebook="slow")]
    elsewhere = {"a": 30.0, "b": 50.0, "t": 5.0, "c": 10_000.0}
    assert progress.remaining(steps, [], elsewhere, 2) == 40 + 5
    assert progress.remaining([*steps, step("u")], [], elsewhere, 2) is None
    cold = progress.remaining(steps, [Duration("c", "n", 40.0)], elsewhere | {"c": 10.0}, 2)
    assert 45 < cold < 50  # four times as long, but only for seconds: believed a little
    slow = progress.remaining(steps, [Duration("c", "n", 20_000.0)], elsewhere, 2)
    assert slow == pytest.approx(2 * (40 + 5), rel=0.1)


def test_costs_are_those_behind_the_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "project", lambda: tmp_path)
    assert publish.costs("tiny") == {}
    file = tmp_path / "figures" / "tiny" / publish.PROVENANCE
    files.write_text(file, json.dumps({"steps": {"a": {"key": "k", "seconds": 1.5}}}))
    assert publish.costs("tiny") == {"a": 1.5}
    file.write_text("{")
    assert publish.costs("tiny") == {}
