import polars as pl
import pytest

from unicomp_lib import tables


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


@pytest.mark.parametrize("said", ["index out of bounds\nand more", ""])
def test_a_panic_of_polars_is_said_like_any_other_damage(tmp_path, monkeypatch, said):
    path = tables.write(pl.DataFrame({"value": range(1000)}), tmp_path / "items.parquet")
    assert not issubclass(pl.exceptions.PanicException, Exception)

    def panic(_):
        raise pl.exceptions.PanicException(said)

    monkeypatch.setattr(pl, "read_parquet", panic)
    with pytest.raises(
        ValueError, match=r"is no readable Parquet file \((index out of bounds|PanicException)\); delete"
    ):
        tables.read(path)


def test_a_cell_must_have_all_its_labels():
    with pytest.raises(ValueError, match="it must have model, method, variant, calibration, seed"):
        tables.label(pl.DataFrame({"value": [1.0]}), {"model": "m"})


def test_scores_have_the_facts_of_their_variant_and_no_name_is_read():
    blank = dict.fromkeys(set(tables.SCORES) - set(tables.FACTS))
    rows = [blank | {"variant": name, "calibration": "reasoning"} for name in ("wanda-50-reasoning", "filters-90")]
    table = tables.scores(rows, {"filters-90": {"label": "Filters 30 %", "rate": 0.3, "schedule": "iterative"}})
    assert table.schema == pl.Schema(tables.SCORES)
    assert table.select("variant", *tables.FACTS).rows() == [
        ("wanda-50-reasoning", "wanda-50-reasoning", "", None, "", ""),
        ("filters-90", "Filters 30 %", "", 0.3, "iterative", ""),
    ]
