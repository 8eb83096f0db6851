"""Small parts of the sentences that users read: a number with its noun, the name they may have meant."""

import difflib
from collections.abc import Iterable


def count(number: int, noun: str) -> str:
    """``1 step`` or ``2 steps``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def meant(given: object, allowed: Iterable[str]) -> str:
    """``did you mean 'sparsity'?`` where one of the ``allowed`` names is close to the given one, else empty."""
    near = difflib.get_close_matches(str(given), list(allowed), n=1)
    return f"did you mean {near[0]!r}?" if near else ""


def one_line(error: BaseException | str, limit: int = 300) -> str:
    """The text of an error as one line; an error without a text is called by its type."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
