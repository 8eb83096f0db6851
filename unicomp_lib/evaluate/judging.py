"""Judge stored answers: judging is separate from generation, so a judge can be changed without running the model."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from unicomp_lib import tables
from unicomp_lib.evaluate import task
from unicomp_lib.evaluate.judges import classes, closed, endpoint, facts, meaning, measured, opinions
from unicomp_lib.evaluate.judges.endpoint import Endpoint
from unicomp_lib.evaluate.tasks import items as benchmark
from unicomp_lib.evaluate.tasks import replies

VERSION = "3"

Item = dict[str, Any]
Verdict = dict[str, float]
Verdicts = list[Mapping[str, float | None]]

# The judges that tasks name: the judge's name in the rows, and its function. A judge sees all answers of one cell to a
# task, since some judges compare them, and gives the task's primary metric where it has a verdict.
JUDGES: dict[str, tuple[str, Callable[[list[Item], list[str]], list[Verdict]]]] = {
    "label": (closed.JUDGE, closed.label),
    "classes": (closed.JUDGE, classes.classes),
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
    "corrected": (facts.JUDGE, facts.corrected),
    "steady": (opinions.JUDGE, opinions.steady),
    "similar": (meaning.JUDGE, meaning.similar),
}
# Judges of free text, whose verdict an endpoint may give instead.
OPEN = ("refused", "answered", "independent", "corrected", "steady", "reference", "disagreement")


def judge(items: pl.DataFrame, *, data_dir: str = "", judge_url: str = "", judge_model: str = "") -> pl.DataFrame:
    """Item rows with the verdicts on their generated answers, of any number of cells.

    Rows of tasks without a judge stay as they are; the others gain a row for every metric of the
    verdict, and where the items are of several sources the column ``source`` names theirs, else it is
    null. ``judge_url`` and ``judge_model`` name an OpenAI-compatible endpoint that judges the
    free text; where it has no verdict the local one counts, and the row ``failed`` says so. A local judge of
    free text that agrees too little with labelled answers (``measured.reason``) does not count: the
    primary metric's value is then null, and the column ``judge`` says why.
    """
    if bool(judge_url) != bool(judge_model):
        raise ValueError(
            f"judge_url {judge_url!r} and judge_model {judge_model!r} go together; give both, or neither for the "
            "local judges"
        )
    remote = Endpoint(judge_url, judge_model) if judge_url else None
    frames = [items.with_columns(pl.lit("").alias("judge"), pl.lit(None, dtype=pl.String).alias("source"))]
    for part in items.partition_by([*tables.CELL, "task"], maintain_order=True):
        about = task.described(part["task"][0])
        if about.get("judge") in JUDGES:
            frames.append(_judged(part, about, data_dir, remote))
    return pl.concat(frames)


def _judged(part: pl.DataFrame, about: dict[str, Any], data_dir: str, remote: Endpoint | None) -> pl.DataFrame:
    """The verdicts' rows of one cell and task."""
    answers = part.unique("doc_id", keep="first", maintain_order=True).sort("doc_id")
    docs = documents(part["task"][0], answers["doc_id"].to_list(), data_dir)
    texts = [replies.final(json.loads(output)["answers"][0]) for output in answers["output"]]
    metric, (local, verdicts_of) = about["metric"], JUDGES[about["judge"]]
    verdicts: Verdicts = list(verdicts_of(docs, texts))
    if about["judge"] in OPEN and (why := measured.reason(part["task"][0], local, metric)):
        local, verdicts = why, [{metric: None} if metric in verdict else {} for verdict in verdicts]
    names = [local] * len(verdicts)
    if remote and about["judge"] in OPEN:
        shown = opinions.both(docs, texts) if about["judge"] == "steady" else texts
        names, verdicts = _overruled(remote, metric, local, docs, shown, verdicts)
    rows = [
        {**row, "metric": metric, "value": value, "primary": metric == about["metric"], "judge": name}
        for row, name, verdict in zip(answers.iter_rows(named=True), names, verdicts, strict=True)
        for metric, value in verdict.items()
    ]
    own = {"own": [_cluster(doc) for doc in docs], "source": [doc.get("source") for doc in docs]}
    about_docs = pl.DataFrame({"doc_id": answers["doc_id"], **own}, schema_overrides=dict.fromkeys(own, pl.String))
    judged = pl.DataFrame(rows, schema=part.schema).join(about_docs, on="doc_id", maintain_order="left")
    return judged.with_columns(pl.coalesce("own", "cluster").alias("cluster")).drop("own")


def documents(name: str, indices: list[int], data_dir: str = "") -> list[Item]:
    """The items of a task at these indices of its fixed order."""
    docs = benchmark.items(task.source(name), data_dir)
    return [docs[index] for index in indices]


def _cluster(doc: Item) -> str | None:
    return str(doc["group"]) if "group" in doc else None


def _overruled(
    remote: Endpoint, metric: str, local: str, docs: list[Item], texts: list[str], verdicts: Verdicts
) -> tuple[list[str], Verdicts]:
    """The endpoint's verdicts, and the local ones where it has none; ``local`` is the local judge's name.

    It is not asked about an answer that cannot have a verdict, such as one without its twin.
    """
    asked = [index for index, verdict in enumerate(verdicts) if metric in verdict]
    answers = endpoint.verdicts(remote, metric, [docs[index] for index in asked], [texts[index] for index in asked])
    names, merged = [local] * len(verdicts), list(verdicts)
    for index, answer in zip(asked, answers, strict=True):
        names[index] = local if answer is None else remote.judge
        merged[index] = {**verdicts[index], **({"failed": 1.0} if answer is None else {metric: answer, "failed": 0.0})}
    return names, merged
