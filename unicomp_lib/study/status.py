"""What has become of each step: done, failed, stale or missing."""

from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum

from unicomp_lib import locks
from unicomp_lib.study import records
from unicomp_lib.study.steps import Step


class State(StrEnum):
    """How a step stands: stale is one that finished with another key, with other packages, or from other inputs.

    Damaged is one whose files were read and are not what it wrote. Dropped is one that is done, and the weights of
    whose checkpoint were removed since nothing is to read them any more.
    """

    DONE = "done"
    STALE = "stale"
    FAILED = "failed"
    MISSING = "missing"
    DAMAGED = "damaged"
    DROPPED = "dropped"


FINISHED = (State.DONE, State.DROPPED)


def state(step: Step, keys: dict[str, str]) -> State:
    """The state of one step of a plan, whose ``keys`` are given by name."""
    run = records.folder(step.name, keys[step.name])
    if records.finished(run):
        return State.DROPPED if records.dropped(run) else State.DONE
    if records.failure(run):
        return State.FAILED
    return State.STALE if records.finished_before(step.name) else State.MISSING


def verify(steps: list[Step], keys: dict[str, str]) -> dict[str, str]:
    """Read every file of the finished steps; what is wrong, in half a sentence, by the names of damaged steps.

    Their records are withdrawn, so that they run again with all that has yet to read them.
    """
    damaged = {}
    for step in steps:
        run = records.folder(step.name, keys[step.name])
        if (run / records.RECORD).is_file() and (wrong := records.damage(run)):
            damaged[step.name] = wrong
            # Not of a step that runs now, and not where this user may not write: to say it is enough.
            with suppress(OSError), locks.held(run / records.LOCK, wait=False) as mine:
                if mine:
                    records.fail(run, f"{wrong}; it is to run again")
                    (run / records.RECORD).unlink()
    return damaged


def table(steps: list[Step], keys: dict[str, str], damaged: Mapping[str, str] | None = None) -> str:
    """A line for every step, with the reason where it failed or is ``damaged``, and one that counts the states."""
    wrong = damaged or {}
    states = {step.name: State.DAMAGED if step.name in wrong else state(step, keys) for step in steps}
    lines = []
    for name, of_step in states.items():
        failed = records.failure(records.folder(name, keys[name])) if of_step == State.FAILED else ""
        reason = wrong.get(name) or failed
        lines.append(f"{of_step:8} {name}{f'  {reason}' if reason else ''}")
    numbers = {kind: list(states.values()).count(kind) for kind in State}
    counts = [f"{n} {kind}" for kind, n in numbers.items() if n or kind not in (State.DAMAGED, State.DROPPED)]
    return "\n".join([*lines, ", ".join(counts)])
