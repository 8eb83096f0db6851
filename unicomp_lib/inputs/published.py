"""What others have published, from ``params/published.yaml``."""

from typing import Annotated

import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from unicomp_lib import paths

VERSION = "1"


class Figure(BaseModel):
    """One published figure: a ``metric`` of a ``variant`` of a ``model``, measured on (``of``) a text or ability."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str
    variant: str
    model: str
    value: Annotated[float, Field(ge=0)]
    of: str
    source: Annotated[str, Field(min_length=1)]


def figures(metric: str) -> pl.DataFrame:
    """The published figures of one metric: columns metric, variant, model, value, of, source.

    A ``ValueError`` says which entry of the file is wrong, or that it has none of this metric.
    """
    path = paths.project() / "params" / "published.yaml"
    try:
        known = TypeAdapter(list[Figure]).validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        place, *name = first["loc"]
        raise ValueError(
            f"entry {place} of {path.name}, {'.'.join(map(str, name))}: {first['msg']}; mend it"
        ) from error
    found = [each.model_dump() for each in known if each.metric == metric]
    if not found:
        raise ValueError(f"{path.name} has no {metric!r}; it has {', '.join(sorted({each.metric for each in known}))}")
    return pl.DataFrame(found)


def perplexity_ratios() -> pl.DataFrame:
    """Published perplexities by that of dense in the same table of the same source: columns as ``figures``."""
    found = figures("perplexity")
    same = ["model", "of", "source"]
    dense = found.filter(variant="dense").select(*same, dense="value")
    joined = found.filter(pl.col("variant") != "dense").join(dense, on=same, how="left", maintain_order="left")
    return joined.with_columns(pl.col("value") / pl.col("dense"), metric=pl.lit("perplexity_ratio")).drop("dense")
