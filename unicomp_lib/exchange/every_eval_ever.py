"""Scores as records of Every Eval Ever, schema 0.3.0 (github.com/evaleval/every_eval_ever): one file a variant."""

import importlib.metadata
import json
import uuid
from pathlib import Path
from typing import Any

import polars as pl

from unicomp_lib import files
from unicomp_lib.evaluate import statistics, task
from unicomp_lib.evaluate.tasks import paper
from unicomp_lib.inputs import hub

SCHEMA = "0.3.0"
BENCHMARK = "unicomp"


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


def write(scores: pl.DataFrame, folder: Path, *, sources: dict[str, str], by: str, moment: int) -> int:
    """``<benchmark>/<developer>/<model>/<uuid>.json`` of each variant; the number of files.

    ``sources`` are the profile's models, ``by`` is who evaluated them, ``moment`` the time in seconds since 1970.
    """
    count = 0
    models = scored(scores).filter(pl.col("control").fill_null("") == "")  # a rerun is no model of its own
    for (model, variant), rows in models.group_by(["model", "variant"], maintain_order=True):
        record = _record(rows, str(model), str(variant), sources.get(str(model), ""), by, moment)
        developer, _, name = record["model_info"]["id"].partition("/")
        identity = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(record, sort_keys=True))
        files.write_text(
            folder / BENCHMARK / developer / name / f"{identity}.json", json.dumps(record, indent=1) + "\n"
        )
        count += 1
    return count


def _record(rows: pl.DataFrame, model: str, variant: str, source: str, by: str, moment: int) -> dict[str, Any]:
    first = rows.row(0, named=True)
    repository = source.partition("@")[0]
    developer, _, name = repository.partition("/") if "@" in source else ("unknown", "", model)
    identity = f"{developer}/{name}" if variant == "dense" else f"{developer}/{name}-{variant}"
    facts = {name: str(first[name]) for name in ("method", "calibration", "rate") if first[name] not in (None, "")}
    return {
        "schema_version": SCHEMA, "evaluation_id": f"{BENCHMARK}/{identity}/{moment}",
        "retrieved_timestamp": str(moment),
        "source_metadata": {
            "source_name": "UniComp", "source_type": "evaluation_run", "source_organization_name": by,
            "evaluator_relationship": "third_party",
        },
        "eval_library": {"name": "lm_eval", "version": importlib.metadata.version("lm-eval")},
        "model_info": {
            "name": f"{model}, {first['label']}", "id": identity, "developer": developer,
            "additional_details": {
                "deployment_type": "self_deployed", "model_availability": "open_weights",
                "compressed_from": source or model, **facts,
            },
        },
        "evaluation_results": [_result(row) for row in rows.iter_rows(named=True)],
    }  # fmt: skip


def _result(row: dict[str, Any]) -> dict[str, Any]:
    details: dict[str, Any] = {
        "score": row["value"],
        "details": {"format": row["format"], "chance": str(row["chance"])},
    }
    if row["reason"]:
        details["details"]["reason"] = row["reason"]
    if row["low"] is not None:
        details["uncertainty"] = {
            "confidence_interval": {
                "lower": row["low"], "upper": row["high"], "confidence_level": statistics.LEVEL,
                "method": "exact for independent outcomes, with their effective number where clustered",
            },
            "num_samples": row["n"],
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
