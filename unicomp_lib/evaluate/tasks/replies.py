"""What a model's reply says to its reader: without its thoughts, the marks of its chat format, and its markup.

Every reader and judge of generated text reads ``final`` of it, so that an option weighed in a thought is never
taken for the answer.
"""

import re
import unicodedata

VERSION = "1"

# An answer stands at one end of a reply. Of a longer one only both ends are read, which bounds the time.
HEAD, TAIL = 2_000, 6_000

# How a turn begins and ends in the usual chat formats: ChatML, Llama 2 to 4, Gemma, Mistral, Phi, DeepSeek, Command.
_START = re.compile(
    r"\s*(?:<s>|<bos>|<\|begin_of_text\|>|<\|startoftext\|>|<\|im_start\|>\s*assistant"
    r"|<\|start_header_id\|>\s*assistant\s*<\|end_header_id\|>|<start_of_turn>\s*model|<\|assistant\|>"
    r"|<\|start\|>\s*assistant|<\|START_OF_TURN_TOKEN\|>\s*<\|CHATBOT_TOKEN\|>|<\|START_RESPONSE\|>|\[/INST\])\s*",
    re.IGNORECASE,
)
_END = re.compile(
    r"<\|(?:im_end|im_start|im_sep|eot_id|eom_id|eot|end_of_text|endoftext|end_of_turn|endofturn|end|return|call|user"
    r"|system|start_header_id|start|pad|eos|end_of_turn_token|start_of_turn_token|end_response|endofresponse)\|>"
    r"|</s>|<s>|<eos>|<pad>|\[(?:EOS|INST|/INST)\]|<(?:end|start)_of_turn>|<｜(?:end▁of▁sentence|User)｜>",
    re.IGNORECASE,
)

# Where thoughts open and close. Of the harmony format only what follows its final channel is the reply.
_NAMES = "think|thinking|thought|thoughts|reason|reasoning|analysis|scratchpad|reflection|seed:think"
_OPEN = rf"<(?:{_NAMES})>|\[THINK\]|<\|(?:begin_of_thought|START_THINKING|thinking)\|>|◁think▷"
_CLOSE = rf"</(?:{_NAMES})>|\[/THINK\]|<\|(?:end_of_thought|END_THINKING|/thinking)\|>|◁/think▷"
_THOUGHT = re.compile(rf"(?P<open>{_OPEN})|(?P<close>{_CLOSE})", re.IGNORECASE)
_FINAL = re.compile(
    r"<\|channel\|>\s*final\s*(?:<\|constrain\|>\s*\w+\s*)?<\|message\|>|^analysis.*?assistantfinal", re.S
)
_CHANNEL = re.compile(r"<\|channel\|>")

_QUOTES = str.maketrans({
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u02bc\u00b4\u2032", "'"),
    **dict.fromkeys('\u201c\u201d\u201e\u201f\u00ab\u00bb\u2039\u203a\u300c\u300d\u300e\u300f\u2033', '"'),
})  # fmt: skip
_STRUCK = re.compile(r"~~[^~\n]{0,400}~~")
_TAG = re.compile(r"</?(?:b|i|u|p|em|strong|code|span|mark|sup|sub|br|div|h[1-6])(?:\s[^<>]{0,80})?/?>", re.IGNORECASE)
_FINAL_TAG = re.compile(r"</?(?:final_)?answer>|<\|(?:begin|end)_of_(?:box|solution)\|>", re.IGNORECASE)
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{([^{}]{0,400})\}|\\boxed\s+(\w{1,40})")
_FONT = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|sc|normal)?|math(?:bf|it|rm|sf|tt|bb|cal|normal)|bf|rm|emph|underline|operatorname)"
    r"\s*\{([^{}]{0,400})\}"
)
_MATHS = re.compile(r"\\[()\[\]]|\\[,;:! ]|\$|\\(?:displaystyle|left|right|quad|qquad)\b")


def final(text: str) -> str:
    """The reply itself: no thoughts, nothing from the mark of the turn's end on, no blanks around.

    A thought that never closes takes all that follows it along; a closing mark without its opening one, which
    a chat template may have written into the prompt, all that precedes it.
    """
    if channel := list(_FINAL.finditer(text)):
        text = text[channel[-1].end() :]
    elif first := _CHANNEL.search(text):
        text = text[: first.start()]
    start = 0
    while opening := _START.match(text, start):
        start = opening.end()
    text = text[start:]
    if end := _END.search(text):
        text = text[: end.start()]
    return _without_thoughts(text).strip()


def _without_thoughts(text: str) -> str:
    kept, position, depth = "", 0, 0
    for mark in _THOUGHT.finditer(text):
        if mark["open"]:
            kept += text[position : mark.start()] if depth == 0 else ""
            depth += 1
        elif depth <= 1:  # the outer thought ends, or one that the prompt opened
            kept, depth = kept if depth else "", 0
        else:
            depth -= 1
        position = mark.end()
    return kept + (text[position:] if depth == 0 else "")


def ends(text: str) -> str:
    """The text, or the first ``HEAD`` and last ``TAIL`` characters of a longer one."""
    return text if len(text) <= HEAD + TAIL else f"{text[:HEAD]}\n{text[-TAIL:]}"


def plain(text: str) -> str:
    """``final`` as plain words: full-width and styled letters as usual ones, no markup, no quotation marks.

    What is struck through is gone; what is boxed, or tagged as the answer, follows the words "answer:". Blanks
    are single. Of more than ``HEAD + TAIL`` characters, those at both ends are kept.
    """
    text = ends(final(text))
    text = unicodedata.normalize("NFKC", text).translate(_QUOTES)
    text = _FINAL_TAG.sub(lambda tag: "\n" if "/" in tag[0] or "end" in tag[0] else " answer: ", text)
    text = _MATHS.sub("", _TAG.sub(" ", _STRUCK.sub(" ", text)))
    for _ in range(4):  # fonts inside boxes inside fonts
        text = _BOXED.sub(r" answer: \1\2\n", _FONT.sub(r"\1", text))
    text = re.sub(r"[*`\"]|(?<!\w)_+|_+(?!\w)|^[^\S\n]*(?:#+|>+)", "", text, flags=re.MULTILINE)
    text = re.sub(r"(?<!\w)'|'(?!\w)", "", text)
    return re.sub(r"\s*\n\s*", "\n", re.sub(r"[^\S\n]+", " ", text)).strip()
