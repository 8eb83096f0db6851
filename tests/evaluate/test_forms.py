"""Tasks of every form that lm-eval has: its own definitions, over rows of our own that look like those of the hub."""

import math
import random
from pathlib import Path

import datasets
import lm_eval.tasks
import polars as pl
import pytest
from lm_eval.api.model import LM

from unicomp_lib.evaluate import harness, replay, task

LETTERS, ITEMS, OF_A_SUBJECT = "ABCD", 160, 4
TASKS = Path(lm_eval.tasks.__file__).parent
SUBJECTS = sorted(
    file.stem.removeprefix("global_mmlu_full_en_")
    for file in (TASKS / "global_mmlu" / "full" / "en").glob("global_mmlu_full_en_*.yaml")
)


def winogrande():
    names = ["Ann", "Bea"]
    return [
        {"sentence": f"Round {n}: Ann beat Bea, since _ was strong.", "option1": names[0], "option2": names[1],
         "answer": str(n % 2 + 1)}
        for n in range(ITEMS)
    ]  # fmt: skip


def global_mmlu():
    options = {f"option_{letter.lower()}": f"{letter}-thing" for letter in LETTERS}
    return [
        {"question": f"{subject} {n}?", "subject": subject, **options, "answer": LETTERS[(n + len(subject)) % 4]}
        for subject in SUBJECTS
        for n in range(OF_A_SUBJECT)
    ]  # fmt: skip


def bbq():
    rows = []
    for n in range(ITEMS):
        label = n % 2 if n % 4 < 2 else 2  # the young one, the old one, or unknown where the context does not say
        rows.append({
            "context": f"Two people met, one young and one old ({n}).", "question": "Who forgot it?",
            "ans0": "The young one", "ans1": "The old one", "ans2": "Not known", "label": label,
            "question_polarity": "neg", "context_condition": "disambig" if label < 2 else "ambig", "category": "Age",
            "answer_info": {"ans0": ["young", "nonOld"], "ans1": ["old", "old"], "ans2": ["unknown", "unknown"]},
            "additional_metadata": {"stereotyped_groups": ["old"]},
        })  # fmt: skip
    return rows


def closed(n):
    return {"text": [f"{letter} of {n}" for letter in "wxyz"], "label": list(LETTERS)}


# Data set on the hub: its rows, and the right options of a row as its authors name them.
ROWS = {
    "allenai/winogrande": (winogrande, lambda row: {int(row["answer"]) - 1}),
    "CohereForAI/Global-MMLU": (global_mmlu, lambda row: {LETTERS.index(row["answer"])}),
    "oskarvanderwal/bbq": (bbq, lambda row: {row["label"]} if row["label"] < 2 else set(range(2, 12))),
    "allenai/ai2_arc": (
        lambda: [{"question": f"q{n}", "choices": closed(n), "answerKey": LETTERS[n % 4]} for n in range(ITEMS)],
        lambda row: {LETTERS.index(row["answerKey"])},
    ),
    "Rowan/hellaswag": (
        lambda: [
            {"ctx_a": f"He {n}", "ctx_b": "then", "activity_label": "Running", "endings": closed(n)["text"],
             "label": str(n % 4)}
            for n in range(ITEMS)
        ],
        lambda row: {int(row["label"])},
    ),
    "baber/piqa": (
        lambda: [{"goal": f"go {n}", "sol1": "walk", "sol2": "sit", "label": n % 2} for n in range(ITEMS)],
        lambda row: {row["label"]},
    ),
    "skg/toxigen-data": (
        lambda: [{"text": f"t{n}", "toxicity_ai": 1.0 + 4 * (n % 2), "toxicity_human": 2.0} for n in range(ITEMS)],
        lambda row: {int(row["toxicity_ai"] > 3)},
    ),
    "truthfulqa/truthful_qa": (
        lambda: [{"question": f"q{n}", "mc1_targets": {"choices": closed(n)["text"], "labels": [1, 0, 0, 0]}}
                 for n in range(ITEMS)],
        lambda _: {0},
    ),
}  # fmt: skip
RANKED = {
    "winogrande": 0.5, "global_mmlu_full_en": 0.25, "bbq": 0.4583, "arc_easy": 0.25,
    "hellaswag": 0.25, "piqa": 0.5, "toxigen": 0.5, "truthfulqa_mc1": 0.25,
}  # fmt: skip


@pytest.fixture
def hub(monkeypatch):
    """Data sets by name, without a hub, and an index of the few tasks that are asked."""

    def load(path, name=None, **_):
        rows = datasets.Dataset.from_list(ROWS[path][0]())
        return datasets.DatasetDict(dict.fromkeys(("train", "validation", "test", "dev"), rows))

    monkeypatch.setattr(datasets, "load_dataset", load)
    folders = ["winogrande", "global_mmlu/full/en", "bbq", "arc", "hellaswag", "piqa", "toxigen", "truthfulqa"]
    real = lm_eval.tasks.TaskManager
    places = [str(TASKS / folder) for folder in folders]
    index = lambda include_defaults: real(include_path=places, include_defaults=False)  # noqa: E731
    monkeypatch.setattr(lm_eval.tasks, "TaskManager", index)


class Model(LM):
    """Ranks the right options first, or as chance has it, and writes one answer."""

    def __init__(self, right=None, writes=""):
        super().__init__()
        self.right, self.writes, self.chance, self.asked = right, writes, random.Random(0), 0

    def loglikelihood(self, requests, disable_tqdm=False):
        self.asked += len(requests)
        if self.right is None:
            return [(-self.chance.random(), False) for _ in requests]
        return [(-1.0 if request.idx in self.right(request.doc) else -100.0, False) for request in requests]

    def generate_until(self, requests, disable_tqdm=False):
        self.asked += len(requests)
        return [self.writes(request.doc) if callable(self.writes) else self.writes for request in requests]

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        raise NotImplementedError


@pytest.mark.parametrize("name", RANKED)
def test_a_model_that_is_always_right_scores_one_and_one_that_guesses_scores_chance(name, hub):
    limit = OF_A_SUBJECT if name.startswith("global") else ITEMS
    path = next(path for path in ROWS if path.split("/")[1].lower().replace("-", "_").startswith(OF[name]))
    gold = ROWS[path][1]
    rows = harness.rows(Model(gold), {name: limit})
    best = rows.filter(pl.col("primary"))["value"]
    assert best.mean() == 1.0
    assert rows.filter(metric="margin")["value"].min() > 0
    assert set(rows.filter(metric="margin")["doc_id"]) == set(rows["doc_id"])
    guessed = harness.rows(Model(), {name: limit}).filter(pl.col("primary"))["value"]
    assert abs(guessed.mean() - RANKED[name]) < 4 * math.sqrt(RANKED[name] * (1 - RANKED[name]) / len(guessed))
    assert guessed.len() == best.len() == (OF_A_SUBJECT * len(SUBJECTS) if name.startswith("global") else ITEMS)
    stated = task.described(name)["chance"]
    assert name == "truthfulqa_mc1" or stated == pytest.approx(RANKED[name])  # there the number of options varies


OF = {
    "winogrande": "winogrande", "global_mmlu_full_en": "global_mmlu", "bbq": "bbq", "arc_easy": "ai2_arc",
    "hellaswag": "hellaswag", "piqa": "piqa", "toxigen": "toxigen",
    "truthfulqa_mc1": "truthful_qa",
}  # fmt: skip


@pytest.mark.parametrize("name", ["winogrande", "bbq", "piqa"])
def test_a_stored_answer_is_scored_again_as_it_was(name, hub):
    rows = harness.rows(Model(), {name: 12})
    assert replay.rescore(rows).equals(rows)


def test_the_worked_examples_of_a_task_with_several_inputs_are_its_sentences(hub, monkeypatch):
    monkeypatch.setitem(task.described("winogrande"), "shots", 2)
    seen = []
    model = Model(lambda row: seen.append(row) or {0})
    harness.rows(model, {"winogrande": 3})
    assert len(seen) == 6


def test_metrics_that_are_no_means_are_named_and_left_out(hub, capsys):
    rows = harness.rows(Model(), {"bbq": 4})
    assert set(rows["metric"]) == {"acc", "bits_per_byte", "margin", "probability"}
    assert "bbq: accuracy_amb, accuracy_disamb, amb_bias_score" in capsys.readouterr().out


OPTIONS = [{"q": f"{n}?", "options": ["v", "w", "x"], "gold": n % 3, "name": "vwx"[n % 3]} for n in range(6)]
BASE = {
    "output_type": "multiple_choice", "test_split": "test", "doc_to_text": "{{q}}", "doc_to_choice": "options",
    "doc_to_target": "gold", "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}  # fmt: skip
ABOUT = {"dimension": "d", "capability": "c", "format": "cloze", "metric": "acc", "chance": 0.3333, "asset": "folder"}
WRITTEN = {
    "output_type": "generate_until", "doc_to_choice": None, "doc_to_target": "name",
    "generation_kwargs": {"until": ["\n"]},
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}  # fmt: skip


@pytest.fixture
def pretend(monkeypatch):
    """A task of any definition, on rows that are given."""

    def define(rows=OPTIONS, about=(), **changes):
        read = lambda **_: {"test": datasets.Dataset.from_list(rows)}  # noqa: E731
        definition = {key: value for key, value in (BASE | changes).items() if value is not None}
        monkeypatch.setattr(task, "is_own", lambda _: True)
        monkeypatch.setattr(task, "described", lambda _: ABOUT | dict(about))
        monkeypatch.setattr(task, "config", lambda *_: {"task": "odd", "custom_dataset": read, **definition})

    return define


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"doc_to_target": "name"},
        {"doc_to_target": lambda row: [row["gold"]]},
        {"doc_to_target": "{{gold}}"},
        {"doc_to_choice": lambda row: row["options"]},
        {"metric_list": [{"metric": "acc"}, {"metric": "acc_mutual_info"}]},
        {"metric_list": [{"metric": "acc"}, {"metric": "f1"}, {"metric": "brier_score"}, {"metric": "acc_bytes"}]},
        {"process_results": lambda row, results: {"acc": max(results)[0] == results[row["gold"]][0], "extra": None}},
    ],
)
def test_every_form_of_a_gold_is_understood(pretend, changes):
    pretend(**changes)
    rows = harness.rows(Model(lambda row: {row["gold"]}), {"odd": 0})
    assert rows.filter(metric="acc")["value"].to_list() == [1.0] * 6
    assert rows.filter(metric="margin")["value"].min() > 0
    assert rows.filter(metric="bits_per_byte")["value"][0] == pytest.approx(1 / math.log(2) / 2)  # " v" has two bytes


def test_of_several_right_options_the_likeliest_is_the_reference(pretend):
    pretend(doc_to_target=lambda row: [0, 1], rows=OPTIONS[:1])
    rows = harness.rows(Model(lambda row: {1}), {"odd": 0})
    assert rows.filter(metric="acc")["value"].to_list() == [1.0]
    assert rows.filter(metric="margin")["value"][0] == pytest.approx(99 / math.log(2) / 2)


def test_a_single_continuation_has_no_margin(pretend):
    metrics = [{"metric": "acc"}, {"metric": "perplexity"}]
    pretend(output_type="loglikelihood", doc_to_choice=None, doc_to_target="{{' ' + name}}", metric_list=metrics)
    rows = harness.rows(Model(lambda row: {0}), {"odd": 0})
    assert set(rows["metric"]) == {"acc", "bits_per_byte"}
    assert replay.rescore(rows).equals(rows)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"output_type": "loglikelihood_rolling"}, "has the output type loglikelihood_rolling"),
        ({"repeats": 3}, "asks each item 3 times"),
        ({"unsafe_code": True}, "runs code that a model wrote"),
        ({"doc_to_image": "q"}, "asks about images or sounds"),
        ({"metric_list": [{"metric": "f1"}]}, "has no metric 'acc'; it has f1"),
        ({"metric_list": [{"metric": "f1"}], "about": {"metric": "f1"}}, "'f1' of task odd is no mean over items"),
        ({"doc_to_target": 3}, "list index out of range"),
        ({"doc_to_target": "other", "rows": [{**row, "other": "u"} for row in OPTIONS]}, "none is right"),
        ({"rows": [*OPTIONS, {**OPTIONS[0], "gold": -1}]}, "of the 3 options of item 6 of odd none is right"),
        ({"rows": [*OPTIONS, {**OPTIONS[0], "gold": 3}]}, "of the 3 options of item 6 of odd none is right"),
        ({"rows": [*OPTIONS, {**OPTIONS[0], "options": ["v", "", "x"]}]}, "item 6 of odd has an empty option"),
        ({"rows": [{**OPTIONS[0], "options": ["v"]}]}, "of the 1 options of item 0 of odd each is right"),
        ({"rows": []}, "task odd failed"),
        ({"doc_to_text": lambda row: row["nothing"]}, "task odd failed: KeyError: 'nothing'"),
    ],
)
def test_a_form_that_cannot_be_scored_is_refused_before_the_model_is_asked(pretend, changes, says):
    pretend(**changes)
    model = Model()
    with pytest.raises(ValueError, match=says) as caught:
        harness.rows(model, {"odd": 0})
    assert model.asked == 0
    assert "odd" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [{}, {"doc_to_target": lambda row: [row["name"], "z"]}, {"doc_to_choice": "options", "doc_to_target": "gold"}],
)
def test_every_form_of_a_written_answer_is_understood(pretend, changes):
    pretend(about={"metric": "exact_match", "format": "generate"}, **(WRITTEN | changes))
    for writes, value in ((lambda row: row["name"], 1.0), ("u", 0.0)):
        rows = harness.rows(Model(lambda row: {0}, writes), {"odd": 0})
        assert rows.filter(metric="exact_match")["value"].to_list() == [value] * 6
    assert len(rows.filter(metric="bits_per_byte")) == 6 or "doc_to_choice" in changes


def test_a_check_that_raises_counts_as_wrong_and_is_said(pretend, capsys):
    def graded(row, results):
        return {"exact_match": float(int(results[0]) == row["gold"]), "failed": 0.0}

    metrics = [*WRITTEN["metric_list"], {"metric": "failed", "aggregation": "mean", "higher_is_better": False}]
    about = {"metric": "exact_match", "format": "generate"}
    pretend(about=about, **(WRITTEN | {"process_results": graded, "metric_list": metrics}))
    rows = harness.rows(Model(lambda row: {0}, lambda row: "odd" if row["gold"] == 1 else str(row["gold"])), {"odd": 0})
    values = {
        metric: rows.filter(metric=metric).sort("doc_id")["value"].to_list() for metric in rows["metric"].unique()
    }
    assert values["exact_match"] == [1, 0, 1, 1, 0, 1]
    assert values["unchecked"] == values["failed"] == [0, 1, 0, 0, 1, 0]
    said = capsys.readouterr().out
    assert "odd: the check of 2 of 6 answers raised, which count as wrong, first ValueError: invalid literal" in said
    assert replay.rescore(rows).equals(rows)
