"""Variants with ``keep: false``: whose weights are removed when all that reads them is done, and made again."""

from collections.abc import Collection

from unicomp_lib.study import records
from unicomp_lib.study.status import FINISHED, state
from unicomp_lib.study.steps import Step
from unicomp_lib.study.worker import held


def again(waiting: list[Step], every: list[Step], known: dict[str, str], named: Collection[str] = ()) -> list[Step]:
    """``waiting`` with the dropped steps that they read, parents first, and with those that are asked for by name."""
    wanted = {step.name for step in waiting}
    for step in reversed(every):
        if step.name in named and _is_dropped(step.name, known):
            wanted.add(step.name)
        if step.name in wanted:
            wanted |= {parent for parent in step.parents if _is_dropped(parent, known)}
    others = {step.name for step in every}
    return [step for step in every if step.name in wanted] + [step for step in waiting if step.name not in others]


def _is_dropped(name: str, known: dict[str, str]) -> bool:
    return bool(records.dropped(records.folder(name, known[name])))


def release(
    every: list[Step], known: dict[str, str], *, of: Collection[str] | None = None, spared: Collection[str] = ()
) -> int:
    """Remove the weights that nothing of the plan ``every`` is still to read; the bytes that are free again.

    ``of``: of these steps alone; ``spared``: not of these. Weights that no step reads are what was asked for, and
    stay; so do those that a step that is running now reads, of whatever profile.
    """
    readers: dict[str, list[Step]] = {}
    for step in every:
        for parent in step.parents:
            readers.setdefault(parent, []).append(step)
    freed, busy = 0, None
    for step in every:
        if step.keeps or step.name in spared or (of is not None and step.name not in of) or step.name not in readers:
            continue
        if state(step, known) in FINISHED and all(state(reader, known) in FINISHED for reader in readers[step.name]):
            run = records.folder(step.name, known[step.name])
            busy = _busy() if busy is None else busy
            freed += 0 if run.name in busy else records.drop(run)
    return freed


def _busy() -> str:
    """What the running steps of all profiles are to do, as text: it names the folders that they read."""
    jobs = (lock.parent / records.STEP for lock in records.runs().glob(f"*/{records.LOCK}") if held(lock.parent))
    return "\n".join(job.read_text(encoding="utf-8") for job in jobs if job.is_file())
