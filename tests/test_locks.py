"""A lock is held by one process, let go of when it ends, and never waited for where there is none."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
import time

import pytest
from checkout import wait_for

from unicomp_lib import locks, paths

HOLD = "import sys, time; from unicomp_lib import locks\nwith locks.held(__import__('pathlib').Path(sys.argv[1])):\n"
HOLD += "    print('held', flush=True); time.sleep(600)"


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock ``.lock`` in the folder."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / ".lock")]
    env = {**os.environ, "PYTHONPATH": str(paths.project())}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_it_is_of_one_process_until_that_ends_however_it_ends(tmp_path, holder):
    with locks.held(tmp_path / ".lock", wait=False) as mine:
        assert not mine
    threading.Timer(0.5, holder.kill).start()
    start = time.monotonic()
    with locks.held(tmp_path / ".lock") as mine:
        assert mine
        assert time.monotonic() - start > 0.3
    with locks.held(tmp_path / ".lock", wait=False) as mine:
        assert mine


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("name", ["ENOLCK", "ENOSYS", "ENOTSUP", "EOPNOTSUPP", "EINVAL", "EACCES", "EPERM"])
def test_a_file_system_without_is_said_at_once(tmp_path, monkeypatch, name, wait):
    def flock(*_):
        raise OSError(getattr(errno, name), os.strerror(getattr(errno, name)))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="no locks there") as caught, locks.held(tmp_path / ".lock", wait=wait):
        pass
    assert (caught.value.errno, caught.value.filename) == (errno.ENOLCK, str(tmp_path / ".lock"))


def test_other_errors_are_their_own(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.EIO, "disk")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="disk") as caught, locks.held(tmp_path / ".lock"):
        pass
    assert caught.value.errno == errno.EIO
    with pytest.raises(FileNotFoundError), locks.held(tmp_path / "none" / ".lock"):
        pass


def test_a_folder_that_was_moved_away_while_we_waited_is_not_ours(tmp_path):
    """Who cleans renames a run's folder under its lock: the lock that counts is the one at the path."""
    run = tmp_path / "run"
    run.mkdir()
    got = []

    def wait_for_it():
        with locks.held(run / ".lock") as mine:
            got.append((mine, (run / ".lock").stat().st_ino))

    with locks.held(run / ".lock"):
        waiting = threading.Thread(target=wait_for_it)
        waiting.start()
        time.sleep(0.3)
        run.rename(tmp_path / "away")
        run.mkdir()
        (run / ".lock").touch()
    waiting.join(timeout=10)
    wait_for(lambda: got, 5)
    assert got == [(True, (run / ".lock").stat().st_ino)]
    assert (tmp_path / "away" / ".lock").stat().st_ino != got[0][1]
