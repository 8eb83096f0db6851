"""Which of the options that it was shown a text chooses: by a letter, or by an option's words."""

import re
import string

from unicomp_lib.evaluate.tasks import replies, statements
from unicomp_lib.evaluate.tasks.statements import Mention

VERSION = "1"

LETTERS = string.ascii_uppercase[:10]

_LATIN = "A-Za-z\u00c0-\u024f"
# Scripts that put no blanks between words, so that a word has no edges to check.
_UNSPACED = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_WORD = r"\w\u0300-\u036f\u0610-\u065f\u0900-\u0903\u093a-\u094f\u0981-\u0983\u09bc-\u09cd\u0c00-\u0c04\u0c3e-\u0c4d"
_NAMED = re.compile(
    r"(?:\b(?:option|choice|letter|answer|opci[óo]n|letra|lettre|choix|opzione|lettera|op[çc][ãa]o|alternativa|antwort"
    r"|buchstabe|вариант|буква|[şs][ıi]k|đáp án|phương án)|选项|選項|選択肢|विकल्प|ตัวเลือก|ข้อ|الخيار)\s*[:(]?\s*$",
    re.IGNORECASE,
)
_GOES_ON = re.compile(
    r"\s*(?:because|since|as|due|for|therefore|so|and|or|but|is|was|are|would|should|must|seems|which|where|it's"
    r"|isn't|i think"
    r"|rather|over|instead|not|can|can't|cannot|does|doesn't|will|has|could|may|might|fits|makes|option|answer"
    r"|choice|weil|denn|da|und|oder|ist|w[äa]re|porque|ya|pues|es|car|parce|puisque|est|è|é|est[áa]|perch[ée]|poich[ée]"
    r"|pois|con|e|o|y|et|ou|v[ìi]|değil)\b",
    re.IGNORECASE,
)


def option(text: str, choices: list[str]) -> int | None:
    """Index of the option that a text chooses; None where it chooses none, or where that is not clear.

    Options are named by letter ("B", "(b)", "**B.** a pillow", "option B", "la respuesta es la B", "答案是B") or by
    their words, as whole words, an option that is part of another one's words never in its place. The rule of
    ``statements`` decides: what is denied, ruled out or taken back does not count; what is stated as the
    answer comes before what is only mentioned; two different options are none. A letter whose option's words
    are not those that follow it names two. Letters are Latin: "В" in Cyrillic is the third letter there
    and looks like the second here, so it is not read.
    """
    text = _without_list(replies.plain(text), choices)
    labels = _labels(text, choices)
    words = _worded(text, choices, labels)
    if any(_contradicted(text, label, words) for label in labels):
        return None
    return statements.decide(text, _merged(text, sorted([*labels, *words], key=lambda mention: mention.start)))


def _labels(text: str, choices: list[str]) -> list[Mention]:
    """Mentions by letter."""
    letters = LETTERS[: len(choices)]
    pattern = (
        rf"(?<![{_LATIN}\d'])(?<![{_LATIN}\d][-/])(?<!\b[A-Za-z]\.)[{letters}]"
        rf"(?![{_LATIN}\d_+])(?!['/-][{_LATIN}\d])(?!\.[A-Za-z]\.)"
    )
    found = []
    for match in re.finditer(pattern, text, re.IGNORECASE):
        mention = Mention(letters.index(match[0].upper()), match.start(), match.end())
        if _is_label(text, mention, choices):
            found.append(mention)
    return found


def _is_label(text: str, mention: Mention, choices: list[str]) -> bool:
    """Whether a letter names an option: not the article in "a dog", the pronoun "I", or "vitamin C"."""
    left, right = text[max(0, mention.start - 60) : mention.start], text[mention.end : mention.end + 200]
    if re.match(r"\s?[)\]}]", right) and re.search(r"(?:[(\[{]\s?|^|[\s:,])$", left):
        return True
    follows = re.match(rf"[\s.:,;)-]*{_pattern(choices[mention.option])}", right, re.IGNORECASE) is not None
    article = text[mention.start].lower() in "aeioy"
    free = re.match(rf"[^\S\n]+[{_LATIN}]", right) is None or _GOES_ON.match(right) is not None or follows
    if _NAMED.search(left):
        return free or not article
    mention_stated = statements.states(text, mention)
    if mention_stated:
        return free or (not article and not _opens(text, mention))
    before = re.search(rf"[{_LATIN}]{{2,}}\s*$", left)  # "vitamin C", "plan B"
    return free and (before is None or _JOINING.search(left) is not None)


_JOINING = re.compile(
    r"\b(?:and|or|not|than|but|isn't|is|be|either|neither|nor|both|say|no|wait|actually|meant?|out|of|unlike|except"
    r"|und|oder|nicht"
    r"|y|o|et|ou|e|и|или|не|pas|non|n[ãa]o|with|so|between|eliminate|exclude)\s*$",
    re.IGNORECASE,
)


def _opens(text: str, mention: Mention) -> bool:
    return not re.search(r"\w", text[: mention.start])


def _worded(text: str, choices: list[str], labels: list[Mention]) -> list[Mention]:
    """Mentions by words: the longest options first, each place of the text once."""
    taken = bytearray(len(text))
    for label in labels:
        taken[label.start : label.end] = b"\1" * (label.end - label.start)
    found = []
    for index in sorted(range(len(choices)), key=lambda index: -len(choices[index])):
        pattern = _pattern(choices[index])
        for match in re.finditer(pattern, text, re.IGNORECASE) if pattern != _NEVER else ():
            if not any(taken[match.start() : match.end()]):
                taken[match.start() : match.end()] = b"\1" * (match.end() - match.start())
                found.append(Mention(index, match.start(), match.end()))
    return found


def _merged(text: str, mentions: list[Mention]) -> list[Mention]:
    """Mentions in order, a letter and its option's words after it as one."""
    merged: list[Mention] = []
    for mention in mentions:
        if merged and merged[-1].option == mention.option and _BETWEEN.fullmatch(text, merged[-1].end, mention.start):
            mention = Mention(mention.option, merged.pop().start, mention.end)
        merged.append(mention)
    return merged


_BETWEEN = re.compile(r"[\s.:,()\]-]*(?:(?:a|an|the)\s+)?", re.IGNORECASE)
_NEVER = r"(?!)"


def _pattern(choice: str) -> str:
    """A pattern of the option's words as whole words, whatever stands between them; none matches an empty option."""
    words = [word.strip(".,;:!?()[]{}\"'") for word in replies.plain(choice).split()]
    words = [word for word in words if re.search(r"\w", word)]
    words = [word for word in words if word.lower() not in ("a", "an", "the")] or words
    if not words:
        return _NEVER
    inside = r"[\W_]{1,6}?(?:(?:a|an|the)\s+)?".join(map(re.escape, words))
    first, last = words[0][0], words[-1][-1]
    before = "" if _UNSPACED.match(first) else rf"(?<![{_WORD}])"
    if first.isdigit():
        before += r"(?<!\d[.,])(?<![-\u2212])"
    after = "" if _UNSPACED.match(last) else rf"(?![{_WORD}]|[.,]\d)" if last.isdigit() else rf"(?![{_WORD}])"
    return before + inside + after


def _contradicted(text: str, label: Mention, words: list[Mention]) -> bool:
    """Whether a letter is followed by exactly the words of another option: "B. a knife" where B is a pillow."""
    for mention in words:
        between = _BETWEEN.fullmatch(text, label.end, mention.start)
        if mention.start >= label.end and between and mention.option != label.option:
            marked = re.match(r"[\s)\]]*[.:)\]-]", text[label.end :]) is not None
            return marked and re.match(r"\W*(?:[.!?\n]|$)", text[mention.end :][:20]) is not None
    return False


def _without_list(text: str, choices: list[str]) -> str:
    """The text without a repetition of all its options, each with its letter."""
    start, position = None, 0
    for letter, choice in zip(LETTERS, choices, strict=False):
        listed = re.compile(
            rf"(?<![{_LATIN}\d])\(?{letter}[).:\]]\s?(?:a |an |the )?{_pattern(choice)}\W*", re.IGNORECASE
        )
        match = listed.search(text, position)
        if match is None:
            return text
        start, position = match.start() if start is None else start, match.end()
    return text if start is None else f"{text[:start]}\n{text[position:]}"
