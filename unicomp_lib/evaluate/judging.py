"""Judge stored answers: generation and judging are apart, so a judge can be changed without the model."""

import json
from collections.abc import Callable
from typing import Any

import polars as pl

from unicomp_lib import tables
from unicomp_lib.evaluate import task
from unicomp_lib.evaluate.judges import closed, endpoint, meaning
from unicomp_lib.evaluate.judges.endpoint import Endpoint
from unicomp_lib.evaluate.tasks import items as benchmark

VERSION = "1"

Item = dict[str, Any]
Verdict = dict[str, float]

# What a task names as its judge: who judges, and how. Every judge sees all answers to a task of one cell, since some
# compare them, and gives a task's primary metric where it has a verdict.
JUDGES: dict[str, tuple[str, Callable[[list[Item], list[str]], list[Verdict]]]] = {
    "label": (closed.JUDGE, closed.label),
    "disagreement": (closed.JUDGE, closed.disagreement),
    "letter": (closed.JUDGE, closed.letter),
    "reference": (closed.JUDGE, closed.reference),
    "rating": (closed.JUDGE, closed.rating),
    "disclosure": (closed.JUDGE, closed.disclosure),
    "attacks": (closed.JUDGE, closed.attacks),
    "even": (closed.JUDGE, closed.even),
    "refused": (meaning.REFUSALS, meaning.refused),
    "answered": (meaning.REFUSALS, meaning.answered),
    "independent": (meaning.JUDGE, meaning.independent),
    "corrected": (meaning.JUDGE, meaning.corrected),
    "steady": (meaning.JUDGE, meaning.steady),
    "similar": (meaning.JUDGE, meaning.similar),
}
# The judges whose verdict an endpoint may give instead: those of free text.
OPEN = ("refused", "answered", "independent", "corrected", "reference", "disagreement")


def judge(items: pl.DataFrame, *, data_dir: str = "", judge_url: str = "", judge_model: str = "") -> pl.DataFrame:
    """Item rows with the verdicts on their generated answers, of any number of cells.

    Rows of tasks without a judge stay as they are; those of the others gain a row for every metric of
    the verdict. ``judge_url`` and ``judge_model`` name an OpenAI-compatible endpoint that judges the
    free text; where it has no verdict the local one counts, and the row ``failed`` says so.
    """
    if bool(judge_url) != bool(judge_model):
        raise ValueError(
            f"judge_url {judge_url!r} and judge_model {judge_model!r} go together; give both, or neither for the "
            "local judges"
        )
    asked = Endpoint(judge_url, judge_model) if judge_url else None
    found = [items.with_columns(pl.lit("").alias("judge"))]
    for part in items.partition_by([*tables.CELL, "task"], maintain_order=True):
        about = task.described(part["task"][0])
        if about.get("judge") in JUDGES:
            found.append(_judged(part, about, data_dir, asked))
    return pl.concat(found)


def _judged(part: pl.DataFrame, about: dict[str, Any], data_dir: str, asked: Endpoint | None) -> pl.DataFrame:
    """The verdicts' rows of one cell and task."""
    answers = part.unique("doc_id", keep="first", maintain_order=True).sort("doc_id")
    docs = documents(part["task"][0], answers["doc_id"].to_list(), data_dir)
    texts = [json.loads(output)["answers"][0] for output in answers["output"]]
    who, judged = JUDGES[about["judge"]]
    verdicts = judged(docs, texts)
    names = [who] * len(verdicts)
    if asked and about["judge"] in OPEN:
        names, verdicts = _overruled(asked, about["metric"], who, docs, texts, verdicts)
    rows = [
        {**row, "metric": metric, "value": value, "primary": metric == about["metric"], "judge": name}
        for row, name, verdict in zip(answers.iter_rows(named=True), names, verdicts, strict=True)
        for metric, value in verdict.items()
    ]
    clusters = pl.DataFrame({"doc_id": answers["doc_id"], "own": [_cluster(doc) for doc in docs]})
    found = pl.DataFrame(rows, schema=part.schema).join(clusters, on="doc_id", maintain_order="left")
    return found.with_columns(pl.coalesce("own", "cluster").alias("cluster")).drop("own")


def documents(name: str, places: list[int], data_dir: str = "") -> list[Item]:
    """The items of a task at these places of its fixed order."""
    known = benchmark.items(task.source(name), data_dir)
    return [known[place] for place in places]


def _cluster(doc: Item) -> str | None:
    return str(doc["group"]) if "group" in doc else None


def _overruled(
    asked: Endpoint, metric: str, who: str, docs: list[Item], texts: list[str], verdicts: list[Verdict]
) -> tuple[list[str], list[Verdict]]:
    """The endpoint's verdicts in place of the local ones, where it has one."""
    given = endpoint.verdicts(asked, metric, docs, texts)
    names = [who if verdict is None else asked.judge for verdict in given]
    merged = [
        local | ({"failed": 1.0} if verdict is None else {metric: verdict, "failed": 0.0})
        for local, verdict in zip(verdicts, given, strict=True)
    ]
    return names, merged
