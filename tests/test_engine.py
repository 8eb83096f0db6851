import json
from pathlib import Path
from types import SimpleNamespace

from unicomp_lib import engine, execute, progress, records
from unicomp_lib.engine import Outcome
from unicomp_lib.steps import Output, Step


def step(name, *parents, exclusive=False, notebook="n"):
    return Step(name, notebook, {}, {parent: Output(parent, "") for parent in parents}, exclusive)


def test_a_step_that_measures_runs_after_all_that_does_not_need_it_and_by_itself():
    steps = [
        step("a"),
        step("t1", "a", exclusive=True),
        step("t2", "a", exclusive=True),
        step("b"),
        step("s", "t1", "b"),
    ]
    found = {each.name: after for each, after in engine._ordered(steps)}
    assert found == {"a": [], "b": [], "t1": ["a", "b"], "t2": ["a", "b", "t1"], "s": []}
    names = [each.name for each, _ in engine._ordered(steps)]
    assert names.index("b") < names.index("t1")


def test_a_step_is_blocked_by_what_it_reads_but_not_by_what_it_follows(tmp_path):
    bad = Outcome("a", engine.FAILED)
    found = engine.run_job({"name": "b", "run": str(tmp_path)}, [bad], [])
    assert (found.state, found.reason) == (engine.BLOCKED, "it reads a, which did not finish")
    job = {
        "name": "b",
        "notebook": "none/such",
        "run": str(tmp_path / "run"),
        "parameters": {},
        "key": "k",
        "forced": False,
    }
    assert engine.run_job(job, [Outcome("c", engine.DONE)], [bad]).state == engine.FAILED


def test_each_worker_of_a_machine_with_several_accelerators_sees_its_own(monkeypatch):
    monkeypatch.setattr("unicomp_lib.hardware.devices", lambda: ["0", "3"])
    monkeypatch.setattr("distributed.get_worker", lambda: SimpleNamespace(name=1))
    assert engine._environment()["CUDA_VISIBLE_DEVICES"] == "3"
    monkeypatch.setattr("distributed.get_worker", lambda: SimpleNamespace(name="tcp://elsewhere"))
    assert engine._own_device() == {}


def test_a_record_stands_only_with_all_its_files_and_the_same_packages(tmp_path):
    (tmp_path / "items.parquet").write_bytes(b"0123")
    records.write(tmp_path, {"name": "a", "seconds": 1.0})
    record = records.finished(tmp_path)
    assert record is not None
    assert {"packages", "hardware", "commit", "dirty", "files"} <= set(record)
    other = record | {"packages": record["packages"] | {"torch": "0.1"}}
    (tmp_path / records.RECORD).write_text(json.dumps(other))
    assert records.finished(tmp_path) is None
    (tmp_path / records.RECORD).write_text(json.dumps(record))
    assert records.finished(tmp_path) == record
    (tmp_path / "items.parquet").write_bytes(b"01")
    assert records.finished(tmp_path) is None
    (tmp_path / records.RECORD).write_text("{")
    assert records.finished(tmp_path) is None


def test_an_interrupted_run_leaves_nothing_behind(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "half.safetensors").write_bytes(b"1")
    (tmp_path / records.STEP).write_text(json.dumps({}))
    execute._clear(tmp_path)
    assert [path.name for path in Path(tmp_path).iterdir()] == [records.STEP]


def test_time_left_counts_workers_and_what_runs_alone():
    steps = [step("a"), step("b"), step("t", exclusive=True, notebook="slow")]
    assert progress.remaining(steps, {}, 2) is None
    assert progress.remaining([], {}, 2) == 0
    assert progress.remaining(steps, {"n": [10.0, 30.0], "slow": [7.0]}, 2) == 20 + 7
    assert progress.clock(59.6) == "1:00"
    assert progress.clock(3723) == "1:02:03"
