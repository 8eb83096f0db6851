import lm_eval
import polars as pl
import pytest
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from unicomp_lib import tables
from unicomp_lib.evaluate import harness, task

LIMIT = 24


@pytest.mark.parametrize("name", ["piqa_cloze", "openbookqa_cloze"])
def test_scores_and_log_likelihoods_equal_plain_lm_eval(dense, name):
    model, tokenizer = dense
    found = harness.run(model, tokenizer, {name: LIMIT})
    plain = lm_eval.simple_evaluate(
        model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=8),
        tasks=[name],
        limit=LIMIT,
        task_manager=TaskManager(include_path=str(task.OWN), include_defaults=False),
        bootstrap_iters=0,
    )
    means = dict(found.group_by("metric").agg(pl.col("value").mean()).iter_rows())
    for metric in ("acc", "acc_norm"):
        assert means[metric] == pytest.approx(plain["results"][name][f"{metric},none"])
    scored = (
        found.filter(pl.col("metric") == "acc").sort("doc_id")["output"].str.json_decode(pl.List(pl.List(pl.String)))
    )
    expected = [sample["filtered_resps"] for sample in sorted(plain["samples"][name], key=lambda one: one["doc_id"])]
    for ours, theirs in zip(scored.to_list(), expected, strict=True):
        for (value, _), (reference, _) in zip(ours, theirs, strict=True):
            assert float(value) == pytest.approx(float(reference), abs=1e-3)


def test_continuous_scores_follow_from_the_log_likelihoods():
    sample = {
        "arguments": [("Q", " ab"), ("Q", " äb")],
        "filtered_resps": [(-3.0, False), (-1.0, True)],
        "target": "1",
    }
    found = harness._continuous(sample)
    ln2 = 0.6931471805599453
    assert found["bits_per_byte"] == pytest.approx(1 / ln2 / 4)  # " äb" has 4 bytes
    assert found["margin"] == pytest.approx(3 / ln2 / 3 - 1 / ln2 / 4)


def test_generated_and_judged_rows_keep_the_answers(tiny):
    rows = harness.run(*tiny, {"asdiv_generate": 2, "strongreject_generate": 2})
    assert rows.schema == pl.Schema(tables.ITEMS)
    assert rows.group_by("task").len().sort("task").rows() == [("asdiv_generate", 2), ("strongreject_generate", 2)]
    assert (rows["output"].str.len_chars() > 2).all()
    assert set(rows["judge"]) == {"", "refusal-phrases-1"}


def test_an_unknown_task_lists_the_known():
    with pytest.raises(ValueError, match=r"task 'piqa_close' is not known; allowed are .*piqa_cloze"):
        task.described("piqa_close")
