"""What publication replaces, and what it leaves alone."""

import json

import polars as pl
import pytest

from unicomp_lib import paths, tables
from unicomp_lib.study import notebooks, publish, records
from unicomp_lib.study.steps import Cell, Stage, Step

RECORD = {
    "seconds": 2.0, "commit": "abc", "dirty": False, "hardware": {"cores": 2}, "packages": {"torch": "1"},
    "parameters": {},
}  # fmt: skip


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Finished runs by step name, as ``records`` would find them, in a checkout of their own."""
    finished = {}
    monkeypatch.setattr(paths, "project", lambda: tmp_path)
    monkeypatch.setattr(records, "finished", lambda run: finished.get(run.name))
    monkeypatch.setattr(records, "damage", lambda run: "")
    monkeypatch.setattr(
        notebooks, "heading", lambda notebook: notebooks.Heading(f"Title of {notebook}", "What?", "This.")
    )
    return finished


def score(dimension, value):
    row = {"dimension": dimension, "value": value}
    return pl.DataFrame([{name: row.get(name) for name in tables.SCORES}], schema=tables.SCORES)


def scores(dimension):
    return Step(Stage.SCORES, "evaluate/scores", {}, topic=dimension, publishes={"scores.parquet": "scores.parquet"})


def finish(runs, step, **files):
    """Let a step have finished, with the files it wrote."""
    run = records.folder(step.name, "k")
    run.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = run / name.replace("__", ".")
        content.write_parquet(path) if isinstance(content, pl.DataFrame) else path.write_text(content)
    runs[run.name] = RECORD | {"key": "k"}


def published(steps):
    return publish.publish(steps, {step.name: "k" for step in steps}, "mine")


def values(tmp_path):
    table = tables.read(tmp_path / "results" / "mine" / "scores.parquet")
    return dict(table.select("dimension", "value").iter_rows())


def test_scores_of_one_dimension_replace_its_own_rows_alone(runs, tmp_path):
    steps = [scores("fidelity"), scores("performance")]
    for step, value in zip(steps, (1.0, 2.0), strict=True):
        finish(runs, step, scores__parquet=score(step.topic, value))
    published(steps)
    assert values(tmp_path) == {"fidelity": 1.0, "performance": 2.0}
    runs.clear()
    finish(runs, steps[0], scores__parquet=score("fidelity", 3.0))
    runs[records.folder(steps[0].name, "k").name] = RECORD | {"key": "k2"}
    published(steps)
    assert values(tmp_path) == {"fidelity": 3.0, "performance": 2.0}
    origins = pl.read_csv(tmp_path / "results" / "mine" / publish.ORIGINS)
    assert origins.rows() == [
        ("scores.parquet", "scores/fidelity", "k2", "abc"),
        ("scores.parquet", "scores/performance", "k", "abc"),
    ]


def test_items_of_other_cells_stay_and_the_same_content_is_not_touched(runs, tmp_path):
    cell = Cell("m", "wanda-50", "wanda", seed=1, seeded=True)
    step = Step(
        Stage.EVALUATE, "evaluate/fidelity", {}, cell=cell, topic="fidelity", publishes={"items.parquet": "items/mine"}
    )
    folder = tmp_path / "results" / "mine" / "items"
    folder.mkdir(parents=True)
    (folder / "other.parquet").write_text("of an earlier run")
    finish(runs, step, items__parquet="rows")
    published([step])
    stamp = (folder / "mine").stat().st_mtime_ns
    published([step])
    assert (folder / "mine").read_text() == "rows"
    assert (folder / "mine").stat().st_mtime_ns == stamp
    assert (folder / "other.parquet").read_text() == "of an earlier run"
    assert step.name == "evaluate/m/wanda-50/seed-1/fidelity"


def test_a_damaged_run_is_not_published(runs, tmp_path, monkeypatch):
    step = scores("fidelity")
    finish(runs, step, scores__parquet=score("fidelity", 1.0))
    published([step])
    finish(runs, step, scores__parquet=score("fidelity", 2.0))
    monkeypatch.setattr(records, "damage", lambda run: "scores.parquet is another")
    published([step])
    assert values(tmp_path) == {"fidelity": 1.0}


def test_a_step_that_has_not_finished_publishes_nothing(runs, tmp_path):
    assert published([scores("fidelity")]) == []
    assert not (tmp_path / "results").exists()


def test_a_figure_comes_with_its_page_and_the_provenance_of_earlier_steps_stays(runs, tmp_path):
    figures = [Step(Stage.FIGURES, f"figures/{name}", {}, topic=name) for name in ("size", "overview")]
    for step in figures:
        finish(
            runs, step, **{f"{step.topic}__png": "picture", f"{step.topic}__csv": "a,b", f"{step.topic}__svg": "<svg/>"}
        )
    finish(runs, figures[0], numbers__csv="a")
    pictures = published(figures)
    folder = tmp_path / "figures" / "mine"
    assert sorted(path.name for path in pictures) == ["overview.png", "size.png"]
    page = (folder / "README.md").read_text()
    assert "## Title of figures/size\n\nWhat? ([notebook](../../notebooks/figures/size.ipynb))" in page
    assert "(size.png)" in page
    assert "This." in page
    assert "[data](size.csv)" in page
    assert "Table: [numbers](numbers.csv)" in page

    del runs[records.folder(figures[1].name, "k").name]
    runs[records.folder(figures[0].name, "k").name] = RECORD | {"key": "k", "commit": "def", "dirty": True}
    published(figures)
    facts = json.loads((folder / publish.PROVENANCE).read_text())
    assert facts["commits"] == ["abc", "def+changes"]
    assert {name: step["commit"] for name, step in facts["steps"].items()} == {
        "figures/size": "def+changes", "figures/overview": "abc",
    }  # fmt: skip
    assert (folder / "README.md").read_text() == page
    assert (folder / "overview.png").read_text() == "picture"


def test_a_page_says_in_which_engine_it_was_measured(runs, tmp_path):
    picture = Step(Stage.FIGURES, "figures/size", {}, topic="size")
    steps = [picture, scores("served"), scores("efficiency")]
    finish(runs, picture, size__png="picture")
    page, facts = (tmp_path / "figures" / "mine" / name for name in ("README.md", publish.PROVENANCE))
    published(steps[:1])
    assert "all else is measured here" not in page.read_text()
    for step, engine in zip(steps[1:], ("openvino", "llama.cpp"), strict=True):
        finish(runs, step, scores__parquet=score(step.topic, 1.0))
        runs[records.folder(step.name, "k").name] |= {"parameters": {"engine": engine}}
    published(steps)
    assert json.loads(facts.read_text())["engines"] == ["llama.cpp", "openvino"]
    assert "what is served are those of llama.cpp and OpenVINO GenAI; all else" in page.read_text()
    for step in steps[1:]:  # an engine's cells of an earlier run stay, and so does its name
        del runs[records.folder(step.name, "k").name]
    published(steps)
    assert json.loads(facts.read_text())["engines"] == ["llama.cpp", "openvino"]


def test_a_damaged_provenance_is_written_anew(runs, tmp_path):
    step = Step(Stage.FIGURES, "figures/size", {}, topic="size")
    finish(runs, step, size__png="picture")
    file = tmp_path / "figures" / "mine" / publish.PROVENANCE
    file.parent.mkdir(parents=True)
    for text in ("{", "[]", "null"):
        file.write_text(text)
        published([step])
        assert json.loads(file.read_text())["figures"] == {"figures/size": ["size.png"]}
