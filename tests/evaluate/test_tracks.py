import polars as pl
import pytest

from unicomp_lib import tables
from unicomp_lib.evaluate import statistics, tracks

NAN = float("nan")


def scores(**variants):
    rows = [
        {
            "model": "m", "method": name, "variant": name, "calibration": "", "seed": seed, "dimension": "efficiency",
            "capability": "efficiency", "task": "t", "format": None, "metric": metric, "value": value, "low": low,
            "high": high, "n": 5, "chance": None,
        }
        for name, metrics in variants.items()
        for metric, (value, low, high) in metrics.items()
        for seed in (0, None)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=tables.SCORES)


def test_a_score_is_the_geometric_mean_of_its_parts():
    rows = tracks.tracks(
        scores(
            gptq={
                "decode_ratio": (2.0, 1.8, 2.2),
                "prefill_ratio": (0.5, 0.4, 0.6),
                "decode_batch_ratio": (1.0, 0.9, 1.1),
                "bytes_on_disk_ratio": (0.25, NAN, NAN),
                "peak_memory_ratio": (0.5, NAN, NAN),
                "flops_ratio": (1, NAN, NAN),
                "cost_cpu_seconds": (40, NAN, NAN),
                "cost_peak_memory": (2e9, NAN, NAN),
            },
            rtn={"cost_cpu_seconds": (10, NAN, NAN), "cost_peak_memory": (2e9, NAN, NAN)},
            dense={"decode_ratio": (1.0, 1.0, 1.0)},
        )
    )
    score = {(variant, track): row for variant, track, *row in rows.filter(part="score").select(
        "variant", "track", "value", "low", "high").iter_rows()}  # fmt: skip
    assert score["gptq", "runtime acceleration"] == pytest.approx(
        [1, (1.8 * 0.4 * 0.9) ** (1 / 3), (2.2 * 0.6 * 1.1) ** (1 / 3)]
    )
    assert score["gptq", "inference footprint"] == pytest.approx([2, 2, 2])
    assert score["gptq", "compression cost"] == pytest.approx([0.5] * 3)
    assert score["rtn", "compression cost"] == pytest.approx([1] * 3)
    assert "dense" not in set(rows["variant"])
    assert len(rows.filter(pl.col("part") != "score", variant="gptq")) == 8


def test_what_was_not_measured_has_no_track():
    rows = tracks.tracks(scores(rtn={"decode_ratio": (1.5, 1.4, 1.6)}))
    assert set(rows["track"]) == {"runtime acceleration"}


def test_too_few_repeats_of_one_part_leave_the_score_without_an_interval():
    table = scores(
        gptq={"decode_ratio": (2.0, 1.8, 2.2), "prefill_ratio": (0.5, NAN, NAN), "bytes_on_disk_ratio": (0.5, NAN, NAN)}
    )
    few = pl.when(metric="prefill_ratio").then(pl.lit(statistics.FEW_REPEATS))
    rows = tracks.tracks(table.with_columns(reason=few))
    ends = {part: (low, high) for part, low, high in rows.select("part", "low", "high").iter_rows()}
    assert ends["decode_ratio"] == (1.8, 2.2)
    assert ends["prefill_ratio"] == (None, None)
    of_track = {track: row for track, *row in rows.filter(part="score").select(
        "track", "value", "low", "high").iter_rows()}  # fmt: skip
    assert of_track["runtime acceleration"] == [pytest.approx(1), None, None]
    assert of_track["inference footprint"] == pytest.approx([2, 2, 2])


def test_on_an_accelerator_its_memory_and_wall_time_count():
    rows = tracks.tracks(
        scores(
            gptq={
                "bytes_on_disk_ratio": (0.25, NAN, NAN),
                "peak_memory_ratio": (9, NAN, NAN),
                "device_memory_ratio": (0.5, NAN, NAN),
                "cost_cpu_seconds": (99, NAN, NAN),
                "cost_seconds": (20, NAN, NAN),
                "cost_peak_memory": (9e9, NAN, NAN),
                "cost_device_memory": (2e9, NAN, NAN),
            },
            rtn={"cost_cpu_seconds": (10, NAN, NAN), "cost_seconds": (5, NAN, NAN)},
        )
    )
    part = {(variant, part): value for variant, part, value in rows.select("variant", "part", "value").iter_rows()}
    assert part["gptq", "device_memory_ratio"] == 2
    assert part["gptq", "cost_seconds"] == 0.25
    assert not {"peak_memory_ratio", "cost_cpu_seconds", "cost_peak_memory"} & set(rows["part"])
    assert ("rtn", "cost_device_memory") not in part
