"""Texts that UniComp (arXiv 2602.09130) calibrates and measures perplexity on, from the hub."""

from collections.abc import Callable

from unicomp_lib.inputs import hub

VERSION = "1"

DOCUMENTS = 50_000  # of C4's first file: a hundred times as many tokens as a calibration takes


def _c4() -> list[str]:
    return [row["text"] for row in hub.rows("c4", "en", "train", first=DOCUMENTS)]


def _wikitext2() -> list[str]:
    """The whole test split as one text, as perplexities on it are published (Frantar et al., arXiv 2210.17323)."""
    return ["\n\n".join(row["text"] for row in hub.rows("wikitext2", "wikitext-2-raw-v1", "test"))]


def _arc_easy() -> list[str]:
    return [row["question"].strip() for row in hub.rows("arc", "ARC-Easy", "train")]


def _gsm8k() -> list[str]:
    return [row["question"].strip() for row in hub.rows("gsm8k", "main", "train")]


def _math() -> list[str]:
    """Problems of the train split of all seven subjects."""
    return [
        row["problem"].strip()
        for config in hub.catalogue()["math"].configs
        for row in hub.rows("math", config, "train")
    ]


# Name of a source: what reads it, and the data sets and configs it reads (None: all). The last three are questions
# alone, without answers: the paper's reasoning calibration is a third of each.
SOURCES: dict[str, tuple[Callable[[], list[str]], dict[str, list[str] | None]]] = {
    "c4": (_c4, {"c4": ["en"]}),
    "wikitext2": (_wikitext2, {"wikitext2": None}),
    "arc-easy": (_arc_easy, {"arc": ["ARC-Easy"]}),
    "gsm8k": (_gsm8k, {"gsm8k": ["main"]}),
    "math": (_math, {"math": None}),
}
