"""The same items on both sides. What is not the same is left out and said, or refused; never dropped in silence."""

import fnmatch
from dataclasses import dataclass

import polars as pl

from unicomp_lib.compare.side import Side, higher_is_better
from unicomp_lib.study.hints import count, meant

ANSWERS = ["value", "answer", "prompt_hash"]


@dataclass(frozen=True)
class Pair:
    """One task that both have: ``items`` with columns doc_id, cluster, question, target, a, b, answer_a, answer_b.

    ``c`` is the value of the rerun, null for an item that it lacks. ``left_out`` items of ``a`` or ``b`` have no
    partner or no number, and ``prompts`` items were asked with different prompts.
    """

    task: str
    metric: str
    items: pl.DataFrame
    higher: bool
    left_out: int
    prompts: int


def pair(
    a: Side, b: Side, rerun: Side | None = None, *, tasks: tuple[str, ...] = (), metric: str = "", items: int = 0
) -> tuple[list[Pair], list[str]]:
    """The tasks that both sides share, item by item, and a sentence for all that is not compared or not alike.

    ``tasks`` are globs, ``metric`` one metric in place of each task's own, ``items`` at most so many of each task.
    Raises a ``ValueError`` with the reasons where nothing can be compared.
    """
    for side in (a, b, rerun):
        if side is not None:
            _check_once(side)
    names, notes = _tasks(a, b, tasks)
    pairs: list[Pair] = []
    for task in names:
        try:
            found, said = _pair(a, b, rerun, task, metric, items)
        except ValueError as error:
            notes.append(str(error))
            continue
        pairs.append(found)
        notes += said
    if not pairs:
        raise ValueError(f"{a.name} and {b.name} have nothing to compare: {'; '.join(notes)}")
    return pairs, [*_settings(a, b, [each.task for each in pairs]), *notes, *_prompts(pairs)]


def check_rerun(pairs: list[Pair], rerun: Side) -> None:
    """Refuse a rerun that shares no item with any of the pairs, which says nothing of their noise."""
    if all(pair.items["c"].null_count() == len(pair.items) for pair in pairs):
        raise ValueError(
            f"the rerun {rerun.name} has none of the items that are compared; give a log of the same tasks and metrics"
        )


def _check_once(side: Side) -> None:
    twice = side.rows.group_by("task", "metric", "doc_id", maintain_order=True).len().filter(pl.col("len") > 1)
    if len(twice):
        row = twice.row(0, named=True)
        raise ValueError(
            f"{side.name} has item {row['doc_id']} of task {row['task']} {row['len']} times ({row['metric']}), so its "
            "log is of several runs or damaged; give the log of one run"
        )


def _tasks(a: Side, b: Side, globs: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Tasks of both, in the order of ``a``, and what is said of the others."""
    every = {side.name: side.rows["task"].unique(maintain_order=True).to_list() for side in (a, b)}
    known = list(dict.fromkeys(name for names in every.values() for name in names))
    for glob in globs:
        if not fnmatch.filter(known, glob):
            raise ValueError(
                f"--tasks {glob!r} matches no task of {a.name} and {b.name}; {meant(glob, known)} "
                f"they have {', '.join(known)}"
            )
    wanted = {name for name in known if not globs or any(fnmatch.fnmatch(name, glob) for glob in globs)}
    notes = []
    for side, other in ((a, b), (b, a)):
        alone = [name for name in every[side.name] if name in wanted and name not in every[other.name]]
        if alone:
            notes.append(f"only {side.name} has {', '.join(alone)}")
    return [name for name in every[a.name] if name in wanted and name in every[b.name]], notes


def _pair(a: Side, b: Side, rerun: Side | None, task: str, metric: str, items: int) -> tuple[Pair, list[str]]:
    chosen = _metric(a, b, task, metric)
    ours, theirs = (side.rows.filter(pl.col("task") == task, pl.col("metric") == chosen) for side in (a, b))
    on, by = _identity(ours, theirs)
    joined = _joined(ours, theirs, on)
    notes = [f"{task}: {by}"] if by else []
    if joined.is_empty():
        raise ValueError(
            f"{task}: no item of {a.name} is an item of {b.name} ({len(ours)} and {len(theirs)}, by "
            f"{' and '.join(on)}); evaluate both on the same version of the task"
        )
    for side, rows in ((a, ours), (b, theirs)):
        if len(rows) > len(joined):
            missing = len(rows) - len(joined)
            notes.append(f"{task}: {missing} of {count(len(rows), 'item')} of {side.name} have no partner; left out")
    moved = (pl.col("target_hash") != pl.col("target_hash_b")).fill_null(value=False)
    whole = pl.col("value").is_finite() & pl.col("value_b").is_finite()
    for what, rows in (
        ("have another target on each side", joined.filter(moved)),
        ("have no number on one side", joined.filter(~moved, ~whole.fill_null(value=False))),
    ):
        if len(rows):
            notes.append(f"{task}: {len(rows)} of {count(len(joined), 'item')} {what}; left out")
    kept = joined.filter(~moved, whole.fill_null(value=False))
    if kept.is_empty():
        raise ValueError(f"{task}: no item is left to compare: {'; '.join(notes)}")
    left_out = len(ours) + len(theirs) - len(joined) - len(kept)
    if items and len(kept) > items:
        notes.append(f"{task}: the first {items} of {len(kept)} items, as --items asks")
        kept = kept.head(items)
    prompts = int((kept["prompt_hash"] != kept["prompt_hash_b"]).fill_null(value=False).sum())
    if rerun is not None:
        kept, said = _with_rerun(kept, rerun, task, chosen)
        notes += said
    shown = kept.select(
        "doc_id", "cluster", "question", "target", a="value", b="value_b", c="c" if rerun else pl.lit(None, pl.Float64),
        answer_a="answer", answer_b="answer_b",
    )  # fmt: skip
    return Pair(task, chosen, shown, higher_is_better(chosen, a, b, task=task), left_out, prompts), notes


def _metric(a: Side, b: Side, task: str, asked: str) -> str:
    """The metric that counts: the one ``asked`` for, else the study's for this task, else the first that both have."""
    ours, theirs = (
        side.rows.filter(pl.col("task") == task)["metric"].unique(maintain_order=True).to_list() for side in (a, b)
    )
    both = [name for name in ours if name in theirs]
    if not both:
        raise ValueError(
            f"{task}: {a.name} has {', '.join(ours)} and {b.name} has {', '.join(theirs)}, so no metric is the same"
        )
    if not asked:
        return _own(task, both)
    matching = [name for name in both if asked in (name, name.partition(",")[0])]
    if not matching:
        raise ValueError(f"{task}: --metric {asked!r} is not among its metrics, {', '.join(both)}")
    return matching[0]


def _own(task: str, metrics: list[str]) -> str:
    from unicomp_lib.evaluate import task as definitions

    try:
        wanted = definitions.described(task)["metric"]
    except (ValueError, KeyError):
        return metrics[0]
    return next((name for name in metrics if name.partition(",")[0] == wanted), metrics[0])


def _identity(ours: pl.DataFrame, theirs: pl.DataFrame) -> tuple[list[str], str]:
    """The columns by which items are the same, and what is to be said of them.

    By the hash of the item, since its number depends on the order of the data; with its number too where an item
    occurs several times in the data.
    """
    hashed = not (ours["doc_hash"].has_nulls() or theirs["doc_hash"].has_nulls())
    if not hashed:
        return ["doc_id"], "a log has no hashes of its items, so they are paired by number alone"
    alike = any(rows["doc_hash"].n_unique() < len(rows) for rows in (ours, theirs))
    return (["doc_hash", "doc_id"], "") if alike else (["doc_hash"], "")


def _joined(ours: pl.DataFrame, theirs: pl.DataFrame, on: list[str]) -> pl.DataFrame:
    columns = [name for name in (*ANSWERS, "target_hash") if name not in on]
    other = theirs.select(*on, *(pl.col(name).alias(f"{name}_b") for name in columns))
    return ours.join(other, on=on, how="inner", maintain_order="left")


def _with_rerun(kept: pl.DataFrame, rerun: Side, task: str, metric: str) -> tuple[pl.DataFrame, list[str]]:
    rows = rerun.rows.filter(pl.col("task") == task, pl.col("metric") == metric, pl.col("value").is_finite())
    on, _ = _identity(kept, rows)
    with_c = kept.join(rows.select(*on, c="value"), on=on, how="left", maintain_order="left")
    missing = with_c["c"].null_count()
    return with_c, [f"{task}: the rerun lacks {missing} of {count(len(kept), 'item')}"] if missing else []


def _settings(a: Side, b: Side, tasks: list[str]) -> list[str]:
    """What should be equal on both sides and is not."""
    notes: dict[str, list[str]] = {}
    for task in tasks:
        ours, theirs = a.settings.get(task, {}), b.settings.get(task, {})
        for name in ours:
            if name in theirs and ours[name] != theirs[name]:
                said = f"{name} is {ours[name]} for {a.name} and {theirs[name]} for {b.name}"
                notes.setdefault(said, []).append(task)
    return [f"{', '.join(names)}: {said}" for said, names in notes.items()]


def _prompts(pairs: list[Pair]) -> list[str]:
    different = [each for each in pairs if each.prompts]
    if not different:
        return []
    items, asked = (sum(numbers) for numbers in zip(*((len(each.items), each.prompts) for each in different)))
    return [
        f"the prompts of {asked} of {items} items differ ({', '.join(each.task for each in different)}), so what is "
        "measured there is model and prompt together"
    ]
