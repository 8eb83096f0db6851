"""Cells of the study, ``performance/smollm2-135m/wanda-50``: the item rows that a run has published."""

import json
import re
from pathlib import Path

import polars as pl

from unicomp_lib import results, tables
from unicomp_lib.compare import questions
from unicomp_lib.compare.side import LIKELIHOODS, Side, short, table
from unicomp_lib.study import params
from unicomp_lib.study.hints import meant

KIND = "cell of the study"
FIDELITY = "fidelity"
DIMENSIONS = ("performance", "reliability", "vision", FIDELITY, "efficiency")
DENSE = "dense"
SEED = re.compile(r"seed-\d+")


def is_cell(given: str, profile: str) -> bool:
    """Whether the text has the form of a cell, and its first part is a dimension or was meant as one."""
    parts = given.split("/")
    if len(parts) not in (3, 4) or "@" in given or not all(parts):
        return False
    known = {*DIMENSIONS, *(name.rpartition(".")[2] for name in _names(profile))}
    return parts[0] in known or bool(meant(parts[0], known))


def read(given: str, profile: str) -> Side:
    """The rows of a cell; of several seeds an item's value is its mean over them, unless the last part names one.

    Raises a ``ValueError`` that lists the cells there are.
    """
    dimension, model, variant, *seed = given.split("/")
    rows = _published(dimension, model, variant, seed, profile)
    seeds = rows["seed"].unique().sort().to_list()
    notes = [f"{given}: the mean over seeds {', '.join(map(str, seeds))} of each item"] if len(seeds) > 1 else []
    if not rows["primary"].any():
        raise ValueError(_without_scores(given, rows, profile))
    facts = None
    if (stem := _stem(FIDELITY, model, variant, seed, profile)) is not None:
        facts = _read(stem, profile).group_by("doc_id", "metric", maintain_order=True).agg(pl.col("value").mean())
    return Side(
        f"{model}/{variant}" if not seed else f"{model}/{variant}/{seed[0]}", KIND,
        questions.filled(shared(rows, dimension)),
        notes=tuple(notes), facts=facts, family=model,
        dense_of=model if variant == DENSE else "",
    )  # fmt: skip


def _without_scores(given: str, rows: pl.DataFrame, profile: str) -> str:
    if (rows["judge"].fill_null("") != "").any() or results.judgements(profile, given.split("/")[0]).is_file():
        return f"the items of {given} are not judged, so they have no scores; run the study: nox -s reproduce"
    return (
        f"{given} has no score for each item; compare cells of performance, reliability or vision, with which fidelity "
        "is shown"
    )


def rows_of(file: Path, name: str) -> Side:
    """The item rows of one cell in a Parquet file, such as a run's ``items.parquet``."""
    rows = tables.read(file)
    if lacking := [column for column in ("task", "metric", "primary", "doc_id", "value") if column not in rows.columns]:
        raise ValueError(f"{file} holds no items of the study: it lacks {', '.join(lacking)}; give another file")
    cells = rows.select("model", "variant").unique().rows() if "variant" in rows.columns else []
    if len(cells) > 1:
        named = ", ".join("/".join(cell) for cell in sorted(cells)[:8])
        raise ValueError(f"{file} holds {len(cells)} cells ({named}); give the rows of one")
    return Side(name, KIND, shared(rows, rows["dimension"][0] if len(rows) else ""))


def _published(dimension: str, model: str, variant: str, seed: list[str], profile: str) -> pl.DataFrame:
    judged = results.judgements(profile, dimension)
    if judged.is_file() and all(map(SEED.fullmatch, seed)):
        rows = tables.read(judged).filter(model=model, variant=variant)
        rows = rows.filter(pl.col("seed") == int(seed[0].removeprefix("seed-"))) if seed else rows
        if len(rows):
            return rows
    if not judged.is_file() and (stem := _stem(dimension, model, variant, seed, profile)) is not None:
        return _read(stem, profile)
    wanted = "/".join([dimension, model, variant, *seed])
    cells = sorted({_cell(name) for name in _names(profile) if name.endswith(f".{dimension}")})
    there = f"it has {', '.join(cells)}" if cells else f"{results.folder(profile)} has no items of {dimension}"
    near = f"; {hint}" if (hint := meant(wanted, cells)) else ""
    option = "" if profile == params.DEFAULT else f"--profile {params.owner(profile) or profile} "
    raise ValueError(
        f"there are no items of {wanted} in profile {profile}: {there}{near}; to have more, run the study: "
        f"nox -s reproduce -- {option}--only 'evaluate/*/{dimension}'"
    )


def _stem(dimension: str, model: str, variant: str, seed: list[str], profile: str) -> list[str] | None:
    """Names of a cell's tables of items, one a seed; None where there are none."""
    whole = ".".join([model, variant, *seed, dimension])
    if whole in _names(profile):
        return [whole]
    prefix = f"{model}.{variant}."
    found = [
        name for name in _names(profile)
        if name.startswith(prefix) and name.endswith(f".{dimension}")
        and SEED.fullmatch(name.removeprefix(prefix).removesuffix(f".{dimension}"))
    ]  # fmt: skip
    return found if found and not seed else None


def _read(names: list[str], profile: str) -> pl.DataFrame:
    return pl.concat(tables.read(results.folder(profile) / "items" / f"{name}.parquet") for name in names)


def _names(profile: str) -> list[str]:
    return sorted(file.stem for file in (results.folder(profile) / "items").glob("*.parquet"))


def _cell(name: str) -> str:
    """``wanda-50.seed-0.performance`` of a model as ``performance/model/wanda-50/seed-0``."""
    parts = name.split(".")
    seed = [parts[-2]] if SEED.fullmatch(parts[-2]) else []
    rest = parts[: -2 if seed else -1]
    return "/".join([parts[-1], ".".join(rest[:-1]), rest[-1], *seed])


def shared(rows: pl.DataFrame, dimension: str) -> pl.DataFrame:
    """Item rows in the form of ``side.SCHEMA``, those that count first; of several seeds their mean."""
    rows = rows.sort("primary", descending=True, maintain_order=True)
    group = ["task", "metric", "doc_id", "doc_hash", "prompt_hash", "cluster"]
    mean = pl.when(pl.col("value").is_finite().all()).then(pl.col("value").mean()).alias("value")
    pooled = rows.group_by(group, maintain_order=True).agg(mean, pl.col("output").first(), pl.len().alias("seeds"))
    if "seed" in rows.columns and rows["seed"].n_unique() == 1 and (pooled["seeds"] > 1).any():
        twice = pooled.filter(pl.col("seeds") > 1).row(0, named=True)
        raise ValueError(
            f"{dimension} has item {twice['doc_id']} of {twice['task']} twice; delete the table and run it"
        )
    return table([{**row, "doc_id": str(row["doc_id"]), "answer": _answer(row["output"])} for row in pooled.to_dicts()])


def _answer(output: str | None) -> str:
    """What a row keeps of the model's answer: its text, or the log-likelihood of each option."""
    try:
        content = json.loads(output or "{}")
    except ValueError:
        return ""
    if "answers" in content:
        return short(content["answers"][0] if content["answers"] else "")
    options = content.get("options", [])
    return LIKELIHOODS + ", ".join(f"{float(option[0]):.2f}" for option in options) if options else ""
