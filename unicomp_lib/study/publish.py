"""Gather the tables and figures of finished steps where people look for them."""

import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from unicomp_lib import files, paths, results, tables
from unicomp_lib.figures.names import PICTURES, TABLES, stem
from unicomp_lib.study import notebooks, records
from unicomp_lib.study.steps import Stage, Step

ENGINES = {"openvino": "OpenVINO GenAI", "vllm": "vLLM"}  # as they are called, where that is another name
# What a page of figures calls the files of one, by the ends of their names.
LINKS = {
    ".csv": "data", ".rounded.csv": "rounded, with units", ".svg": "vector graphics",
    ".column.pdf": "for a column (PDF)", ".column.svg": "and as SVG, text as outlines",
}  # fmt: skip
PROVENANCE = "provenance.json"
SCORES = "scores.parquet"  # the table that all dimensions share
ORIGINS = "origins.csv"

Provenance = dict[str, Any]


class Run(NamedTuple):
    """A finished step, its run folder and its record."""

    step: Step
    folder: Path
    record: dict[str, Any]


def publish(steps: list[Step], keys: dict[str, str], profile: str) -> list[Path]:
    """Bring ``results/<profile>`` and ``figures/<profile>`` up to date and return the pictures.

    Every finished step's files go where it ``publishes`` them. Of a table that several steps share, such as
    ``scores.parquet``, the rows of the finished ones' topics are replaced and all others stay. ``origins.csv``
    names the run behind each. Figures come with their tables, ``provenance.json`` and a page that shows them.
    Files whose content is the same are not touched, and none is removed.
    """
    runs = [Run(step, *where) for step in steps if (where := _finished(step, keys))]
    sources: dict[str, list[Run]] = {}
    for run in runs:
        for target in run.step.publishes.values():
            sources.setdefault(target, []).append(run)
    for target, of_target in sources.items():
        path = results.folder(profile) / target
        if target == SCORES:
            _put(_merged(of_target, path), path)
        else:
            _put((of_target[0].folder / _file(of_target[0].step, target)).read_bytes(), path)
    _note_origins(sources, results.folder(profile) / ORIGINS)
    return _pictures(runs, [step.name for step in steps], paths.project() / "figures" / profile)


def several_machines(steps: list[Step], keys: dict[str, str]) -> list[str]:
    """A sentence for each property of the machine in which the finished steps differ."""
    finished = [records.finished(records.folder(step.name, keys[step.name])) for step in steps]
    notes = []
    for name in ("device", "processor"):
        values = sorted({record["hardware"][name] for record in finished if record})
        if len(values) > 1:
            notes.append(f"these tables come from more than one {name}: {', '.join(values)}; see {PROVENANCE}")
    return notes


def costs(profile: str) -> dict[str, float]:
    """Seconds that each step took in the run behind the figures there are; empty where there are none."""
    try:
        steps = _read(paths.project() / "figures" / profile)["steps"]
        return {name: float(step["seconds"]) for name, step in steps.items()}
    except (ValueError, KeyError, TypeError):
        return {}


def _finished(step: Step, keys: dict[str, str]) -> tuple[Path, dict[str, Any]] | None:
    """Run folder and record of a finished step; what publishes something is read whole, and not published damaged."""
    folder = records.folder(step.name, keys[step.name])
    record = records.finished(folder)
    shows = bool(step.publishes) or step.stage == Stage.FIGURES
    return None if not record or (shows and records.damage(folder)) else (folder, record)


def _file(step: Step, target: str) -> str:
    return next(name for name, published in step.publishes.items() if published == target)


def _merged(runs: list[Run], path: Path) -> bytes:
    """The scores of these runs, in place of what there was of their dimensions; other dimensions stay."""
    parts = [tables.read(run.folder / _file(run.step, SCORES)) for run in runs]
    new = pl.concat(parts)
    if path.is_file():
        others = tables.read(path).filter(~pl.col("dimension").is_in([run.step.topic for run in runs]))
        new = pl.concat([others, new], how="diagonal") if len(others) else new
    content = io.BytesIO()
    new.write_parquet(content)
    return content.getvalue()


def _note_origins(sources: dict[str, list[Run]], path: Path) -> None:
    """From which run each table is, and in the shared one each step's rows; what is of earlier runs stays."""
    rows = [
        {"table": target, "step": run.step.name, "key": run.record["key"], "commit": _commit(run.record)}
        for target, of_target in sources.items()
        for run in of_target
    ]
    if not rows:
        return
    table = pl.DataFrame(rows)
    if path.is_file():
        table = pl.concat(
            [table, pl.read_csv(path).join(table, on=["table", "step"], how="anti").select(table.columns)]
        )
    _put(table.sort("table", "step").write_csv().encode(), path)


def _pictures(runs: list[Run], planned: list[str], folder: Path) -> list[Path]:
    drawn: dict[str, list[str]] = {}
    for run in runs:
        if run.step.stage == Stage.FIGURES:
            sources = [file for file in sorted(run.folder.iterdir()) if file.name.endswith(PICTURES + TABLES)]
            drawn[run.step.notebook] = [source.name for source in sources]
            for source in sources:
                _put(source.read_bytes(), folder / source.name)
    if not drawn:
        return []
    provenance = _provenance(runs, planned, drawn, _read(folder))
    _put((json.dumps(provenance, indent=1) + "\n").encode(), folder / PROVENANCE)
    _put(_page(provenance["figures"], folder.name, provenance["engines"]).encode(), folder / "README.md")
    return [folder / name for names in drawn.values() for name in names if name.endswith(".png")]


def _provenance(runs: list[Run], planned: list[str], drawn: dict[str, list[str]], before: Provenance) -> Provenance:
    """What the figures come from: commits, machines, packages, engines, and each step's key, cost and commit.

    Steps of earlier runs that have not been run again stay, with the machines and packages of those runs.
    """
    mine = {
        run.step.name: {"key": run.record["key"], "seconds": run.record["seconds"], "commit": _commit(run.record)}
        for run in runs
    }
    steps = before.get("steps", {}) | mine
    steps = {name: steps[name] for name in planned if name in steps}
    earlier = before if len(steps) > len(mine) else {}
    return {
        "commits": sorted({*earlier.get("commits", []), *(_commit(run.record) for run in runs)}),
        **{
            name: _distinct([*earlier.get(name, []), *(run.record[name] for run in runs)])
            for name in ("hardware", "packages")
        },
        "engines": sorted({*earlier.get("engines", []), *filter(None, (_engine(run) for run in runs))}),
        "steps": steps,
        "figures": before.get("figures", {}) | drawn,
    }


def _engine(run: Run) -> str:
    return str(run.record["parameters"].get("engine", ""))


def _commit(record: dict[str, Any]) -> str:
    return f"{record['commit']}{'+changes' if record['dirty'] else ''}" if record["commit"] else "not recorded"


def _distinct(values: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [json.loads(text) for text in sorted({json.dumps(value, sort_keys=True) for value in values})]


def _page(figures: dict[str, list[str]], profile: str, engines: list[str]) -> str:
    """Every figure with its question, its notebook and its table, for those who look at the folder on a code host."""
    lines = [f"# Figures of the profile `{profile}`", "", "Written by the study; see `provenance.json` for its runs."]
    if engines:
        named = " and ".join(ENGINES.get(engine, engine) for engine in engines)
        lines += ["", f"Speed, memory and what is served are those of {named}; all else is measured here."]
    for notebook, names in figures.items():
        title, question, shown = notebooks.heading(notebook)
        lines += ["", f"## {title}", "", f"{question} ([notebook](../../notebooks/{notebook}.ipynb))"]
        for drawn in dict.fromkeys(map(stem, names)):
            called = drawn.replace("_", " ")
            picture = f"{drawn}.png" in names
            kinds = LINKS if picture else LINKS | {".csv": called}
            links = ", ".join(f"[{what}]({drawn}{end})" for end, what in kinds.items() if f"{drawn}{end}" in names)
            if picture:
                lines += ["", f"![{title}: {called}]({drawn}.png)", "", f"*{called.capitalize()}:* {links}"]
            elif links:
                lines += ["", f"Table: {links}"]
        lines += ["", shown] if shown else []
    return "\n".join(lines) + "\n"


def _read(folder: Path) -> Provenance:
    """The provenance there is; empty where there is none, or a damaged one."""
    try:
        content = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _put(content: bytes, target: Path) -> None:
    if not target.is_file() or target.read_bytes() != content:
        files.write_whole(target, lambda part: part.write_bytes(content))
