"""Text from profiles and records in markdown: shown as it stands, whatever signs it has."""

import re


def plain(text: str) -> str:
    """Text on one line, in which no sign means anything to markdown or HTML."""
    return re.sub(r"([\\`*_\[\]{}<>|$&~])", r"\\\1", " ".join(text.split()))


def code(text: object) -> str:
    """Text in the typeface of code, fit for a cell of a table."""
    line = " ".join(str(text).split()).replace("|", r"\|")
    longest = max(map(len, re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    space = " " if longest else ""
    return f"{fence}{space}{line}{space}{fence}"


def commit(name: str | None) -> str:
    """A commit by its first twelve digits, and whether it had changes."""
    return code(re.sub(r"^([0-9a-f]{12})[0-9a-f]+", r"\1", name)) if name else "not recorded"
