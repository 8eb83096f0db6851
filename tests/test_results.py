"""The committed tables of the default run: what figures and notebooks read before anything is computed."""

import polars as pl
import pytest

from unicomp_lib import results, tables
from unicomp_lib.study import params, variants


def test_the_committed_scores_say_of_each_variant_what_the_profile_says():
    embedded = params.load("embedded")
    table = tables.read(results.folder("embedded") / "scores.parquet")
    assert table.schema == pl.Schema(tables.SCORES)
    vision = variants.vision_facts(embedded)
    unrelated = {"label": "all", "sibling": "", "rate": None, "schedule": "", "control": ""}
    assert results.variants("vision") == {**vision, "all": unrelated}
    facts = variants.facts(embedded)
    for dimension, evaluation in embedded.evaluations.items():
        left_out = {*evaluation.without, *(() if evaluation.rerun else ("dense-rerun",))}
        assert results.variants(dimension) == {name: row for name, row in facts.items() if name not in left_out}


def test_scores_of_another_run_are_read_from_their_file(tmp_path):
    row = {"model": "m", "method": "rtn", "variant": "a", "calibration": "", "seed": 0, "dimension": "fidelity"}
    rest = dict.fromkeys(set(tables.SCORES) - set(row) - set(tables.FACTS))
    path = tables.write(tables.scores([row | rest], {"a": {"label": "RTN int3"}}), tmp_path / "scores.parquet")
    assert results.scores(str(path), "fidelity")["label"].to_list() == ["RTN int3"]
    assert results.scores(str(path), "performance").is_empty()


def test_judged_answers_are_read_where_there_are_some(tmp_path, monkeypatch):
    monkeypatch.setattr(results.paths, "project", lambda: tmp_path)
    folder = tmp_path / "results" / "embedded" / "items"
    with pytest.raises(ValueError, match="holds no items of reliability; run the study first"):
        results.items([], "reliability")
    tables.write(pl.DataFrame({"value": [1.0]}), folder / "m.dense.reliability.parquet")
    tables.write(pl.DataFrame({"value": [2.0]}), folder / "m.wanda-50.reliability.parquet")
    assert results.items([], "reliability")["value"].to_list() == [1, 2]
    tables.write(pl.DataFrame({"value": [3.0, 4.0]}), results.judgements("embedded", "reliability"))
    assert results.items([], "reliability")["value"].to_list() == [3, 4]
    assert results.items([], "reliability", judged=False)["value"].to_list() == [1, 2]
    assert results.items([str(folder / "m.dense.reliability.parquet")], "reliability")["value"].to_list() == [1]
