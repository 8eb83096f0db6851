import json

import lm_eval
import polars as pl
import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from unicomp_lib import tables
from unicomp_lib.evaluate import harness, task

LIMIT = 24


@pytest.mark.parametrize("name", ["piqa_cloze", "openbookqa_letter"])
def test_scores_and_log_likelihoods_equal_plain_lm_eval(dense, name):
    model, tokenizer = dense
    rows = harness.run(model, tokenizer, {name: LIMIT})
    plain = lm_eval.simple_evaluate(
        model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=8),
        tasks=[task.config(name)],
        limit=LIMIT,
        task_manager=TaskManager(include_defaults=False),
        bootstrap_iters=0,
    )
    means = dict(rows.group_by("metric").agg(pl.col("value").mean()).iter_rows())
    for metric in sorted({"acc", "acc_norm"} & set(means)):
        assert means[metric] == pytest.approx(plain["results"][name][f"{metric},none"])
    outputs = rows.filter(pl.col("metric") == "acc").sort("doc_id")["output"]
    scored = [json.loads(output)["options"] for output in outputs]
    expected = [sample["filtered_resps"] for sample in sorted(plain["samples"][name], key=lambda one: one["doc_id"])]
    for ours, theirs in zip(scored, expected, strict=True):
        for (value, _), (reference, _) in zip(ours, theirs, strict=True):
            assert float(value) == pytest.approx(float(reference), abs=1e-3)


def test_continuous_scores_follow_from_the_log_likelihoods():
    sample = {
        "arguments": [("Q", " ab"), ("Q", " äb")],
        "filtered_resps": [(-3.0, False), (-1.0, True)],
        "target": "1",
    }
    scores, output = harness._ranked(sample)
    assert json.loads(output) == {"options": [[-3.0, False], [-1.0, True]]}
    ln2 = 0.6931471805599453
    assert scores["bits_per_byte"] == pytest.approx(1 / ln2 / 4)  # " äb" has 4 bytes
    assert scores["margin"] == pytest.approx(3 / ln2 / 3 - 1 / ln2 / 4)


def test_generated_rows_keep_the_answers_and_judged_ones_wait_for_their_verdict(tiny):
    rows = harness.run(*tiny, {"asdiv_generate": 2, "strongreject_generate": 2})
    assert rows.schema == pl.Schema(tables.ITEMS)
    assert rows.filter(pl.col("primary")).group_by("task").len().rows() == [("asdiv_generate", 2)]
    assert {"exact_match", "failed", "tokens", "truncated"} <= set(rows.filter(task="asdiv_generate")["metric"])
    assert set(rows.filter(task="strongreject_generate")["metric"]) == {"empty", "tokens", "truncated"}
    assert all(len(json.loads(output)["answers"]) == 1 for output in rows["output"])


def test_a_generated_answers_reference_is_scored_behind_its_prompt(dense):
    model, tokenizer = dense
    rows = harness.run(model, tokenizer, {"nq_open_generate": 3})
    bits = rows.filter(pl.col("metric") == "bits_per_byte").sort("doc_id")["value"]
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1)
    (built,) = TaskManager(include_defaults=False).load([task.config("nq_open_generate")])["tasks"].values()
    for value, doc in zip(bits, built.eval_docs, strict=False):
        reference = " " + doc["choices"][doc["gold"]]
        loglikelihood, _ = lm.loglikelihood([Instance("loglikelihood", {}, (built.doc_to_text(doc), reference), 0)])[0]
        assert value == pytest.approx(-loglikelihood / 0.6931471805599453 / len(reference.encode()), abs=1e-4)


def test_the_formats_ask_the_same_items_and_share_their_clusters(tiny):
    rows = harness.run(*tiny, {"openbookqa_cloze": 5, "openbookqa_letter": 5, "openbookqa_generate": 5})
    clusters = [set(part["cluster"]) for part in rows.partition_by("task")]
    assert clusters[0] == clusters[1] == clusters[2]
    assert len(clusters[0]) == 5


def test_an_unknown_task_lists_the_known_ones():
    with pytest.raises(
        ValueError, match=r"task 'piqa_close' is not known; did you mean 'piqa_cloze'.* allowed are .*siqa_cloze"
    ):
        task.described("piqa_close")
