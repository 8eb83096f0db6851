"""Dask's schedulers and workers on this machine as one starts them by hand, and what stands in for SLURM."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

from checkout import environment, wait_for

# Stands in for SLURM's sbatch: the job begins at once, on this machine.
SBATCH = """#!/bin/sh
[ "$1" = --test-only ] && exit 0
cp "$1" "$UNICOMP_JOBS/job-$$.sh"
setsid bash "$UNICOMP_JOBS/job-$$.sh" > "$UNICOMP_JOBS/job-$$.log" 2>&1 &
echo $! >> "$UNICOMP_JOBS/pids"
echo "Submitted batch job $$"
"""


def end_jobs(jobs: Path) -> None:
    """End what SBATCH has begun and noted in the folder ``jobs``."""
    pids = (jobs / "pids").read_text().split() if (jobs / "pids").exists() else []
    for pid in pids:
        with suppress(ProcessLookupError):
            os.killpg(int(pid), signal.SIGKILL)


@contextmanager
def dask(checkout, program, *arguments):
    """A scheduler or a worker of Dask, as one starts them by hand on two machines."""
    command = [str(Path(sys.executable).parent / "dask"), program, *arguments]
    with (checkout / f"{program}.log").open("a") as log:
        process = subprocess.Popen(command, cwd=checkout, env=environment(checkout), stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def dask_scheduler(checkout, *arguments):
    """A running scheduler and its address."""
    file = checkout / "scheduler.json"
    file.unlink(missing_ok=True)
    given = ["--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0", "--scheduler-file", str(file)]
    with dask(checkout, "scheduler", *given, *arguments) as process:
        wait_for(lambda: file.is_file() and file.read_text().strip().endswith("}"))
        yield process, json.loads(file.read_text())["address"]


def worker(checkout, address, *arguments):
    return dask(checkout, "worker", address, "--nthreads", "1", "--no-dashboard", *arguments)
