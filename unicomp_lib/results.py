"""What a finished run has published: scores, units and item rows, of the default profile unless told otherwise."""

from pathlib import Path
from typing import Any

import polars as pl

from unicomp_lib import paths, tables

VERSION = "1"

DEFAULT = "embedded"  # the profile whose results notebooks opened by hand read


def folder(profile: str) -> Path:
    """Where a profile's tables are published."""
    return paths.project() / "results" / profile


def scores(path: str, dimension: str) -> pl.DataFrame:
    """Scores of one dimension; an empty ``path``, the notebooks' default, is the last default run."""
    table = tables.read(Path(path) if path else folder(DEFAULT) / "scores.parquet")
    return table.filter(pl.col("dimension") == dimension)


def variants(dimension: str) -> dict[str, dict[str, Any]]:
    """Facts of each variant of one dimension, as the last default run has published them with its scores."""
    table = scores("", dimension).select("variant", *tables.FACTS).unique("variant", maintain_order=True)
    return {row.pop("variant"): row for row in table.iter_rows(named=True)}


def units(sources: list[str]) -> pl.DataFrame:
    """Rows of all units of several networks; an empty list, the notebooks' default, is the last default run."""
    published = folder(DEFAULT) / "units.vision.parquet"
    return pl.concat(tables.read(path) for path in map(Path, sources or [str(published)]))


def units_of_scores(vision_scores: str) -> pl.DataFrame:
    """Rows of the units behind a table of scores, in the same folder; an empty path is the last default run."""
    return units([str(Path(vision_scores).with_name("units.parquet"))] if vision_scores else [])


def judgements(profile: str, dimension: str) -> Path:
    """Where a profile's judged answers are published."""
    return folder(profile) / f"judged.{dimension}.parquet"


def items(sources: list[str], dimension: str, *, judged: bool = True) -> pl.DataFrame:
    """Item rows of several cells; an empty list, the notebooks' default, is the last default run.

    There ``judged`` chooses, in a dimension that has judges, between answers with their verdicts and without.
    """
    published = folder(DEFAULT) / "items"
    files = [Path(source) for source in sources]
    if not files and judged and judgements(DEFAULT, dimension).is_file():
        files = [judgements(DEFAULT, dimension)]
    files = files or sorted(published.glob(f"*.{dimension}.parquet"))
    if not files:
        raise ValueError(f"{published} holds no items of {dimension}; run the study first: nox -s reproduce")
    return pl.concat(tables.read(path) for path in files)
