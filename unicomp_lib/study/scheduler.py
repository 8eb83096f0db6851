"""Schedule steps on Dask: a cluster of processes on this machine, or any scheduler's address."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from unicomp_lib import files, hardware, locks
from unicomp_lib.study import preload, records, security, slurm, surroundings
from unicomp_lib.study.params import Cluster
from unicomp_lib.study.slurm import DEVICE
from unicomp_lib.study.steps import OUTPUT, Stage, Step, resolved
from unicomp_lib.study.worker import DIED, died, explanation, held, how

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client, Future

DONE, FAILED, BLOCKED = "done", "failed", "blocked"

# One process a core and one thread each is fastest here; a waiting OpenMP thread must not spin.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE",
    # glibc gives large blocks back to the system at once and faults them in again at the next matrix:
    # kept instead, a quarter of a fidelity cell's time is saved. The very largest, a batch's logits, still
    # go back: kept, they cost distillation a gigabyte more than they save it seconds.
    "MALLOC_MMAP_THRESHOLD_": str(2**27), "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How a step ended; ``reason`` is one sentence where it did not end well."""

    name: str
    state: str
    seconds: float = 0.0
    reason: str = ""


def run(
    steps: list[Step], keys: dict[str, str], *, forced: set[str], workers: int, scheduler: str | None = None,
    jobs: Cluster | None = None, limit: float | None = None, per_device: int = 1,
    seconds: Mapping[str, float] | None = None, opened: Callable[[str, int], None], ended: Callable[[Outcome], None],
) -> None:  # fmt: skip
    """Run ``steps``, parents first, and report each as it ends; ``forced`` ones run even if they are done.

    ``workers`` processes of this machine do the work, up to ``per_device`` with each accelerator, or those of the
    ``scheduler`` at an address, or SLURM ``jobs``. A step that fails blocks those that read it; all others go on. A
    worker that is lost is replaced and its step runs again. One that runs longer than ``limit`` seconds is ended, and
    has failed. What steps are known to take, in ``seconds``, decides which figures come first. ``opened`` is told the
    dashboard's address and the workers' number. Raises a ``ConnectionError`` where the scheduler cannot be reached, or
    is lost.
    """
    waiting = _ordered(steps, seconds or {})
    running: dict[Future, Step] = {}
    states: dict[str, str] = {}

    def report(outcome: Outcome) -> None:
        states[outcome.name] = outcome.state
        ended(outcome)

    with _client(workers, scheduler, jobs) as client:
        opened(client.dashboard_link, _room(client, jobs).computing)
        while waiting or running:
            while blocked := _blocked(waiting, states):
                step, parent = blocked
                report(Outcome(step.name, BLOCKED, reason=f"it reads {parent}, which did not finish"))
                waiting = [pair for pair in waiting if pair[0] != step]
            room = _room(client, jobs)
            unread = _unread(steps, states, [step for step, _ in waiting] + list(running.values()))
            for step in _startable(waiting, list(running.values()), room, unread):
                needs = {DEVICE: 1} if room.devices and step.computes else None
                job = _job(step, keys, step.name in forced, limit) | {"per_device": per_device}
                name = f"{step.name}-{job['key']}"
                running[client.submit(run_job, job, key=name, pure=False, resources=needs)] = step
            waiting = [pair for pair in waiting if pair[0] not in running.values()]
            for future in _first_ended(list(running)):
                report(_outcome(future, running.pop(future).name))


def _blocked(waiting: list[tuple[Step, list[str]]], states: dict[str, str]) -> tuple[Step, str] | None:
    """The first step that reads one that did not finish, and the name of that one."""
    pairs = ((step, parent) for step, _ in waiting for parent in step.parents)
    return next(((step, parent) for step, parent in pairs if states.get(parent, DONE) != DONE), None)


class Room(NamedTuple):
    """How many steps may run a model at once, how many may run in all, and whether workers offer accelerators."""

    computing: int
    steps: int
    devices: bool


def _room(client: "Client", jobs: Cluster | None) -> Room:
    if jobs:  # as many as may come, since jobs are asked for only while steps wait for them
        return Room(jobs.jobs, jobs.jobs * (2 if jobs.gpus else 1), bool(jobs.gpus))
    known = client.scheduler_info(n_workers=-1)["workers"].values()
    threads = sum(worker["nthreads"] for worker in known)
    devices = int(sum(worker["resources"].get(DEVICE, 0) for worker in known))
    return Room(devices or threads, threads, bool(devices))


def _unread(steps: list[Step], states: dict[str, str], unfinished: list[Step]) -> int:
    """How many checkpoints that are not kept were made in this run and are still to be read."""
    read = {parent for step in unfinished for parent in step.parents}
    return sum(not step.keeps and states.get(step.name) == DONE and step.name in read for step in steps)


def _startable(waiting: list[tuple[Step, list[str]]], running: list[Step], room: Room, unread: int = 0) -> list[Step]:
    """The first steps in line that have all they read, as many as there are free places.

    Of checkpoints that are not kept there are no more at once than steps that run a model, ``unread`` of them being
    there: else all would be made before the first is dropped. Beside a step that measures time, no other one runs a
    model: where it is next in line, it waits until the others have ended, and none is started before it. Once they
    have, all that are the last to read a checkpoint come first.

    The line is kept here and not by Dask, which shares out all that could run at once. It takes a step it
    has not seen before for half a second's work, and one worker then stood idle while others had a queue.
    """
    unfinished = {step.name for step, _ in waiting} | {step.name for step in running}
    ready = [step for step, after in waiting if not unfinished & {*step.parents, *after}]
    if not any(step.computes for step in running):
        readers = Counter(parent for step in (*(step for step, _ in waiting), *running) for parent in step.parents)
        ready.sort(key=lambda step: not (step.exclusive and 1 in map(readers.get, step.parents)))
    chosen: list[Step] = []
    most, draining = max(room.computing, 1), False
    for step in ready:
        now = [*running, *chosen]
        if len(now) >= max(room.steps, 1):
            break
        computing = [other for other in now if other.computes]
        fits = step.keeps or unread + sum(not other.keeps for other in now) < most
        if step.exclusive and computing:
            draining = True
        alone = draining or any(other.exclusive for other in computing)
        if not step.computes or (len(computing) < most and fits and not alone):
            chosen.append(step)
    # A checkpoint that is not kept may be made of another one, which then is not dropped before.
    return chosen or ([] if running else ready[:1])


def _job(step: Step, keys: dict[str, str], forced: bool, limit: float | None) -> dict[str, Any]:
    """What a worker needs to know of a step, and ``step.json`` holds."""
    key = keys[step.name]
    return {
        "name": step.name, "notebook": step.notebook, "key": key, "forced": forced, "limit": limit,
        "parameters": resolved(step, keys), "run": str(records.folder(step.name, key)),
    }  # fmt: skip


def _first_ended(running: list["Future"]) -> Iterable["Future"]:
    """Steps that have ended; none after some seconds, since workers may have come meanwhile."""
    from distributed import CancelledError, wait

    try:
        return wait(running, timeout=3, return_when="FIRST_COMPLETED").done if running else ()
    except TimeoutError:
        return ()
    except CancelledError as error:
        raise ConnectionError(
            "the Dask scheduler is gone; finished steps are kept, start it again and run the same command"
        ) from error


def _outcome(future: "Future", name: str) -> Outcome:
    error = future.exception()
    return Outcome(name, FAILED, reason=f"its worker was lost: {error}") if error else future.result()


def run_job(job: dict[str, Any]) -> Outcome:
    """On a worker: run one step in a process of its own, and before it those it reads whose files are not as written.

    These files are read whole for that, and nothing wrong in them reaches a result. A step whose process or kernel
    died of a signal is tried once more. Of one whose weights were dropped, these alone are made again.
    """
    run = Path(job["run"])
    if records.dropped(run) and records.finished(run) and not job["forced"]:
        return _weights_again(job)
    try:
        for parent in records.read_by(job):
            wrong = records.damage(parent) or ("its weights were dropped" if records.dropped(parent) else "")
            if wrong and (reason := _again(parent, wrong, job.get("per_device", 1))):
                return Outcome(job["name"], FAILED, reason=reason)
        files.write_text(run / records.STEP, json.dumps(job, indent=1))
        (run / records.FAILURE).unlink(missing_ok=True)
        if held(run):
            _tell(f"{job['name']} is waiting for another run that holds {run}")
        codes = [_attempt(job)]
        if died(codes[0]) or codes[0] == DIED:
            _tell(f"{job['name']} is tried once more: {records.failure(run) or _ended(codes[0], run)}")
            codes.append(_attempt(job))
    except OSError as error:
        return Outcome(job["name"], FAILED, reason=explanation(error, run.parent))
    record = records.written(run)  # what it has read may have been made again since
    if record and codes[-1] == 0:  # a forced step that died before it had begun left its old record
        return Outcome(job["name"], DONE, record["seconds"])
    twice = "; it was tried twice" if len(codes) > 1 else ""
    return Outcome(job["name"], FAILED, reason=(records.failure(run) or _ended(codes[-1], run)) + twice)


def _weights_again(job: dict[str, Any]) -> Outcome:
    """Run a step whose weights were dropped in a folder of its own, and take these over: what is done stays done."""
    run = Path(job["run"])
    folder = run.with_name(f"{run.name}.again")
    try:
        with locks.held(run / records.LOCK):
            if not records.dropped(run):  # another process has made them meanwhile
                return Outcome(job["name"], DONE)
            folder.mkdir(exist_ok=True)
            given = {**job["parameters"], OUTPUT: str(folder)}
            outcome = run_job({**job, "run": str(folder), "parameters": given})
            if outcome.state == DONE:
                if other := records.restore(run, folder):
                    _tell(
                        f"{job['name']}: {other}, made again, is not what it was; results so far are of the one before"
                    )
                shutil.rmtree(folder, ignore_errors=True)
            return outcome
    except OSError as error:
        return Outcome(job["name"], FAILED, reason=explanation(error, run.parent))


def _again(parent: Path, wrong: str, per_device: int) -> str:
    """Run a finished step of which something is ``wrong`` again, where the step that reads it was to run.

    Returns why that did not help, or nothing.
    """
    job = records.job(parent)
    if job is None:
        (parent / records.RECORD).unlink(missing_ok=True)
        return f"it reads {parent.name}, but {wrong}; run the same command again"
    _tell(f"{job['name']} runs again, since {wrong}")
    outcome = run_job(job | {"forced": False, "per_device": per_device})
    if outcome.state == DONE:
        return ""
    return f"{job['name']} had to run again, since {wrong}, and failed: {outcome.reason}"


def _attempt(job: dict[str, Any]) -> int:
    """Run a step in a process of its own; its exit code, negative for the signal that it died of."""
    run, env = Path(job["run"]), _environment(job.get("per_device", 1))
    if (code := preload.step(run, forced=job["forced"], env=env)) is not None:
        return code
    command = [sys.executable, "-m", "unicomp_lib.study.worker", str(run), "--parent", str(os.getpid())]
    with (run / records.LOG).open("ab") as log:
        given = [*command, *(["--forced"] if job["forced"] else [])]
        return subprocess.run(given, stdout=log, stderr=log, env=env, cwd=run).returncode


def _tell(text: str) -> None:
    """Print a line where the study was started."""
    from distributed import get_worker

    try:
        get_worker().log_event("print", f"note: {text}")
    except ValueError:  # this is no worker
        print(f"note: {text}")


def _ended(code: int, run: Path) -> str:
    return f"its process {how(code)}; see {run / records.LOG}"


def _environment(per_device: int = 1) -> dict[str, str]:
    # Runs read the cache that prefetch fills, so that a cluster's nodes need no network.
    own = {**ENVIRONMENT, **hardware.threads(per_device), **_own_device()}
    return {"HF_HUB_OFFLINE": "1", **surroundings.of_step(os.environ), **own}


def _own_device() -> dict[str, str]:
    """The accelerator of this worker, where this machine has several; a cluster's scheduler sees to its own.

    Workers get them in turn, so that as many share each.
    """
    from distributed import get_worker

    devices = hardware.devices()
    if len(devices) < 2:
        return {}
    name = get_worker().name  # a LocalCluster counts its workers from 0
    return {hardware.visible(): devices[name % len(devices)]} if isinstance(name, int) else {}


def _wanted(steps: list[Step], seconds: Mapping[str, float]) -> dict[str, int]:
    """For each step that a figure needs, that figure's place in line; of several, the first.

    Figures stand in line by the seconds that all they need is known to take, or else as in the profile.
    """
    known = {step.name: step for step in steps}
    behind: list[tuple[float, set[str]]] = []
    for figure in (step for step in steps if step.stage == Stage.FIGURES):
        needed, found = [figure.name], set[str]()
        while needed:
            if (name := needed.pop()) in known and name not in found:
                found.add(name)
                needed += known[name].parents
        behind.append((sum(seconds.get(name, 0.0) for name in found), found))
    places: dict[str, int] = {}
    for place, (_, names) in enumerate(sorted(behind, key=lambda pair: pair[0])):
        places = dict.fromkeys(names, place) | places
    return places


def _ordered(steps: list[Step], seconds: Mapping[str, float]) -> list[tuple[Step, list[str]]]:
    """Each step with those it must only follow, in the order to start them in.

    What people wait for comes first: what can be drawn, then all that the figure needs that takes least (``seconds``
    of the steps, as far as they are known), and so on.

    A step that measures time runs by itself: after everything that does not read it, one after the other. One of a
    checkpoint that is not kept does not wait for all else, since the checkpoint would have to.
    """
    below: set[str] = set()  # exclusive steps and all that read them
    for step in steps:
        if step.exclusive or below & set(step.parents):
            below.add(step.name)
    free = [step.name for step in steps if step.name not in below]
    passing = {step.name for step in steps if not step.keeps}
    pairs: list[tuple[Step, list[str]]] = []
    last: list[str] = []
    for step in steps:
        late = step.exclusive and not passing & {*step.parents}
        pairs.append((step, [*free, *last] if late else []))
        if late:
            last = [step.name]
    wanted, drawn = _wanted(steps, seconds), (Stage.SCORES, Stage.FIGURES)
    return sorted(pairs, key=lambda pair: (pair[0].stage not in drawn, wanted.get(pair[0].name, len(steps))))


@contextmanager
def _client(workers: int, scheduler: str | None, jobs: Cluster | None) -> "Iterator[Client]":
    import dask
    from distributed import Client, LocalCluster

    dask.config.set({
        "distributed.comm.timeouts.connect": "60s", "distributed.admin.log-format": "%(message)s",
        "distributed.worker.profile.enabled": False,  # its samples of a worker that only waits cost it a fiftieth
    })  # fmt: skip
    if scheduler:
        with security.connect(scheduler) as client:
            yield client
        return
    offered = slurm.local_resources()
    cluster = slurm.cluster(jobs) if jobs else LocalCluster(
        # Beside a step on its accelerator a worker has room for one that draws or scores.
        n_workers=workers, threads_per_worker=2 if offered else 1, resources=offered, security=security.temporary(),
        memory_limit=0, dashboard_address="127.0.0.1:0", silence_logs=50,
    )  # fmt: skip
    with cluster as opened, Client(opened) as client:
        yield client
