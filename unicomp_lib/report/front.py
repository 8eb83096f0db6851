"""The pages that no notebook makes: the first, the table of all scores, and where everything comes from."""

from pathlib import Path
from typing import Any

import itables
import polars as pl
from itables.javascript import generate_init_offline_itables_html

SMALL = 0.5  # share of dense's bytes below which a variant counts as small
HARD = 0.9  # rate of pruning of which the first page speaks


def answers(scores: pl.DataFrame) -> list[str]:
    """The study's answers in a sentence each, with their intervals; none for what has not been measured."""
    pooled = scores.filter(pl.col("seed").is_null(), pl.col("method") != "dense")
    sentences = []
    agreement = _of(pooled, "agreement")
    small = agreement.join(_of(pooled, "bytes_on_disk_ratio"), on="variant", suffix="_size")
    small = small.filter(pl.col("value_size") < SMALL).sort("value", descending=True)
    for row in small.head(1).iter_rows(named=True):
        sentences.append(
            f"Nearest to dense among the variants under half its size: **{row['label']}**. It puts the same token "
            f"first as dense at {_percent(row)} of positions, in {1 / row['value_size']:.1f} times fewer bytes."
        )
    fast = agreement.join(_of(pooled, "decode_ratio"), on="variant", suffix="_speed")
    for row in fast.sort("value_speed", descending=True).head(1).iter_rows(named=True):
        sentences.append(
            f"Fastest to write: **{row['label']}**, {row['value_speed']:.1f} "
            f"[{row['low_speed']:.1f}, {row['high_speed']:.1f}] times as fast as dense; it puts the same token first "
            f"as dense at {_percent(row)} of positions."
        )
    networks = scores.filter(dimension="vision", rate=HARD, schedule="one-shot", control="")
    overlap, change = _of(networks.filter(task="units"), "overlap"), _of(networks, "difference")
    survival = overlap.join(change, on="variant", suffix="_accuracy")
    for row in survival.sort("value_accuracy", descending=True).head(1).iter_rows(named=True):
        sentences.append(
            f"Best of the networks pruned by {100 * HARD:.0f} % in one shot: **{row['label']}**, "
            f"{100 * row['value_accuracy']:+.1f} [{100 * row['low_accuracy']:+.1f}, {100 * row['high_accuracy']:+.1f}] "
            f"points of accuracy. Of the images that excited a unit of GoogLeNet most, {_percent(row)} still do."
        )
    return sentences


def index(scores: pl.DataFrame, sections: dict[str, list[str]], model: str) -> str:
    """The first page: the answer in one picture and a few sentences, and the way to everything else."""
    bullets = "\n".join(f"- {sentence}" for sentence in answers(scores))
    trees = "\n\n".join(
        f"```{{toctree}}\n:caption: {caption}\n:hidden:\n:maxdepth: 1\n\n" + "\n".join(pages) + "\n```"
        for caption, pages in sections.items()
    )
    return f"""# What compression really does to a model

One model, {model}, compressed in many ways. Right is better; the line is the dense model; bars are 95 % intervals
(for speed, the range of the repeats).

![Compressed variants relative to dense, in six panels](files/overview.png)

{bullets}

Every figure has a page with its data, its method and where it comes from. [All scores](scores.md) are one table to
search, [every step](provenance.md) has its record, and the [chapters](learn/README.md) explain how each method works
and how damage is measured.

{trees}
"""


def table(scores: pl.DataFrame) -> str:
    """The page of all scores: a table to search, sort and filter by column, which needs no network."""
    # Of a variant with one seed the pooled rows say it all.
    seeds = pl.col("seed").drop_nulls().n_unique().over("model", "variant", "dimension")
    several = scores.filter(pl.col("seed").is_null() | (seeds > 1))
    shown = several.drop("method", "chance").select(
        pl.col("seed").cast(pl.String).fill_null("all"), pl.exclude("seed", "value", "low", "high"),
        pl.col("value", "low", "high").fill_nan(None).round_sig_figs(4),
    )  # fmt: skip
    order = ["dimension", "variant", "capability", "task", "format", "metric", "value", "low", "high", "n", "seed"]
    html = itables.to_html_datatable(
        shown.select(*order, *(["model"] if shown["model"].n_unique() > 1 else [])),
        connected=False, maxBytes=0, column_filters="header", table_id="scores", show_dtypes=False,
        autoWidth=False, lengthMenu=[25, 100, 500], classes="display compact nowrap", allow_html=False,
    )  # fmt: skip
    bundle = Path(itables.__file__).parent / "html" / "dt_bundle.js"
    begin = generate_init_offline_itables_html(bundle)
    return f"""# All scores

{len(shown):,} scores with their 95 % intervals. Type in the search field, or in the head of a column; click a
name to sort by it. Rows of seed "all" are pooled over calibration seeds; single seeds follow where there are several.

```{{raw}} html
{begin}
<div style="overflow-x: auto; font-size: 0.8em">{html}</div>
```
"""


def provenance(facts: dict[str, Any]) -> str:
    """The page of all steps with their keys, and of the commits, machines and packages behind them."""
    machines = [", ".join(f"{key} {value}" for key, value in machine.items()) for machine in facts["hardware"]]
    packages = [", ".join(f"{key} {value}" for key, value in package.items()) for package in facts["packages"]]
    steps = facts["steps"].items()
    hours = sum(step["seconds"] for _, step in steps) / 3600
    rows = "\n".join(f"| `{name}` | `{step['key']}` | {step['seconds']:.0f} |" for name, step in steps)
    return f"""# Where everything comes from

{len(steps)} steps took {hours:.1f} hours in all, several at a time.

- commits: {", ".join(f"`{commit}`" for commit in facts["commits"])}
- machines: {"; ".join(machines)}
- packages: {"; ".join(packages)}

| step | key | seconds |
|---|---|---|
{rows}
"""


def _of(scores: pl.DataFrame, metric: str) -> pl.DataFrame:
    rows = scores.filter(metric=metric).select("variant", "label", "value", "low", "high")
    return rows.unique("variant", keep="first", maintain_order=True)


def _percent(row: dict[str, float]) -> str:
    return f"{100 * row['value']:.0f} [{100 * row['low']:.0f}, {100 * row['high']:.0f}] %"
