"""The pages that no notebook makes: the first, the table of all scores, and where everything comes from."""

from pathlib import Path
from typing import Any

import itables
import polars as pl
from itables.javascript import generate_init_offline_itables_html

from unicomp_lib.report.markup import code, commit, plain

SMALL = 0.5  # share of dense's bytes below which a variant counts as small
HARD = 0.9  # rate of pruning of which the first page speaks
MEANINGLESS = (
    "This is a run of the study on a random model and a handful of items, for tests. Its scores mean nothing, and many "
    "are not defined, since a model that guesses has nothing to lose."
)
NO_ANSWER = (
    "There is no answer in a sentence: of what was measured, no variant is under half of dense's size, none is faster, "
    "and no network was pruned by 90 %."
)
# Panels of the overview, each with its dimension and metric.
PANELS = {
    "Fidelity": ("fidelity", "agreement"), "Performance": ("performance", "retention"),
    "Reliability": ("reliability", "retention"), "Size": ("efficiency", "bytes_on_disk_ratio"),
    "Decode": ("efficiency", "decode_ratio"), "Prefill": ("efficiency", "prefill_ratio"),
}  # fmt: skip
OVERVIEW = """ Right is better; the line is the dense model; bars are 95 % intervals
(for speed, the range of the repeats).

```{{image}} files/{picture}.png
:alt: Compressed variants relative to dense, in six panels
:scale: 100
```"""
# The theme keeps its mode in an attribute, and the table wants a class.
DARK = """
const root = document.documentElement;
const follow = () => root.classList.toggle("dark", root.dataset.theme === "dark");
new MutationObserver(follow).observe(root, { attributeFilter: ["data-theme"] });
follow();
"""


def answers(scores: pl.DataFrame) -> list[str]:
    """The study's answers in a sentence each, with their intervals; none for what has not been measured."""
    pooled = scores.filter(pl.col("seed").is_null(), pl.col("method") != "dense")
    sentences = []
    agreement = of(pooled.filter(dimension="fidelity"), "agreement")
    small = agreement.join(of(pooled, "bytes_on_disk_ratio"), on="variant", suffix="_size")
    small = small.filter(pl.col("value_size") < SMALL).sort("value", descending=True)
    for row in small.head(1).iter_rows(named=True):
        sentences.append(
            f"Nearest to dense among the variants under half its size: **{plain(row['label'])}**. It puts the same "
            f"token first as dense at {_percent(row)} of positions, in {1 / row['value_size']:.1f} times fewer bytes."
        )
    fast = agreement.join(of(pooled, "decode_ratio"), on="variant", suffix="_speed")
    fast = fast.filter(pl.col("value_speed") > 1).sort("value_speed", descending=True)
    for row in fast.head(1).iter_rows(named=True):
        sentences.append(
            f"Fastest to write: **{plain(row['label'])}**, {row['value_speed']:.1f} "
            f"[{row['low_speed']:.1f}, {row['high_speed']:.1f}] times as fast as dense; it puts the same token first "
            f"as dense at {_percent(row)} of positions."
        )
    networks = scores.filter(dimension="vision", rate=HARD, schedule="one-shot", control="")
    overlap, change = of(networks.filter(task="units"), "overlap"), of(networks, "difference")
    survival = overlap.join(change, on="variant", suffix="_accuracy")
    for row in survival.sort("value_accuracy", descending=True).head(1).iter_rows(named=True):
        sentences.append(
            f"Best of the networks pruned by {100 * HARD:.0f} % in one shot: **{plain(row['label'])}**, "
            f"{_signed(row['value_accuracy'])} [{_signed(row['low_accuracy'])}, {_signed(row['high_accuracy'])}] "
            f"points of accuracy. Of the images that activated a unit of GoogLeNet most, {_percent(row)} still do."
        )
    return sentences


def index(
    scores: pl.DataFrame, sections: dict[str, list[str]], models: list[str], *, warning: str = "", picture: str = ""
) -> str:
    """The first page: the answer in one ``picture`` and a few sentences, and the way to everything else."""
    bullets = "\n".join(f"- {sentence}" for sentence in answers(scores)) or NO_ANSWER
    trees = "\n\n".join(
        f"```{{toctree}}\n:caption: {caption}\n:hidden:\n:maxdepth: 1\n\n" + "\n".join(pages) + "\n```"
        for caption, pages in sections.items()
    )
    what = f"One model, {models[0]}" if len(models) == 1 else f"{len(models)} models, {', '.join(models)}"
    return f"""# What compression really does to a model
{_note(warning)}
{what}, compressed in many ways.{_overview(scores, picture) if picture else ""}

{bullets}

Every figure has a page with its data, its method and where it comes from. [All scores](scores.md) are one table to
search, [every step](provenance.md) has its record, and the [chapters](learn/README.md) explain how each method works
and how damage is measured.

{trees}
"""


def table(scores: pl.DataFrame, warning: str = "") -> str:
    """The page of all scores: a table to search, sort and filter by column, which needs no network."""
    # Of a variant with one seed the pooled rows say it all.
    seeds = pl.col("seed").drop_nulls().n_unique().over("model", "variant", "dimension")
    several = scores.filter(pl.col("seed").is_null() | (seeds > 1))
    shown = several.select(
        "dimension", pl.col("label").alias("variant"), "capability", "task", "format", "metric",
        *(rounded(pl.col(name)) for name in ("value", "low", "high")), "n",
        pl.col("seed").cast(pl.String).fill_null("all"), pl.col("variant").alias("id"), "model",
    )  # fmt: skip
    html = itables.to_html_datatable(
        shown if shown["model"].n_unique() > 1 else shown.drop("model"),
        connected=False, maxBytes=0, column_filters="header", table_id="scores", show_dtypes=False,
        autoWidth=False, lengthMenu=[25, 100, 500], classes="display compact nowrap", allow_html=False,
    )  # fmt: skip
    bundle = Path(itables.__file__).parent / "html" / "dt_bundle.js"
    begin = generate_init_offline_itables_html(bundle)
    return f"""# All scores
{_note(warning)}
{len(shown):,} scores with their 95 % intervals, to four digits. Type in the search field, or in the head of a column;
click a name to sort by it. Rows of seed "all" are pooled over calibration seeds; single seeds follow where there are
several. An empty field is a value that is not defined, such as retention where dense does not score above chance. The
id of a variant is its name in the profile, in commands and in files.

```{{raw}} html
{begin}
<div style="overflow-x: auto; font-size: 0.8em">{html}</div>
<script type="module">{DARK}</script>
```
"""


def empty(scores: pl.DataFrame) -> list[str]:
    """Why panels of the overview have no marks, a sentence each."""
    sentences = []
    for panel, (dimension, metric) in PANELS.items():
        rows = scores.filter(dimension=dimension, metric=metric)
        if metric == "retention":
            rows = rows.filter(capability="all")
        if rows.is_empty():
            sentences.append(f"{panel} is empty, since it was not measured.")
        elif not rows["value"].is_finite().any():
            sentences.append(f"{panel} is empty, since dense scores no better than chance: its retention is undefined.")
    return sentences


def rounded(values: pl.Expr) -> pl.Expr:
    """Values to four significant digits, without rounding errors of what is zero, nor a sign before it."""
    defined = values.fill_nan(None)
    short = pl.when(defined.abs() > 1e-12).then(defined.round_sig_figs(4))
    return short.when(defined.is_not_null()).then(0.0)


def provenance(facts: dict[str, Any]) -> str:
    """The page of all steps with their keys, and of the commits, machines and packages behind them."""
    machines = [", ".join(f"{key} {value}" for key, value in machine.items()) for machine in facts["hardware"]]
    packages = [", ".join(f"{key} {value}" for key, value in package.items()) for package in facts["packages"]]
    steps = facts["steps"].items()
    hours = sum(step["seconds"] for _, step in steps) / 3600
    rows = "\n".join(
        f"| {code(name)} | {code(step['key'])} | {step['seconds']:.0f} | {commit(step.get('commit'))} |"
        for name, step in steps
    )
    return f"""# Where everything comes from

{len(steps)} steps took {hours:.1f} hours in all, several at a time.

- commits: {", ".join(code(each) for each in facts["commits"])}
- machines: {plain("; ".join(machines))}
- packages: {plain("; ".join(packages))}

| step | key | seconds | commit |
|---|---|---|---|
{rows}
"""


def of(scores: pl.DataFrame, metric: str) -> pl.DataFrame:
    """Rows of variant, label, value, low and high of one metric, the first of each variant."""
    rows = scores.filter(metric=metric).select(
        "variant", "label", pl.col("value", "low", "high").fill_null(float("nan"))
    )
    return rows.unique("variant", keep="first", maintain_order=True)


def shares(rows: pl.DataFrame) -> dict[str, str]:
    """Shares of each variant in percent, with their intervals; those that are not defined are left out."""
    return {row["variant"]: _percent(row) for row in rows.filter(pl.col("value").is_finite()).iter_rows(named=True)}


def _overview(scores: pl.DataFrame, picture: str) -> str:
    return "\n\n".join([OVERVIEW.format(picture=picture), *empty(scores)])


def _note(warning: str) -> str:
    return f"\n```{{warning}}\n{warning}\n```\n" if warning else ""


def _percent(row: dict[str, float]) -> str:
    return f"{100 * row['value']:.0f} [{100 * row['low']:.0f}, {100 * row['high']:.0f}] %"


def _signed(value: float) -> str:
    """A share in points, with its sign; what is rounded to zero has that of zero."""
    return f"{round(100 * value, 1) + 0.0:+.1f}"
