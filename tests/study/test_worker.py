"""Single steps, each run as a worker would: how they end, and what is said of it."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from checkout import wait_for

from unicomp_lib import locks, paths
from unicomp_lib.evaluate import kept
from unicomp_lib.study import records, scheduler, worker


def log(job):
    return (Path(job["run"]) / records.LOG).read_text()


WRITE = "from pathlib import Path\nPath(output, 'out.txt').write_text('right')"
READ = "from pathlib import Path\nPath(output, 'out.txt').write_text(Path(source).read_text())"


def test_what_the_system_refuses_is_said_with_what_to_do(tmp_path):
    class FromKernel(Exception):
        ename, evalue = "OSError", ""

    for number, says in {
        errno.ENOSPC: f"the disk that holds {tmp_path} is full (", errno.EDQUOT: "your quota on the disk that holds",
        errno.ENOLCK: f"the file system that holds {tmp_path} has no locks (", errno.EMFILE: "a process may have ",
        errno.ENFILE: "a process may have ", errno.EROFS: f"{tmp_path} is on a file system that cannot be written;",
        errno.ENOMEM: "a process was stopped for want of memory",
    }.items():  # fmt: skip
        FromKernel.evalue = f"[Errno {number}] {os.strerror(number)}: 'x'"
        for error in (OSError(number, os.strerror(number)), FromKernel()):
            assert worker.explanation(error, tmp_path).startswith(says)
    # Rust's two ways to say it, of safetensors and polars.
    FromKernel.ename, FromKernel.evalue = "SafetensorError", "I/O error: No space left on device (os error 28)"
    assert worker.explanation(FromKernel(), tmp_path).startswith("the disk that holds")
    FromKernel.evalue = (
        'called `Result::unwrap()` on an `Err` value: Os { code: 24, kind: TooManyOpenFiles, message: ""}'
    )
    assert "ulimit -n" in worker.explanation(FromKernel(), tmp_path)
    FromKernel.ename, FromKernel.evalue = "OSError", "[Errno 2] No such file: 'os error 28'"
    assert worker.explanation(FromKernel(), tmp_path) == f"OSError: {FromKernel.evalue}"
    FromKernel.ename = "OutOfMemoryError"
    FromKernel.evalue = (
        "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.18 GiB of ..."
    )
    assert worker.explanation(FromKernel(), tmp_path) == (
        "CUDA out of memory. Tried to allocate 20.00 GiB; where steps share an accelerator, run fewer on each with "
        "--per-device"
    )


def test_an_interrupted_run_leaves_nothing_behind(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "half.safetensors").write_bytes(b"1")
    (tmp_path / records.STEP).write_text(json.dumps({}))
    (tmp_path / records.RECORD).write_text(json.dumps({}))
    worker._clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [records.STEP]


def test_what_a_step_can_take_up_outlives_an_interrupted_run_and_no_forced_one(tmp_path):
    for name in records.KEPT:
        (tmp_path / name).mkdir()
    worker._clear(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {kept.FOLDER, "training", "correction"}
    worker._clear(tmp_path, forced=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", ["minitron", "lrc"])
def test_the_folders_of_trainings_are_those_that_are_kept(method):
    code = (paths.project() / "notebooks" / "compress" / f"{method}.ipynb").read_text(encoding="utf-8")
    named = set(re.findall(r'folder / \\"(\w+)\\"', code)) - {"checkpoint"}
    assert named
    assert named <= set(records.KEPT)


@pytest.mark.slow
def test_a_step_whose_output_has_changed_runs_again_before_it_is_read(steps, capsys):
    first = steps("first", WRITE)
    out = Path(first["run"]) / "out.txt"
    second = steps("second", READ, source=str(out))
    assert scheduler.run_job(first).state == scheduler.DONE
    before = out.stat()
    out.write_text("wrong")  # as long as before, and of the same time: a bad disk
    os.utime(out, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert records.finished(out.parent)
    done = scheduler.run_job(second)
    assert done.state == scheduler.DONE, done.reason
    assert (Path(second["run"]) / "out.txt").read_text() == "right"
    assert capsys.readouterr().out == "note: first runs again, since out.txt in first-k is not what its step wrote\n"
    # Where it cannot be made again, what reads it does not run.
    out.write_text("wrong")
    (out.parent / records.STEP).write_text("null")
    failed = scheduler.run_job(second | {"forced": True})
    assert failed.state == scheduler.FAILED
    assert failed.reason == (
        "it reads first-k, but out.txt in first-k is not what its step wrote; run the same command again"
    )
    assert not (out.parent / records.RECORD).exists()


@pytest.mark.slow
def test_a_kernel_that_dies_of_a_signal_is_tried_once_more(steps, tmp_path, capsys):
    mark = tmp_path / "mark"
    once = f"import os\nfrom pathlib import Path\nif not Path({str(mark)!r}).exists():\n"
    once += f"    Path({str(mark)!r}).touch()\n    os.kill(os.getpid(), 9)\n"
    done = scheduler.run_job(steps("once", once + WRITE))
    assert done.state == scheduler.DONE, done.reason
    assert worker.how(-9) == "was killed, most likely for want of memory; run fewer steps at once with --workers"
    assert f"note: once is tried once more: the notebook's kernel {worker.how(-9)}" in capsys.readouterr().out
    failed = scheduler.run_job(steps("twice", "import os\nos.kill(os.getpid(), 11)"))
    assert failed.state == scheduler.FAILED
    assert failed.reason == "the notebook's kernel died of SIGSEGV; it was tried twice"
    failed = scheduler.run_job(steps("exits", "import os\nos._exit(3)"))
    assert failed.reason == "the notebook's kernel ended with exit code 3"


@pytest.mark.parametrize(
    ("codes", "tries", "says"),
    [
        ([-11, -11], 2, "its process died of SIGSEGV; see {log}; it was tried twice"),
        ([-9, -9], 2, f"its process {worker.how(-9)}; see {{log}}; it was tried twice"),
        ([-6, 1], 2, "its process ended with exit code 1; see {log}; it was tried twice"),
        ([1], 1, "its process ended with exit code 1; see {log}"),
        ([-15], 1, "its process died of SIGTERM; see {log}"),  # somebody wants it stopped
        ([-2], 1, "its process died of SIGINT; see {log}"),
        ([-64, -64], 2, "its process died of SIGRTMAX; see {log}; it was tried twice"),
        ([-50, -50], 2, "its process died of signal 50; see {log}; it was tried twice"),
    ],
)
def test_a_process_that_dies_of_a_signal_is_tried_once_more(steps, monkeypatch, codes, tries, says):
    job, left = steps("a", WRITE), list(codes)
    monkeypatch.setattr(scheduler, "_attempt", lambda _: left.pop(0))
    outcome = scheduler.run_job(job)
    assert outcome.state == scheduler.FAILED
    assert outcome.reason.startswith(says.format(log=Path(job["run"]) / records.LOG))
    assert len(codes) - len(left) == tries == len(codes)


@pytest.mark.slow
def test_a_step_that_takes_too_long_is_ended_with_its_kernel(steps, tmp_path):
    # The kernel holds Python's lock and can do nothing by itself.
    code = f"import ctypes, os\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
    failed = scheduler.run_job(steps("slow", code + "ctypes.PyDLL(None).sleep(600)", limit=12))
    assert failed.state == scheduler.FAILED
    assert failed.reason == "it ran longer than 12 s and was ended"
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: not alive(pid), 5)
    assert scheduler.run_job(steps("quick", WRITE, limit=600)).state == scheduler.DONE


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
def test_a_forced_step_leaves_the_record_until_the_folder_is_its_own_and_says_that_it_waits(steps):
    job = steps("a", WRITE)
    assert scheduler.run_job(job).state == scheduler.DONE
    run = Path(job["run"])
    stamp = (run / records.RECORD).stat().st_mtime_ns
    code = "import json, sys; from unicomp_lib.study import scheduler; "
    code += "print(scheduler.run_job(json.loads(sys.argv[1])).state)"
    with locks.held(run / records.LOCK):  # another run
        command = [sys.executable, "-c", code, json.dumps(job | {"forced": True})]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=paths.project())
        says = process.stdout.readline()
        assert says == f"note: a is waiting for another run that holds {run}\n"
        wait_for(lambda: f"waiting for another run that holds {run}" in log(job))
        assert records.finished(run)
        assert (run / records.RECORD).stat().st_mtime_ns == stamp
    assert process.communicate(timeout=60)[0].strip() == scheduler.DONE
    assert (run / records.RECORD).stat().st_mtime_ns > stamp


@pytest.mark.slow
def test_a_killed_forced_step_is_not_taken_for_done(steps, monkeypatch):
    job = steps("a", WRITE)
    assert scheduler.run_job(job).state == scheduler.DONE
    monkeypatch.setattr(scheduler, "_attempt", lambda _: -signal.SIGKILL)
    assert scheduler.run_job(job | {"forced": True}).state == scheduler.FAILED


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process that can do nothing by itself")
def test_a_process_that_holds_pythons_lock_ends_with_its_parent(tmp_path):
    child = "import ctypes, os, sys; from unicomp_lib import hardware; hardware.end_with_parent(os.getppid()); "
    child += "print(os.getpid(), flush=True); ctypes.PyDLL(None).sleep(600)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=paths.project())
    pid = int(parent.stdout.readline())
    time.sleep(0.2)
    assert alive(pid)
    parent.kill()
    parent.wait()
    wait_for(lambda: not alive(pid), 5)
    # And one whose parent has ended before it could ask.
    code = "import os; from unicomp_lib import hardware; hardware.end_with_parent(1 << 22); print('still here')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=paths.project())
    assert (done.returncode, done.stdout) == (1, "")
