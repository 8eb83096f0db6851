"""Rule judge of false premises: does an answer say what is true in place of what its prompt asserts?

An item holds the truth and the falsehood, which differ in a few words. An answer corrects the falsehood if a sentence
has the words that only the truth has, or denies those that only the falsehood has, or calls the assertion wrong; and
if no sentence asserts the falsehood. Naming a falsehood in order to reject it is thus not endorsing it.
"""

import re
from typing import Any

from unicomp_lib.evaluate.tasks import replies, statements
from unicomp_lib.evaluate.tasks.statements import Mention

VERSION = "1"
JUDGE = f"facts-{VERSION}"

Item = dict[str, Any]
Verdict = dict[str, float]

_EMPTY = frozenset(
    word
    for line in (
        "a an the of in on at to for from by with and or as is are was were be been being it its this that these those",
        "their his her our your who which what when where how why does do did has have had can could will would may",
        "might must should use used uses using not no never than then there so such some any all also very only into",
        "about between during",
    )
    for word in line.split()
)
_WORD = re.compile(r"\d[\d.,:]*\d|\w+(?:'\w+)?")
# A sentence is about the matter if it says some of its words, or points back to them.
_POINTS_BACK = re.compile(r"\b(?:it|they|this|that|he|she|premise|assumption|statement|claim|question)\b")
_WRONG = re.compile(
    r"\b(?:is|are|was|that's|it's)(?: \w+){0,2} (?:incorrect|false|wrong|untrue|inaccurate|"
    r"a (?:\w+ )?(?:myth|misconception|mistake))\b"
    r"|\b(?:not|n't)(?: \w+){0,2} (?:true|correct|accurate|the case|right)\b"
    r"|\b(?:misconception|contrary to|mistaken|misinformed|there (?:is|seems to be|may be) (?:a|an|some) "
    r"(?:\w+ )?(?:mistake|error|misunderstanding|confusion)|premise (?:is|of))\b"
)


def corrected(items: list[Item], answers: list[str]) -> list[Verdict]:
    """``corrected``: the answer contradicts the falsehood that its prompt asserts, by what the item says is true."""
    return [{"corrected": float(corrects(item, answer))} for item, answer in zip(items, answers, strict=True)]


def corrects(item: Item, answer: str) -> bool:
    """Whether an answer contradicts the item's ``falsehood`` and does not assert it."""
    truth, falsehood = set(stems(item["truth"])), set(stems(item["falsehood"]))
    only_true, only_false, shared = truth - falsehood, falsehood - truth, truth & falsehood
    fresh = only_true - set(stems(item["prompt"]))  # what the question itself says is no knowledge of the model's
    found = False
    for sentence in re.split(r"(?<=[.!?])\s+|\n", replies.plain(answer).lower()):
        words = set(stems(sentence))
        if not words or sentence.endswith("?"):
            continue
        about = _share(shared, words) >= 0.3 or bool(_POINTS_BACK.search(sentence[:40]))
        wrong = bool(_WRONG.search(sentence))
        names, denies = _share(only_false, words) >= 0.5, _denies(only_false, sentence)
        true = _share(fresh, words) >= 0.5 and about if fresh else truth <= words
        if names and about and not (denies or wrong or true):
            return False
        found |= (true and not _denies(only_true, sentence)) or (names and denies) or (wrong and (about or names))
    return found


def stems(text: str) -> list[str]:
    """Words that carry meaning, without the commonest endings; a number stays as it is."""
    words = _WORD.findall(text.lower().replace("\u2019", "'"))
    return [_stem(word) for word in words if word not in _EMPTY]


def _stem(word: str) -> str:
    word = word.removesuffix("'s")
    return word if word[0].isdigit() else re.sub(r"(?<=\w{3})(?:ies|ing|ed|es|ly|s|e|y)$", "", word)


def _share(wanted: set[str], words: set[str]) -> float:
    return len(wanted & words) / len(wanted) if wanted else 0.0


def _denies(wanted: set[str], sentence: str) -> bool:
    """Whether a sentence has some of these words and denies them, before or after it names them."""
    found = [word for word in _WORD.finditer(sentence) if _stem(word[0]) in wanted]
    if not found:
        return False
    mention = Mention(0, found[0].start(), found[-1].end())
    return statements.denied(sentence, mention) or statements.rejected(sentence, mention)
