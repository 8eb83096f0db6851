"""All item rows as a folder that data set hubs read: Parquet, a card, and metadata in Croissant's vocabulary."""

import datetime
import json
from pathlib import Path
from typing import Any

import polars as pl

from unicomp_lib import files, results, tables
from unicomp_lib.exchange import citation
from unicomp_lib.exchange.columns import COLUMNS, dictionary
from unicomp_lib.figures import units

LICENCE = "https://www.apache.org/licenses/LICENSE-2.0"
HARM = " Answers to harmful requests, some of them harmful, are in `output`."
KINDS = {pl.String: "sc:Text", pl.Int64: "sc:Integer", pl.Float64: "sc:Float", pl.Boolean: "sc:Boolean"}
# Croissant 1.0 (docs.mlcommons.org/croissant): the terms that are used here.
CONTEXT = {
    "@language": "en", "@vocab": "https://schema.org/", "sc": "https://schema.org/", "cr": "http://mlcommons.org/croissant/",
    "conformsTo": "http://purl.org/dc/terms/conformsTo", "recordSet": "cr:recordSet", "field": "cr:field",
    "source": "cr:source", "fileObject": "cr:fileObject", "extract": "cr:extract", "column": "cr:column",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"}, "citeAs": "cr:citeAs",
}  # fmt: skip


def items(profile: str) -> dict[str, pl.DataFrame]:
    """Item rows by dimension; those of judged dimensions with their verdicts. A ``ValueError`` where there are none."""
    folder = results.folder(profile)
    names = sorted({file.stem.rpartition(".")[2] for file in (folder / "items").glob("*.parquet")})
    found = {}
    for dimension in names:
        judged = results.judgements(profile, dimension)
        paths = [judged] if judged.is_file() else sorted((folder / "items").glob(f"*.{dimension}.parquet"))
        found[dimension] = pl.concat([tables.read(path) for path in paths], how="diagonal_relaxed")
    if not found:
        raise ValueError(f"{folder} holds no items; run the study first: nox -s reproduce")
    return found


def write(by_dimension: dict[str, pl.DataFrame], folder: Path, profile: str, *, by: str, moment: int) -> None:
    """``data/<dimension>.parquet``, ``README.md`` (the card), ``columns.csv``, ``metrics.csv`` and ``croissant.json``.

    ``by`` is who evaluated the models, ``moment`` the time in seconds since 1970.
    """
    for dimension, rows in by_dimension.items():
        tables.write(rows, folder / "data" / f"{dimension}.parquet")
    names = list(dict.fromkeys(name for rows in by_dimension.values() for name in rows.columns))
    files.write_whole(folder / "columns.csv", dictionary(names).write_csv)
    files.write_whole(folder / "metrics.csv", metrics(by_dimension).write_csv)
    files.write_text(folder / "README.md", card(by_dimension, profile))
    about = croissant(by_dimension, folder, profile, by=by, moment=moment)
    files.write_text(folder / "croissant.json", json.dumps(about, indent=1, ensure_ascii=False) + "\n")


def metrics(by_dimension: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """The unit of each metric, by dimension; 1 is none."""
    rows = [
        {"dimension": dimension, "metric": metric, "unit": units.unit(metric, dimension)}
        for dimension, rows in by_dimension.items()
        for metric in rows["metric"].unique(maintain_order=True)
    ]
    return pl.DataFrame(rows, schema=dict.fromkeys(("dimension", "metric", "unit"), pl.String))


def card(by_dimension: dict[str, pl.DataFrame], profile: str) -> str:
    """The card: a configuration for each dimension, and what a reader has to know of the rows."""
    configs = "\n".join(
        f"- config_name: {name}\n  data_files: data/{name}.parquet{'' if index else chr(10) + '  default: true'}"
        for index, name in enumerate(by_dimension)
    )
    harm = HARM if "reliability" in by_dimension else ""
    return f"""---
license: apache-2.0
pretty_name: {_title(profile)}
tags: [model-compression, evaluation]
configs:
{configs}
---
# {_title(profile)}

Each row is one metric of one item, measured on one compressed model or on dense, the model as it was. Compressed and
dense models were given the same items, so that rows pair by `task`, `doc_hash` and `doc_id`. The text of the items is
not here: they keep the licences of their benchmarks.{harm}

{_counted(by_dimension)}

{_meanings(by_dimension)}

The unit of `value` is that of the row's metric, which `metrics.csv` names; a share is between 0 and 1.

## Citation

```bibtex
{citation.bibtex()}
```
"""


def _counted(by_dimension: dict[str, pl.DataFrame]) -> str:
    lines = [
        f"| {name} | {len(rows):,} | {rows.select('model', 'variant').n_unique()} | {rows['task'].n_unique()} |"
        for name, rows in by_dimension.items()
    ]
    return "\n".join(["| dimension | rows | variants | tasks |", "|---|---|---|---|", *lines])


def _meanings(by_dimension: dict[str, pl.DataFrame]) -> str:
    names = dict.fromkeys(name for rows in by_dimension.values() for name in rows.columns)
    lines = [f"| `{name}` | {COLUMNS[name][0] or '–'} | {COLUMNS[name][1]} |" for name in names]
    return "\n".join(["| column | unit | meaning |", "|---|---|---|", *lines])


def croissant(
    by_dimension: dict[str, pl.DataFrame], folder: Path, profile: str, *, by: str, moment: int
) -> dict[str, Any]:
    """JSON-LD of the data set: each file with its hash, each table with its columns.

    ``by`` is its creator; where that is ``unknown``, the authors of the study are. It is dated by ``moment``.
    """
    study = citation.read()
    creators = [author.strip("{}") for author in citation.authors(study)] if by == "unknown" else [by]
    return {
        "@context": CONTEXT, "@type": "sc:Dataset", "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": f"unicomp-{profile}", "description": f"{_title(profile)}: one row per item, metric and model.",
        "license": LICENCE, "version": study["version"], "citeAs": citation.bibtex(),
        # Relative to this file, as the files' addresses are: where the folder is uploaded, this is the data set's page.
        "url": "README.md", "creator": [{"@type": "sc:Organization", "name": name} for name in creators],
        "datePublished": datetime.datetime.fromtimestamp(moment, datetime.UTC).date().isoformat(),
        "distribution": [
            {
                "@type": "cr:FileObject", "@id": name, "name": f"{name}.parquet", "contentUrl": f"data/{name}.parquet",
                "encodingFormat": "application/x-parquet", "sha256": files.sha256(folder / "data" / f"{name}.parquet"),
            }
            for name in by_dimension
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet", "@id": f"{name}-items", "name": f"{name}-items",
                "field": [_field(name, column, kind) for column, kind in rows.schema.items()],
            }
            for name, rows in by_dimension.items()
        ],
    }  # fmt: skip


def _field(name: str, column: str, kind: Any) -> dict[str, Any]:
    return {
        "@type": "cr:Field", "@id": f"{name}-items/{column}", "name": column, "description": _described(column),
        "dataType": KINDS[kind.base_type()],
        "source": {"fileObject": {"@id": name}, "extract": {"column": column}},
    }  # fmt: skip


def _described(column: str) -> str:
    unit, meaning = COLUMNS[column]
    return f"{meaning} (unit: {unit})" if unit else meaning


def _title(profile: str) -> str:
    return f"UniComp, items of the profile {profile}"
