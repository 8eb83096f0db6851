"""Scores as records of Every Eval Ever, schema 0.3.0 (github.com/evaleval/every_eval_ever): one file a variant."""

import hashlib
import importlib.metadata
import json
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from unicomp_lib import files
from unicomp_lib.evaluate import statistics, task
from unicomp_lib.evaluate.tasks import paper
from unicomp_lib.inputs import assets, hub

SCHEMA = "0.3.0"
BENCHMARK = "unicomp"
# What the schema allows of the evaluator's relationship to the model's developer.
RELATIONSHIPS = ("first_party", "third_party", "collaborative", "other")
ON_HUB = re.compile(r"([A-Za-z0-9][\w.-]*)/([A-Za-z0-9][\w.-]*)")  # owner and name
TIMED = ("evaluation_id", "retrieved_timestamp")  # fields with the time of the record
SHORT = 12  # digits of a commit in a name
UNKNOWN = "unknown"


class Evaluated(NamedTuple):
    """What a record is of: model and variant by name, the model's source, and a checkpoint that others compressed."""

    model: str
    variant: str
    source: str
    checkpoint: str


def scored(scores: pl.DataFrame) -> pl.DataFrame:
    """The rows that are a task's score, pooled over seeds: of tasks alone, in the metric that counts, with a value."""
    about = {name: _metric(name) for name in scores["task"].unique()}
    wanted = pl.col("task").replace_strict(about, default=None, return_dtype=pl.String)
    known = scores.with_columns(pl.col("value", "low", "high").fill_nan(None))
    rows = known.filter(pl.col("seed").is_null(), pl.col("metric") == wanted, pl.col("value").is_not_null())
    return rows.unique(["model", "variant", "task"], keep="first", maintain_order=True)


def _metric(name: str) -> str | None:
    try:
        return str(task.described(name)["metric"])
    except (ValueError, KeyError):
        return None


def relationship(given: str) -> str:
    """The relationship if the schema allows it; else a ``ValueError`` says which ones it allows."""
    if given not in RELATIONSHIPS:
        raise ValueError(f"--relationship {given} is not allowed; give one of {', '.join(RELATIONSHIPS)}")
    return given


def write(
    scores: pl.DataFrame,
    folder: Path,
    *,
    sources: Mapping[str, str],
    by: str,
    moment: int,
    relation: str = "third_party",
    checkpoints: Mapping[tuple[str, str], str] | None = None,
) -> int:
    """``data/<benchmark>/<developer>/<model>/<uuid>.json`` of each variant; the number of files.

    ``sources`` are the profile's models, ``checkpoints`` those that others have compressed by model and variant,
    ``by`` is who evaluated them, ``moment`` the time in seconds since 1970, and ``relation`` one of ``RELATIONSHIPS``.
    A record's name depends on all of it but the time, so that the same record written again is one file. A
    ``ValueError`` refuses another ``relation``.
    """  # fmt: skip
    relationship(relation)
    count = 0
    models = scored(scores).filter(pl.col("control").fill_null("") == "")  # a rerun is no model of its own
    for (model, variant), rows in models.group_by(["model", "variant"], maintain_order=True):
        about = Evaluated(
            str(model),
            str(variant),
            sources.get(str(model), ""),
            (checkpoints or {}).get((str(model), str(variant)), ""),
        )
        record = _record(rows, about, (by, relation), moment)
        developer, _, name = record["model_info"]["id"].partition("/")
        target = folder / "data" / BENCHMARK / developer / name / f"{_name(record)}.json"
        files.write_text(target, json.dumps(record, indent=1) + "\n")
        count += 1
    return count


def _name(record: dict[str, Any]) -> uuid.UUID:
    """The record's content as a UUID of version 4, the only one that the datastore takes."""
    timeless = {name: value for name, value in record.items() if name not in TIMED}
    digest = hashlib.sha256(json.dumps(timeless, sort_keys=True).encode()).digest()
    return uuid.UUID(bytes=digest[:16], version=4)


def origin(source: str, model: str) -> tuple[str, str]:
    """Developer and name of a model: of ``owner/name`` on the hub, as its source or as that of an asset's entry.

    A folder or an empty source has no known developer.
    """
    entry = assets.catalogue().get(source)
    named = entry.source.partition(" ")[0] if entry else source.partition("@")[0] if "@" in source else ""
    found = ON_HUB.fullmatch(named)
    return (found[1], found[2]) if found else (UNKNOWN, model)


def revision(source: str) -> str:
    """What tells two states of a model apart: its commit on the hub, or package and version of an asset.

    Empty of a folder, whose content no name says.
    """
    entry = assets.catalogue().get(source)
    repository, _, given = source.partition("@")
    if entry:
        given = f"{entry.package}-{entry.version}"
    elif not ON_HUB.fullmatch(repository):
        return ""
    return given[:SHORT] if hub.COMMIT.fullmatch(given) else re.sub(r"[^\w.-]", "-", given)


def identity(about: Evaluated) -> tuple[str, str]:
    """Developer and id of what was evaluated: ``owner/name@revision``, with the variant after the name if we made it.

    So two revisions of one repository are two models. What others have compressed and is on the hub is called by
    its own repository.
    """
    published = about.checkpoint and origin(about.checkpoint, "")[0] != UNKNOWN
    source = about.checkpoint if published else about.source
    developer, name = origin(source, about.model)
    made = "" if published or about.variant == "dense" else f"-{about.variant}"
    at = revision(source)
    return developer, f"{developer}/{name}{made}{f'@{at}' if at else ''}"


def _record(rows: pl.DataFrame, about: Evaluated, evaluator: tuple[str, str], moment: int) -> dict[str, Any]:
    first = rows.row(0, named=True)
    by, relation = evaluator
    developer, name = identity(about)
    return {
        "schema_version": SCHEMA, "evaluation_id": f"{BENCHMARK}/{name}/{moment}",
        "retrieved_timestamp": str(moment),
        "source_metadata": {
            "source_name": "UniComp", "source_type": "evaluation_run", "source_organization_name": by,
            "evaluator_relationship": relation,
        },
        "eval_library": {"name": "lm_eval", "version": importlib.metadata.version("lm-eval")},
        "model_info": {
            "name": f"{about.model}, {first['label']}", "id": name, "developer": developer,
            "additional_details": _details(first, about),
        },
        "evaluation_results": [_result(row) for row in rows.iter_rows(named=True)],
    }  # fmt: skip


def _details(first: dict[str, Any], about: Evaluated) -> dict[str, str]:
    """Where the weights are from, as far as others can find it: a path on this machine says nothing to them."""
    dense = about.variant == "dense"
    own = about.source if dense else about.checkpoint
    facts = {name: str(first[name]) for name in ("method", "calibration", "rate") if first[name] not in (None, "")}
    return {
        "deployment_type": "self_deployed",
        # What we have compressed is nowhere to be downloaded, unless whoever publishes the record puts it there.
        "model_availability": "open_weights" if own and origin(own, "")[0] != UNKNOWN else "unknown",
        "weights" if dense else "compressed_from": _findable(about.source) or about.model,
        **({"checkpoint": found} if not dense and (found := _findable(about.checkpoint)) else {}),
        **facts,
    }


def _findable(source: str) -> str:
    entry = assets.catalogue().get(source)
    if entry:
        return f"{entry.source}, from the package {entry.package} {entry.version}"
    return source if origin(source, "")[0] != UNKNOWN else ""


def _result(row: dict[str, Any]) -> dict[str, Any]:
    facts = {name: str(row[name]) for name in ("format", "chance", "reason", "judge") if row[name] not in (None, "")}
    details: dict[str, Any] = {"score": row["value"], "details": facts, "uncertainty": {"num_samples": row["n"]}}
    if row["low"] is not None:
        details["uncertainty"]["confidence_interval"] = {
            "lower": row["low"], "upper": row["high"], "confidence_level": statistics.LEVEL,
            "method": "exact for independent outcomes, with their effective number where clustered",
        }  # fmt: skip
    return {
        "evaluation_name": row["task"], "source_data": _source(row["task"]),
        "metric_config": {
            "metric_name": row["metric"], "metric_unit": "proportion", "lower_is_better": False,
            "score_type": "continuous", "min_score": 0.0, "max_score": 1.0,
        },
        "score_details": details,
    }  # fmt: skip


def _source(name: str) -> dict[str, Any]:
    about = task.described(name)
    if about["asset"] == task.HUB and task.is_own(name):
        wanted = hub.catalogue()[next(iter(paper.SOURCES[task.source(name)].reads))]
        return {
            "dataset_name": task.source(name), "source_type": "hf_dataset", "hf_repo": wanted.repository,
            "hf_split": wanted.splits[-1], "additional_details": {"revision": wanted.revision},
        }  # fmt: skip
    named = task.source(name) if task.is_own(name) else name
    return {"dataset_name": named, "source_type": "other", "additional_details": {"package": about["asset"]}}
