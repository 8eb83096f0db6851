import polars as pl
import pytest

from unicomp_lib.evaluate import judging, task
from unicomp_lib.evaluate.judges import labels, measured


def rows(*given):
    """A table of agreements: task, n, labels of 1, kappa."""
    return pl.DataFrame(
        [
            {
                "task": name, "judge": "rule-1", "metric": "refused", "labelled_by": "people", "n": n, "ones": ones,
                "prompts": n, "accuracy": 0.9, "accuracy_low": 0.8, "accuracy_high": 0.95, "kappa": kappa,
                "kappa_low": None if kappa is None else kappa - 0.3, "kappa_high": None if kappa is None else 0.99,
            }
            for name, n, ones, kappa in given
        ],
        schema=measured.COLUMNS,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "trusted", "of"),
    [
        ([("a", 30, 15, 0.7), ("all", 90, 40, 0.2)], True, 30),  # the task's own
        ([("a", 30, 15, 0.59), ("all", 90, 40, 0.9)], False, 30),  # the point estimate decides
        ([("a", 30, 15, 0.6), ("all", 90, 40, 0.2)], True, 30),
        ([("a", 19, 9, 0.1), ("all", 90, 40, 0.9)], True, 90),  # too few of its own
        ([("a", 30, 2, 0.1), ("all", 90, 40, 0.9)], True, 90),  # hardly any of one kind
        ([("a", 30, 28, 0.9), ("all", 90, 40, 0.3)], False, 90),
        ([("a", 10, 5, 0.1), ("all", 10, 5, 0.1)], True, 10),  # too few to decide anything
        ([("a", 30, 0, None), ("all", 30, 0, None)], True, 30),
        ([("b", 30, 15, 0.1)], True, None),  # nothing measured
    ],
)
def test_a_judge_is_trusted_by_the_kappa_of_the_task_or_else_of_all_its_tasks(monkeypatch, given, trusted, of):
    monkeypatch.setattr(measured, "table", lambda: rows(*given))
    found = measured.agreement("a", "rule-1", "refused")
    assert (found and found["n"]) == of
    assert (measured.reason("a", "rule-1", "refused") == "") == trusted
    assert measured.agreement("a", "rule-2", "refused") is None
    assert measured.agreement("a", "rule-1", "answered") is None


def test_the_reason_is_a_sentence_with_the_numbers(monkeypatch):
    monkeypatch.setattr(measured, "table", lambda: rows(("all", 40, 20, 0.31)))
    assert measured.reason("a", "rule-1", "refused") == (
        "not judged without an endpoint: kappa of rule-1 is 0.31 [0.01, 0.99] on 40 labels of people, below 0.6"
    )


def test_a_table_that_was_edited_is_refused(monkeypatch, tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "agreement.csv").write_text("task,judge\n")
    monkeypatch.setattr(measured.paths, "project", lambda: tmp_path)
    measured.table.cache_clear()
    with pytest.raises(ValueError, match=r"is not the table that measured\.py records; restore it with git"):
        measured.table()
    measured.table.cache_clear()


def test_every_labelled_task_is_measured_with_todays_judge():
    for name in labels.own()["task"].unique():
        about = task.described(name)
        assert measured.agreement(name, judging.JUDGES[about["judge"]][0], about["metric"]) is not None, name


def test_numbers_of_people_are_kept_apart():
    people = measured.table().filter(labelled_by="people")
    assert set(people["task"]) == {labels.PYRIT}
    assert people["n"].to_list() == [len(labels.refusals().filter(part="report"))] * 2
