"""What the terminal shows of a run: every step as it ends, elapsed and remaining time."""

import sys
import time
from statistics import fmean

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from unicomp_lib import engine
from unicomp_lib.steps import Step

MARKS = {engine.DONE: "[green]done   [/]", engine.FAILED: "[red]failed [/]", engine.BLOCKED: "[yellow]blocked[/]"}


class Reporter:
    """Prints outcomes, and keeps what is needed to estimate the time left.

    ``history`` holds the seconds of finished runs by notebook, ``elsewhere`` those behind the figures there are.
    """

    def __init__(self, steps: list[Step], history: dict[str, list[float]], elsewhere: dict[str, list[float]]) -> None:
        self.outcomes: list[engine.Outcome] = []
        self._waiting = {step.name: step for step in steps}
        self._notebooks = {step.name: step.notebook for step in steps}
        self._durations = {notebook: list(values) for notebook, values in history.items()}
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
        self._console.print(f"{len(self._waiting)} steps on {self._workers} workers; dashboard at {address}")

    def ended(self, outcome: engine.Outcome) -> None:
        """A step has ended."""
        self.outcomes.append(outcome)
        self._waiting.pop(outcome.name)
        if outcome.state == engine.DONE:
            self._durations.setdefault(self._notebooks[outcome.name], []).append(outcome.seconds)
        passed, left = clock(time.monotonic() - self._start), self._left()
        count = f"{len(self.outcomes)}/{len(self._notebooks)}"
        tail = f": {outcome.reason}" if outcome.reason else f" in {outcome.seconds:.0f} s"
        mark = MARKS[outcome.state]
        self._console.print(f"{mark} {outcome.name}{tail}  [dim]{count}, {passed} passed, {left} left[/]")
        self._bar.update(self._task, advance=1, left=f"{passed} passed, about {left} left")

    def _left(self) -> str:
        seconds = remaining(list(self._waiting.values()), self._durations, self._elsewhere, self._workers)
        return "unknown" if seconds is None else clock(seconds)


def remaining(
    steps: list[Step], durations: dict[str, list[float]], elsewhere: dict[str, list[float]], workers: int
) -> float | None:
    """Seconds until ``steps`` are done, from the mean duration of their notebooks so far.

    A notebook not seen yet counts as much as in the run ``elsewhere``, at this machine's pace: what it took
    for the notebooks of both, over what they took there. In neither, it counts as the mean of all seen; None
    when nothing has been seen. Exclusive steps use one worker, all others share them.
    """
    if not steps:
        return 0.0
    here, there = _means(durations), _means(elsewhere)
    both = here.keys() & there.keys()
    pace = sum(here[name] for name in both) / sum(there[name] for name in both) if both else 1.0
    known = {name: seconds * pace for name, seconds in there.items()} | here
    if not known:
        return None
    unknown = fmean(value for values in (durations or elsewhere).values() for value in values)
    expected = [(step.exclusive, known.get(step.notebook, unknown)) for step in steps]
    alone = sum(seconds for exclusive, seconds in expected if exclusive)
    return alone + sum(seconds for exclusive, seconds in expected if not exclusive) / workers


def _means(durations: dict[str, list[float]]) -> dict[str, float]:
    return {notebook: fmean(values) for notebook, values in durations.items()}


def clock(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
