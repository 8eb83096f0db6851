import polars as pl
import pytest

from unicomp_lib import results, tables
from unicomp_lib.report import front


def score(variant, metric, value, *, task="all", seed=None, dimension="vision"):
    about = {"model": "m", "method": "m", "variant": variant, "calibration": "", "seed": seed, "dimension": dimension}
    rest = {"capability": "", "task": task, "format": "", "n": 9, "chance": None}
    return about | rest | {"metric": metric, "value": value, "low": value - 0.1, "high": value + 0.1}


@pytest.fixture
def networks():
    """Networks by variant, whose names say another rate than their facts."""
    facts = {
        "hard": {"rate": 0.9, "schedule": "one-shot", "label": "The hard one"},
        "x-90": {"rate": 0.5, "schedule": "one-shot", "label": "Not so hard"},
        "y": {"rate": 0.9, "schedule": "iterative", "label": "In steps"},
        "z": {"rate": 0.9, "schedule": "one-shot", "control": "as pruned", "label": "A control"},
    }
    rows = [
        score(variant, metric, value, task=task)
        for variant, difference in (("x-90", 0.3), ("hard", -0.2), ("y", 0.2), ("z", 0.1))
        for metric, value, task in (("overlap", 0.4, "units"), ("difference", difference, "emoji"))
    ]
    return tables.scores(rows, facts)


def test_the_hard_network_is_chosen_by_its_rate_and_called_by_its_label(networks):
    (sentence,) = front.answers(networks)
    assert "pruned by 90 % in one shot: **The hard one**, -20.0 [-30.0, -10.0] points" in sentence
    assert "most, 40 [30, 50] % still do" in sentence


def test_the_answers_name_variants_by_their_labels():
    rows = [
        score(variant, metric, value, dimension="fidelity")
        for variant, sizes in (("a", (0.9, 0.4, 1.5)), ("b", (0.95, 0.6, 1.2)))
        for metric, value in zip(("agreement", "bytes_on_disk_ratio", "decode_ratio"), sizes, strict=True)
    ]
    nearest, fastest = front.answers(tables.scores(rows, {"a": {"label": "Ours"}, "b": {"label": "Theirs"}}))
    assert "**Ours**" in nearest
    assert "at 90 [80, 100] % of positions, in 2.5 times fewer bytes" in nearest
    assert "**Ours**, 1.5 [1.4, 1.6] times as fast as dense" in fastest


def test_the_committed_scores_give_all_answers():
    scores = tables.read(results.folder("embedded") / "scores.parquet")
    assert len(front.answers(scores)) == 3
    assert front.answers(scores.filter(pl.col("dimension") == "performance")) == []


def test_numbers_are_short_and_zero_has_no_sign():
    given = [0.123456, -1e-17, -0.0, 269_034_112.0, 1234.56, -0.00012349, float("nan"), None]
    shown = pl.DataFrame({"value": given}).select(front.rounded(pl.col("value")))["value"].to_list()
    assert shown == [0.1235, 0.0, 0.0, 269_000_000.0, 1235.0, -0.0001235, None, None]
    assert "-" not in str(shown[1:3])
    assert front._signed(-0.0004) == "+0.0"
    assert front._signed(-0.0006) == "-0.1"


def test_the_first_page_says_why_panels_are_empty():
    rows = [
        score("a", "agreement", 0.9, dimension="fidelity"),
        score("a", "retention", float("nan"), dimension="performance") | {"capability": "all"},
        score("a", "retention", 0.9, dimension="reliability") | {"capability": "truthfulness"},
        score("a", "decode_ratio", 1.2, dimension="efficiency"),
        score("a", "prefill_ratio", 1.2, dimension="efficiency"),
    ]
    assert front.empty(tables.scores(rows, {})) == [
        "Performance is empty, since dense scores no better than chance: its retention is undefined.",
        "Reliability is empty, since it was not measured.",
        "Size is empty, since it was not measured.",
    ]


def test_without_an_answer_the_first_page_says_so_and_names_all_models():
    scores = tables.scores([score("dense", "agreement", 1.0, dimension="fidelity")], {})
    page = front.index(scores, {}, ["a", "b"])
    assert front.NO_ANSWER in page
    assert "2 models, a, b, compressed" in page
    assert "```{image}" not in page
    assert "```{warning}" not in page
    assert "```{warning}\nmind\n```" in front.index(scores, {}, ["a"], warning="mind")


def test_a_variant_that_is_slower_than_dense_is_not_called_the_fastest():
    rows = [score("a", metric, 0.9, dimension="fidelity") for metric in ("agreement", "decode_ratio")]
    assert front.answers(tables.scores(rows, {})) == []
