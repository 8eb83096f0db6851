"""Gather the tables and figures of finished steps where people look for them."""

import io
import json
from pathlib import Path

import polars as pl

from unicomp_lib import files, paths, tables
from unicomp_lib.study import records
from unicomp_lib.study.steps import Step

PICTURES = (".png", ".svg", ".csv")
PROVENANCE = "provenance.json"


def publish(steps: list[Step], keys: dict[str, str], profile: str) -> list[Path]:
    """Bring ``results/<profile>`` and ``figures/<profile>`` up to date and return the pictures.

    Items of every finished evaluation, with verdicts where they have been judged, one
    ``scores.parquet`` of all finished dimensions, and the figures with their tables and
    ``provenance.json``. Files whose content stands are not touched.
    """
    done = {step.name: records.folder(step.name, keys[step.name]) for step in steps}
    done = {name: run for name, run in done.items() if records.finished(run)}
    tables_folder, figures = results.folder(profile), paths.project() / "figures" / profile
    _items(done, tables_folder / "items")
    for name, run in done.items():
        if name.startswith("judge/"):
            _copy(run / "items.parquet", results.judgements(profile, name.removeprefix("judge/")))
    if "scores/vision" in done:
        _copy(done["scores/vision"] / "units.parquet", tables_folder / "units.vision.parquet")
    scores = [tables.read(run / "scores.parquet") for name, run in done.items() if name.startswith("scores/")]
    if scores:
        content = io.BytesIO()
        pl.concat(scores).write_parquet(content)
        _put(content.getvalue(), tables_folder / "scores.parquet")
    return _pictures(done, figures)


def mixed(steps: list[Step], keys: dict[str, str]) -> list[str]:
    """A sentence for each property of the machine in which the finished steps differ."""
    kept = [records.finished(records.folder(step.name, keys[step.name])) for step in steps]
    found = []
    for name in ("device", "processor"):
        kinds = sorted({record["hardware"][name] for record in kept if record})
        if len(kinds) > 1:
            found.append(f"these tables come from more than one {name}: {', '.join(kinds)}; see provenance.json")
    return found


def costs(profile: str) -> dict[str, float]:
    """Seconds that each step took in the run behind the figures there are; empty where there are none."""
    try:
        text = (paths.project() / "figures" / profile / PROVENANCE).read_text(encoding="utf-8")
        return {name: float(step["seconds"]) for name, step in json.loads(text)["steps"].items()}
    except (OSError, ValueError, KeyError):
        return {}


def _items(done: dict[str, Path], folder: Path) -> None:
    wanted = {
        f"{name.removeprefix('evaluate/').replace('/', '.')}.parquet": run / "items.parquet"
        for name, run in done.items()
        if name.startswith("evaluate/")
    } | {
        f"googlenet.{name.split('/', 1)[1].removesuffix('/accuracy').replace('/', '.')}.vision.parquet": run
        / "items.parquet"
        for name, run in done.items()
        if name.startswith("vision/") and name.endswith("/accuracy")
    }
    for stale in set(folder.glob("*.parquet")) - {folder / name for name in wanted}:
        stale.unlink()
    for name, source in wanted.items():
        _copy(source, folder / name)


def _pictures(done: dict[str, Path], folder: Path) -> list[Path]:
    found = []
    for name, run in done.items():
        if name.startswith("figures/"):
            for source in sorted(run.iterdir()):
                if source.suffix in PICTURES:
                    _copy(source, folder / source.name)
                    found.append(folder / source.name)
    if found:
        text = json.dumps(_provenance(done), indent=1) + "\n"
        _put(text.encode(), folder / PROVENANCE)
    return [picture for picture in found if picture.suffix == ".png"]


def _provenance(done: dict[str, Path]) -> dict[str, object]:
    """What the figures come from: commits, machine, packages, and the key and cost of each step."""
    kept = {name: records.finished(run) or {} for name, run in done.items()}
    each = list(kept.values())
    return {
        "commits": sorted({f"{record['commit']}{'+changes' if record['dirty'] else ''}" for record in each}),
        "hardware": _distinct([record["hardware"] for record in each]),
        "packages": _distinct([record["packages"] for record in each]),
        "steps": {name: {"key": record["key"], "seconds": record["seconds"]} for name, record in kept.items()},
    }


def _distinct(values: list[dict[str, object]]) -> list[dict[str, object]]:
    return [json.loads(text) for text in sorted({json.dumps(value, sort_keys=True) for value in values})]


def _copy(source: Path, target: Path) -> None:
    _put(source.read_bytes(), target)


def _put(content: bytes, target: Path) -> None:
    if not target.is_file() or target.read_bytes() != content:
        files.write_whole(target, lambda part: part.write_bytes(content))
