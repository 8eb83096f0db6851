"""From a finished run: how many items of which task to ask for in a given time, and what a profile will show."""

import argparse
from collections.abc import Iterator
from typing import Any

import polars as pl

from unicomp_lib import results, tables
from unicomp_lib.evaluate import design, harness, task
from unicomp_lib.evaluate.tasks import items
from unicomp_lib.study import params, records
from unicomp_lib.study.plan import ITEMS, plan
from unicomp_lib.study.steps import Stage, Step, keys

DENSE_TIMES = 5  # items of dense, at most, for each that a variant is asked


def show(options: argparse.Namespace) -> int:
    """Print a design for one dimension of a profile, and what its intervals can be expected to show."""
    profile = params.load(options.profile)
    if not 0 < options.minutes < float("inf"):
        raise ValueError(f"--minutes {options.minutes:g} is not allowed; give a number above 0")
    if options.workers < 1:
        raise ValueError(f"--workers {options.workers} is not allowed; give a whole number above 0")
    steps = plan(profile)
    cells = [step for step in steps if step.stage == Stage.EVALUATE and step.topic == options.dimension]
    asked: dict[str, int] = profile.evaluations[options.dimension].parameters.get("tasks", {}) if cells else {}
    if not asked:
        having = [name for name, evaluation in profile.evaluations.items() if "tasks" in evaluation.parameters]
        raise ValueError(
            f"{options.dimension} of profile {profile.name} has no tasks; allowed are {', '.join(having) or 'none'}"
        )
    rows, costs = _run(cells, keys(steps), f"{profile.option} --only 'evaluate/*/{options.dimension}'")
    sizes = {name: _size(name, asked[name], str(cells[0].parameters.get("data_dir", ""))) for name in asked}
    known = design.known(rows, costs, sizes)
    if left := [name for name in asked if name not in {one.task for one in known}]:
        print(f"not measured by that run, and so left out: {', '.join(left)}")
    seconds = 60 * options.minutes * options.workers / len(cells)
    numbers = design.allocate(known, seconds)
    present = {one.task: asked[one.task] or one.largest for one in known}
    _print(known, present, numbers, f"{len(cells)} cells, {seconds:.0f} CPU seconds each")
    return 0


def expected(profile: params.Profile) -> Iterator[str]:
    """A line for each dimension with tasks: the half-widths of retention that its numbers of items will give.

    By the published item rows of the same profile; there is none where it has none yet.
    """
    for dimension, evaluation in profile.evaluations.items():
        asked: dict[str, int] = evaluation.parameters.get("tasks", {})
        published = sorted((results.folder(profile.name) / "items").glob(f"*.{dimension}.parquet"))
        if not asked or not published:
            continue
        rows = pl.concat([tables.read(path) for path in published])
        rows = rows.filter(pl.col("model") == rows["model"].first(), pl.col("task").is_in(list(asked)))
        there = dict(rows.group_by("task").agg(pl.col("doc_id").n_unique()).iter_rows())
        free = pl.DataFrame({"task": list(there), "items": 1, "seconds": 0.0})  # costs play no part here
        known = design.known(rows, free, there)
        numbers = {one.task: asked[one.task] or one.largest for one in known}
        widths = design.half_widths(known, numbers).items()
        if shown := [f"{capability} {100 * width:.0f}" for capability, width in widths if width == width]:
            yield f"expected half-width of retention in {dimension}, in points: {', '.join(shown)}"


def _run(cells: list[Step], known: dict[str, str], option: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Item rows of the finished cells, and the costs of dense's tasks."""
    folders = {step.name: records.folder(step.name, known[step.name]) for step in cells}
    done = [step for step in cells if records.finished(folders[step.name])]
    dense = [step for step in done if step.cell and step.cell.variant == params.DENSE]
    if not dense or len({step.cell.variant for step in done if step.cell} - {params.DENSE, params.RERUN}) < 1:
        raise ValueError(
            f"a design needs dense and a compressed model of a finished run; first run: nox -s reproduce --{option}"
        )
    rows = pl.concat([tables.read(folders[step.name] / ITEMS) for step in done])
    costs = pl.concat([tables.read(folders[step.name] / harness.COSTS) for step in dense])
    return rows.filter(model=rows["model"][0]), costs


def _size(name: str, asked: int, data_dir: str) -> int:
    """How many items a task has; of tasks whose items have no random order, as many as it is asked."""
    return len(items.items(task.source(name), data_dir)) if task.is_own(name) else asked


def _print(known: list[design.Known], present: dict[str, int], numbers: dict[str, int], about: str) -> None:
    print(f"{about}\n\n{'task':<28}{'items':>7}{'now':>7}{'of':>7}{'s/item':>9}{'above':>8}{'sigma':>8}")
    for one in sorted(known, key=lambda one: (one.capability, one.task)):
        facts: tuple[Any, ...] = (numbers[one.task], present[one.task], one.largest)
        print(f"{one.task:<28}{facts[0]:>7}{facts[1]:>7}{facts[2]:>7}", end="")
        print(f"{one.seconds:>9.3f}{100 * one.above:>8.1f}{100 * one.sigma:>8.1f}")
    print(f"\n{'half-width of retention':<28}{'then':>7}{'now':>7}")
    then, now = (design.half_widths(known, given) for given in (numbers, present))
    for capability, width in then.items():
        shown = (f"{100 * value:.0f}" if value == value else "–" for value in (width, now[capability]))
        print("{:<28}{:>7}{:>7}".format(capability, *shown))
    dense = {one.task: min(one.largest, DENSE_TIMES * numbers[one.task]) for one in known}
    print("\nabove: dense's score above chance, sigma: what its answers leave open of a variant's, in points;")
    print("–: dense is not clearly above chance, or no task is asked; such tasks have the least items.")
    for title, given in (("tasks", numbers), ("dense", {name: n for name, n in dense.items() if n > numbers[name]})):
        print(f"    {title}:")
        print("\n".join(f"      {name}: {number}" for name, number in given.items()))
