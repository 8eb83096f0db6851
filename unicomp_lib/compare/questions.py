"""What the study's items ask: item rows hold no texts, so those of the flipped items are looked up."""

import hashlib
import json
from typing import Any

import polars as pl

from unicomp_lib.compare.side import LIKELIHOODS, likeliest, short
from unicomp_lib.study import ready


def filled(rows: pl.DataFrame, data_dir: str = "") -> pl.DataFrame:
    """Rows of ``side.SCHEMA`` with question, target and chosen option, of tasks whose items are on this machine.

    An item counts as found where its hash is that of the row.
    """
    known = {name: _documents(name, data_dir) for name in rows["task"].unique() if ready.is_here(name, data_dir)}
    columns: dict[str, list[Any]] = {"question": [], "target": [], "answer": []}
    for row in rows.select("task", "metric", "doc_hash", *columns).iter_rows(named=True):
        document = known.get(row["task"], {}).get(row["doc_hash"])
        found = _texts(document, row["answer"] or "", row["metric"]) if document is not None else row
        for name, values in columns.items():
            values.append(found[name])
    return rows.with_columns(pl.Series(name, values, dtype=pl.String) for name, values in columns.items())


def _documents(name: str, data_dir: str) -> dict[str, dict[str, Any]]:
    """Items of one of the study's tasks by their hash, as lm-eval computes it."""
    from unicomp_lib.evaluate import task
    from unicomp_lib.evaluate.tasks import items

    documents = items.items(task.source(name), data_dir)
    texts = (json.dumps(document, indent=2, ensure_ascii=False) for document in documents)
    return {hashlib.sha256(text.encode()).hexdigest(): each for text, each in zip(texts, documents, strict=True)}


def _texts(document: dict[str, Any], answer: str, metric: str) -> dict[str, str]:
    choices, gold = document.get("choices") or [], document.get("gold")
    asked = " ".join(str(document[name]) for name in ("passage", "question", "prompt") if document.get(name))
    right = choices[gold] if isinstance(gold, int) and 0 <= gold < len(choices) else document.get("answer", "")
    if answer.startswith(LIKELIHOODS):
        likelihoods = [float(number) for number in answer.removeprefix(LIKELIHOODS).split(", ")]
        answer = short(likeliest(likelihoods, choices, metric)) if len(likelihoods) == len(choices) else answer
    return {"question": short(asked, end=True), "target": short(right), "answer": answer}
