"""What has become of each step: done, failed, stale or missing."""

from enum import StrEnum

from unicomp_lib.study import records
from unicomp_lib.study.steps import Step


class State(StrEnum):
    """How a step stands: stale is one that finished with another key, or with other packages."""

    DONE = "done"
    STALE = "stale"
    FAILED = "failed"
    MISSING = "missing"


def state(step: Step, keys: dict[str, str]) -> State:
    """The state of one step of a plan, whose ``keys`` are given by name."""
    run = records.folder(step.name, keys[step.name])
    if records.finished(run):
        return State.DONE
    if records.failure(run):
        return State.FAILED
    return State.STALE if records.finished_before(step.name) else State.MISSING


def table(steps: list[Step], keys: dict[str, str]) -> str:
    """A line for every step, with the reason where it failed, and one that counts the states."""
    states = {step.name: state(step, keys) for step in steps}
    lines = []
    for name, of_step in states.items():
        reason = f"  {records.failure(records.folder(name, keys[name]))}" if of_step == State.FAILED else ""
        lines.append(f"{of_step:8} {name}{reason}")
    counts = [f"{list(states.values()).count(kind)} {kind}" for kind in State]
    return "\n".join([*lines, ", ".join(counts)])
