import polars as pl
import pytest

from unicomp_lib import results, tables


def test_a_table_comes_back_as_it_was(tmp_path):
    table = pl.DataFrame({"task": ["a", "b"], "value": [0.5, None]})
    assert tables.read(tables.write(table, tmp_path / "items.parquet")).equals(table)


def test_a_damaged_table_says_what_to_do(tmp_path):
    path = tables.write(pl.DataFrame({"value": range(1000)}), tmp_path / "items.parquet")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"is no readable Parquet file .* delete the folder"):
        tables.read(path)
    with pytest.raises(ValueError, match="run the study first: nox -s reproduce"):
        tables.read(tmp_path / "none.parquet")


def test_a_cell_must_have_all_its_labels():
    with pytest.raises(ValueError, match="it must have model, method, variant, calibration, seed"):
        tables.label(pl.DataFrame({"value": [1.0]}), {"model": "m"})


def test_judged_answers_are_read_where_there_are_some(tmp_path, monkeypatch):
    monkeypatch.setattr(tables.paths, "project", lambda: tmp_path)
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
