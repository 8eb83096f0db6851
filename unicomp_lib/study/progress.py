"""What the terminal shows of a run: every step as it ends, elapsed and remaining time."""

import json
import sys
import time
from collections.abc import Mapping
from statistics import fmean
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from unicomp_lib.study import records, scheduler
from unicomp_lib.study.hints import count
from unicomp_lib.study.steps import Step

MARKS = {
    scheduler.DONE: "[green]done   [/]",
    scheduler.FAILED: "[red]failed [/]",
    scheduler.BLOCKED: "[yellow]blocked[/]",
}

# The first steps of a fresh checkout pay for downloads and cold disks: a machine's pace shows after some minutes.
PRIOR_SECONDS = 600.0


class Duration(NamedTuple):
    """How long a finished step took."""

    name: str
    notebook: str
    seconds: float


class Reporter:
    """Prints outcomes, and keeps what is needed to estimate the time left.

    ``history`` is of runs that finished before, ``elsewhere`` the seconds by step behind the figures there are.
    """

    def __init__(self, steps: list[Step], history: list[Duration], elsewhere: Mapping[str, float]) -> None:
        self.outcomes: list[scheduler.Outcome] = []
        self._waiting = {step.name: step for step in steps}
        self._notebooks = {step.name: step.notebook for step in steps}
        self._seen = list(history)
        self._elsewhere = elsewhere
        self._workers = 1
        self._start = time.monotonic()
        self._console = Console(highlight=False, soft_wrap=True)
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}")
        self._bar = Progress(*columns, console=self._console, transient=True, disable=not sys.stdout.isatty())
        self._task = self._bar.add_task("steps", total=len(steps), left="")

    def __enter__(self) -> "Reporter":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def opened(self, address: str, workers: int) -> None:
        """The engine is up, with so many workers."""
        self._workers = max(workers, 1)
        size = f"{count(len(self._waiting), 'step')} on {count(self._workers, 'worker')}"
        self._console.print(f"{size}; dashboard at {address}")

    def ended(self, outcome: scheduler.Outcome) -> None:
        """A step has ended."""
        self.outcomes.append(outcome)
        self._waiting.pop(outcome.name)
        if outcome.state == scheduler.DONE:
            self._seen.append(Duration(outcome.name, self._notebooks[outcome.name], outcome.seconds))
        passed, left = clock(time.monotonic() - self._start), self._left()
        position = f"{len(self.outcomes)}/{len(self._notebooks)}"
        tail = f": {outcome.reason}" if outcome.reason else f" in {outcome.seconds:.0f} s"
        mark = MARKS[outcome.state]
        self._console.print(f"{mark} {outcome.name}{tail}  [dim]{position}, {passed} passed, {left} left[/]")
        self._bar.update(self._task, advance=1, left=f"{passed} passed, about {left} left")

    def _left(self) -> str:
        seconds = remaining(list(self._waiting.values()), self._seen, self._elsewhere, self._workers)
        return "unknown" if seconds is None else clock(seconds)


def remaining(steps: list[Step], seen: list[Duration], elsewhere: Mapping[str, float], workers: int) -> float | None:
    """Seconds until ``steps`` are done.

    A step counts as much as it took in the run ``elsewhere``, at this machine's pace with its notebook. One
    that is not of that run counts as the mean of its notebook's steps ``seen``, else as that of all; None when
    there are none. Exclusive steps use one worker, all others share them.
    """
    expected = _expected(steps, seen, elsewhere)
    if expected is None:
        return None
    alone = sum(seconds for step, seconds in expected if step.exclusive)
    return alone + sum(seconds for step, seconds in expected if not step.exclusive) / workers


def expected(steps: list[Step], seen: list[Duration], elsewhere: Mapping[str, float]) -> dict[str, float]:
    """Seconds of each step that has run before, here under any key or in the run ``elsewhere``; of others nothing."""
    here = {finished.name: finished.seconds for finished in seen}
    of_run = _expected([step for step in steps if step.name in elsewhere], seen, elsewhere) or []
    known = {step.name: seconds for step, seconds in of_run}
    return {step.name: known.get(step.name, here.get(step.name, 0.0)) for step in steps if step.name in {*known, *here}}


def _expected(
    steps: list[Step], seen: list[Duration], elsewhere: Mapping[str, float]
) -> list[tuple[Step, float]] | None:
    if not seen and any(step.name not in elsewhere for step in steps):
        return None
    notebooks = {step.notebook for step in steps}
    here = {name: [finished for finished in seen if finished.notebook == name] for name in notebooks}
    overall = _pace(seen, elsewhere, 1.0)
    paces = {name: _pace(here[name], elsewhere, overall) for name in notebooks}
    means = {name: fmean(finished.seconds for finished in here[name] or seen) for name in notebooks if seen}
    return [
        (step, elsewhere[step.name] * paces[step.notebook] if step.name in elsewhere else means[step.notebook])
        for step in steps
    ]


def _pace(seen: list[Duration], elsewhere: Mapping[str, float], prior: float) -> float:
    """Time taken here over that taken elsewhere by the same steps, as if ``PRIOR_SECONDS`` more had shown ``prior``."""
    both = [(finished.seconds, elsewhere[finished.name]) for finished in seen if finished.name in elsewhere]
    return (prior * PRIOR_SECONDS + sum(ours for ours, _ in both)) / (PRIOR_SECONDS + sum(theirs for _, theirs in both))


def history() -> list[Duration]:
    """What all finished runs of this checkout took."""
    durations = []
    for path in records.runs().glob(f"*/{records.RECORD}"):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            durations.append(Duration(record["name"], record["notebook"], float(record["seconds"])))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
    return durations


def clock(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
