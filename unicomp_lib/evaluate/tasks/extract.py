"""Reading the answer out of generated text: lm-eval ``process_results`` of the generated tasks.

Each gives ``exact_match`` and ``failed``, 1 where no answer could be read out: such an answer
counts as wrong, and the share of them is reported with the score. Thoughts and the marks of a chat
format are cut before reading, see ``replies``; the rules are in ``options``, ``quantities`` and
``mathematics``.
"""

import string
from fractions import Fraction
from typing import Any

from unicomp_lib.evaluate.tasks import mathematics as expressions
from unicomp_lib.evaluate.tasks import replies
from unicomp_lib.evaluate.tasks.options import LETTERS as LETTERS
from unicomp_lib.evaluate.tasks.options import option as option
from unicomp_lib.evaluate.tasks.quantities import number as number

VERSION = "2"

_PUNCTUATION = {*string.punctuation, *"\u2018\u2019\u201c\u201d\u00ab\u00bb\u2026\u2013\u2014\u3002\u300c\u300d\uff0c"}


def chosen(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether the text names the right one of the options it was shown."""
    return _scored(option(results[0], doc["choices"]), doc["gold"])


def final_number(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether the number that the text states is the answer; a whole answer decides what "1.234" is."""
    right = Fraction(doc["answer"])
    return _scored(number(results[0], whole=right.denominator == 1), right)


def mathematics(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether the expression that the text states equals the answer; failed also where that cannot be told."""
    answer = expressions.stated(results[0])
    equal = None if answer is None else expressions.equal(doc["answer"], answer)
    return {"exact_match": float(equal is True), "failed": float(equal is None)}


def short_answer(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether the text is one of the right answers, up to case, articles and punctuation."""
    answer = normal(replies.final(results[0]))
    return {"exact_match": float(answer in map(normal, doc["answers"])), "failed": float(not answer)}


def nothing(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether an answer that a judge will read is empty."""
    return {"empty": float(not replies.final(results[0]))}


def normal(text: str) -> str:
    """A short answer as SQuAD's evaluation compares it: lower case, no articles, no punctuation."""
    plain = "".join(letter for letter in text.lower() if letter not in _PUNCTUATION)
    return " ".join(word for word in plain.split() if word not in ("a", "an", "the"))


def _scored(answer: float | Fraction | None, right: float | Fraction) -> dict[str, float]:
    return {"exact_match": float(answer == right), "failed": float(answer is None)}
