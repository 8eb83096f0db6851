"""``keep: false``: weights go when all that reads them is done, nothing becomes undone, and they are made again."""

import json
from pathlib import Path

import pytest

from unicomp_lib import locks
from unicomp_lib.study import dropping, params, plan, records, scheduler, status
from unicomp_lib.study.scheduler import Room
from unicomp_lib.study.status import State
from unicomp_lib.study.steps import Output, Stage, Step, keys

FACTS = {
    "notebook": "n", "parameters": {}, "started": "2026-01-01T00:00:00+00:00", "seconds": 1.0, "cpu_seconds": 0.5,
    "peak_memory": 10**6, "packages": records.packages(), "hardware": records.machine(), "commit": None, "dirty": None,
}  # fmt: skip


def step(name, *parents, keeps=True, exclusive=False):
    stage, topic = name.split("/")
    reads = {parent: Output(parent, "checkpoint") for parent in parents}
    return Step(Stage(stage), "n", {}, reads, topic=topic, computes=True, exclusive=exclusive, keeps=keeps)


STEPS = [
    step("compress/dense"), step("compress/a", "compress/dense", keeps=False), step("compress/b", "compress/a"),
    step("evaluate/a1", "compress/a"), step("evaluate/a2", "compress/a"), step("evaluate/b", "compress/b"),
    step("compress/alone", "compress/dense", keeps=False),
]  # fmt: skip
KEYS = {each.name: f"{place:012}" for place, each in enumerate(STEPS)}


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "runs", lambda: tmp_path)

    def finish(*names):
        for name in names:
            run = records.folder(name, KEYS[name])
            run.mkdir(exist_ok=True)
            (run / records.NOTEBOOK).write_text(name)
            if name.startswith("compress/"):
                (run / "checkpoint").mkdir(exist_ok=True)
                (run / "checkpoint" / "config.json").write_text("{}")
                for part in (1, 2):
                    (run / "checkpoint" / f"model-{part}.safetensors").write_bytes(name.encode() * 100)
            records.write(run, FACTS | {"name": name, "key": KEYS[name]})

    return finish


def folder(name):
    return records.folder(name, KEYS[name])


def weights(name):
    return sorted((folder(name) / "checkpoint").glob("*.safetensors"))


def named(steps):
    return [each.name for each in steps]


def states():
    return {each.name: status.state(each, KEYS) for each in STEPS}


READERS = ("compress/b", "evaluate/a1", "evaluate/a2")


@pytest.mark.parametrize("missing", READERS)
def test_weights_stay_until_all_that_reads_them_is_done(study, missing):
    study("compress/dense", "compress/a", *(name for name in READERS if name != missing))
    assert dropping.release(STEPS, KEYS) == 0
    assert len(weights("compress/a")) == 2
    study(missing)
    freed = sum(path.stat().st_size for path in weights("compress/a"))
    assert dropping.release(STEPS, KEYS) == freed > 0
    assert weights("compress/a") == []
    assert len(weights("compress/dense")) == len(weights("compress/b")) == 2
    assert (folder("compress/a") / "checkpoint" / "config.json").is_file()


def test_what_is_done_stays_done_and_status_says_dropped(study):
    study(*KEYS)
    dropping.release(STEPS, KEYS)
    expected = dict.fromkeys(KEYS, State.DONE) | {"compress/a": State.DROPPED}
    assert states() == expected
    assert status.verify(STEPS, KEYS) == {}
    assert "dropped  compress/a" in status.table(STEPS, KEYS)
    assert status.table(STEPS, KEYS).splitlines()[-1] == "6 done, 0 stale, 0 failed, 0 missing, 1 dropped"
    assert dropping.again([], STEPS, KEYS) == []
    assert records.finished(folder("compress/a"))["seconds"] == 1.0


def test_weights_that_nothing_reads_are_what_was_asked_for(study):
    study(*KEYS)
    dropping.release(STEPS, KEYS)
    assert len(weights("compress/alone")) == 2


@pytest.mark.parametrize("kind", ["another's", "this"])
def test_what_is_read_or_made_now_stays(study, kind):
    study(*KEYS)
    run = folder("compress/a")
    if kind == "another's":
        run = records.runs() / "evaluate.other-000000000099"
        run.mkdir()
        (run / records.STEP).write_text(json.dumps({"parameters": {"checkpoint": str(folder("compress/a"))}}))
    with locks.held(run / records.LOCK):
        assert dropping.release(STEPS, KEYS) == 0
    assert len(weights("compress/a")) == 2
    assert states()["compress/a"] == State.DONE


def test_what_is_asked_for_by_name_stays_and_is_made_again(study):
    study(*KEYS)
    assert dropping.release(STEPS, KEYS, spared=["compress/a"]) == 0
    assert dropping.release(STEPS, KEYS, of=["compress/dense", "compress/b"]) == 0
    assert dropping.release(STEPS, KEYS, of=["compress/a"]) > 0
    assert named(dropping.again([], STEPS, KEYS, ["compress/a"])) == ["compress/a"]
    assert named(dropping.again([], STEPS, KEYS, ["compress/*"])) == []


def test_a_step_that_needs_dropped_weights_has_them_made_first(study):
    study(*KEYS)
    dropping.release(STEPS, KEYS)
    later = step("learn/chapter")
    assert named(dropping.again([STEPS[3], later], STEPS, KEYS)) == ["compress/a", "evaluate/a1", "learn/chapter"]
    assert named(dropping.again([STEPS[5]], STEPS, KEYS)) == ["evaluate/b"]


def test_a_dropping_that_was_interrupted_is_ended_by_the_next(study):
    study(*KEYS)
    dropping.release(STEPS, KEYS)
    left = folder("compress/a") / "checkpoint" / "model-2.safetensors"
    left.write_bytes(b"left behind")
    assert states()["compress/a"] == State.DROPPED
    assert dropping.release(STEPS, KEYS) == len(b"left behind")
    assert not left.exists()


def test_a_record_with_damaged_facts_on_what_was_dropped_is_none(study):
    study("compress/a")
    path = folder("compress/a") / records.RECORD
    path.write_text(json.dumps(json.loads(path.read_text()) | {"dropped": ["x"]}))
    assert records.finished(folder("compress/a")) is None
    assert records.dropped(folder("compress/a")) == {}
    assert records.drop(folder("compress/a")) == 0


MAKE = """from pathlib import Path
if Path(source).is_file():
    raise ValueError('it cannot be made twice')
Path(output, 'checkpoint').mkdir()
Path(output, 'checkpoint', 'model.safetensors').write_bytes({content})"""
READ = "from pathlib import Path\nPath(output, 'out.txt').write_bytes(Path(source, 'model.safetensors').read_bytes())"


@pytest.mark.parametrize("content", ["b'same'", "__import__('os').urandom(4)"])
def test_a_reader_finds_dropped_weights_made_again_and_it_is_said_if_they_differ(steps, capsys, content):
    made = steps("made", MAKE.format(content=content))
    run = Path(made["run"])
    assert scheduler.run_job(made).state == scheduler.DONE
    file = run / "checkpoint" / "model.safetensors"
    before, record = file.read_bytes(), records.finished(run)
    assert records.drop(run) == 4
    reader = steps("reader", READ, source=str(run / "checkpoint"))
    assert scheduler.run_job(reader).state == scheduler.DONE
    assert (Path(reader["run"]) / "out.txt").read_bytes() == file.read_bytes()
    again = records.finished(run)
    other = again.pop("as_read", {})  # what those had read that were done before
    assert list(other) == ([] if before == file.read_bytes() else ["checkpoint/model.safetensors"])
    assert records.dropped(run) == {}
    assert records.damage(run) == ""
    assert {**again, "files": set(again["files"])} == {**record, "files": set(record["files"])}
    assert [path.name for path in run.parent.iterdir() if path.name.endswith(".again")] == []
    said = capsys.readouterr().out
    assert "made runs again, since its weights were dropped" in said
    assert ("model.safetensors, made again, is not what it was" in said) == (before != file.read_bytes())


def test_a_dropped_step_that_does_not_stand_runs_whole(steps):
    made = steps("made", MAKE.format(content="b'same'"))
    run = Path(made["run"])
    assert scheduler.run_job(made).state == scheduler.DONE
    records.drop(run)
    record = json.loads((run / records.RECORD).read_text())
    (run / records.RECORD).write_text(json.dumps(record | {"packages": record["packages"] | {"torch": "0.1"}}))
    assert scheduler.run_job(made).state == scheduler.DONE
    assert records.finished(run)
    assert records.dropped(run) == {}
    assert (run / "checkpoint" / "model.safetensors").read_bytes() == b"same"


def test_a_step_whose_input_is_made_again_meanwhile_is_done_and_outdated(steps):
    made = steps("made", MAKE.format(content="b'same'"))
    assert scheduler.run_job(made).state == scheduler.DONE
    record = Path(made["run"], records.RECORD)
    meanwhile = (
        f"import json\nfrom pathlib import Path\nrecord = json.loads(Path({str(record)!r}).read_text())\n"
        "record['files']['checkpoint/model.safetensors']['sha256'] = '0' * 64\n"
        f"Path({str(record)!r}).write_text(json.dumps(record))\nPath(output, 'out.txt').write_text('read')"
    )
    reader = steps("reader", meanwhile, source=str(record.parent / "checkpoint"))
    assert scheduler.run_job(reader).state == scheduler.DONE
    assert records.outdated(Path(reader["run"]))
    assert records.finished(Path(reader["run"])) is None


def test_weights_that_cannot_be_made_again_leave_what_is_done_as_it_is(steps, tmp_path):
    made = steps("made", MAKE.format(content="b'same'"), source=str(tmp_path / "flag"))
    run = Path(made["run"])
    assert scheduler.run_job(made).state == scheduler.DONE
    records.drop(run)
    record = records.finished(run)
    (tmp_path / "flag").write_text("")
    outcome = scheduler.run_job(steps("reader", READ, source=str(run / "checkpoint")))
    assert outcome.state == scheduler.FAILED
    assert "its weights were dropped, and failed: it cannot be made twice" in outcome.reason
    assert records.finished(run) == record
    assert records.dropped(run)
    (tmp_path / "flag").unlink()
    assert scheduler.run_job(made).state == scheduler.DONE
    assert (run / "checkpoint" / "model.safetensors").read_bytes() == b"same"


def rounds(steps, places):
    """Names of the steps in rounds, and how many checkpoints that are not kept lie there after each at most."""
    waiting, done, order, most = scheduler._ordered(steps, {}), {}, [], 0
    while waiting:
        unread = scheduler._unread(steps, done, [each for each, _ in waiting])
        now = scheduler._startable(waiting, [], Room(places, places, devices=False), unread)
        assert now, "nothing can start"
        waiting = [pair for pair in waiting if pair[0] not in now]
        done |= {each.name: scheduler.DONE for each in now}
        order.append(named(now))
        most = max(most, scheduler._unread(steps, done, [each for each, _ in waiting]))
    return order, most


def variants(number, keeps):
    made = [step(f"compress/{place}", keeps=keeps) for place in range(number)]
    read = [step(f"evaluate/{kind}{place}", f"compress/{place}") for kind in "ab" for place in range(number)]
    timed = [step(f"evaluate/t{place}", f"compress/{place}", exclusive=True) for place in range(number)]
    return [*made, *read, *timed]


@pytest.mark.parametrize("places", [1, 2, 3])
def test_no_more_weights_lie_there_than_steps_run_at_once(places):
    order, most = rounds(variants(6, keeps=False), places)
    assert most <= places
    assert sorted(name for names in order for name in names) == sorted(named(variants(6, keeps=False)))
    assert all(names == [name] for names in order for name in names if name.startswith("evaluate/t"))
    _, kept = rounds(variants(6, keeps=True), places)
    assert kept == 0


def test_what_measures_time_runs_in_a_row_once_the_others_have_ended():
    order, _ = rounds(variants(4, keeps=False), 2)
    kinds = ["t" if names[0].startswith("evaluate/t") else "-" for names in order]
    assert "".join(kinds) == "---tt---tt"


def test_weights_made_of_weights_that_go_do_not_wait_for_each_other():
    chain = [step("compress/0", keeps=False)]
    chain += [step(f"compress/{place}", f"compress/{place - 1}", keeps=False) for place in range(1, 4)]
    order, _ = rounds([*chain, step("evaluate/a", "compress/3")], 2)
    assert [name for names in order for name in names] == [*named(chain), "evaluate/a"]


def test_keep_is_no_part_of_a_key_and_must_be_true_or_false(tmp_path):
    text = (
        "models: {tiny: tiny-random-llama}\ncompressions:\n  dense: {method: dense}\n"
        "  magnitude-50: {method: magnitude, sparsity: 0.5%s}\nevaluations: {}\n"
    )
    found = []
    for given in ("", ", keep: false", ", keep: true"):
        (tmp_path / "own.yaml").write_text(text % given)
        steps = plan.plan(params.load(str(tmp_path / "own.yaml")))
        found.append((keys(steps), [each.keeps for each in steps]))
    assert found[0] == found[2] == (found[1][0], [True, True])
    assert found[1][1] == [True, False]
    (tmp_path / "own.yaml").write_text(text % ', keep: "no"')
    with pytest.raises(params.ParamsError, match="keep"):
        params.load(str(tmp_path / "own.yaml"))
