"""Scores by task that others have published of the paper's models, from ``params/published_scores.yaml``."""

from typing import Annotated

import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from unicomp_lib import paths

VERSION = "1"

COMPLEMENT = "1 - "  # what precedes a metric of ours whose complement was published
INTERVAL = 1.959964  # standard errors to each side of a mean, of a normal 95 % interval
PERFORMANCE = "knowledge"  # the capability that is of performance; all others are of reliability


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Run(_Entry):
    """What was evaluated: a model, and the method and label of its variant. ``files``: sources by dimension."""

    model: str
    method: str
    label: str
    files: Annotated[dict[str, str], Field(min_length=1)]


class Score(_Entry):
    """A task and metric as published, with a value for each run; ``here`` and ``as`` are our task and metric."""

    task: str
    metric: str
    values: list[float | None]
    stderr: list[float | None] = []
    here: str = ""
    ours: Annotated[str, Field(alias="as")] = ""
    fault: str = ""
    differs: str = ""


class Published(_Entry):
    """The whole file: runs, what is wrong with some scores or differs from here, and scores by capability."""

    runs: Annotated[list[Run], Field(min_length=1)]
    faults: dict[str, str]
    differences: dict[str, str]
    scores: dict[str, list[Score]]

    @model_validator(mode="after")
    def _check(self) -> "Published":
        for score in (score for part in self.scores.values() for score in part):
            where = f"{score.task}, {score.metric}"
            if {len(score.values), len(score.stderr or score.values)} != {len(self.runs)}:
                raise ValueError(f"{where}: values and stderr must be as many as runs, {len(self.runs)}")
            if bool(score.here) != bool(score.ours):
                raise ValueError(f"{where}: give both here and as, or neither")
            if (score.fault or None) not in (None, *self.faults):
                raise ValueError(f"{where}: fault {score.fault!r} is none of {', '.join(self.faults)}")
            if (score.differs or None) not in (None, *self.differences):
                raise ValueError(f"{where}: differs {score.differs!r} is none of {', '.join(self.differences)}")
        return self


def scores() -> pl.DataFrame:
    """All published scores, a row each.

    Columns: model, method, label, dimension, capability, task, metric (as published), value, low, high (the 95 %
    interval where a standard error was published), here, ours (our task and metric; empty where nothing here measures
    the same), complement (whether it is that of our metric), source, note (what is wrong with it, and what differs
    from here).
    A ``ValueError`` says what is wrong with the file.
    """
    path = paths.project() / "params" / "published_scores.yaml"
    try:
        known = Published.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(
            f"{path.name}, {'.'.join(map(str, first['loc'])) or 'as a whole'}: {first['msg']}; correct it"
        ) from error
    rows = [
        _row(known, run, capability, score, score.values[place], (score.stderr or [None] * len(known.runs))[place])
        for place, run in enumerate(known.runs)
        for capability, part in known.scores.items()
        for score in part
    ]
    texts = ("model", "method", "label", "dimension", "capability", "task", "metric", "here", "ours", "source", "note")
    schema = dict.fromkeys(texts, pl.String) | dict.fromkeys(("value", "low", "high"), pl.Float64)
    table = pl.DataFrame(rows, schema_overrides=schema)
    return table.filter(pl.col("value").is_not_null())


def _row(
    known: Published, run: Run, capability: str, score: Score, value: float | None, stderr: float | None
) -> dict[str, object]:
    dimension = "performance" if capability == PERFORMANCE else "reliability"
    half = None if value is None or stderr is None else INTERVAL * stderr
    notes = (known.faults.get(score.fault), known.differences.get(score.differs))
    return {
        "model": run.model, "method": run.method, "label": run.label, "dimension": dimension,
        "capability": capability, "task": score.task, "metric": score.metric, "value": value,
        "low": None if half is None or value is None else value - half,
        "high": None if half is None or value is None else value + half,
        "here": score.here, "ours": score.ours.removeprefix(COMPLEMENT),
        "complement": score.ours.startswith(COMPLEMENT), "source": run.files.get(dimension, ""),
        "note": "; ".join(filter(None, notes)),
    }  # fmt: skip


def beside(measured: pl.DataFrame) -> pl.DataFrame:
    """Published scores with those measured here of the same model, method, setting and task.

    ``measured`` is a table of scores (``tables.SCORES``), of any dimensions. To the columns of ``scores`` come
    our_value, our_low, our_high, null where nothing was measured; where the complement of our metric was published,
    they are of the complement.
    """
    pooled = measured.filter(pl.col("seed").is_null(), pl.col("control").fill_null("") == "")
    same = {name: name for name in ("model", "method", "label", "dimension")} | {"here": "task", "ours": "metric"}
    kept = [*same.values(), "value", "low", "high"]
    ours = pooled.select(kept).unique([*same.values()], keep="first", maintain_order=True)
    joined = scores().join(
        ours, left_on=[*same], right_on=[*same.values()], how="left", maintain_order="left", suffix="_here"
    )
    other = pl.col("complement")
    value, low, high = (pl.col(f"{name}_here").fill_nan(None) for name in ("value", "low", "high"))
    return joined.with_columns(
        our_value=pl.when(other).then(1 - value).otherwise(value),
        our_low=pl.when(other).then(1 - high).otherwise(low),
        our_high=pl.when(other).then(1 - low).otherwise(high),
    ).drop("value_here", "low_here", "high_here")
