r"""Whether a worked answer arrives at a mathematical expression equal to the right one, as MATH-500 needs.

``math-verify`` decides, not the comparison of strings: ``\frac12``, ``0.5`` and ``1/2`` are equal, and so are ``x+1``
and ``1+x``. It reads LaTeX by latex2sympy's grammar and compares by sympy. Its reader of plain expressions calls
Python's ``eval`` by way of ``sympy.parse_expr``, so it is not used. The numerals that the grammar finds reach the
same ``eval``; in the process where answers are compared it is replaced by a function that makes numbers
of numerals and refuses all else.
"""

import json
import re
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from typing import Any

from unicomp_lib.evaluate.tasks import quantities, replies

VERSION = "1"

LONGEST = 1_000  # characters of an expression that is compared

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{|\\boxed\s+(?P<bare>[^\s$.,]+)")
_STATES = re.compile(
    r"\b(?:final answer|answer|result|solution)\b[^.!?\n:=]{0,40}?(?:\bis\b|\bare\b|[:=])[:\s*]*(?:(?:equal to"
    r"|given by)\s*)?",
    re.IGNORECASE,
)
_FORMULA = re.compile(r"\$\$(.{1,1000}?)\$\$|\$([^$]{1,1000})\$|\\\((.{1,1000}?)\\\)|\\\[(.{1,1000}?)\\\]", re.DOTALL)
_RUN_ON = re.compile(r"\n\s*Problem:")
_UNITS = re.compile(
    r"\\(?:text|mathrm|mbox)\s*\{\s*(?:square |cubic )?(?:\w+s|cm|mm|km|m|kg|g|ft|in|hours?|degrees?"
    r"|units?)\s*\}(?:\^\{?\d\}?)?$"
)


def stated(text: str) -> str | None:
    """The expression that a text states: in its last box, after "the answer is", else its last formula or number."""
    text = replies.ends(replies.final(text))
    if cut := _RUN_ON.search(text):
        text = text[: cut.start()]
    for box in reversed(list(_BOX.finditer(text))):
        content = box["bare"] or _braced(text, box.end())
        if content and content.strip():
            return content.strip()
    text = re.sub(r"\*\*|__|`", "", text)
    for mark in list(_STATES.finditer(text))[::-1][:1]:
        rest = text[mark.end() : mark.end() + LONGEST]
        if formula := _FORMULA.match(rest):
            return _content(formula)
        words = re.split(r"\.(?=\s|$)|\n", rest.lstrip())[0].strip().strip("\"'").strip("$ ")
        if words and (re.search(r"\d", words) or len(words.split()) <= 3):
            return words
    formulas = list(_FORMULA.finditer(text))
    if formulas:
        return _content(formulas[-1])
    value = quantities.number(text)
    if value is None:
        return text if 0 < len(text) <= 30 and "\n" not in text else None
    return str(value)


def equal(right: str, answer: str) -> bool | None:
    """Whether two LaTeX expressions are equal; None where that cannot be told within 4 s of CPU time or 4 GiB.

    Thread-safe. A ``RuntimeError`` where math-verify is not installed.
    """
    ours, theirs = _tidy(right), _tidy(answer)
    if ours == theirs:
        return True
    if not theirs or len(answer) > LONGEST or answer.count("{") != answer.count("}") or _UNREADABLE.search(answer):
        return False
    with _LOCK:
        return _worker().ask(right, answer)


# Powers of powers, which have more digits than a machine holds.
_UNREADABLE = re.compile(
    r"(?:\^\s*\{?\s*\(?\d+\s*){2,}|\^\s*[{(]*\s*\d{5,}|\d{5,}\s*[)}]+\s*\^|\d{400,}|\d{5,}\s*[)}]*\s*!|!\s*!\s*!"
)


def _tidy(expression: str) -> str:
    """An expression without what never changes its meaning: blanks, fonts, units, delimiters, a final point."""
    text = (
        expression.strip().strip("$").replace("\u2212", "-").replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")
    )
    text = re.sub(r"\\(?:left|right|displaystyle|[,;:! ])|\\(?=[%$])|[$]|(?<=\d),(?=\d{3})", "", _UNITS.sub("", text))
    text = re.sub(r"\\(?:text|textbf|mathrm|mathbf|mbox)\s*\{([^{}]*)\}", r"\1", text)
    return re.sub(r"\s+", "", text).rstrip(".").casefold()


def _braced(text: str, start: int) -> str | None:
    """What stands before the brace that closes the one before ``start``."""
    depth = 1
    for end in range(start, min(len(text), start + 2 * LONGEST)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if depth == 0:
            return text[start:end]
    return None


def _content(formula: re.Match[str]) -> str:
    content: str = next(group for group in formula.groups() if group)
    return content.strip()


class _Worker:
    """A process of ``math_worker``; one that an answer ended is replaced at the next question."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def ask(self, right: str, answer: str) -> bool | None:
        process = self.process or self._started()
        self.process = process
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps({"gold": right, "answer": answer}) + "\n")
            process.stdin.flush()
            reply = self._read(process)
        except BrokenPipeError:
            reply = {}
        if "equal" not in reply:
            process.kill()
            process.wait()
            self.process = None
            return None
        return bool(reply["equal"])

    def _started(self) -> subprocess.Popen[str]:
        # -P: the folder of tasks does not come before the standard library.
        command = [sys.executable, "-P", str(Path(__file__).with_name("math_worker.py"))]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )
        reply = self._read(process)
        if not reply.get("ready"):
            raise RuntimeError(
                f"mathematical answers cannot be compared: {reply.get('error', 'their process ended at its start')}; "
                "install math-verify"
            )
        return process

    def _read(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        line = process.stdout.readline()
        return json.loads(line) if line.endswith("\n") else {}


_LOCK = threading.Lock()


@cache
def _worker() -> _Worker:
    return _Worker()
