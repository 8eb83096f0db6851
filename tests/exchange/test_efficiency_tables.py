"""Efficiency for a paper: every number is a score in the unit of its column, and what was not measured has none."""

import re

import polars as pl
import pytest

from unicomp_lib import results, tables
from unicomp_lib.exchange import columns, efficiency_tables

EMBEDDED = pl.read_parquet(results.folder("embedded") / "scores.parquet")
ROW = {"model": "m", "seed": None, "control": "", "dimension": "efficiency", "task": "8 + 2 tokens", "n": 1}


def scores(*rows):
    return pl.DataFrame([dict.fromkeys(tables.SCORES) | ROW | row for row in rows], schema=tables.SCORES)


def cell(variant, metric, value, low=None, high=None, **more):
    about = {"variant": variant, "label": variant.title(), "metric": metric, "value": value, "low": low, "high": high}
    return about | ({"dimension": "fidelity", "task": "held-out"} if metric == "kl" else {}) | more


def numbers(text):
    return [float(number) for number in re.findall(r"-?\d+\.\d+", text)]


@pytest.mark.parametrize(
    ("title", "metric", "scale", "near"),
    [
        ("size (MB)", "bytes_on_disk", 1e6, 0.051), ("bits per weight", "bits_per_weight", 1, 0.0051),
        ("decode (times dense)", "decode_ratio", 1, 0.0051), ("CPU time to make (s)", "cost_cpu_seconds", 1, 0.051),
        ("peak memory (times dense)", "peak_memory_ratio", 1, 0.0051), ("KL (nats)", "kl", 1, 0.00051),
        ("prefill (times dense)", "prefill_ratio", 1, 0.0051),
    ],
)  # fmt: skip
def test_every_number_is_that_of_the_scores_with_its_interval(title, metric, scale, near):
    table = efficiency_tables.wide(EMBEDDED)
    own = EMBEDDED.filter(pl.col("seed").is_null(), metric=metric, control="")
    shown = {row["variant"]: row[title] for row in table.iter_rows(named=True) if row[title]}
    assert set(shown) == set(own["variant"])
    for row in own.iter_rows(named=True):
        expected = [row[end] / scale for end in ("value", "low", "high") if row[end] is not None]
        assert numbers(shown[row["variant"]]) == pytest.approx(expected, abs=near)


def test_a_number_without_end_stops_nothing():
    table = efficiency_tables.wide(scores(cell("fast", "decode_ratio", float("inf"), 2.0, float("inf"))))
    assert table["decode (times dense)"].to_list() == ["inf [2.00, inf]"]


def test_what_was_not_timed_has_no_number_and_dense_is_first(tmp_path):
    rows = [
        cell("fast", "decode_ratio", 2.0, 1.9, 2.1, n=6), cell("fast", "bytes_on_disk", 5e6), cell("fast", "kl", 0.5),
        cell("untimed", "kl", 0.25, 0.2, 0.3), cell("broken", "decode_ratio", float("nan")), cell("broken", "kl", 1.0),
        cell("dense", "decode_ratio", 1.0, float("nan"), None, n=6), cell("rerun", "kl", 0.1, control="rerun"),
        cell("fast", "decode_ratio", 9.0, seed=0), cell("other", "kl", 9.0, model="not timed"),
    ]  # fmt: skip
    assert efficiency_tables.write(scores(*rows), tmp_path) == ["efficiency.csv", "efficiency.tex"]
    table = pl.read_csv(tmp_path / "efficiency.csv", infer_schema=False)
    assert table.columns == ["model", "variant", "label", "size (MB)", "decode (times dense)", "KL (nats)"]
    assert [row[1:] for row in table.rows()] == [
        ("dense", "Dense", None, "1.00", None), ("fast", "Fast", "5.0", "2.00 [1.90, 2.10]", "0.500"),
        ("untimed", "Untimed", None, None, "0.250 [0.200, 0.300]"), ("broken", "Broken", None, None, "1.000"),
    ]  # fmt: skip
    text = (tmp_path / "efficiency.tex").read_text()
    assert r"Untimed & -- & -- & 0.250 {\scriptsize [0.200, 0.300]} \\" in text
    assert r"\shortstack[r]{decode\\(times dense)}" in text
    assert "% decode (times dense): tokens per second after the first, one answer at a time, with 8 + 2 tokens" in text


def test_small_numbers_keep_two_digits_and_zero_has_no_sign():
    rows = [cell("dense", "kl", -0.0), cell("dense", "bits_per_weight", 16.0)]
    rows += [cell("a", "kl", 0.000123, 0.000119, 0.00013), cell("b", "kl", -1e-12, -2e-12, 1e-12)]
    table = efficiency_tables.wide(scores(*rows))
    assert table["KL (nats)"].to_list() == ["0.000", "0.00012 [0.00012, 0.00013]", "0.000 [0.000, 0.000]"]


def test_on_an_accelerator_memory_and_time_are_the_accelerators():
    rows = [cell("a", name, 2.0) for name in ("peak_memory_ratio", "cost_cpu_seconds", "cost_seconds")]
    table = efficiency_tables.wide(scores(*rows))
    assert table.columns[3:] == ["peak memory (times dense)", "CPU time to make (s)"]
    table = efficiency_tables.wide(scores(*rows, cell("a", "device_memory_ratio", 1.5)))
    assert table.columns[3:] == ["device memory (times dense)", "time to make (s)"]


def test_without_a_measurement_there_is_no_table(tmp_path):
    for rows in ([], [cell("dense", "kl", 0.0)], [cell("dense", "decode_ratio", None)]):
        assert efficiency_tables.write(scores(*rows), tmp_path) == []
        assert efficiency_tables.meanings(scores(*rows)) == {}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("profile", ["embedded", "formats", "gpu", "vllm", "engines", "openvino"])
def test_every_column_of_every_profile_is_described_with_its_unit(profile):
    found = pl.read_parquet(results.folder(profile) / "scores.parquet")
    table = efficiency_tables.wide(found)
    assert len(table) == table["variant"].n_unique() >= 3
    described = columns.dictionary(table.columns, efficiency_tables.meanings(found))
    assert described["meaning"].str.len_chars().min() > 5
    units = dict(described.select("column", "unit").rows())
    assert (units["size (MB)"], units["bits per weight"], units["KL (nats)"]) == ("MB", "bits", "nats")
    speeds = described.filter(pl.col("column").str.starts_with("decode"))
    assert "repeats, over that of dense" in speeds["meaning"][0]
