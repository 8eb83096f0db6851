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
