import json
import math

import lm_eval
import polars as pl
import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from unicomp_lib import tables
from unicomp_lib.evaluate import forms, harness, task
from unicomp_lib.evaluate.packed_lm import PackedLM

LIMIT = 10


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
    }
    scores, output = harness._ranked(sample, forms.Options(2, [1]), "acc_norm")
    assert json.loads(output) == {"options": [[-3.0, False], [-1.0, True]]}
    ln2 = 0.6931471805599453
    assert scores["bits_per_byte"] == pytest.approx(1 / ln2 / 4)  # " äb" has 4 bytes
    assert scores["margin"] == pytest.approx(3 / ln2 / 3 - 1 / ln2 / 4)
    # Over four bytes: -4 of " ab" and -1 of " äb"; of the whole options: -3 and -1.
    assert scores["probability"] == pytest.approx(1 / (1 + math.exp(-3)))
    assert harness._ranked(sample, forms.Options(2, [1]), "acc")[0]["probability"] == pytest.approx(
        1 / (1 + math.exp(-2))
    )
    both = {
        "arguments": [*sample["arguments"], ("Q", " ab")],
        "filtered_resps": [*sample["filtered_resps"], (-9e9, False)],
    }
    several = harness._ranked(both, forms.Options(3, [0, 1]), "acc")[0]  # the sum over the right ones
    assert several["probability"] == pytest.approx(1)
    assert "probability" not in harness._ranked(sample, None, "acc")[0]


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


def test_a_reference_is_scored_alike_with_and_without_a_generated_answer(dense):
    rows = harness.run(*dense, {"gsm8k_generate": 2, "gsm8k_reference": 2})
    by_task = rows.filter(metric="bits_per_byte").partition_by("task", maintain_order=True)
    generated, reference = (part.sort("doc_id")["value"].to_list() for part in by_task)
    assert reference == pytest.approx(generated, rel=1e-4)
    assert set(rows.filter(task="gsm8k_reference")["metric"]) == {"acc", "bits_per_byte"}


def test_the_formats_ask_the_same_items_and_share_their_clusters(tiny):
    rows = harness.run(*tiny, {"openbookqa_cloze": 5, "openbookqa_letter": 5, "openbookqa_generate": 5})
    clusters = [set(part["cluster"]) for part in rows.partition_by("task")]
    assert clusters[0] == clusters[1] == clusters[2]
    assert len(clusters[0]) == 5


FORMATS = {
    "openbookqa_letter": 5, "piqa_cloze": 3, "openbookqa_generate": 4, "nq_open_generate": 3, "nq_open_cloze": 3,
    "strongreject_generate": 2,
}  # fmt: skip


def test_formats_that_ask_the_same_prompts_read_them_once_and_score_as_each_alone(tiny, monkeypatch):
    read, together = PackedLM.read, []

    def noted(lm, requests):
        together.append(sorted({request.task_name for request in requests if request.task_name}))
        read(lm, requests)

    monkeypatch.setattr(PackedLM, "read", noted)
    rows = harness.run(*tiny, FORMATS)
    assert together == [
        ["openbookqa_generate", "openbookqa_letter"],
        ["piqa_cloze"],
        ["nq_open_cloze", "nq_open_generate"],
        ["strongreject_generate"],
    ]
    monkeypatch.setattr(PackedLM, "read", None)
    alone = harness.run(*tiny, FORMATS)
    assert rows.drop("value", "output").equals(alone.drop("value", "output"))
    assert rows["value"].to_list() == pytest.approx(alone["value"].to_list(), abs=1e-4)
    for ours, theirs in zip(rows["output"], alone["output"], strict=True):
        assert json.loads(ours).get("answers") == json.loads(theirs).get("answers")


def test_what_cannot_be_asked_of_one_format_leaves_the_other(tiny, tmp_path, capsys):
    model, tokenizer = tiny
    model.config.max_position_embeddings = 12  # no room for an answer of 12 tokens
    with pytest.raises(ValueError, match="task openbookqa_generate failed: answers of up to 12 tokens do not fit"):
        harness.run(model, tokenizer, {"openbookqa_letter": 2, "openbookqa_generate": 2}, folder=tmp_path)
    assert "openbookqa_letter, openbookqa_generate: prompts are not read ahead" in capsys.readouterr().out
    assert [path.name.partition("-")[0] for path in (tmp_path / "tasks").iterdir()] == ["openbookqa_letter"]


def test_an_unknown_task_is_told_what_may_have_been_meant_or_all_there_are():
    with pytest.raises(ValueError, match=r"task 'piqa_close' is not known; did you mean 'piqa_cloze'"):
        task.described("piqa_close")
    with pytest.raises(ValueError, match=r"task 'xyzzy' is not known; allowed are .*siqa_cloze.*winogrande"):
        task.described("xyzzy")


TASKS = {"piqa_cloze": 3, "openbookqa_letter": 3, "siqa_cloze": 3}


@pytest.fixture
def broken(monkeypatch):
    """One task of three cannot be scored, until the fixture is called."""
    check = forms.check

    def fails(name, subtask, about):
        if name == "openbookqa_letter":
            raise KeyError("gold")
        check(name, subtask, about)

    monkeypatch.setattr(forms, "check", fails)
    return lambda: monkeypatch.setattr(forms, "check", check)


def test_a_task_that_fails_leaves_the_others_and_the_same_run_takes_them_up(tiny, tmp_path, broken, capsys):
    with pytest.raises(ValueError, match="task openbookqa_letter failed: KeyError: 'gold'; the rows of") as caught:
        harness.run(*tiny, TASKS, folder=tmp_path)
    assert f"piqa_cloze, siqa_cloze are kept in {tmp_path / 'tasks'}" in str(caught.value)
    assert sorted(path.name.partition("-")[0] for path in (tmp_path / "tasks").iterdir()) == [
        "piqa_cloze",
        "siqa_cloze",
    ]
    broken()
    capsys.readouterr()
    rows = harness.run(*tiny, TASKS, folder=tmp_path)
    said = capsys.readouterr().out
    assert said.count("rows of an earlier run taken up") == 2
    assert "openbookqa_letter: rows" not in said
    assert rows.equals(harness.run(*tiny, TASKS))
    assert not (tmp_path / "tasks").exists()


def test_a_run_that_is_killed_leaves_the_tasks_that_were_done(tiny, tmp_path, monkeypatch):
    evaluated = harness._evaluated

    def killed(lm, name, *given, **settings):
        if name == "siqa_cloze":
            raise KeyboardInterrupt
        return evaluated(lm, name, *given, **settings)

    monkeypatch.setattr(harness, "_evaluated", killed)
    with pytest.raises(KeyboardInterrupt):
        harness.run(*tiny, TASKS, folder=tmp_path)
    assert len(list((tmp_path / "tasks").glob("*.parquet"))) == 2


@pytest.mark.parametrize("change", ["weights", "items", "batch", "damage"])
def test_rows_of_another_model_or_other_settings_are_not_taken_up(tiny, tmp_path, broken, capsys, change):
    model, tokenizer = tiny
    with pytest.raises(ValueError, match="openbookqa_letter"):
        harness.run(model, tokenizer, TASKS, folder=tmp_path)
    broken()
    capsys.readouterr()
    settings = {"batch_size": 3} if change == "batch" else {}
    if change == "weights":
        model.get_output_embeddings().weight.data[5] += 0.5
    if change == "damage":
        for path in (tmp_path / "tasks").iterdir():
            path.write_bytes(path.read_bytes()[:-40])
    tasks = dict.fromkeys(TASKS, 2) if change == "items" else TASKS
    harness.run(model, tokenizer, tasks, folder=tmp_path, **settings)
    assert "taken up" not in capsys.readouterr().out


def test_without_a_place_for_rows_the_first_failure_ends_the_run(tiny, broken):
    with pytest.raises(ValueError, match=r"^task openbookqa_letter failed: KeyError: 'gold'$"):
        harness.run(*tiny, TASKS)
