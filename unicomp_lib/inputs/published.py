"""What others have published, from ``params/published.yaml``."""

from typing import Annotated

import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from unicomp_lib import paths

VERSION = "2"


class Figure(BaseModel):
    """One published figure: a ``metric`` of a ``model`` after a ``method``, measured on (``of``) a text or ability.

    ``label`` is what the method with its setting is called in figures, as derived from a profile.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str
    method: str
    label: str
    model: str
    value: Annotated[float, Field(ge=0)]
    of: str
    source: Annotated[str, Field(min_length=1)]


def figures(metric: str) -> pl.DataFrame:
    """The published figures of one metric: columns metric, method, label, model, value, of, source.

    A ``ValueError`` says which entry of the file is wrong, or that it has none of this metric.
    """
    path = paths.project() / "params" / "published.yaml"
    try:
        known = TypeAdapter(list[Figure]).validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        index, *name = first["loc"]
        raise ValueError(
            f"entry {index} of {path.name}, {'.'.join(map(str, name))}: {first['msg']}; correct it"
        ) from error
    rows = [entry.model_dump() for entry in known if entry.metric == metric]
    if not rows:
        metrics = sorted({entry.metric for entry in known})
        raise ValueError(f"{path.name} has no {metric!r}; it has {', '.join(metrics)}")
    return pl.DataFrame(rows)


def perplexity_ratios() -> pl.DataFrame:
    """Published perplexities by that of dense in the same table of the same source: columns as ``figures``."""
    perplexities = figures("perplexity")
    same = ["model", "of", "source"]
    dense = perplexities.filter(method="dense").select(*same, dense="value")
    joined = perplexities.filter(pl.col("method") != "dense").join(dense, on=same, how="left", maintain_order="left")
    return joined.with_columns(pl.col("value") / pl.col("dense"), metric=pl.lit("perplexity_ratio")).drop("dense")
