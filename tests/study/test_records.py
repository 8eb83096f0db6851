import json
import os

import polars as pl
import pytest

from unicomp_lib import tables
from unicomp_lib.evaluate import efficiency
from unicomp_lib.study import progress, records, status
from unicomp_lib.study.status import State
from unicomp_lib.study.steps import Stage, Step

FACTS = {
    "name": "a", "notebook": "n", "key": "k", "parameters": {}, "started": "2026-01-01T00:00:00+00:00",
    "seconds": 1.0, "cpu_seconds": 0.5, "peak_memory": 10**6, "packages": records.packages(),
    "hardware": records.machine(), "commit": None, "dirty": None,
}  # fmt: skip


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A finished run with a table and a checkpoint."""
    monkeypatch.setattr(records, "runs", lambda: tmp_path)
    folder = records.folder("a", "k")
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "checkpoint" / "model.safetensors").write_bytes(bytes(range(256)))
    tables.write(pl.DataFrame({"value": range(1000)}), folder / "items.parquet")
    records.write(folder, FACTS)
    return folder


def flip(path, *, keep_time=True):
    """One bit of the last byte but some: size and, if wanted, time as before."""
    content, before = bytearray(path.read_bytes()), path.stat()
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def change(run, **facts):
    path = run / records.RECORD
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def test_a_record_stands_only_with_all_its_files_and_the_same_packages(run):
    record = records.finished(run)
    assert {"packages", "hardware", "commit", "dirty", "files"} <= set(record)
    assert set(record["files"]) == {"items.parquet", "checkpoint/model.safetensors"}
    change(run, packages=record["packages"] | {"torch": "0.1"})
    assert records.finished(run) is None
    change(run, packages=record["packages"])
    assert records.finished(run) == record
    (run / "items.parquet").write_bytes(b"01")
    assert records.finished(run) is None
    (run / "items.parquet").unlink()
    assert records.finished(run) is None


@pytest.mark.parametrize("name", ["items.parquet", "checkpoint/model.safetensors"])
def test_one_bit_is_found_by_reading_and_at_once_where_the_time_is_another(run, name):
    assert records.damage(run) == ""
    flip(run / name)
    assert records.finished(run)  # nothing is read to plan
    assert records.damage(run) == f"{name} in {run.name} is not what its step wrote"
    os.utime(run / name)
    assert records.finished(run) is None


def test_a_copy_with_other_times_is_read_once_and_stands(run, monkeypatch):
    os.utime(run / "items.parquet", ns=(1, 1))
    assert records.finished(run)
    monkeypatch.setattr("unicomp_lib.files.sha256", lambda _: "read again")
    assert records.finished(run)


def test_a_record_of_sizes_alone_still_stands(run):
    change(run, files={name: entry["size"] for name, entry in records.finished(run)["files"].items()})
    assert records.finished(run)
    assert records.damage(run) == ""
    (run / "items.parquet").write_bytes(b"01")
    assert records.finished(run) is None
    assert "is not what its step wrote" in records.damage(run)


RECORD = {**FACTS, "packages": {}, "hardware": {}, "commit": None, "dirty": None, "files": {"f": 1}}


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", "3", '"text"', "{}", "[" * 100_000, '{"files": {}}', '{"reason": 3, "run": []}', "\xff"]
    + [json.dumps(RECORD | {name: wrong}) for name in RECORD for wrong in (None, [], {"size": None}, "x")]
    + [json.dumps({known: RECORD[known] for known in RECORD if known != name}) for name in RECORD]
    + [json.dumps(RECORD | {"hardware": records.machine(), "read": {"": "x"}})]
    + [json.dumps(RECORD | {"hardware": records.machine(), name: {"f": {}}}) for name in ("dropped", "as_read")],
)
def test_a_damaged_record_is_no_record_and_no_traceback(run, text):
    step = Step(Stage.LEARN, "n", {}, topic="b")
    other = records.folder(step.name, "k")
    run.rename(other)
    for name in (records.RECORD, records.FAILURE, records.STEP):
        (other / name).write_bytes(text.encode("latin-1"))
    assert records.finished(other) is None
    assert records.failure(other) is None
    assert records.job(other) is None
    assert records.damage(other) == f"{other.name} has no record that can be read"
    assert status.state(step, {step.name: "k"}) == State.MISSING
    progress.history()
    assert efficiency.cost(str(other / "checkpoint")).is_empty()


def test_data_is_on_disk_before_the_record_is(run, monkeypatch):
    calls, sync, replace = [], os.fsync, type(run).replace

    def synced(handle):
        calls.append(os.readlink(f"/proc/self/fd/{handle}") if os.path.exists("/proc/self") else "")
        sync(handle)

    def renamed(path, target):
        calls.append(f"{target} is named")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(type(run), "replace", renamed)
    records.write(run, FACTS)
    record = calls.index(f"{run / records.RECORD} is named")
    before = set(calls[:record])
    if os.path.exists("/proc/self"):
        outputs = [run / "items.parquet", run / "checkpoint" / "model.safetensors"]
        assert {str(path) for path in [*outputs, run / "checkpoint", run, run.parent]} <= before
        assert str(run) in calls[record:]


def test_status_reads_all_files_where_it_is_told_to(run):
    step = Step(Stage.LEARN, "n", {}, topic="b")
    known = {step.name: "k"}
    run.rename(records.folder(step.name, "k"))
    run = records.folder(step.name, "k")
    assert status.verify([step], known) == {}
    flip(run / "checkpoint" / "model.safetensors")
    assert "1 done" in status.table([step], known)
    damaged = status.verify([step], known)
    assert status.table([step], known, damaged).splitlines() == [
        f"damaged  learn/b  checkpoint/model.safetensors in {run.name} is not what its step wrote",
        "0 done, 0 stale, 0 failed, 0 missing, 1 damaged",
    ]
    # The next run makes it again, and until then it is known why.
    assert records.finished(run) is None
    assert status.table([step], known).splitlines()[0].endswith("is not what its step wrote; it is to run again")


def test_what_a_step_reads_is_found_in_its_parameters_and_a_moved_checkout_finds_it_too(run, tmp_path):
    job = {
        "name": "b", "notebook": "n", "key": "k", "run": "/old/runs/b-k",
        "parameters": {
            "checkpoint": "/old/runs/a-k/checkpoint", "items": ["/old/runs/c-k/items.parquet", "/else/where"],
            "output": "/old/runs/b-k", "text": "plain", "number": 3, "more": ["/old/runs/a-k/items.parquet"],
        },
    }  # fmt: skip
    here = tmp_path / "b-k"
    here.mkdir()
    (here / records.STEP).write_text(json.dumps(job))
    moved = records.job(here)
    assert moved["run"] == str(here)
    assert records.read_by(moved) == [tmp_path / "a-k", tmp_path / "c-k"]


@pytest.fixture
def reader(run):
    """A finished run that has read the checkpoint of ``run``."""
    folder = records.folder("b", "k")
    folder.mkdir()
    (folder / "scores.parquet").write_bytes(b"scores")
    job = {"run": str(folder), "parameters": {"checkpoint": str(run / "checkpoint"), "output": str(folder)}}
    records.write(folder, {**FACTS, "read": records.reading(job)})
    assert records.finished(folder)
    return folder


def written(run, **files):
    """``run`` as its step has left it when it ran again with other content in these files."""
    for name, content in files.items():
        path = run / {"weights": "checkpoint/model.safetensors", "items": "items.parquet"}[name]
        path.write_bytes(content)
    records.write(run, FACTS)


def test_a_run_stands_while_what_it_has_read_is_what_its_step_has_written(run, reader):
    before = (run / "checkpoint" / "model.safetensors").read_bytes()
    written(run, items=b"other items")  # which the reader does not read
    assert records.finished(reader)
    written(run, weights=before)
    assert records.finished(reader)
    assert not records.outdated(reader)
    written(run, weights=b"other weights")
    assert records.finished(reader) is None
    assert records.outdated(reader)
    assert records.damage(reader) == ""
    packages = records.packages()
    change(reader, packages=packages | {"torch": "0.1"})  # which running it here again would not mend
    assert not records.outdated(reader)
    change(reader, packages=packages)
    step = Step(Stage.LEARN, "n", {}, topic="b")
    reader.rename(records.folder(step.name, "0123456789ab"))
    assert status.state(step, {step.name: "0123456789ab"}) == State.STALE


def test_a_file_more_or_less_in_a_folder_that_was_read_is_another_folder(run, reader):
    (run / "checkpoint" / "more.json").write_text("{}")
    written(run)
    assert records.finished(reader) is None
    (run / "checkpoint" / "more.json").unlink()
    written(run)
    assert records.finished(reader)


def test_what_cannot_be_told_leaves_a_run_as_it_is(run, reader):
    (run / records.RECORD).unlink()  # it has yet to run again, or was removed
    assert records.finished(reader)
    written(run, weights=b"other weights")
    change(reader, read={})
    assert records.finished(reader)
    record = json.loads((reader / records.RECORD).read_text())
    del record["read"]  # as earlier versions wrote it
    (reader / records.RECORD).write_text(json.dumps(record))
    assert records.finished(reader)


def test_weights_that_are_dropped_or_made_again_after_that_leave_their_readers_as_they_are(run, reader, tmp_path):
    assert records.drop(run)
    assert records.finished(reader)
    again = tmp_path / "a-k.again"
    (again / "checkpoint").mkdir(parents=True)
    (again / "checkpoint" / "model.safetensors").write_bytes(b"as another device rounds")
    records.write(again, FACTS)
    assert records.restore(run, again) == "checkpoint/model.safetensors"
    assert records.finished(reader)
    assert records.drop(run)
    assert records.finished(reader)
    written(run, weights=b"other weights")
    assert records.finished(reader) is None
