"""Build the site: what it is built from, its pages, and Sphinx."""

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from unicomp_lib import files, paths, results, tables
from unicomp_lib.inputs import assets
from unicomp_lib.report import contents, front
from unicomp_lib.report.contents import Study
from unicomp_lib.report.theme import SETTINGS, STYLE
from unicomp_lib.study import publish
from unicomp_lib.study.params import Profile, profile_path
from unicomp_lib.study.sources import TINY
from unicomp_lib.study.steps import Stage, Step


def teaching(profile: Profile, given: str) -> list[Step]:
    """The notebooks that a report shows and the study does not run: the chapters, and those to explore with.

    ``given`` is what the profile was asked for by: its name, or the path of its file.
    """
    folder = paths.project() / "notebooks"
    chapters = [file.stem for file in sorted((folder / "learn").glob("*.ipynb"))]
    of_method: dict[str, str] = {}
    for name, compression in profile.compressions.items():
        of_method.setdefault(compression.method, name)
    where = str(profile_path(given).resolve()) if given.endswith((".yaml", ".yml")) else given
    talk = {"profile": where, "variants": list(of_method.values())[:4]}
    explore = [
        Step(Stage.EXPLORE, f"explore/{name}", given, topic=name)
        for name, given in (("results", {"profile": profile.name}), ("chat", talk))
    ]
    return [*(Step(Stage.LEARN, f"learn/{name}", {}, topic=name) for name in chapters), *explore]


def read(profile: Profile, steps: list[Step], keys: dict[str, str]) -> Study:
    """What a report of these steps is built from.

    Raises a ``ValueError`` where there are no scores or no figure yet, or of an earlier form.
    """
    scores, figures = results.folder(profile.name) / publish.SCORES, paths.project() / "figures" / profile.name
    study = Study(profile, steps, keys, figures, pl.DataFrame(), _facts(figures))
    run = study.command("reproduce")
    if not scores.is_file():
        raise ValueError(f"{_shown(scores)} is not there; run the study first: {run}")
    table = tables.read(scores)
    if missing := [name for name in tables.SCORES if name not in (*table.columns, "reason")]:
        raise ValueError(f"{_shown(scores)} lacks the columns {', '.join(missing)}; make it again: {run}")
    if not any(study.done(step) or contents.figure_files(study, step) for step in study.of(Stage.FIGURES)):
        raise ValueError(f"{_shown(figures)} holds no figure yet; run the study first: {run}")
    if "steps" not in study.facts:
        raise ValueError(f"{_shown(figures / publish.PROVENANCE)} is missing or damaged; make it again: {run}")
    return replace(study, scores=table)


def left_out(study: Study, more: list[Step]) -> dict[str, str]:
    """Of the notebooks to explore with, those that cannot be run here, each with the reason."""
    reasons = {}
    compressed = {step.cell.variant for step in study.of(Stage.COMPRESS) if step.cell and study.done(step)}
    items = results.folder(study.profile.name) / "items"
    for step in more:
        if step.topic == "chat" and (
            missing := [each for each in step.parameters["variants"] if each not in compressed]
        ):
            reasons[step.name] = f"{missing[0]} has not been compressed here"
        if step.topic == "results" and not any(items.glob("*.fidelity.parquet")):
            reasons[step.name] = f"{_shown(items)} holds no rows of fidelity"
    return reasons


def build(study: Study, target: Path) -> Path:
    """Build the site in ``target`` and return its first page.

    The folder appears whole or not at all, and replaces the one before. Raises a ``RuntimeError`` where Sphinx fails.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        source, built = Path(scratch) / "source", Path(scratch) / "built"
        _lay_out(study, source)
        command = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-j", "auto", str(source), str(built)]
        ran = subprocess.run(command, capture_output=True, text=True)
        if ran.returncode:
            raise RuntimeError(
                f"the pages could not be built: {(ran.stderr.strip().splitlines() or ['no reason'])[-1]}"
            )
        shutil.rmtree(built / ".doctrees", ignore_errors=True)
        for sources in built.rglob("*.map"):  # of minified scripts, for those who debug the theme
            sources.unlink()
        shutil.rmtree(target, ignore_errors=True)
        built.rename(target)
    return target / "index.html"


def _lay_out(study: Study, source: Path) -> None:
    files.write_text(source / "conf.py", SETTINGS)
    files.write_text(source / "static" / "study.css", STYLE)
    formulas = assets.fetch("mathjax") / "package" / "es5" / "tex-svg.js"
    files.write_whole(source / "static" / "tex-svg.js", lambda part: part.write_bytes(formulas.read_bytes()))
    shutil.copytree(study.figures, source / "files", ignore=shutil.ignore_patterns(".*", "*.md"))
    sections = contents.lay_out(study, source)
    sections["All numbers"] = ["scores", "provenance"]
    warning = front.MEANINGLESS if TINY in study.profile.models.values() else ""
    files.write_text(source / "scores.md", front.table(study.scores, warning))
    files.write_text(source / "provenance.md", front.provenance(study.facts))
    picture = "overview" if (study.figures / "overview.png").is_file() else ""
    index = front.index(study.scores, sections, list(study.profile.models), warning=warning, picture=picture)
    files.write_text(source / "index.md", index)


def _facts(figures: Path) -> dict[str, Any]:
    try:
        facts = json.loads((figures / publish.PROVENANCE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _shown(path: Path) -> Path:
    return path.relative_to(paths.project())
