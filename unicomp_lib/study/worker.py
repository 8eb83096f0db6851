"""Run one step in this process: ``python -m unicomp_lib.study.worker RUN_FOLDER``."""

import argparse
import os
import resource
import shutil
import signal
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from unicomp_lib import hardware, locks, paths
from unicomp_lib.study import records, surroundings

STARTS = 3  # kernels of steps that start together race for ports, and one may lose
DIED = 3  # exit code: the kernel died of a signal
# What stops a process that somebody wants stopped: to run its step again would be to disobey.
ASKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(run: Path, *, forced: bool = False) -> int:
    """Execute the step that ``step.json`` in ``run`` describes; 0 when it has been recorded as finished.

    A finished one is left as it is, unless it is ``forced`` or one of its files is not what was written.
    """
    try:
        surroundings.raise_limits()
        if held(run):
            print(f"waiting for another run that holds {run}", file=sys.stderr)
        # Held until the process ends, however it ends: a step that outlived a killed run is waited for.
        with locks.held(run / records.LOCK):
            return _run(run, forced=forced)
    except OSError as error:  # of the run folder itself; what a notebook raises is written there
        with suppress(OSError):
            records.fail(run, explanation(error, run))
        print(explanation(error, run), file=sys.stderr)
        return 1


def _run(run: Path, *, forced: bool) -> int:
    """What ``main`` does in a folder that is its own."""
    if not forced and records.finished(run) and not records.damage(run):
        return 0
    _clear(run, forced=forced)
    job = records.job(run)
    if job is None:
        records.fail(run, f"{run / records.STEP} is damaged; run the same command again")
        return 1
    _limit(run, job.get("limit"))
    try:
        read = records.reading(job)
        records.write(run, {**job, "read": read, **_execute(run, job)})
    except Exception as error:  # whatever a notebook raises: the study goes on, and says why
        ended = _kernel_ended(error)
        early = f" before it had begun; see {run / records.LOG}" if _is_start(error) else ""
        reason = explanation(error, run) if ended is None else f"the notebook's kernel {how(ended)}{early}"
        records.fail(run, reason)
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return DIED if ended is not None and died(ended) else 1
    return 0


def explanation(error: BaseException, run: Path) -> str:
    """One clear sentence for what stopped a step."""
    name, text = getattr(error, "ename", type(error).__name__), getattr(error, "evalue", str(error))
    if said := surroundings.explained(error, text, run):
        return said
    first = next((line for line in text.splitlines() if line.strip()), "no message")
    return first if name in ("ValueError", "AssetError", "ParamsError") else f"{name}: {first}"


def how(code: int) -> str:
    """How a process ended by its exit code, negative for a signal: the end of a sentence."""
    if code >= 0:
        return f"ended with exit code {code}"
    if -code == signal.SIGKILL:
        return "was killed, most likely for want of memory; run fewer steps at once with --workers"
    name = next((known.name for known in signal.Signals if known == -code), f"signal {-code}")
    return f"died of {name}"


def died(code: int) -> bool:
    """Whether an exit code is that of a process that died of a signal which nobody sends to stop it."""
    return code < 0 and -code not in ASKED


def _kernel_ended(error: Exception) -> int | None:
    """How the notebook's kernel ended, where that is what went wrong."""
    from unicomp_lib.study.kernel import Kernel

    return Kernel.ended if type(error).__name__ == "DeadKernelError" or _is_start(error) else None


def _is_start(error: Exception) -> bool:
    """Whether a kernel ended before it had begun."""
    return "before replying" in str(error)


def _execute(run: Path, job: dict[str, Any]) -> dict[str, Any]:
    """Run the notebook on a copy in the run folder and return what it cost."""
    # Of what runs: a long step may outlive it. And git before papermill is there: the memory of a process that starts
    # another counts for both.
    commit = records.commit()
    sys.modules.setdefault(surroundings.UNUSED, None)  # type: ignore[arg-type]  # it is said not to be there

    import papermill
    from nbclient.exceptions import DeadKernelError

    from unicomp_lib.study.kernel import Kernel

    started, clock, energy = datetime.now(UTC), time.perf_counter(), hardware.joules()
    source = paths.project() / "notebooks" / f"{job['notebook']}.ipynb"
    for attempt in range(1, STARTS + 1):
        try:
            papermill.execute_notebook(
                source, run / records.NOTEBOOK, job["parameters"], kernel_name="python3", kernel_manager_class=Kernel,
                cwd=str(run), progress_bar=False, log_output=True,
            )  # fmt: skip
            break
        except (DeadKernelError, RuntimeError) as error:
            if not _is_start(error) or attempt == STARTS:
                raise
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - clock, 2),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "peak_memory": used.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "joules": _taken(energy, hardware.joules()),
        **(Kernel.facts or {}), **commit,
    }  # fmt: skip


def _taken(before: float | None, after: float | None) -> float | None:
    """Energy between two readings; None where there is none, or where the counter has begun anew."""
    return None if before is None or after is None or after < before else round(after - before, 1)


def held(run: Path) -> bool:
    """Whether another process works in a run folder: its lock is taken."""
    with locks.held(run / records.LOCK, wait=False) as mine:
        return not mine


def _limit(run: Path, seconds: float | None) -> None:
    """End this process and all that it has started after so many seconds, counted from when the folder is its own."""
    if not seconds:
        return

    def end() -> None:
        records.fail(run, f"it ran longer than {seconds:g} s and was ended")
        for process in psutil.Process().children(recursive=True):
            process.kill()
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def _clear(run: Path, *, forced: bool = False) -> None:
    """Remove what an interrupted run left behind, the record first: without its files it says nothing true.

    Rows of tasks that were done, and states of trainings, stay, unless all is to be computed again.
    """
    spared = (records.LOCK, records.STEP, records.LOG, *(() if forced else records.KEPT))
    (run / records.RECORD).unlink(missing_ok=True)
    for path in run.iterdir():
        if path.name in spared:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--parent", type=int, default=os.getppid())
    parser.add_argument("--forced", action="store_true")
    given = parser.parse_args()
    hardware.end_with_parent(given.parent)
    sys.exit(main(given.run, forced=given.forced))
