import json

import polars as pl
import pytest

from unicomp_lib.evaluate import harness, replay
from unicomp_lib.evaluate.tasks import extract

TASKS = {
    "piqa_cloze": 4, "openbookqa_letter": 4, "openbookqa_generate": 2, "asdiv_generate": 3, "nq_open_generate": 2,
    "ifbench_generate": 1, "strongreject_generate": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def stored(dense):
    return harness.run(*dense, TASKS)


def test_every_metric_of_every_format_follows_from_the_stored_answers(stored):
    assert {"acc", "acc_norm", "bits_per_byte", "margin", "exact_match", "failed", "truncated"} <= set(stored["metric"])
    assert replay.rescore(stored).equals(stored)


def test_a_changed_extraction_needs_no_model(stored, monkeypatch):
    monkeypatch.setattr(extract, "number", lambda *_, **__: None)
    metrics = replay.rescore(stored.filter(task="asdiv_generate")).filter(metric="failed")
    assert metrics["value"].to_list() == [1, 1, 1]


def test_answers_are_read_and_not_the_old_scores(stored):
    piqa = stored.filter(task="piqa_cloze")
    swapped = piqa.with_columns(
        pl.col("output").map_elements(
            lambda text: json.dumps({"options": json.loads(text)["options"][::-1]}), pl.String
        )
    )
    before, after = (rows.filter(metric="acc")["value"].to_list() for rows in (piqa, replay.rescore(swapped)))
    assert [1 - value for value in before] == after


def test_an_item_that_was_not_stored_is_reported(stored):
    some = stored.filter(pl.col("task") == "piqa_cloze", pl.col("doc_id") != 1)
    with pytest.raises(ValueError, match="no stored answer to item"):
        replay.rescore(some)
