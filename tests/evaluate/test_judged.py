import polars as pl
import pytest
from stored import CELL, stored

from unicomp_lib import tables
from unicomp_lib.evaluate import judged, judging, scoring
from unicomp_lib.evaluate.judges import measured

OTHER = CELL | {"method": "wanda", "variant": "wanda-50"}
WHY = "not judged without an endpoint: kappa is 0.2"


@pytest.fixture
def untrusted(monkeypatch):
    """Answers of two variants to two judged tasks, of which the judge of one is not trusted."""
    monkeypatch.setattr(
        judging.measured, "reason", lambda name, judge, metric: WHY if name == "strongreject_generate" else ""
    )
    names = ("strongreject_generate", "overrefusal_generate")
    return pl.concat(
        [stored(name, ["I'm sorry, I can't."] * 12, cell=cell) for cell in (CELL, OTHER) for name in names]
    )


def test_a_task_that_is_not_judged_has_no_number_but_a_reason(untrusted, capsys):
    items = judging.judge(untrusted)
    null = items.filter(pl.col("value").is_null())
    assert set(null["task"]) == {"strongreject_generate"}
    assert set(null["metric"]) == {"refused"}
    assert set(null["judge"]) == {WHY}
    scores = scoring.score(items, {})
    of_task = scores.filter(task="strongreject_generate", metric="refused")
    assert of_task["value"].to_list() == [None] * len(of_task)
    assert set(of_task["judge"]) == {WHY}
    assert set(of_task["reason"]) == {WHY}
    answered = scores.filter(task="overrefusal_generate", metric="answered")
    assert set(answered["value"]) == {0.0}
    assert WHY in capsys.readouterr().out
    assert f"strongreject: {WHY}" in judged.caption(scores)


def test_every_judged_score_has_its_judges_agreement():
    answers = ["I'm sorry, I can't."] * 12
    scores = scoring.score(judging.judge(stored("strongreject_generate", answers)), {})
    assert set(tables.SCORES) == set(scores.columns)
    row = scores.filter(metric="refused").row(0, named=True)
    found = measured.agreement("strongreject_generate", row["judge"], "refused")
    assert row["labels"] == found["n"]
    assert (row["kappa"], row["kappa_low"], row["kappa_high"]) == (
        found["kappa"],
        found["kappa_low"],
        found["kappa_high"],
    )
    assert row["labelled_by"] == found["labelled_by"]
    assert set(scores.filter(metric="difference")["kappa"]) == {found["kappa"]}
    for metric in ("tokens", "retention"):
        assert set(scores.filter(metric=metric)["judge"]) == {None}
    assert "kappa" in judged.caption(scores)


def test_what_nobody_judged_has_no_judge():
    frame = pl.DataFrame({"task": ["piqa_cloze"], "metric": ["acc"]})
    items = pl.DataFrame({"task": ["piqa_cloze"], "metric": ["acc"], "primary": [True], "judge": [""]})
    for given in (items, items.drop("judge")):
        row = judged.with_agreement(frame, given).row(0, named=True)
        assert [row[name] for name in judged.COLUMNS] == [None] * len(judged.COLUMNS)
    assert judged.caption(judged.with_agreement(frame, items)) == ""


def test_an_endpoint_is_named_and_was_not_measured():
    frame = pl.DataFrame({"task": ["a"], "metric": ["refused"]})
    items = pl.DataFrame({"task": ["a"], "metric": ["refused"], "primary": [True], "judge": ["large-2"]})
    scores = judged.with_agreement(frame, items)
    assert scores.select("judge", "kappa", "labels").row(0) == ("large-2", None, 0)
    assert judged.caption(scores) == "a: read by large-2, whose agreement was not measured"


def test_tasks_of_one_judge_share_a_line_of_the_caption():
    frame = pl.DataFrame({"task": ["a_generate", "b_generate"], "metric": ["refused"] * 2})
    scores = judged.with_agreement(
        frame, frame.with_columns(pl.lit(True).alias("primary"), pl.lit("x-1").alias("judge"))
    )
    assert judged.caption(scores) == "a, b: read by x-1, whose agreement was not measured"
    assert judged.caption(frame) == ""
