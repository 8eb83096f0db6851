"""What each column of the published tables means, and its unit."""

import re
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from unicomp_lib import files

# Unit and meaning. "" is no unit; "metric's" the unit of the row's metric (``figures.units``).
COLUMNS: dict[str, tuple[str, str]] = {
    "model": ("", "model of the profile"),
    "method": ("", "compression method"),
    "variant": ("", "name of the compressed model in the profile"),
    "calibration": ("", "text that the method was calibrated on; empty where it reads none"),
    "seed": ("", "seed of the calibration text; empty where none is drawn, and in scores of the mean over seeds"),
    "label": ("", "name of the variant in figures"),
    "sibling": ("", "variant that differs in its calibration text alone"),
    "rate": ("share", "weights that are pruned"),
    "schedule": ("", "of pruned networks: one-shot or iterative"),
    "control": ("", "why a variant is no method of its own, such as rerun"),
    "dimension": ("", "performance, reliability, fidelity, served, efficiency or vision"),
    "capability": ("", "what a task asks for, such as knowledge"),
    "task": ("", "task by name; all: over tasks"),
    "format": ("", "how a task is asked: cloze, letter or generate"),
    "metric": ("", "what is measured"),
    "unit": ("", "unit of value, low and high"),
    "value": ("metric's", "the score, or the value of the item"),
    "low": ("metric's", "lower end of the 95 % interval"),
    "high": ("metric's", "upper end of the 95 % interval"),
    "n": ("items", "how many the score is of"),
    "chance": ("share", "what guessing scores"),
    "reason": ("", "why there is no value or no interval"),
    "undecided": ("", "true of a retention whose interval is over 100 points wide, which settles nothing"),
    "judge": ("", "who judged generated answers"),
    "kappa": ("1", "Cohen's kappa of the judge with labelled answers"),
    "kappa_low": ("1", "lower end of its 95 % interval"),
    "kappa_high": ("1", "upper end of its 95 % interval"),
    "labels": ("answers", "labelled answers behind kappa"),
    "labelled_by": ("", "who labelled them"),
    "doc_id": ("", "number of the item in its set"),
    "doc_hash": ("", "SHA-256 of the item, by which it is the same in other runs"),
    "prompt_hash": ("", "SHA-256 of the prompt"),
    "cluster": ("", "items that are not independent share one"),
    "primary": ("", "whether this metric is the task's score"),
    "output": ("", "what the model answered, as JSON"),
    "source": ("", "benchmark that an item comes from, where a task has several"),
}  # fmt: skip


UNIT = re.compile(r"(?P<name>.*?)(?P<end> low| high)?( \((?P<unit>[^()]*)\))?")
ENDS = {" low": "lower end of the 95 % interval of ", " high": "upper end of the 95 % interval of "}


def dictionary(names: list[str], more: Mapping[str, tuple[str, str]] | None = None) -> pl.DataFrame:
    """A row for each column: name, unit, meaning. A ``ValueError`` names one that is not described.

    A name may end in its unit, as ``rate (share)`` does, or be the end of an interval, as ``piqa low (%)`` is.
    ``more`` describes columns that are called by what they are of, such as a task.
    """
    rows = [{"column": name} | _described(name, COLUMNS | dict(more or {})) for name in names]
    return pl.DataFrame(rows, schema=dict.fromkeys(("column", "unit", "meaning"), pl.String))


def _described(column: str, known: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    parts = UNIT.fullmatch(column)
    if not parts or parts["name"] not in known:
        raise ValueError(f"the column {column!r} has no description; add it to exchange/columns.py")
    unit, meaning = known[parts["name"]]
    if parts["unit"] and parts["unit"] != unit:
        raise ValueError(f"the column {column!r} has another unit than its description, {unit!r}")
    return {"unit": unit, "meaning": ENDS.get(parts["end"] or "", "") + meaning}


def write(paths: list[Path], more: Mapping[str, tuple[str, str]]) -> str:
    """``columns.csv`` beside these CSV files, with a row for each column of each; its name."""
    described = [
        dictionary(pl.read_csv(path, n_rows=0).columns, more).insert_column(0, pl.lit(path.name).alias("file"))
        for path in paths
    ]
    return files.write_whole(paths[0].with_name("columns.csv"), pl.concat(described).write_csv).name
