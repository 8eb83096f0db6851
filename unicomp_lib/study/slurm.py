"""Workers as jobs of a batch system."""

import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from unicomp_lib import hardware
from unicomp_lib.study import records, security
from unicomp_lib.study.params import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dask_jobqueue.slurm import SLURMCluster

SYSTEMS = ("slurm",)
DEVICE = "DEVICE"  # the resource that a step on an accelerator takes and a worker with one offers


@contextmanager
def cluster(wanted: Cluster) -> "Iterator[SLURMCluster]":
    """A Dask cluster whose workers are SLURM jobs, as the ``cluster`` section of a profile says.

    A job is one worker with at most one accelerator. It takes one step after another, so that small cells
    share one wait in the queue; new jobs are asked for as long as steps wait, also in place of those whose
    time has run out. All speak TLS with a key that only this run's jobs can read. Raises a ``ValueError`` where
    this machine cannot submit jobs, or SLURM would refuse them.
    """
    import dask
    from dask_jobqueue.slurm import SLURMCluster

    if not shutil.which("sbatch"):
        raise ValueError(
            "--cluster slurm needs the command sbatch, which this machine does not have; run it on a login node of "
            "the cluster, or leave --cluster out to use this machine"
        )
    settings = {
        # A step is worth a job of its own; Dask takes what it has not seen yet for half a second's work.
        "distributed.scheduler.unknown-task-duration": "10m",
        # The scheduler's address is that of the network, but its dashboard listens on this machine alone.
        "distributed.dashboard.link": dask.config.get("distributed.dashboard.link").replace("{host}", "127.0.0.1"),
    }
    with (
        dask.config.set(settings), security.stored(records.runs() / "cluster") as keys,
        SLURMCluster(**_options(wanted), security=keys) as made,
    ):  # fmt: skip
        # Asked here, since a job that is refused later is a line in Dask's log and a wait without end.
        asked = subprocess.run(["sbatch", "--test-only"], input=made.job_script(), capture_output=True, text=True)
        if asked.returncode:
            reason = (asked.stderr.strip().splitlines() or ["it gave no reason"])[-1]
            raise ValueError(
                f"SLURM refuses the job that the profile's section cluster describes ({reason}); correct the section"
            )
        made.adapt(minimum_jobs=0, maximum_jobs=wanted.jobs)
        yield made


def _options(wanted: Cluster) -> dict[str, Any]:
    device = ["--resources", f"{DEVICE}={wanted.gpus}"] if wanted.gpus else []
    return {
        "job_name": "unicomp", "queue": wanted.partition or None, "account": wanted.account or None,
        "walltime": wanted.time, "interface": wanted.interface or None, "python": sys.executable,
        # Beside a step on the accelerator a worker has room for one that draws or scores.
        "cores": 2 if wanted.gpus else 1, "processes": 1, "job_cpu": wanted.cores, "memory": wanted.memory,
        "job_extra_directives": [*([f"--gres=gpu:{wanted.gpus}"] if wanted.gpus else []), *wanted.extra],
        "job_script_prologue": wanted.prologue, "log_directory": str(records.runs() / "cluster"),
        # A worker's own dashboard would be open to the whole network, and the scheduler's says enough.
        "worker_extra_args": ["--no-dashboard", *device],
        "scheduler_options": {"dashboard_address": "127.0.0.1:0"},
    }  # fmt: skip


def local_resources() -> dict[str, int]:
    """What a worker on this machine offers: an accelerator where it has any, its own or its share of one."""
    return {DEVICE: 1} if hardware.devices() else {}
