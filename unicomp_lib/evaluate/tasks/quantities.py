"""Which number a worked answer states."""

import re
import unicodedata
from fractions import Fraction
from typing import NamedTuple

from unicomp_lib.evaluate.tasks import replies, statements

VERSION = "1"

# A longer number, or a larger exponent, is no answer to any question, and would take time and memory to compute.
DIGITS, EXPONENT = 400, 400

_MINUS = "\u2212\ufe63\uff0d\u2010\u2011\u2012\u2013\u207b"
_BLANK = " \u00a0\u2009\u202f\u2007\u2008\u2005\u2006"
_CURRENCY = (
    r"(?:(?:US|AU|CA|NZ|HK|A|C|R|S|NT|MX)?\$|[€£¥₹₽₩₺₫฿₦₱₪₴₸¢]"
    r"|(?:USD|EUR|GBP|CHF|INR|JPY|CNY|RMB|AUD|CAD|BRL|MXN|RUB|Rs\.?|RM|kr\.?|Fr\.?)(?=\s?\d))"
)
_UNSIGNED = (
    rf"(?:\d{{1,3}}(?P<group>[{_BLANK}'\u2019,.])\d{{3}}(?:(?P=group)\d{{3}})*(?!\d)(?:(?!(?P=group))[.,]\d+)?"
    r"|\d{1,2}(?:,\d{2})+,\d{3}(?!\d)(?:\.\d+)?"  # as in India
    r"|\d+[.,]\d+(?![.,]?\d)|\.\d+|\d+)"
)
_NUMBER = re.compile(
    rf"(?P<sign>(?:[-+]|\b(?:minus|negative)\s)\s?)?(?P<before>{_CURRENCY}\s?)?(?P<inner>[-+])?"
    rf"(?<![A-Za-z_\d.])(?<!\d[,:/])(?P<digits>{_UNSIGNED})"
    r"(?:\s?(?:[x×*]|\\times|\\cdot)\s?10\s?(?:\^|\*\*)\s?\{?(?P<power>[-+]?\d+)\}?"
    r"|[eE](?P<exponent>[-+]?\d+)(?![\w]))?"
    r"(?P<over>\s?/\s?\d+(?![\d/]))?(?P<mixed>\s\d+/\d+(?![\d/]))?"
    r"(?P<scale>\s?(?:thousand|million|billion|trillion)s?\b|[kK]\b)?(?!\d|[:/]\d)",
)
_SCALE = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "k": 10**3}

# What a sentence says beside its number: in brackets, or after these words, up to a conclusion.
_ASIDE = re.compile(
    r"\((?=[^()]*[^\W\d]|[^()]*\d\s*[-+*/×=])[^()]*\)"
    r"|,?\s*\b(?:which|because|since|i\.e\.|that is|compared|rather than|instead of|not counting"
    r"|given that|as there)\b"
    r".*?(?=,?\s*\b(?:so|therefore|thus|hence)\b|$)"
    r"|,\s*(?:or\s+)?\S{1,12} (?:more|less|fewer|times|times more|higher|lower) than\b.*?(?=,|$)",
    re.IGNORECASE,
)
_MARK = re.compile(r"####[ \t]*+(?=[^A-Za-z\n]{0,12}\d)")
_HEADING = re.compile(r"(\d{1,2})[.)][ \t]+[A-Z]")  # "#### 1. Add the apples"
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{((?:[^{}]|\{[^{}]*\}){0,400})\}")
_FINAL = re.compile(r"\bfinal (?:answer|result|answer is)\b(?:\s+is\b|\s*[:=])?", re.IGNORECASE)
_ANSWER = re.compile(
    rf"(?:{statements.ANSWER}|\btotal\b(?=\s*[:=]))[^.!?\n。=:]{{0,60}}?(?:\b(?:is|was|are|be|equals|ist|lautet|es"
    rf"|est|è|é)\b|[:=]|は|是|为|為|คือ|है|هي|هو|-(?=\s))",
    re.IGNORECASE,
)
_RUN_ON = re.compile(r"\n\s*(?:Question|Q|Problem)\s*\d*:")
_SENTENCE = re.compile(r"(?:(?<![A-Z])[.!?](?=\s|$)|[\n。！？])")
_OPERATOR = re.compile(r"[^\d=]{0,20}?(?:[-+*/×÷]|\\times|\\cdot)[^\d=]{0,20}")
_LEADS = re.compile(
    r"(?:[\s:=$~≈(]|\b(?:a|an|the|about|approximately|roughly|exactly|therefore|total|of|only|just|equal|to|thus|is"
    r"|answer)\b|\\approx)*",
    re.IGNORECASE,
)
# What a number is taken from, or for how long: not what the sentence arrives at.
_ADJUNCT = re.compile(
    r"\b(?:out of|from|than)\s+\S{0,3}\d[\d.,]*(?:\s+(?:to|is|and|gives|leaves|equals)\b)?"
    r"|\b(?:in|within|over|during|for|after|every|per|each|at)\s+(?:\w+\s+)?\d[\d.,]*[ -](?:second|minute|hour|day"
    r"|week|month|year)s?\b"
    r"|\bin (?:19|20)\d\d\b|\b(?:each|all|every one) of (?:the|his|her|their|these|those) \d+\b",
    re.IGNORECASE,
)


class Found(NamedTuple):
    """A number of a text, and where it stands; ``value`` is None where it is too long to be one."""

    value: Fraction | None
    start: int
    end: int


def number(text: str, *, whole: bool = False) -> Fraction | None:
    """The number that a text states as its answer, exactly; None if there is none, or if it is not clear which.

    Read after ``####``, in a box, after "the answer is" (the last of these), or else in the last sentence that has a
    number, where asides ("(3 more than 9)", "which is …") do not count and the last number does. Of an
    equation it is the side that is one number; a range, a choice of two numbers and an arithmetic expression
    without its result state none. Signs, currencies, units and percent signs are no part of the value, and "1.5
    million" is 1,500,000.

    "1,234.5", "1.234,5", "1 234,5" and "1'234.5" are the same. A comma before exactly three digits separates
    thousands, a point decimals, unless ``whole``: where whole numbers are asked for, "1.234" is 1234, as most
    of Europe writes it.
    """
    text = _plain(text)
    if cut := _RUN_ON.search(text, 1):
        text = text[: cut.start()]
    for stated in _stated(text):
        found = _of_statement(stated, whole)
        if found is not None:
            return found.value
    return _of_last_sentence(text, whole)


def numbers(text: str, *, whole: bool = False) -> list[Found]:
    """All numbers of a text in order."""
    return _numbers(_plain(text), whole)


def _plain(text: str) -> str:
    """The reply with ASCII digits and signs, and without markup."""
    text = replies.ends(replies.final(text))
    text = "".join(_ascii(letter) for letter in text)
    text = re.sub(r"\*\*|__|`|~~|\"|(?<![\d\s])\*|\*(?![\d\s])", "", text)
    text = re.sub(r"(?<=\d)_(?=\d{3})", ",", text)
    text = re.sub(r"\\[dt]?frac\s*\{\s*(-?\d+)\s*\}\s*\{\s*(\d+)\s*\}", r" \1/\2", text)
    text = re.sub(r"\\(?:text(?:bf|rm|it)?|math(?:bf|rm|it))\s*\{([^{}]{0,200})\}", r"\1", text)
    text = re.sub(r"(?<=\d)(?:\{,\}|\\,|\\!|,\\!|\\ )(?=\d{3})", ",", text)
    return (
        re.sub(r"\\[()\[\],;! ]|\\(?=[$%])|\{(?=[-\d.]+\})|(?<=\d)\}(?!\{)", "", text)
        if not _BOX.search(text)
        else text.replace("\\$", "$")
    )


def _ascii(letter: str) -> str:
    if letter in _MINUS:
        return "-"
    if letter.isascii():
        return letter
    if unicodedata.category(letter) == "Nd":
        return str(unicodedata.decimal(letter))
    if letter in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞":
        return " " + unicodedata.normalize("NFKC", letter).replace("\u2044", "/")
    return {
        "\u066b": ".", "\u066c": ",", "\uff0e": ".", "\uff0c": ",", "\uff0b": "+", "\uff1d": "=", "\uff1a": ":",
        "\uff04": "$", "\u2044": "/", "\u2019": "'", "\u2018": "'", "\u201c": '"', "\u201d": '"',
    }.get(letter, letter)  # fmt: skip


def _stated(text: str) -> list[str]:
    """What follows the marks of an answer, the surest first."""
    marks = [text[mark.end() :] for mark in _MARK.finditer(text)]
    titles = [_HEADING.match(part) for part in marks]
    parts = [part for place, part in enumerate(marks, 1) if not (title := titles[place - 1]) or int(title[1]) != place][
        :1
    ]
    parts += [f"{box[1]}\n" for box in list(_BOX.finditer(text))[::-1]]
    for pattern in (_FINAL, _ANSWER):
        parts += [text[mark.end() :] for mark in list(pattern.finditer(text))[-1:]]
    signed = [re.sub(r"^([ \t:]*)([-+])[ \t]+(?=\S?\d)", r"\1\2", part[:2000]) for part in parts]
    return [re.sub(r"^[\s:]*\n\s*", "", part) for part in signed]


def _of_statement(text: str, whole: bool) -> Found | None:
    """The number that stands right after an answer's mark, or is the result of what does."""
    sentence = _sentences(text)[0] if text.strip() else ""
    sentence = _ASIDE.sub(" ", sentence)
    found = _numbers(sentence, whole)
    if not found:
        return None
    if "=" in sentence:
        return _of_equation(sentence, whole)
    first = found[0]
    if _LEADS.fullmatch(sentence[: first.start]):
        rest = sentence[first.end :]
        if re.match(r"\s*(?:-|or\b|to\b|[*+×÷x]|\\times|\\cdot)\s*[$€£]?\s*[\d.]", rest):
            return Found(None, first.start, first.end)
        return first
    return _concluding(sentence, found)


def _concluding(sentence: str, found: list[Found]) -> Found:
    last = found[-1]
    if len(found) > 1 and re.fullmatch(
        r"\s*(?:-|or\b|[*+×÷x]|\\times)\s*[$€£]?\s*", sentence[found[-2].end : last.start]
    ):
        return Found(None, last.start, last.end)
    return last


def _of_last_sentence(text: str, whole: bool) -> Fraction | None:
    for sentence in reversed(_sentences(text)):
        for version in (_ADJUNCT.sub(" ", _ASIDE.sub(" ", sentence)), sentence):
            found = _numbers(version, whole)
            if found:
                return (_of_equation(version, whole) if "=" in version else _concluding(version, found)).value
    return None


def _of_equation(sentence: str, whole: bool) -> Found:
    """The last side of an equation that is a single number, else the first number of its last side.

    None where that is missing, or is an expression without its result: the equation was cut.
    """
    texts = [re.sub(r"^\s*([-+])\s+(?=\S?\d)", r"\1", side) for side in sentence.split("=")]
    sides = [_numbers(side, whole) for side in texts]
    single = [side[0] for side in sides if len(side) == 1]
    if single:
        return single[-1]
    if not sides[-1] or _OPERATOR.fullmatch(texts[-1][sides[-1][0].end : sides[-1][1].start]):
        return Found(None, len(sentence), len(sentence))
    return sides[-1][0]


def _numbers(text: str, whole: bool) -> list[Found]:
    found = []
    for match in _NUMBER.finditer(text):
        before = text[max(0, match.start() - 3) : match.start()]
        sign = (match["sign"] or "").strip()
        if sign and not _is_sign(match["sign"], before):
            sign = ""
        sign = sign or match["inner"] or ""
        found.append(
            Found(_value(match, sign in ("-", "minus", "negative"), whole), match.start("digits"), match.end())
        )
    return found


def _is_sign(sign: str, before: str) -> bool:
    """Whether it is no operation, "15 - 3", no hyphen, and no bullet of a list."""
    if re.search(r"[\d)\]%]\s?$|\w$", before):
        return False
    spaced = sign[-1].isspace() and sign[0] in "-+"
    return not spaced or before.rstrip(" ").endswith(("=", ":"))


def _value(match: re.Match[str], negative: bool, whole: bool) -> Fraction | None:
    digits = _decimal(match["digits"], match["group"], whole)
    exponent = match["power"] or match["exponent"] or "0"
    if len(digits) > DIGITS or len(exponent) > 9 or abs(power := int(exponent)) > EXPONENT:
        return None
    value = Fraction(digits) * Fraction(10) ** power
    parts = (match["over"] or match["mixed"] or "1").split("/")
    if len(parts) == 2:
        below = int(parts[1][:DIGITS])
        if below == 0:
            return None
        value = value / below if match["over"] else value + Fraction(int(parts[0][:DIGITS]), below)
    scale = (match["scale"] or "").strip().lower().rstrip("s")
    return (-value if negative else value) * _SCALE.get(scale, 1)


def _decimal(digits: str, group: str | None, whole: bool) -> str:
    """The digits as Python reads them."""
    if re.fullmatch(r"0[.,]\d+", digits):
        return digits.replace(",", ".")
    if group and not (group == "." and digits.count(".") == 1 and "," not in digits and not whole):
        return digits.replace(group, "").replace(",", ".")
    if re.fullmatch(r"\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d+)?", digits):
        return digits.replace(",", "")
    return digits.replace(",", ".")


def _sentences(text: str) -> list[str]:
    return [part for part in _SENTENCE.split(text) if part.strip()] or [""]
