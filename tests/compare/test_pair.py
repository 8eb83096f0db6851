"""Only the same items are compared, and what is left out is said."""

import re

import answer_logs as logs
import numpy as np
import pytest

from unicomp_lib.compare import inspect_log, lmeval_log, measure, pair

RIGHT = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0]


def read(folder, name):
    return lmeval_log.read(folder, name)


@pytest.fixture
def both(tmp_path):
    """Writes two logs of one task; ``changes`` are made to the second."""

    def made(ours=RIGHT, theirs=RIGHT, **changes):
        first = read(logs.lmeval(tmp_path / "a", "t", ours), "A")
        return first, read(logs.lmeval(tmp_path / "b", "t", theirs, **changes), "B")

    return made


def said(notes, *patterns):
    assert len(notes) == len(patterns), notes
    for note, pattern in zip(notes, patterns, strict=True):
        assert re.search(pattern, note), note


def test_logs_of_the_same_items_are_paired_whole_and_nothing_is_said(both):
    (found,), notes = pair.pair(*both())
    assert notes == []
    assert found.items["a"].to_list() == found.items["b"].to_list() == RIGHT
    assert (found.left_out, found.prompts) == (0, 0)


def test_items_in_another_order_are_paired_by_their_hash(both):
    count = len(RIGHT)
    other = {f"{what}_hash": lambda index, sign=what[0]: f"{sign}{count - 1 - index}" for what in ("doc", "prompt")}
    a, b = both(theirs=RIGHT[::-1], **other)
    (found,), notes = pair.pair(a, b)
    assert notes == []
    assert found.items["b"].to_list() == RIGHT


@pytest.mark.parametrize(
    ("theirs", "changes", "left", "says"),
    [
        (RIGHT[:5], {}, 5, ["t: 3 of 8 items of A have no partner; left out"]),
        (RIGHT, {"doc_hash": lambda i: f"d{i}" if i else "else"}, 7, ["1 of 8 items of A", "1 of 8 items of B"]),
        (RIGHT, {"target_hash": lambda i: "other" if i < 2 else "t"}, 6, ["2 of 8 items have another target"]),
        ([float("nan"), *RIGHT[1:]], {}, 7, ["1 of 8 items have no number on one side; left out"]),
        ([None, None, *RIGHT[2:]], {}, 6, ["2 of 8 items have no number"]),
        (RIGHT, {"prompt_hash": "else"}, 8, [r"the prompts of 8 of 8 items differ \(t\), so .* model and prompt"]),
        (RIGHT, {"prompt_hash": lambda i: "else" if i == 3 else f"p{i}"}, 8, ["the prompts of 1 of 8 items differ"]),
        (RIGHT, {"doc_hash": None}, 8, ["paired by number alone"]),
    ],
)
def test_what_is_not_the_same_is_left_out_and_said(both, theirs, changes, left, says):
    (found,), notes = pair.pair(*both(theirs=theirs, **changes))
    said(notes, *says)
    assert len(found.items) == left


def test_all_items_count_as_many_as_are_left_and_as_many_as_are_left_out(both):
    a, b = both(theirs=RIGHT[:5], target_hash=lambda i: "other" if i == 0 else "t")
    (found,), _ = pair.pair(a, b)
    assert (len(found.items), found.left_out) == (4, 3 + 1)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"doc_hash": lambda i: f"e{i}"}, r"no item of A is an item of B \(8 and 8, by doc_hash\)"),
        ({"metric": "exact_match"}, "A has acc and B has exact_match, so no metric is the same"),
        ({"filter": "strict"}, "A has acc and B has acc,strict, so no metric is the same"),
        ({"target_hash": "other"}, "no item is left to compare: .*8 of 8 items have another target"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_reason(both, changes, says):
    with pytest.raises(ValueError, match=says):
        pair.pair(*both(**changes))


def test_an_item_that_occurs_twice_is_refused(both):
    a, b = both(doc_id=lambda index: index % 4, doc_hash=lambda index: f"d{index % 4}")
    with pytest.raises(ValueError, match="B has item 0 of task t 2 times"):
        pair.pair(a, b)


def test_equal_items_of_a_data_set_stay_apart_by_their_number(tmp_path):
    same = {"doc_hash": lambda index: f"d{index // 2}"}
    sides = [read(logs.lmeval(tmp_path / n, "t", v, **same), n) for n, v in (("A", RIGHT), ("B", RIGHT[::-1]))]
    (found,), notes = pair.pair(*sides)
    assert notes == []
    assert len(found.items) == len(RIGHT)
    assert found.items["cluster"].n_unique() == len(RIGHT) // 2


def test_tasks_of_one_side_and_other_settings_are_said(tmp_path):
    a = read(logs.lmeval(tmp_path / "a", "t", RIGHT), "A")
    logs.lmeval(tmp_path / "b", "u", RIGHT)
    b = read(logs.lmeval(tmp_path / "b", "t", RIGHT), "B")
    results = tmp_path / "b" / f"results_{logs.DATE}.json"
    results.write_text('{"versions": {"t": 2.0}, "n-shot": {"t": 5}}')
    _, notes = pair.pair(a, read(tmp_path / "b", "B"))
    said(notes, "t: version is 1.0 for A and 2.0 for B", "t: number of shots is 0 for A and 5 for B", "only B has u")
    assert b.rows["task"].unique().sort().to_list() == ["t", "u"]


def test_the_metric_is_the_one_asked_for_or_the_first_of_both(tmp_path):
    two = {"metrics": ["acc", "acc_norm"], "acc_norm": 1.0}
    a, b = (read(logs.lmeval(tmp_path / name, "t", RIGHT, **two), name) for name in "AB")
    assert [pair.pair(a, b, metric=asked)[0][0].metric for asked in ("", "acc_norm")] == ["acc", "acc_norm"]
    with pytest.raises(ValueError, match="--metric 'f1' is not among its metrics, acc, acc_norm"):
        pair.pair(a, b, metric="f1")
    # Of a task that the study knows, its own: ranked options are normalised by length.
    a, b = (read(logs.lmeval(tmp_path / f"{name}2", "piqa_cloze", RIGHT, **two), name) for name in "AB")
    assert pair.pair(a, b)[0][0].metric == "acc_norm"


def test_tasks_may_be_chosen_and_a_name_of_none_is_refused(tmp_path):
    for name in "AB":
        for task in ("t_one", "t_two", "other"):
            logs.lmeval(tmp_path / name, task, RIGHT)
    a, b = (read(tmp_path / name, name) for name in "AB")
    assert [found.task for found in pair.pair(a, b, tasks=("t_*",))[0]] == ["t_one", "t_two"]
    with pytest.raises(ValueError, match=r"--tasks 'othr' matches no task .*did you mean 'other'"):
        pair.pair(a, b, tasks=("othr",))


def test_a_rerun_is_paired_with_the_same_items(tmp_path, both):
    a, b = both()
    again = [0.0, *RIGHT[1:-1]]
    c = read(logs.lmeval(tmp_path / "c", "t", again), "C")
    pairs, notes = pair.pair(a, b, c)
    said(notes, "t: the rerun lacks 1 of 8 items")
    (line,) = measure.lines(pairs)
    assert (line.rerun_flips, line.rerun_n) == (1, 7)
    assert line.noise.value == pytest.approx(-1 / 7)


def test_a_rerun_without_any_common_item_is_refused(tmp_path, both):
    a, b = both()
    c = read(logs.lmeval(tmp_path / "c", "t", RIGHT, doc_hash=lambda index: f"e{index}"), "C")
    pairs, _ = pair.pair(a, b, c)
    with pytest.raises(ValueError, match="the rerun C has none of the items that are compared; give a log of"):
        pair.check_rerun(pairs, c)


def test_logs_of_inspect_ai_are_paired_by_what_was_asked(tmp_path):
    letters = ["C" if value else "I" for value in RIGHT]
    ids = {"id": lambda index: f"q{index}"}
    a = inspect_log.read(logs.inspect(tmp_path / "a.eval", "t", letters), "A")
    b = inspect_log.read(logs.inspect(tmp_path / "b.eval", "t", letters[:6], **ids), "B")
    (found,), notes = pair.pair(a, b)
    said(notes, "2 of 8 items of A have no partner")
    np.testing.assert_array_equal(found.items["a"], RIGHT[:6])
