"""What a text says of the things that it names: which one it states as its answer, and which it denies or takes back.

One rule decides, for options and for judgements alike. What is denied, ruled out or taken back does not count. Of
the rest, what is stated as the answer counts before what is only mentioned. If two different things are left, or
an answer was taken back and no other stated, there is no answer: never simply the first.

Texts are those of ``replies.plain``.
"""

import itertools
import re
from collections.abc import Sequence
from typing import NamedTuple

VERSION = "1"

_WINDOW = 120  # characters before and after a mention that decide what is said of it


class Mention(NamedTuple):
    """Where a text names an option, given by its index: ``text[start:end]``."""

    option: int
    start: int
    end: int


# "The answer", "the correct option", "my choice", in the languages of the study's tasks.
ANSWER = (
    r"(?:\b(?:answers?|option|choice|solution|conclusion|result|verdict|judge?ment|ans|antwort|l[öo]sung|ergebnis"
    r"|auswahl"
    r"|respuesta|soluci[óo]n|opci[óo]n|resultado|r[ée]ponse|solution|choix|r[ée]sultat|risposta|soluzione|opzione"
    r"|scelta"
    r"|risultato|resposta|solu[çc][ãa]o|op[çc][ãa]o|alternativa|ответ|вариант|cevap|yan[ıi]t|do[ğg]ru [şs][ıi]k|jibu"
    r"|đáp án|câu trả lời|kết quả)\b"
    r"|答案|答え|回答|解答|正解|选项|選項|選択肢|结果|उत्तर|जवाब|विकल्प|คำตอบ|ตัวเลือก|الإجابة|الاجابة|الجواب|إجابة|উত্তর|సమాధానం)"
)
_IS = (
    r"(?:\b(?:is|are|be|was|equals|seems|remains|appears to be|ist|sei|lautet|w[äa]re|es|ser[íi]a|sea|est|serait|è"
    r"|sarebbe"
    r"|é|seria|это|là|ni)\b|'s\b|[:=–—→]|->|=>|-(?=\s)|は|が|是|为|為|应该是|है|คือ|هي|هو|হল|হলো)"
)
# Words between "the answer is" and the answer itself, none of which says anything about it.
_FILL = (
    r"(?:[\s:,(\[{#.>→=–—-]|\b(?:the|a|an|is|be|that|as|to|option|choice|letter|answer|number|alternative|statement"
    r"|would|will"
    r"|must|should|most|likely|probably|definitely|clearly|certainly|simply|obviously|therefore|thus|then|indeed"
    r"|actually"
    r"|correct|right|best|only|final|considered|called|der|die|das|ein|eine|einen|buchstabe|antwort|option"
    r"|m[öo]glichkeit"
    r"|richtig|la|el|lo|los|las|letra|opci[óo]n|respuesta|correcta|le|les|lettre|r[ée]ponse|correcte|bonne|il|lettera"
    r"|opzione|risposta|corretta|o|op[çc][ãa]o|alternativa|resposta|correta|вариант|буква|ответ|правильный|đáp án"
    r"|phương án)\b"
    r"|\bl'|选项|選項|選択肢|选择|विकल्प|ตัวเลือก|ข้อ|الخيار|الحرف)"
)
_STATES = re.compile(
    rf"(?:{ANSWER}[^.!?\n。！？;]{{0,70}}?{_IS}|{ANSWER}\s*(?=[\s(]*(?:letter\s*)?$)"
    r"|\b(?:choose|chose|choosing|select|selected|pick|picked|go with|going with|opt for|settle on|vote for"
    r"|w[äa]hle|nehme|elijo|escojo|selecciono|choisis|s[ée]lectionne|scelgo|seleziono|escolho|seleciono|выбираю"
    r"|chọn|nachagua)\b|我选|选择|選択|选|選|เลือก|أختار|اختار"
    r"|\b(?:it|that|this|which|which one|he|she|they)(?:'s| is| are| would be| must be| should be| has to be"
    r"| will be)\b"
    r"|(?:^|[.!?]\s)(?:es|è|é|est)\b|\b(?:es ist|c'est|it's|то есть)\b|\b(?:correct|right|richtig|korrekt|correcta"
    r"|correcte|corretta|correta) (?:one )?(?:is|ist|es|est|è|é)\b)"
    rf"{_FILL}*$",
    re.IGNORECASE,
)
# "So B", "I think B": a conclusion in itself only where no more is said of it.
_CONCLUDES = re.compile(
    r"(?:\b(?:so|therefore|thus|hence|consequently|but|but rather|i(?:'d| would)? (?:think|believe|guess|say)|my guess"
    r"|probably|maybe|perhaps|likely|definitely|clearly|surely|also|leaves|leaving|daher|sondern|deshalb"
    r"|por lo tanto|sino|donc|mais"
    r"|quindi|dunque|ma|portanto|logo|mas|значит|поэтому|следовательно|а)\b|因此|所以|したがって|よって|इसलिए|ดังนั้น|لذلك|إذن"
    r"|[→⇒∴]|[=-]>)"
    rf"{_FILL}*$",
    re.IGNORECASE,
)
_IS_RIGHT = re.compile(
    r"[\s)\].:,-]*(?:\b(?:option|answer|choice)\b\s*)?(?:(?:\b(?:is|are|would be|must be|should be|seems|seems to be"
    r"|looks"
    r"|appears to be|ist|w[äa]re|es|est|è|é|est[áa])\b|'s\b|が|是)\s*(?:\b(?:the|a|an|my|clearly|probably|most|likely"
    r"|definitely"
    r"|certainly|therefore|thus|indeed|also|die|der|das|la|le|o|il|lo|mais|más|plus|pi[ùu])\b\s*)*"
    r"(?:\b(?:correct|right|best|better|true|answer|accurate|appropriate|suitable|proper|one|only|obvious|what|where"
    r"|richtig\w*"
    r"|korrekt\w*|correct[ao]?|correcte|corrett[ao]|corret[ao]|juste|giust[ao]|cert[ao]|respuesta|r[ée]ponse"
    r"|risposta|resposta"
    r"|antwort|l[öo]sung)\b|正确|正確|对的|正解|答案)|\b(?:верно|правильн\w*)\b|صحيح|सही)",
    re.IGNORECASE,
)
_ENDS = re.compile(
    r"\s*(?:$|[)\]}.,:;!\n–—-]|[^\x00-\u024f]|\b(?:because|since|as|due|for|therefore|so|which|where|it's|it is"
    r"|i think|is what"
    r"|in this|here|weil|denn|da|porque|ya que|pues|car|parce|puisque|perch[ée]|poich[ée]|dato|pois|j[áa] que|потому"
    r"|так как"
    r"|v[ìi])\b)",
    re.IGNORECASE,
)

_NO = (
    r"(?:\b(?:not|never|cannot|neither|nor|no|nothing|nobody|none|hardly|scarcely|barely|rarely|seldom|without"
    r"|lacks?|except"
    r"|fails? to|failed to|unable to|refuses? to|far from|anything but|insufficient(?:ly)?|unlikely"
    r"|nicht|kein\w*|weder|nunca|tampoco|pas|jamais|non|mai|n[ãa]o|нет|не|không|değil)\b|n't\b|n't(?=\s)|\b(?:dont"
    r"|isnt|doesnt|cant|wont|arent)\b"
    r"|不是|不|非|并非|ليس\w*|ไม่)"
)
# What denies only the option that comes next.
_AWAY = re.compile(
    r"\b(?:instead of|rather than|other than|unlike|than|over|incorrect|wrong|false|invalid|statt|en lugar de"
    r"|au lieu de|invece di"
    r"|em vez de|вместо|(?P<list>rules? out|ruled out|ruling out|(?:eliminat|exclud|discard|reject)\w*))\b"
    r"(?:[ :(\[-]|\b(?:option|choice|letter|answer|the|an?|is|der|die|la|el|le|o)s?\b)*$",
    re.IGNORECASE,
)
# Words that hold no denial although they hold a "no", or that only doubt.
_NO_DENIAL = re.compile(
    r"\b(?:no|without(?: a)?|beyond(?: a)?) (?:doubt|question)|\bnot (?:only|just|merely|simply)\b"
    r"|\bmore (?:often )?than not"
    r"|\b(?:can't|cannot|can not|can) (?:be )?(?:denied|deny)(?: that)?|\bno (?:wonder|matter)\b"
    r"|\bthere is no denying\b"
    r"|^\W*no(?= (?:it|this|that|i|they|he|she|we|you|the)\b)|\bneither\b(?=.*\bnor\b)",
    re.IGNORECASE,
)
_DOUBT = re.compile(
    r"(?:(?:can't|cannot|can not|couldn't|could not|won't|unable to|not able to|hard to|difficult to"
    r"|impossible to) (?:\w+ )?"
    r"(?:say|tell|determine|decide|judge|conclude|confirm|know|be sure|be certain|claim|answer|verify|state)"
    r"|(?:don't|do not|doesn't|does not|didn't|did not) (?:really )?(?:know|remember|understand|say|state|mention"
    r"|tell|matter)"
    r"|\b(?:not|n't) (?:\w+ )?(?:sure|certain|clear|possible|enough)|\b(?:unsure|unclear|uncertain|whether|if"
    r"|suppose|assume|assuming|were)\b)"
    r"[^.!?\n]*$",
    re.IGNORECASE,
)
_CLAUSE = re.compile(
    r"[.!?\n。！？;:,，、()]|\b(?:but|however|although|though|because|since|while|whereas|and|so|therefore|thus|hence"
    r"|aber|sondern|weil|und|pero|sino|porque|y|mais|donc|car|et|ma|perch[ée]|mas|pois|но|а|и)\b|但|而|所以|因为"
)
_SENTENCE = re.compile(r"[.!?\n。！？]")
_IS_WRONG = re.compile(
    r"[\s)\]:-]*(?:\b(?:option|answer|choice|and \w+)\b\s*)?(?P<verb>(?:\b(?:is|are|was|be|would be|can be|can|does"
    r"|do|seems|must be|looks|also"
    r"|clearly|definitely|obviously|probably|ist|es|est|n'est|è|é|est[áa]|the|an|a|die|la|le|o)\b(?!')\s*|'s\s*)*)"
    r"(?P<no>not\b|n't\b|isn't\b|aren't\b|wasn't\b|can't\b|cannot\b|doesn't\b|don't\b|won't\b|wouldn't\b|couldn't\b"
    r"|nicht\b|no\b(?= (?:es|est))|pas\b|non\b(?= è)|n[ãa]o\b|не\b|ではな|じゃな|ではあり|不|नहीं|değil\b|ليس)?\s*"
    r"(?:\b(?:the|an?|really|quite|die|la|le|o)\b\s*)*"
    r"(?P<bad>\b(?:wrong|incorrect|false|ruled out|out|eliminated|excluded|impossible|unlikely|invalid|unsuitable"
    r"|falsch|inkorrekt"
    r"|incorrect[ao]|fals[ao]|incorrecte|fausse|faux|sbagliat[ao]|errat[ao]|scorrett[ao]|errad[ao]|неверн\w*"
    r"|неправильн\w*|yanl[ıi][şs]|sai)\b"
    r"|错|錯|誤り|間違|ผิด|خطأ|गलत)?",
    re.IGNORECASE,
)
_BARE_NO = ("not", "no", "nicht", "pas", "non", "não", "nao", "не")
_TAKEN_BACK = re.compile(
    r"[^\n.!?]{0,80}?(?:[.,;:!?…)–—-]+|\n)?\s*(?:hmm+,?\s*|oh,?\s*|um,?\s*)?"
    r"(?:(?:no|oops|sorry|nope)\b[,.!…\s]*(?:no\b|wait\b|hold on\b|actually\b|sorry\b|i meant?\b|that(?:'s| is"
    r"| was)\b|it(?:'s| is)\b|scratch\b"
    r"|let me\b|rather\b|the (?:correct |right )?answer\b|\(?[a-j]\)?(?:[\s.,!]|$))"
    r"|wait\b(?=[,.!…:\s–—-]*(?:no\b|actually\b|that\b|it\b|i\b|let\b|the\b|maybe\b|\(?[a-j]\)?(?:[\s.,!]|$)|$))"
    r"|hold on\b|scratch that|strike that"
    r"|correction\s*:|my (?:mistake|bad|apologies)\b|i(?:'ve| have)? (?:made|was|meant|misspoke|misread|take (?:that"
    r"|it) back)\b(?! (?:a |the )?(?:sure|choice|decision))"
    r"|i meant?\b|on second thoughts?|let me (?:re-?(?:think|consider|check|do|evaluate|examine|read)|correct)"
    r"|actually,?\s*(?:no\b|it(?:'s| is) (?:not\b|wrong|\(?[a-j]\b)|it (?:might|may|could|can't|cannot|isn't|should"
    r"|must)\b|that\b|the\b|i\b|\(?[a-j]\)?(?:[\s.,!]|$)))",
    re.IGNORECASE,
)
_JOINS = re.compile(
    r"[\s)\].:(\[]*(?:,|/|\||&|\+|;|\b(?:and|or|und|oder|et|ou|y|o|e|и|или|ve|veya|hoặc|và|as well as|and/or"
    r"|and also|or maybe|or even|or perhaps"
    rf"|either|both)\b|和|或|または|や|と|และ|หรือ|और|या|و|أو)(?:{_FILL}|\b(?:and|or|either|both|also|possibly|maybe|even"
    rf"|perhaps)\b)*",
    re.IGNORECASE,
)


def decide(text: str, mentions: Sequence[Mention]) -> int | None:
    """The one option of those mentioned, in order, that the text chooses."""
    left: list[Mention] = []
    before, away = None, False
    for mention in mentions:
        # "Eliminating A, C and D": all three.
        listed = away and before is not None and _JOINS.fullmatch(text, before.end, mention.start) is not None
        words = _AWAY.search(text[max(0, mention.start - _WINDOW) : mention.start])
        before, away = mention, listed or (words is not None and words["list"] is not None)
        if not (away or words or denied(text, mention) or doubted(text, mention) or rejected(text, mention)):
            left.append(mention)
    return settle(text, left)


def settle(text: str, mentions: Sequence[Mention]) -> int | None:
    """Of mentions that nothing denies, the one option stated, or mentioned where none is stated."""
    kept = [mention for mention in mentions if not taken_back(text, mention)]
    stated = {mention.option for mention in kept if states(text, mention)} | _joined(text, kept)
    if stated:
        return stated.pop() if len(stated) == 1 else None
    if len(kept) < len(mentions):
        return None
    named = {mention.option for mention in kept}
    return named.pop() if len(named) == 1 else None


def states(text: str, mention: Mention) -> bool:
    """Whether the mention is put forward as the answer: by words that say so, alone in its line, or as an opening."""
    left, right = text[max(0, mention.start - _WINDOW) : mention.start], text[mention.end : mention.end + _WINDOW]
    if re.match(r"[\s)\]]*\?", right):
        return False
    ends = _ENDS.match(right) is not None
    if _STATES.search(left) or (ends and _CONCLUDES.search(left)):
        return True
    line = left.rpartition("\n")[2] if "\n" in left or mention.start <= _WINDOW else left
    alone = re.fullmatch(rf"(?:\W|{_FILL})*", line, re.IGNORECASE)
    opens = alone and re.fullmatch(
        rf"(?:\W|{_FILL}|\b(?:yes|sure|okay|ok|well|hmm)\b)*", text[: mention.start][:200], re.IGNORECASE
    )
    if alone and (re.match(r"[\s)\].!]*(?:\n|$)", right) or (opens and mention.start < 200 and ends)):
        return True
    return _IS_RIGHT.match(right) is not None and not re.search(r"\b(?:if|whether|is|are)\W*$", left, re.IGNORECASE)


def denied(text: str, mention: Mention) -> bool:
    """Whether the mention's clause denies it before it is named; twice denied is affirmed."""
    return denials(text, mention) % 2 == 1


def denials(text: str, mention: Mention) -> int:
    """How many denials the clause of a mention holds before it."""
    clause = _NO_DENIAL.sub(" ", _clause(text[max(0, mention.start - _WINDOW) : mention.start]))
    return len(re.findall(_NO, clause, re.IGNORECASE))


def doubted(text: str, mention: Mention) -> bool:
    """Whether the clause only says that nobody can tell, or asks."""
    return _DOUBT.search(_clause(text[max(0, mention.start - _WINDOW) : mention.start])) is not None


def rejected(text: str, mention: Mention) -> bool:
    """Whether the mention is followed by the words that it is wrong, or is not what is asked for."""
    said = _IS_WRONG.match(text[mention.end : mention.end + _WINDOW])
    if said is None or ((said["no"] or "").lower() in _BARE_NO and not said["verb"]):  # "B, not A"
        return False
    return (said["no"] is not None) != (said["bad"] is not None)


def taken_back(text: str, mention: Mention) -> bool:
    """Whether the words that follow correct the mention: "no, wait", "actually, no", "scratch that"."""
    return _TAKEN_BACK.match(text[mention.end : mention.end + _WINDOW]) is not None


def _joined(text: str, mentions: Sequence[Mention]) -> set[int]:
    """Options named in one breath with another: "A or B", "A, B and C"."""
    pairs = itertools.pairwise(mentions)
    joined = [
        {one.option, other.option}
        for one, other in pairs
        if one.option != other.option and _JOINS.fullmatch(text, one.end, other.start)
    ]
    return set().union(*joined)


def _clause(left: str) -> str:
    """The end of ``left`` that belongs to the same clause as what follows it."""
    start = 0
    for end in _CLAUSE.finditer(left):
        start = end.end()
    return left[start:]
