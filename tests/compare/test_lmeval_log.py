"""Logs that lm-eval wrote itself give the numbers that a hand computes from their lines."""

import json
from collections import Counter

import answer_logs as logs
import numpy as np
import pytest
from scipy import stats

from unicomp_lib.__main__ import main
from unicomp_lib.compare import lmeval_log, lmeval_metrics, measure, pair, side, written
from unicomp_lib.evaluate import task as definitions

TASKS = ("piqa_cloze", "asdiv_generate")


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Folders of two runs of lm-eval that answer at random, each with a log of two tasks."""
    import random

    from lm_eval.evaluator import evaluate
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.models.dummy import DummyLM
    from lm_eval.tasks import TaskManager

    loaded = TaskManager(include_defaults=False).load([definitions.config(name) for name in TASKS])
    folders = []
    for seed in (1, 2):
        folder = tmp_path_factory.mktemp("logs") / f"model-{seed}"
        tracker = EvaluationTracker(output_path=str(folder))
        tracker.general_config_tracker.log_experiment_args("dummy", "", "", "", "")
        random.seed(seed)
        # Not simple_evaluate, which lists the machine's packages at every call.
        results = evaluate(lm=DummyLM(), task_dict=loaded, limit=40, log_samples=True, bootstrap_iters=0)
        samples = results.pop("samples")
        tracker.save_results_aggregated(results=results, samples=samples)
        for name in TASKS:
            tracker.save_results_samples(name, samples[name])
        folders.append(folder)
    return folders


def by_hand(folder, task, metric):
    (path,) = folder.rglob(f"samples_{task}_*.jsonl")
    lines = map(json.loads, path.read_text().splitlines())
    return {line["doc_hash"]: float(line[metric]) for line in lines}


def test_two_real_logs_give_the_numbers_of_a_hand(real, tmp_path, capsys):
    sides = [lmeval_log.read(folder, name) for folder, name in zip(real, "AB", strict=True)]
    pairs, notes = pair.pair(*sides)
    assert notes == []
    found = {line.task: line for line in measure.lines(pairs)}
    assert set(found) == set(TASKS)
    line, a, b = found["piqa_cloze"], *(by_hand(folder, "piqa_cloze", "acc_norm") for folder in real)
    flips = Counter((a[item], b[item]) for item in a)
    lost, gained = flips[1.0, 0.0], flips[0.0, 1.0]
    assert lost + gained > 5
    assert (line.n, line.lost, line.gained) == (40, lost, gained)
    assert line.a.value == pytest.approx(sum(a.values()) / 40)
    assert line.b.value == pytest.approx(sum(b.values()) / 40)
    assert line.difference.value == pytest.approx((gained - lost) / 40)
    exact = stats.binomtest(lost, lost + gained).pvalue
    assert line.exact == line.p == pytest.approx(exact)
    assert line.mid == pytest.approx(exact - stats.binom.pmf(lost, lost + gained, 0.5) * (1 if lost != gained else 0.5))
    # The width of an interval by the normal approximation, from the same counts.
    error = np.sqrt(lost + gained - (gained - lost) ** 2 / 40) / 40
    assert line.difference.high - line.difference.low == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert line.alone == pytest.approx(2.8 * error, rel=0.1)
    assert line.detectable == pytest.approx(3.08 * error, rel=0.1)  # of two tests, at 2.5 %

    assert main(["compare", str(real[0]), str(real[1]), "--output", str(tmp_path / "out")]) == 0
    assert "piqa_cloze" in capsys.readouterr().out


def test_what_lmeval_writes_is_what_the_tests_write_by_hand(real, tmp_path):
    (path,) = real[0].rglob("samples_piqa_cloze_*.jsonl")
    line = json.loads(path.read_text().splitlines()[0])
    own = logs.sample(0, 1.0)
    assert set(own) - {"acc"} <= set(line)
    assert {key: type(value) for key, value in own["arguments"].items()} == {
        key: type(value) for key, value in line["arguments"].items()
    }
    assert type(line["filtered_resps"][0]) is list
    assert all(isinstance(line[name], str) for name in ("doc_hash", "prompt_hash", "target_hash", "target"))


def test_the_items_that_flipped_are_named_with_what_was_answered(real):
    sides = [lmeval_log.read(folder, name) for folder, name in zip(real, "AB", strict=True)]
    pairs, _ = pair.pair(*sides, tasks=("piqa_cloze",))
    rows = written.flipped(pairs)
    a, b = (by_hand(folder, "piqa_cloze", "acc_norm") for folder in real)
    assert len(rows) == sum(a[item] != b[item] for item in a)
    assert rows["flip"].to_list() == sorted(rows["flip"], reverse=True)  # lost before gained
    assert all(rows["question"].str.len_chars() > 10)
    # The option shown is the one that counted: the target where the value is 1, another where it is 0.
    (path,) = real[0].rglob("samples_piqa_cloze_*.jsonl")
    documents = {str(line["doc_id"]): line for line in map(json.loads, path.read_text().splitlines())}
    for row in rows.iter_rows(named=True):
        document = documents[row["doc_id"]]["doc"]
        right = document["choices"][document["gold"]]
        for value, answer in ((row["a"], row["answer_a"]), (row["b"], row["answer_b"])):
            assert (answer == " ".join(right.split())) == bool(value)


def test_settings_and_directions_come_from_the_results(tmp_path):
    side = lmeval_log.read(logs.lmeval(tmp_path, "t", [0.5, 0.25], metric="odd", lower=True), "A")
    assert side.settings == {"t": {"version": "1.0", "number of shots": "0"}}
    assert side.higher == {("t", "odd"): False}


def test_several_filters_are_metrics_of_their_own(tmp_path):
    folder = logs.lmeval(tmp_path, "t", [1.0, 0.0], metric="exact_match", filter="strict-match")
    path = next(folder.glob("samples_*"))
    more = [logs.sample(index, 1.0, metric="exact_match", filter="flexible-extract") for index in range(2)]
    path.write_text(path.read_text() + "".join(json.dumps(line) + "\n" for line in more))
    rows = lmeval_log.read(folder, "A").rows
    assert rows["metric"].unique(maintain_order=True).to_list() == [
        "exact_match,strict-match", "exact_match,flexible-extract",
    ]  # fmt: skip


def test_metrics_that_are_no_number_for_each_item_are_said_or_refused(tmp_path):
    folder = logs.lmeval(tmp_path / "a", "t", [1.0, 0.0], metrics=["acc", "f1"], f1=[0, 1])
    side = lmeval_log.read(folder, "A")
    assert side.rows["metric"].unique().to_list() == ["acc"]
    assert side.notes == ("t of A: f1 left out, which is no number for each item",)
    logs.lmeval(tmp_path / "a", "u", [["x", "y"], ["x", "x"]], metric="bleu")
    logs.lmeval(tmp_path / "a", "v", [])
    side = lmeval_log.read(folder, "A")  # a task without a number does not cost the others
    assert side.rows["task"].unique().to_list() == ["t"]
    assert [note.split(" left")[0] for note in side.notes[1:]] == [
        "u of A: bleu", f"v of A: samples_v_{logs.DATE}.jsonl holds no scored item",
    ]  # fmt: skip
    folder = logs.lmeval(tmp_path / "b", "t", [["x", "y"]], metric="bleu")
    with pytest.raises(ValueError, match="b has nothing to compare: t of A: bleu left out, which is no number for"):
        lmeval_log.read(folder, "A")


def worse(tmp_path, metrics, a, b, **changes):
    """The line of a task, B against A, whose ``metrics`` are in this order, the last of them ``a`` and ``b``."""
    sides = []
    for name, values in (("A", a), ("B", b)):
        about = {"metrics": metrics, **changes}
        logs.lmeval(tmp_path / name, "t", values, metric=metrics[0], lower=True, **about)
        sides.append(lmeval_log.read(tmp_path / name, name))
    pairs, notes = pair.pair(*sides)
    (line,) = measure.lines(pairs)
    return line, [*sides[0].notes, *notes]


def test_an_items_perplexity_is_its_log_likelihood_of_which_more_is_better(tmp_path):
    """As ``lambada_openai`` has it: perplexity first, and less of it better, which holds for all items together."""
    a = [-1.0 - 0.1 * index for index in range(20)]
    b = [value - 1.5 - 0.01 * index for index, value in enumerate(a)]
    line, notes = worse(tmp_path, ["perplexity", "acc"], a, b, acc=1)
    assert (line.metric, line.verdict, line.lost) == ("log_likelihood", measure.WORSE, 20)
    assert line.difference.value == pytest.approx(-1.5 - 0.095)
    assert notes == ["t: lm-eval logs an item's log-likelihood as perplexity; it is compared as log_likelihood"]


def test_a_perplexity_that_is_one_stays_one(tmp_path):
    line, notes = worse(tmp_path, ["perplexity"], [3.0, 4.0, 5.5, 6.0] * 5, [6.0, 8.0, 9.0, 9.5] * 5)
    assert (line.metric, line.verdict, notes) == ("perplexity", measure.WORSE, [])
    folder = logs.lmeval(tmp_path / "mixed", "t", [3.0, -2.0], metric="perplexity")
    with pytest.raises(ValueError, match="perplexity is above 0 for some items and not for others"):
        lmeval_log.read(folder, "A")


@pytest.mark.parametrize(
    ("metric", "called", "of_a", "more"),
    [
        ("word_perplexity", "log_likelihood_per_word", -0.4, True),
        ("byte_perplexity", "log_likelihood_per_byte", -0.4, True),
        ("bits_per_byte", "bits_per_byte", 0.4 / np.log(2), False),
    ],
)
def test_a_document_is_compared_by_its_log_likelihood_a_word_or_byte(tmp_path, metric, called, of_a, more):
    documents = [10 + index for index in range(12)]
    a = [[-0.4 * length, length] for length in documents]
    b = [[(-0.6 - 0.01 * (length % 3)) * length, length] for length in documents]
    line, notes = worse(tmp_path, [metric], a, b)
    assert (line.metric, line.higher, line.verdict) == (called, more, measure.WORSE)
    assert line.a.value == pytest.approx(of_a)
    assert notes == [
        f"t: lm-eval logs a document's log-likelihood and its length; compared is {called}, each document counting "
        "the same"
    ]


def test_every_metric_of_lmeval_has_a_meaning_for_one_item():
    """What lm-eval's own ``process_results`` gives for one item: a score, or what is left out."""
    from lm_eval.api import registry

    aggregates = {"f1", "mcc", "brier_score", "likelihood", "bleu", "chrf", "chrf++", "ter", "acc_all", "bypass"}
    scores = {"acc", "acc_norm", "acc_mutual_info", "acc_bytes", "exact_match"}
    ours = {lmeval_metrics.PERPLEXITY, *lmeval_metrics.PAIRS}
    assert set(registry.HIGHER_IS_BETTER_REGISTRY) <= aggregates | scores | ours
    for name in aggregates:  # target and prediction, with several options or as text
        for pair_ in ([0, 1], [1, [-2.0, -1.5]], ["one", "two"]):
            assert lmeval_metrics.meaning(name, pair_) is None
    assert {lmeval_metrics.meaning(name, True) for name in scores} == {(name, 1.0) for name in scores}
    for name in ours:
        assert lmeval_metrics.meaning(name, ["1", "2"]) is None
        assert np.isnan(lmeval_metrics.meaning(name, None)[1])
    assert np.isnan(lmeval_metrics.meaning("bits_per_byte", [-1.5, 0])[1])


def test_a_byte_order_mark_is_passed_over(tmp_path):
    folder = logs.lmeval(tmp_path, "t", [1.0, 0.0])
    for path in folder.iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    found = lmeval_log.read(folder, "A")
    assert (len(found.rows), found.settings["t"]["version"]) == (2, "1.0")


def test_clusters_are_a_field_of_the_items(tmp_path):
    folder = logs.lmeval(tmp_path, "t", [1.0] * 8)
    assert lmeval_log.read(folder, "A").rows["cluster"].n_unique() == 8
    assert lmeval_log.read(folder, "A", "passage").rows["cluster"].n_unique() == 2
    with pytest.raises(ValueError, match="no field 'topic'; it has question, passage"):
        lmeval_log.read(folder, "A", "topic")


def test_a_cluster_of_one_task_is_none_of_another_but_a_text_is_the_same_wherever_it_is_asked():
    assert side.cluster_of("t", 7) != side.cluster_of("u", 7)
    assert side.cluster_of("t", "doc-7") != side.cluster_of("u", "doc-7")
    passage = "One day in spring, when the ice had gone, the boats went out to sea again, all but one."
    assert side.cluster_of("t", passage) == side.cluster_of("u", passage)


def test_old_logs_without_hashes_and_lists_of_metrics_are_read(tmp_path):
    folder = logs.lmeval(tmp_path, "t", [1.0, 0.0])
    path = next(folder.glob("samples_*"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        for name in ("metrics", "filter", "doc_hash", "prompt_hash", "target_hash"):
            line.pop(name)
    path.write_text("\n".join(map(json.dumps, lines)))
    rows = lmeval_log.read(folder, "A").rows
    assert rows["metric"].unique().to_list() == ["acc"]
    assert rows["doc_hash"].to_list() == [None, None]
    assert rows["cluster"].n_unique() == 2


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda path: path.write_text(path.read_text() + '{"doc_id": 3, "do'), "line 3 of .* is no JSON"),
        (lambda path: path.write_bytes(b'{"doc_id": "\xff"}'), "line 1 of .* is no JSON"),
        (lambda path: path.write_text("[1]\n"), "line 1 of .* is no sample of lm-eval"),
        (lambda path: path.write_text('{"a": 1}\n'), "line 1 of .* has no doc_id"),
        (lambda path: path.write_text(""), "has nothing to compare: t of A: samples_t_.* holds no scored item; give"),
        (
            lambda path: path.write_text('{"doc_id": 0, "metrics": "acc", "acc": 1.0}\n'),
            "line 1 of .* is not of the form that lm-eval writes .*metrics is 'acc' and no list",
        ),
        (
            lambda path: path.write_text('{"doc_id": 0, "acc": 1.0, "arguments": 7}\n'),
            "line 1 of .* is not of the form that lm-eval writes",
        ),
        (lambda path: path.unlink(), "holds results of lm-eval without samples; run lm-eval with --log_samples"),
        (lambda path: logs.lmeval(path.parent, "t", [1.0], date="2026-01-03T00-00-00.0"), "holds two logs of task t"),
        (lambda path: logs.lmeval(path.parent / "other", "t", [1.0]), "holds logs of several models"),
    ],
)
def test_a_log_that_is_not_one_run_is_refused(tmp_path, break_it, says):
    folder = logs.lmeval(tmp_path, "t", [1.0, 0.0])
    break_it(next(folder.glob("samples_*")))
    with pytest.raises(ValueError, match=says):
        lmeval_log.read(folder, "A")
