"""The comparison as one page, which needs no other file and no network."""

import io
from html import escape

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from unicomp_lib.compare.measure import Line
from unicomp_lib.compare.pair import Pair
from unicomp_lib.compare.written import TEXTS, columns, flipped
from unicomp_lib.evaluate.statistics import Estimate
from unicomp_lib.figures import panels, style
from unicomp_lib.report import theme

LISTED = 200  # flipped items on the page; items.csv has all

# The colours of the report's theme, under the names that its style uses. A figure stands on white in both modes.
COLOURS = """
:root { color-scheme: light dark;
  --pst-color-text-base: #222832; --pst-color-text-muted: #48566b; --pst-color-background: #ffffff;
  --pst-color-surface: #f3f4f5; --pst-color-border: #d1d5da; }
@media (prefers-color-scheme: dark) { :root {
  --pst-color-text-base: #ced6dd; --pst-color-text-muted: #9ca4af; --pst-color-background: #14181e;
  --pst-color-surface: #222832; --pst-color-border: #48566b; } }
body { margin: 0; background: var(--pst-color-background); color: var(--pst-color-text-base);
  font: 16px/1.5 -apple-system, BlinkMacSystemFont, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
article { max-width: 76em; margin: 0 auto; padding: 1.5em; }
article .answer { font-size: 1.3em; }
article small, article caption { color: var(--pst-color-text-muted); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 6px; border-bottom: 1px solid var(--pst-color-border); text-align: right; vertical-align: top; }
th { background: var(--pst-color-surface); }
th.text, td.text { text-align: left; overflow-wrap: anywhere; }
.scores { font-size: 0.72em; }
.items { font-size: 0.85em; }
.scores td { white-space: nowrap; }
.whole td { border-top: 2px solid var(--pst-color-border); font-weight: bold; }
figure { margin: 1em 0; background: #ffffff; color: #222832; border-radius: 4px; }
@media print { @page { size: landscape; }
  article { max-width: none; padding: 0; } article .pst-scrollable-table-container { overflow: visible; }
  .scores { font-size: 7pt; } th, td { padding: 1px 3px; } }
figure svg { display: block; max-width: 100%; height: auto; margin: 0 auto; }
"""


def page(
    title: str, answer: str, notes: list[str], of_tasks: list[Line], over_all: list[Line], pairs: list[Pair],
    fidelity: dict[str, Estimate], about: dict[str, str],
) -> str:  # fmt: skip
    """HTML: the ``answer``, what is not alike, all tasks drawn and as a table, fidelity, and the items that flipped.

    ``about`` says of A, of B and of the rerun what they are.
    """
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="answer">{escape(answer)}</p>',
        "<ul>" + "".join(f"<li>{escape(name)}: {escape(text)}</li>" for name, text in about.items()) + "</ul>",
        "<h2>What to know first</h2><ul>" + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul>"
        if notes
        else "",
        f"<h2>By task</h2><figure>{_drawn(of_tasks, over_all)}</figure>",
        _scores(of_tasks, over_all),
        _legend(of_tasks),
        _fidelity(fidelity),
        _items(pairs),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{theme.STYLE}{COLOURS}</style></head>\n"
        f"<body><article>\n{chr(10).join(part for part in parts if part)}\n</article></body></html>\n"
    )


def _drawn(of_tasks: list[Line], over_all: list[Line]) -> str:
    """Differences with their intervals as SVG, shares and other values apart; a rerun's as hollow marks."""
    style.use()
    groups = [
        ("Difference B − A, points", [line for line in [*of_tasks, *over_all] if line.points]),
        ("Difference B − A, in the metric's own unit", [line for line in [*of_tasks, *over_all] if not line.points]),
    ]
    groups = [(label, rows) for label, rows in groups if rows]
    heights = [len(rows) + 1.5 for _, rows in groups]
    figure = Figure(figsize=(style.PAGE, 0.28 * sum(heights) + 0.4 * len(groups)))
    axes = figure.subplots(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
    for one, (label, rows) in zip(axes, groups, strict=True):
        panels.variants(one, _as_scores(rows), "difference", label=label, reference=0)
        _reruns(one, rows)
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None})
    return "<svg" + written.getvalue().partition("<svg")[2]


def _reruns(axes: Axes, rows: list[Line]) -> None:
    """How far A moved when it was evaluated again, as a hollow mark in the row of its task."""
    places = {text.get_text(): place for text, place in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)}
    found = [(100.0 if line.points else 1.0, line.noise, places[line.task]) for line in rows if line.noise]
    if found:
        values = [scale * noise.value for scale, noise, _ in found]
        axes.plot(
            values, [place for *_, place in found], "D", markerfacecolor="none", markeredgecolor="black", markersize=5,
            label="rerun of A",
        )  # fmt: skip
        axes.legend(loc="best", fontsize=7)


def _as_scores(rows: list[Line]) -> pl.DataFrame:
    """Lines in the columns that ``panels.variants`` draws."""
    table = []
    for line in rows:
        scale = 100.0 if line.points else 1.0
        shared = {"model": "", "variant": line.task, "label": line.task, "method": "dense", "metric": "difference"}
        estimate = line.difference
        values = {name: scale * getattr(estimate, name) for name in ("value", "low", "high")}
        table.append({**shared, "seed": None, **values})
    kinds = {"seed": pl.Int64, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64}
    return pl.DataFrame(table, schema_overrides=kinds, infer_schema_length=None)


def _scores(of_tasks: list[Line], over_all: list[Line]) -> str:
    header, rows = columns([*of_tasks, *over_all])
    return _table(header, rows, css="scores", bold=len(of_tasks))


def _table(
    header: list[str], rows: list[list[str]], *, css: str, bold: int = 10**9, texts: tuple[int, ...] = TEXTS
) -> str:
    def cell(tag: str, place: int, text: str) -> str:
        return f"<{tag}{' class=text' if place in texts else ''}>{escape(text)}</{tag}>"

    head = "".join(cell("th", place, name) for place, name in enumerate(header))
    lines = ["".join(cell("td", place, text) for place, text in enumerate(row)) for row in rows]
    body = "".join(f"<tr{' class=whole' if index == bold else ''}>{line}</tr>" for index, line in enumerate(lines))
    return (
        f'<div class="pst-scrollable-table-container"><table class="{css}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _legend(of_tasks: list[Line]) -> str:
    rerun = any(line.noise is not None for line in of_tasks)
    sentences = [
        "Shares are in points, and intervals hold the true difference in 95 % of samples of items, both models "
        "answering the same ones.",
        "Lost: items that B does worse than A; gained: better. p exact and p mid are McNemar's test of these; where "
        "items are clustered, or their values are not right or wrong, t: Student's t of the paired differences.",
        "p Holm is the exact p, or that of t, adjusted for all tests of this table: of the tasks, of all items and of "
        "the reference answers.",
        "Detectable: the true difference that so many items would show in 80 % of samples, in a test at 5 % divided by "
        "the number of tests.",
        "Rerun: how far A, evaluated again, moved, and how many of its items changed: no smaller difference is called "
        "one. It is a hollow diamond in the picture." if rerun else "",
        "Reference answers: how likely each model finds the right answers, in bits per byte; fewer are better.",
        "The mean of tasks counts each task the same, all items each item.",
    ]  # fmt: skip
    return f"<p><small>{escape(' '.join(part for part in sentences if part))}</small></p>"


def _fidelity(found: dict[str, Estimate]) -> str:
    if not found:
        return ""
    rows = [f"<li>{escape(text)}</li>" for text in fidelity_lines(found)]
    return f"<h2>Is it the same model?</h2><ul>{''.join(rows)}</ul>"


def fidelity_lines(found: dict[str, Estimate]) -> list[str]:
    """Sentences on how far the two distributions of the next token are apart."""
    agreement, kl = found["agreement"], found["kl"]
    shares = _interval(agreement, 100, 1)
    return [
        f"On held-out text both put the same token first at {100 * agreement.value:.1f} {shares} % of positions.",
        f"KL(A ‖ B) is {kl.value:.3g} {_interval(kl, 1, 3)} nats a token.",
    ]


def _interval(estimate: Estimate, scale: float, digits: int) -> str:
    if estimate.low != estimate.low:  # NaN
        return f"[no interval: {estimate.reason}]"
    shown = f".{digits}f" if scale != 1 else f".{digits}g"
    return f"[{scale * estimate.low:{shown}}, {scale * estimate.high:{shown}}]"


def _items(pairs: list[Pair]) -> str:
    rows = flipped(pairs)
    if rows.is_empty():
        return "<h2>Items that flipped</h2><p>None: both have the same value on every item.</p>"
    header = ["task", "item", "flip", "A", "B", "question", "target", "A answered", "B answered"]
    names = ["task", "doc_id", "flip", "a", "b", "question", "target", "answer_a", "answer_b"]
    shown = rows.select(names).head(LISTED)
    texts = [[_shown(value) for value in row] for row in shown.iter_rows()]
    used = [place for place in range(len(names)) if any(row[place] for row in texts)]
    text_columns = tuple(index for index, place in enumerate(used) if names[place] not in ("a", "b"))
    more = f"<p>The first {LISTED} of {len(rows)}; items.csv has all.</p>" if len(rows) > LISTED else ""
    table = _table(
        [header[i] for i in used], [[row[i] for i in used] for row in texts], css="items", texts=text_columns
    )
    return f"<h2>Items that flipped</h2>{more}{table}"


def _shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
