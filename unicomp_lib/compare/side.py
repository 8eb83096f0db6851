"""What one of two compared models answered, wherever it comes from."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import polars as pl

# One row per item and metric. ``metric`` has lm-eval's form, ``exact_match,strict-match`` for one of several filters.
SCHEMA = {
    "task": pl.String, "metric": pl.String, "doc_id": pl.String, "doc_hash": pl.String, "target_hash": pl.String,
    "prompt_hash": pl.String, "cluster": pl.String, "value": pl.Float64, "question": pl.String, "target": pl.String,
    "answer": pl.String,
}  # fmt: skip
# What reading a log raises whose parts are of other types than its tool writes.
MALFORMED = (TypeError, KeyError, AttributeError, OverflowError, IndexError)
LIKELIHOODS = "log-likelihoods "  # before those of the options, where an answer is the likeliest of them
NORMALISED = "acc_norm"  # the metric whose answer is the likeliest by letter
NAME = 64  # letters, at most, of what is taken for a number or a name, which other tasks may use too
SHOWN = 300  # letters of a question or an answer that a page shows

# Metrics of which less is better, where no log says so.
LOWER = (
    "perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "nll", "loss", "brier_score", "ter", "wer",
    "cer",
)  # fmt: skip


@dataclass(frozen=True)
class Side:
    """One of the two: its ``name``, what it is (``kind``), and ``rows`` with columns ``SCHEMA``.

    ``settings`` are facts by task that should be equal on both sides, such as its version and its shots. ``higher``
    says of (task, metric) whether more is better, as far as a log tells. ``notes`` are sentences for the page.
    ``model`` is what ``checkpoints.models.load`` takes, where the model itself is at hand; ``facts`` are stored
    measures by block of text (columns doc_id, metric, value) against the dense model of a cell's ``family``; the dense
    cell is ``dense_of`` that family.
    """

    name: str
    kind: str
    rows: pl.DataFrame
    settings: dict[str, dict[str, str]] = field(default_factory=dict)
    higher: dict[tuple[str, str], bool] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    model: str = ""
    facts: pl.DataFrame | None = None
    family: str = ""
    dense_of: str = ""


def table(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows as a table of columns ``SCHEMA``; what a row lacks is null."""
    return pl.DataFrame([{name: row.get(name) for name in SCHEMA} for row in rows], schema=SCHEMA)


def digest(content: Any) -> str:
    """Hash of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def cluster_of(task: str, group: Any) -> str:
    """Name of the cluster of items that share ``group``: a text, wherever it is asked, or a short name in one task."""
    return digest(group if len(str(group)) > NAME else [task, group])


def short(text: Any, *, end: bool = False) -> str:
    """The beginning of a text, or its ``end``, on one line."""
    line = " ".join(str(text).split())
    if len(line) <= SHOWN:
        return line
    return f"…{line[-SHOWN:]}" if end else f"{line[:SHOWN]}…"


def likeliest(likelihoods: list[float], options: list[str], metric: str) -> str:
    """The option that a model chose: of all, or under ``NORMALISED`` by letter, the likeliest."""
    lengths = [max(len(option), 1) if metric.partition(",")[0] == NORMALISED else 1 for option in options]
    scores = [value / length for value, length in zip(likelihoods, lengths, strict=True)]
    return options[scores.index(max(scores))]


def higher_is_better(metric: str, *sides: Side, task: str = "") -> bool:
    """Whether more is better, as the logs say, else as the metric's name does; a ``ValueError`` where they differ."""
    said = [side.higher[task, metric] for side in sides if (task, metric) in side.higher]
    if len(set(said)) > 1:
        raise ValueError(
            f"{task}: one log says that more {metric} is better and another that less is; give logs of one version"
        )
    return said[0] if said else metric.partition(",")[0] not in LOWER
