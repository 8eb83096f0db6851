"""docs/tasks.md lists every judged task with its judge's measured agreement: the list is that of the table."""

import polars as pl

from unicomp_lib import paths
from unicomp_lib.evaluate import judging, task
from unicomp_lib.evaluate.judges import labels, measured


def estimate(row, name):
    if row is None or row[name] is None:
        return "–"
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{row[name]:.2f}" if low is None else f"{row[name]:.2f} [{low:.2f}, {high:.2f}]"


def line(name, judge, metric, row, verdict):
    labelled = "–" if row is None else f"{row['n']} ({row['ones']})"
    shown = " | ".join((name.removesuffix("_generate"), metric, judge, labelled))
    return f"| {shown} | {estimate(row, 'accuracy')} | {estimate(row, 'kappa')} | {verdict} |".replace("-0.", "−0.")


def rows_of(name, judge, metric):
    rows = measured.table().filter(task=name, judge=judge, metric=metric)
    return rows.row(0, named=True) if len(rows) else None


def lines():
    """The table of docs/tasks.md, from the tasks' definitions and the recorded agreements."""
    made = []
    for name in sorted(task._of_sets()):
        about = task.described(name)
        if about.get("judge") in judging.JUDGES:
            judge, metric = judging.JUDGES[about["judge"]][0], about["metric"]
            open_text = about["judge"] in judging.OPEN
            unjudged = open_text and measured.reason(name, judge, metric)
            counts = measured.agreement(name, judge, metric)
            which = "not measured" if counts is None else "its own" if counts["task"] == name else "all tasks'"
            made.append(line(name, judge, metric, rows_of(name, judge, metric), "not judged" if unjudged else which))
    pooled = measured.table().filter(pl.col("task").is_in([measured.ALL, labels.PYRIT]))
    names = {measured.ALL: "**all tasks**", labels.PYRIT: "**PyRIT, by people**"}
    made += [line(names[row["task"]], row["judge"], row["metric"], row, "") for row in pooled.iter_rows(named=True)]
    return made


def test_the_docs_list_every_judged_task_with_its_agreement():
    documented = (paths.project() / "docs" / "tasks.md").read_text(encoding="utf-8")
    missing = [text for text in lines() if text not in documented]
    assert missing == []
