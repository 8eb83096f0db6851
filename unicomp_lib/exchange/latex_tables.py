r"""Tables in LaTeX that fit a page: blocks of columns, each with its header and dense, in booktabs' commands."""

import re
from collections.abc import Iterator, Mapping

import polars as pl

from unicomp_lib.compare.written import escaped

ROW = ("model", "variant", "label")  # what a row is of
# In ems of \small. The text of LaTeX's article at 10, 11 and 12 points, the narrowest that is usual, is 345, 360 and
# 390 points wide and \small 9, 10 and 10.95 points high; we take the least of these ratios.
WIDTH = 35.6
SEPARATION = 2 * 3 / 9  # \tabcolsep on both sides of a column
SCRIPT = 0.87  # of \scriptsize, whose letters are wider than its height says
LABEL = 10.5  # of a line of a label; a longer label has several
ACROSS = 5  # columns beside the first, where they are narrow enough
DOWN = 40  # rows
# Signs by width, no less than that of Computer Modern in \small; any other is as wide as LETTER.
SIGNS = {0.29: "il.,:;!'|[]", 0.41: " ()fjrstI-", 0.52: "0123456789ceg", 1.06: "mwMW%&+@"}
CAPITAL, LETTER = 0.81, 0.58
WIDTHS = {sign: width for width, signs in SIGNS.items() for sign in signs}


def tabulars(table: pl.DataFrame, notes: Mapping[str, str], across: int = ACROSS) -> Iterator[str]:
    """A tabular for each block of columns, and for each part of the rows where there are many.

    ``table`` has the columns ``ROW`` and others of text, such as ``45.0 [40.1, 50.0]``, or null; ``notes`` says of
    each of these what it is, in a comment. Each tabular fits the text of a page in width and height, begins with the
    header, and has the row of dense before the variants of each model. A name is broken before its unit in brackets,
    else at its last ``_``, a long label between words.
    """
    for names in blocks(table, across):
        for rows in _pages(table):
            yield _tabular(rows.select(*ROW, *names), notes)


def blocks(table: pl.DataFrame, across: int = ACROSS) -> list[list[str]]:
    """The columns of text, in their order, as many together as fit beside the labels; no more than ``across``."""
    labels = [width(line) for label in table["label"] for line in _words(label)]
    room = WIDTH - max(labels, default=0.0) - SEPARATION
    found: list[list[str]] = []
    left = 0.0
    for name in table.columns[len(ROW) :]:
        needed = SEPARATION + max(map(width, [*_lines(name), *(text or "--" for text in table[name])]))
        if not found or needed > left or len(found[-1]) == across:
            found.append([])
            left = room
        found[-1].append(name)
        left -= needed
    return found


def width(text: str) -> float:
    """Width of a header, a label or a value with its interval, in ems of the type's height."""
    value, _, interval = text.partition(" [")
    inside = sum(WIDTHS.get(sign, CAPITAL if sign.isupper() else LETTER) for sign in value)
    return inside + (WIDTHS[" "] + SCRIPT * width(f"[{interval}") if interval else 0.0)


def _lines(name: str) -> list[str]:
    parts = re.split(r" (?=\([^()]*\)$)", name)
    return parts if len(parts) > 1 else [part for part in name.rpartition("_")[::2] if part]


def _words(label: str) -> list[str]:
    lines: list[str] = []
    for word in label.split():
        if lines and width(f"{lines[-1]} {word}") <= LABEL:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _pages(table: pl.DataFrame) -> list[pl.DataFrame]:
    """At most ``DOWN`` rows each: whole models as far as they fit, and dense again before each part of a larger one."""
    pages: list[pl.DataFrame] = []
    for _, rows in table.group_by("model", maintain_order=True):
        dense, others = rows.filter(pl.col("variant") == "dense"), rows.filter(pl.col("variant") != "dense")
        for part in [*others.iter_slices(DOWN - len(dense))] if len(others) else [others]:
            whole = pl.concat([dense, part])
            if pages and len(pages[-1]) + len(whole) <= DOWN:
                pages[-1] = pl.concat([pages[-1], whole])
            else:
                pages.append(whole)
    return pages


def _tabular(table: pl.DataFrame, notes: Mapping[str, str]) -> str:
    names = table.columns[len(ROW) :]
    lines = [
        *(f"% {name}: {notes[name]}." for name in names), r"{\small\setlength{\tabcolsep}{3pt}",
        rf"\begin{{tabular}}{{l{'r' * len(names)}}}", r"\toprule",
        " & ".join(["method", *(_stacked(_lines(name), "r") for name in names)]) + r" \\",
    ]  # fmt: skip
    for (model,), rows in table.group_by(["model"], maintain_order=True):
        lines += [r"\midrule", rf"\multicolumn{{{len(names) + 1}}}{{l}}{{\emph{{{escaped(str(model))}}}}} \\"]
        for row in rows.drop("model", "variant").iter_rows():
            lines.append(" & ".join([_stacked(_words(row[0]), "l"), *map(_cell, row[1:])]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}}"])


def _stacked(lines: list[str], side: str) -> str:
    # LaTeX takes a bracket or a star after the end of a line for an argument of it.
    text = r"\\".join(("{}" if line[:1] in ("[", "*") else "") + escaped(line) for line in lines)
    return text if len(lines) < 2 else rf"\shortstack[{side}]{{{text}}}"


def _cell(text: str | None) -> str:
    value, _, interval = (text or "--").partition(" [")
    return rf"{escaped(value)} {{\scriptsize [{escaped(interval)}}}" if interval else escaped(value)
