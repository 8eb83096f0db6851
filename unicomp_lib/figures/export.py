"""Write figures and the tables behind them to files."""

from pathlib import Path

import polars as pl
from matplotlib.figure import Figure

from unicomp_lib import files

VERSION = "1"


def save(figure: Figure, table: pl.DataFrame, folder: Path, stem: str) -> None:
    """Write the figure as PNG and SVG, and the table behind it as CSV, each atomically."""
    for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None})):
        files.write_whole(
            folder / f"{stem}{suffix}",
            lambda part, metadata=metadata: figure.savefig(part, metadata=metadata),  # type: ignore[misc]
        )
    write_table(table, folder, stem)


def write_table(table: pl.DataFrame, folder: Path, stem: str) -> None:
    """Write a table as CSV, atomically."""
    files.write_whole(folder / f"{stem}.csv", table.write_csv)
