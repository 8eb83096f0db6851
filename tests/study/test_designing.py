import re

import numpy as np
import polars as pl
import pytest

from unicomp_lib import __main__ as command_line
from unicomp_lib import results, tables
from unicomp_lib.evaluate import harness, statistics
from unicomp_lib.evaluate.statistics import Part
from unicomp_lib.study import designing, params, records
from unicomp_lib.study.plan import ITEMS, plan
from unicomp_lib.study.steps import keys

FACTS = {
    "notebook": "n", "key": "k", "parameters": {}, "started": "2026-01-01T00:00:00+00:00", "seconds": 1.0,
    "cpu_seconds": 0.5, "peak_memory": 10**6, "packages": records.packages(), "hardware": records.machine(),
    "commit": None, "dirty": None,
}  # fmt: skip


def rows(variant, task, values):
    frame = pl.DataFrame(
        {
            "dimension": "performance", "capability": "commonsense", "task": task, "format": "cloze", "chance": 0.5,
            "doc_id": range(len(values)), "doc_hash": [str(i) for i in range(len(values))],
            "cluster": [str(i) for i in range(len(values))], "metric": "acc_norm", "primary": True, "value": values,
        }
    )  # fmt: skip
    missing = [pl.lit(None, dtype=kind).alias(name) for name, kind in tables.ITEMS.items() if name not in frame.columns]
    full = frame.with_columns(missing).select(pl.col(name).cast(kind) for name, kind in tables.ITEMS.items())
    cell = {"model": "tiny", "method": variant, "variant": variant, "calibration": "", "seed": 0}
    return tables.label(full, cell)


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """Performance of dense and of one variant of the profile tiny as a finished run has it."""
    monkeypatch.setattr(records, "runs", lambda: tmp_path)
    steps = plan(params.load("tiny"))
    known, rng = keys(steps), np.random.default_rng(0)
    dense = (rng.random(200) < 0.8).astype(float)
    ours = np.where(rng.random(200) < 0.9, dense, 1 - dense)
    for variant, values in (("dense", dense), ("quanto-int8", ours)):
        name = f"evaluate/tiny/{variant}/performance"
        folder = records.folder(name, known[name])
        folder.mkdir(parents=True)
        tables.write(rows(variant, "piqa_cloze", values), folder / ITEMS)
        costs = pl.DataFrame({"task": ["piqa_cloze"], "seconds": [20.0], "items": [200]})
        tables.write(costs, folder / harness.COSTS)
        records.write(folder, FACTS | {"name": name})


def test_a_design_is_made_of_a_finished_run(finished, capsys):
    assert command_line.main(["design", "--profile", "tiny", "--minutes", "1", "--workers", "2"]) == 0
    said = capsys.readouterr().out
    # Two minutes of CPU for six cells, dense's rerun among them, at a tenth of a second an item.
    cells = sum(step.topic == "performance" for step in plan(params.load("tiny")) if step.stage == "evaluate")
    assert f"{cells} cells, {120 / cells:.0f} CPU seconds each" in said
    assert f"      piqa_cloze: {int(1200 / cells)}\n" in said
    assert "not measured by that run, and so left out: openbookqa_cloze" in said


def test_a_dry_run_says_how_wide_the_intervals_will_be(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(results, "folder", lambda profile: tmp_path)
    profile = params.load("tiny")
    assert list(designing.expected(profile)) == []
    rng = np.random.default_rng(0)
    dense = (rng.random(200) < 0.8).astype(float)
    ours = np.where(rng.random(200) < 0.9, dense, 1 - dense)
    for variant, values in (("dense", dense), ("quanto-int8", ours)):
        tables.write(rows(variant, "piqa_cloze", values), tmp_path / "items" / f"tiny.{variant}.performance.parquet")
    assert command_line.main(["reproduce", "--profile", "tiny", "--dry-run"]) == 0
    asked = profile.evaluations["performance"].parameters["tasks"]["piqa_cloze"]
    slope = statistics.slope(Part(ours, dense, np.arange(200), 0.5))
    # What dense leaves open of each answer, and the four imaginary answers, each counted half a time.
    spread = np.var(ours - slope * dense, ddof=2) / asked
    imagined = [a - ours.mean() - slope * (b - dense.mean()) for a in (0, 1) for b in (0, 1)]
    spread += 0.5 * np.square(imagined).sum() / asked**2
    half = 1.96 * np.sqrt(spread) / (dense.mean() - 0.5)
    said = f"expected half-width of retention in performance, in points: commonsense {100 * half:.0f}, "
    assert said + f"all {100 * half:.0f}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--minutes", "0"], "--minutes 0 is not allowed"),
        (["--minutes", "inf"], "--minutes inf is not allowed"),
        (["--workers", "0"], "--workers 0 is not allowed; give a whole number above 0"),
        (["--dimension", "fidelity"], "fidelity of profile tiny has no tasks; allowed are performance, reliability"),
        (["--dimension", "reliability"], "nox -s reproduce -- --profile tiny --only 'evaluate/\\*/reliability'"),
    ],
)
def test_what_no_design_can_be_made_of_is_refused(finished, capsys, arguments, message):
    assert command_line.main(["design", "--profile", "tiny", *arguments]) == 2
    said = capsys.readouterr().err
    assert re.search(message, said), said
