"""Run one step in this process: ``python -m unicomp_lib.study.worker RUN_FOLDER``."""

import json
import os
import resource
import shutil
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from unicomp_lib import files, hardware, paths
from unicomp_lib.study import records

LOCK = ".lock"
STARTS = 3  # kernels of steps that start together race for ports, and one may lose


def main(run: Path) -> int:
    """Execute the step that ``step.json`` in ``run`` describes; 0 when it has been recorded as finished."""
    _leave_with_parent()
    # Held until the process ends, however it ends: a step that outlived a killed run is waited for.
    with FileLock(run / LOCK):
        if records.finished(run):
            return 0
        _clear(run)
        job = json.loads((run / records.STEP).read_text(encoding="utf-8"))
        try:
            records.write(run, {**job, **_execute(run, job)})
        except Exception as error:  # whatever a notebook raises: the study goes on, and says why
            files.write_text(run / records.FAILURE, json.dumps({"reason": explanation(error, run)}))
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return 1
    return 0


def explanation(error: BaseException, run: Path) -> str:
    """One clear sentence for what stopped a step."""
    name, text = getattr(error, "ename", type(error).__name__), getattr(error, "evalue", str(error))
    if "No space left on device" in text or getattr(error, "errno", None) == 28:
        free = shutil.disk_usage(run).free / 1e6
        return f"the disk that holds {run} is full ({free:.0f} MB left); free some space and run the same command again"
    if name == "DeadKernelError":
        return "the notebook's kernel died, most likely for want of memory; run fewer steps at once with --workers"
    first = next((line for line in text.splitlines() if line.strip()), "no message")
    return first if name in ("ValueError", "AssetError", "ParamsError") else f"{name}: {first}"


def _execute(run: Path, job: dict[str, Any]) -> dict[str, Any]:
    """Run the notebook on a copy in the run folder and return what it cost."""
    import papermill
    from nbclient.exceptions import DeadKernelError

    started, clock, energy = datetime.now(UTC), time.perf_counter(), hardware.joules()
    source = paths.project() / "notebooks" / f"{job['notebook']}.ipynb"
    for attempt in range(1, STARTS + 1):
        try:
            papermill.execute_notebook(
                source, run / records.NOTEBOOK, job["parameters"],
                kernel_name="python3", cwd=str(run), progress_bar=False, log_output=True,
            )  # fmt: skip
            break
        except (DeadKernelError, RuntimeError) as error:
            if "before replying" not in str(error) or attempt == STARTS:
                raise
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - clock, 2),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "peak_memory": used.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "joules": _taken(energy, hardware.joules()),
    }


def _taken(before: float | None, after: float | None) -> float | None:
    """Energy between two readings; None where there is none, or where the counter has begun anew."""
    return None if before is None or after is None or after < before else round(after - before, 1)


def _clear(run: Path) -> None:
    """Remove what an interrupted run left behind."""
    for path in run.iterdir():
        if path.name in (LOCK, records.STEP, records.LOG):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _leave_with_parent() -> None:
    """End this process when the worker that started it is gone, so that no step runs twice."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
