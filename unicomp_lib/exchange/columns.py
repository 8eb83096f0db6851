"""What each column of the published tables means, and its unit."""

import polars as pl

# Unit and meaning. "" is no unit; "metric's" the unit of the row's metric (``figures.units``).
COLUMNS: dict[str, tuple[str, str]] = {
    "model": ("", "model of the profile"),
    "method": ("", "compression method"),
    "variant": ("", "name of the compressed model in the profile"),
    "calibration": ("", "text that the method was calibrated on; empty where it reads none"),
    "seed": ("", "seed of the calibration text; null in scores: the mean over seeds"),
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
    "value": ("metric's", "the score, or the value of the item"),
    "low": ("metric's", "lower end of the 95 % interval"),
    "high": ("metric's", "upper end of the 95 % interval"),
    "n": ("items", "how many the score is of"),
    "chance": ("share", "what guessing scores"),
    "reason": ("", "why there is no value or no interval"),
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


def dictionary(names: list[str]) -> pl.DataFrame:
    """A row for each column: name, unit, meaning. A ``ValueError`` names one that is not described."""
    if missing := [name for name in names if name not in COLUMNS]:
        raise ValueError(f"the column {missing[0]!r} has no description; add it to exchange/columns.py")
    rows = [{"column": name, "unit": COLUMNS[name][0], "meaning": COLUMNS[name][1]} for name in names]
    return pl.DataFrame(rows, schema=dict.fromkeys(("column", "unit", "meaning"), pl.String))
