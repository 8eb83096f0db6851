"""A worker's process that has imported what steps import, and from which it has them forked.

Off everywhere but on Linux, since macOS's own libraries do not survive a fork. The driver of an accelerator does not
either once it is in use: there steps are forked only where a forked process has been seen to use it.
"""

import json
import os
import subprocess
import sys
import threading
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, NamedTuple

from unicomp_lib import hardware, paths
from unicomp_lib.study import records, surroundings


class _Process(NamedTuple):
    process: "subprocess.Popen[bytes]"
    connection: Connection

    def ended(self) -> int:
        """Tell it that no request follows; its exit code."""
        self.connection.close()
        return self.process.wait()


class _Own(threading.local):
    """A thread's own process, since Linux ends a process with the thread that started it.

    ``identity``: what it was started with. None for a process: with this identity, steps are not forked.
    """

    identity: Any = None
    process: _Process | None = None


_own = _Own()


def step(run: Path, *, forced: bool, env: dict[str, str]) -> int | None:
    """Run a step in a forked process, with the variables ``env``; its exit code, negative for a signal.

    None where steps cannot be forked: then nothing was done. The process that they are forked from is replaced
    where it has ended, and where it has imported with other variables or from other packages than today's.
    """
    if sys.platform != "linux":
        return None
    (run / records.LOG).touch()
    # The time of the folder of all packages is another when one is installed or removed.
    packages = Path(surroundings.matplotlibrc()).parents[2].stat().st_mtime_ns
    dead = _own.process is not None and _own.process.process.poll() is not None
    if dead or _own.identity != (env, packages):
        if _own.process:
            _own.process.ended()
        _own.identity, _own.process = (env, packages), _started(run, env)
    if _own.process is None:
        return None
    request = {"run": str(run), "log": str(run / records.LOG), "forced": forced}
    try:
        _own.process.connection.send_bytes(json.dumps(request).encode())
        code: int = json.loads(_own.process.connection.recv_bytes())
    except (EOFError, OSError):  # it was killed, and all that it had forked ended with it
        return _own.process.ended()
    return code


def _started(run: Path, env: dict[str, str]) -> _Process | None:
    """Start one and wait until it has imported.

    None where it has not, where it has more than the one thread to fork from, and where a process forked from it
    cannot use the accelerator that is here.
    """
    ours, theirs = Pipe()
    command = [sys.executable, "-m", "unicomp_lib.study.preloaded", str(theirs.fileno()), str(os.getpid())]
    # Matplotlib reads its settings when it is imported: a kernel's are its own.
    around = env | {"MATPLOTLIBRC": surroundings.matplotlibrc()}
    with theirs, (run / records.LOG).open("ab") as log:
        process = _Process(
            subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=around, cwd=paths.project(),
                pass_fds=[theirs.fileno()],
            ),
            ours,
        )  # fmt: skip
    try:
        threads, usable = json.loads(ours.recv_bytes())
        if threads == 1 and (usable or not hardware.devices()):
            return process
    except (EOFError, OSError):
        pass
    process.ended()
    return None
