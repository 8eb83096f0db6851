"""Write figures and the tables behind them to files."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import polars as pl
from matplotlib.figure import Figure

from unicomp_lib import files
from unicomp_lib.figures import style, units

VERSION = "2"

# Nothing of the moment, nor of the machine, is in a file: equal input gives identical bytes.
METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}
}  # fmt: skip
NUMBER = re.compile(r"-?\d+\.\d{3,}")
LETTER = re.compile(r'(<use xlink:href="#\S+?") transform="translate\(([-\d.e]+)(?: ([-\d.e]+))?\)"/>')

Drawing = Callable[[float], Figure]


def save(drawing: Figure | Drawing, table: pl.DataFrame, folder: Path, stem: str) -> None:
    """Write a figure, and the table behind it as CSV, each file atomically.

    ``drawing`` draws the figure at a width in inches. It is saved as wide as a page, ``.png`` and ``.svg`` with text
    as text, and as wide as a column, ``.column.pdf`` and ``.column.svg`` with text as outlines; the first stays open.
    A finished figure has no version for a column.
    """
    page = drawing if isinstance(drawing, Figure) else drawing(style.PAGE)
    _settle(page)
    for kind in ("png", "svg"):
        _write(page, folder / f"{stem}.{kind}")
    if not isinstance(drawing, Figure):
        with style.narrow():
            column = drawing(style.COLUMN)
            _settle(column)
            for kind in ("pdf", "svg"):
                _write(column, folder / f"{stem}.column.{kind}")
            plt.close(column)
    write_table(table, folder, stem)


def write_table(table: pl.DataFrame, folder: Path, stem: str) -> None:
    """Write a table as CSV, atomically: in full, and as ``.rounded.csv`` with units and three significant digits."""
    numbers = [name for name, kind in table.schema.items() if kind.is_float()]
    positive = table.with_columns(
        pl.when(pl.col(name) != 0).then(name).when(pl.col(name) == 0).then(0.0).alias(name) for name in numbers
    )  # no zero has a sign
    files.write_whole(folder / f"{stem}.csv", positive.write_csv)
    files.write_whole(folder / f"{stem}.rounded.csv", units.rounded(positive).write_csv)


def _settle(figure: Figure) -> None:
    """Lay the figure out once for all its files, which takes longer than to draw it."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def _write(figure: Figure, path: Path) -> None:
    kind = path.suffix.removeprefix(".")
    content = io.BytesIO()
    figure.savefig(content, format=kind, metadata=METADATA[kind])
    drawn = content.getvalue()
    written = _short(drawn.decode()).encode() if kind == "svg" else drawn
    files.write_whole(path, lambda part: part.write_bytes(written))


def _short(svg: str) -> str:
    """The same drawing in fewer bytes: without comments and indents, with five significant digits and short names."""
    without = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    few = re.sub(r"<[^>]+>", lambda tag: NUMBER.sub(lambda number: f"{float(number[0]):.5g}", tag[0]), without)
    placed = LETTER.sub(lambda use: f'{use[1]} x="{use[2]}" y="{use[3] or 0}"/>'.replace(' y="0"', ""), few)
    return re.sub(r"\s*\n\s*", "\n", placed.replace("DejaVuSans-", "g"))
