"""Reading the answer out of generated text: lm-eval ``process_results`` of the generated tasks.

Each gives ``exact_match`` and ``failed``, 1 where no answer could be read out: such an answer
counts as wrong, and the share of them is reported with the score.
"""

import re
import string
from typing import Any

VERSION = "1"

LETTERS = string.ascii_uppercase[:10]
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def chosen(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether the text names the right one of the options it was shown."""
    return _scored(option(results[0], doc["choices"]), doc["gold"])


def last_number(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether the text's last number is the answer."""
    return _scored(number(results[0]), float(doc["answer"]))


def final_number(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether the number after ``####`` or "the answer is", else the last one, is the answer."""
    marked = re.search(r"(?:####|answer is:?)\s*\$?\s*(-?\d.*)", results[0], re.IGNORECASE)
    value = number(marked.group(1).split()[0]) if marked else number(results[0])
    return _scored(value, float(doc["answer"]))


def short_answer(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether the text is one of the right answers, up to case, articles and punctuation."""
    answer = normal(results[0])
    return {"exact_match": float(answer in map(normal, doc["answers"])), "failed": float(not answer)}


def nothing(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether an answer that a judge will read is empty."""
    return {"empty": float(not results[0].strip())}


def option(text: str, choices: list[str]) -> int | None:
    """Index of the option that a text names: by its letter, else by its words; None if unclear.

    The letter counts where it opens the text, alone or before a punctuation mark, or follows "answer
    is" ("A dog" does not choose A); the words count where the text contains exactly one option's.
    """
    letters = LETTERS[: len(choices)]
    opening = re.match(rf"\W*([{letters}])(?:\s*[).:,\]*]|\s*$)", text)
    stated = re.search(rf"answer is:?\s*\W?([{letters}])\b", text)
    if match := opening or stated:
        return letters.index(match.group(1))
    named = [index for index, choice in enumerate(choices) if normal(choice) and normal(choice) in normal(text)]
    return named[0] if len(named) == 1 else None


def number(text: str) -> float | None:
    """The last number of a text, None if it has none."""
    numbers = _NUMBER.findall(text)
    return float(numbers[-1].replace(",", "")) if numbers else None


def normal(text: str) -> str:
    """A short answer as SQuAD's evaluation compares it: lower case, no articles, no punctuation."""
    plain = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return " ".join(word for word in plain.split() if word not in ("a", "an", "the"))


def _scored(answer: float | None, right: float) -> dict[str, float]:
    return {"exact_match": float(answer == right), "failed": float(answer is None)}
