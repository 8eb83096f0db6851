"""A row a method, a column a data set: every number of the table is one of the scores."""

import re

import polars as pl
import pytest

from unicomp_lib import results, tables
from unicomp_lib.evaluate import task
from unicomp_lib.exchange import method_tables

EMBEDDED = pl.read_parquet(results.folder("embedded") / "scores.parquet")
ROW = {"seed": None, "control": "", "dimension": "performance", "method": "x", "low": 0.1, "high": 0.9}


def scores(*rows):
    full = [dict.fromkeys(tables.SCORES) | ROW | row for row in rows]
    return pl.DataFrame(full, schema=tables.SCORES)


def cell(model, variant, task, value, **more):
    metric = "exact_match" if task.endswith("generate") else "acc_norm" if task.endswith("cloze") else "acc"
    about = {"model": model, "variant": variant, "label": variant.title(), "task": task, "value": value}
    return {"capability": "knowledge", "metric": metric} | about | more


def test_every_number_is_that_of_the_scores():
    table, groups = method_tables.by_method(EMBEDDED)
    own = EMBEDDED.filter(pl.col("seed").is_null(), control="")
    assert set(table["variant"]) == set(own.filter(dimension="performance")["variant"]) | set(
        own.filter(metric="perplexity")["variant"]
    )
    assert table.columns == ["model", "variant", "label", *[name for part in groups.values() for name in part]]
    for row in table.rows(named=True):
        mine = own.filter(variant=row["variant"])
        assert row["perplexity"] == pytest.approx(mine.filter(metric="perplexity")["value"][0], abs=0.006)
        one = mine.filter(task="asdiv_generate", metric="exact_match")
        if len(one):
            assert row["asdiv_generate"] == pytest.approx(100 * one["value"][0], abs=0.051)


def test_models_keep_their_order_and_what_is_not_measured_is_empty():
    table, groups = method_tables.by_method(
        scores(
            cell("b", "dense", "piqa_cloze", 0.6), cell("a", "dense", "piqa_cloze", 0.5),
            cell("b", "wanda", "hellaswag_cloze", 0.1234), cell("a", "wanda", "piqa_cloze", None),
            cell("b", "rerun", "piqa_cloze", 0.7, control="rerun"), cell("b", "wanda", "piqa_cloze", 0.4, seed=1),
        )
    )  # fmt: skip
    assert groups == {"knowledge": ["piqa", "hellaswag"]}
    assert table.rows() == [
        ("b", "dense", "Dense", 60.0, None), ("b", "wanda", "Wanda", None, 12.3), ("a", "dense", "Dense", 50.0, None),
    ]  # fmt: skip


def test_a_set_in_two_formats_has_two_columns():
    _, groups = method_tables.by_method(
        scores(cell("m", "dense", "piqa_cloze", 0.6), cell("m", "dense", "piqa_letter", 0.5))
    )
    assert groups == {"knowledge": ["piqa_cloze", "piqa_letter"]}


def test_variants_of_one_label_are_rows_of_their_own():
    table, _ = method_tables.by_method(
        scores(
            cell("m", "one", "piqa_cloze", 0.6, label="Same"), cell("m", "two", "piqa_cloze", 0.5, label="Same"),
        )
    )  # fmt: skip
    assert table["piqa"].to_list() == [60.0, 50.0]


@pytest.mark.parametrize("number", [1, 9, 10, 25])
def test_latex_is_whole_whatever_the_number_of_data_sets(number, tmp_path):
    known = EMBEDDED.filter(dimension="performance", metric="acc", format="cloze")["task"].unique().sort().to_list()
    names = known[: min(number, len(known))]
    metrics = {name: task.described(name)["metric"] for name in names}
    rows = [cell("a_model", f"50 % & {n}", name, 0.5, metric=metrics[name]) for n in range(2) for name in names]
    assert method_tables.write(scores(*rows), tmp_path) == ["methods.csv", "methods.tex"]
    _, *parts = (tmp_path / "methods.tex").read_text().strip().split("\n\n")
    assert len(pl.read_csv(tmp_path / "methods.csv").columns) == 3 + 3 * len(names)
    shown = 0
    for part in parts:
        columns = len(re.search(r"\{l(r+)\}", part)[1])
        shown += columns
        assert columns <= method_tables.ACROSS
        assert part.count(r"\begin{tabular}") == part.count(r"\end{tabular}") == 1
        body = [line for line in part.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
        assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {columns}
        assert rf"\multicolumn{{{columns + 1}}}{{l}}{{\emph{{a\_model}}}}" in part
        assert r"50 \% \& 0" in part
    assert shown == len(names)


def test_the_csv_has_units_and_the_interval_of_each_value(tmp_path):
    method_tables.write(EMBEDDED, tmp_path)
    table = pl.read_csv(tmp_path / "methods.csv")
    assert table.columns[:6] == ["model", "variant", "label", "perplexity", "perplexity low", "perplexity high"]
    assert {"piqa (%)", "piqa low (%)", "piqa high (%)"} <= set(table.columns)
    assert all("(%)" in name for name in table.columns[6:])
    row = EMBEDDED.filter(
        pl.col("seed").is_null(), variant="wanda-50", task="piqa_cloze", metric="acc_norm"
    ).row(0, named=True)  # fmt: skip
    wanda = table.filter(variant="wanda-50").row(0, named=True)
    for end, of in {"": "value", " low": "low", " high": "high"}.items():
        assert wanda[f"piqa{end} (%)"] == pytest.approx(100 * row[of], abs=0.051)
    one = EMBEDDED.filter(pl.col("seed").is_null(), variant="wanda-50", metric="perplexity").row(0, named=True)
    assert wanda["perplexity low"] == pytest.approx(one["low"], abs=0.006)
    assert f"{one['value']:.2f} {{\\scriptsize [{one['low']:.2f}, " in (tmp_path / "methods.tex").read_text()


def test_zero_has_no_sign(tmp_path):
    method_tables.write(scores(cell("m", "dense", "piqa_cloze", -1e-9, low=-0.0)), tmp_path)
    assert "-0.0" not in (tmp_path / "methods.csv").read_text() + (tmp_path / "methods.tex").read_text()


def test_without_scores_there_is_a_table_without_rows(tmp_path):
    method_tables.write(scores(), tmp_path)
    assert (tmp_path / "methods.csv").read_text() == "model,variant,label\n"
    assert "tabular" not in (tmp_path / "methods.tex").read_text()
