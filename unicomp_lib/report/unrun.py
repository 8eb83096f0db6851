"""Pages of notebooks that have not been run here: their text, and what an earlier run has published."""

import ast
import base64
from pathlib import Path
from typing import Any

import nbformat
import polars as pl

from unicomp_lib import paths
from unicomp_lib.figures import units
from unicomp_lib.figures.names import PICTURES, TABLES, stem
from unicomp_lib.report import pages


def show(notebook: str, target: Path, *, note: str, closing: str = "", folded: bool = False) -> None:
    """A notebook without its outputs as the page ``target``; a ``note`` below its first cell says why.

    On a ``folded`` page code opens on demand.
    """
    page = _read(notebook)
    for cell in page.cells:
        if folded and cell.cell_type == "code":
            cell.metadata["tags"] = ["hide-input"]
    page.cells.insert(1, nbformat.v4.new_markdown_cell(f"```{{note}}\n{note}\n```"))
    pages.put(page, target, closing=closing)


def figure(notebook: str, target: Path, folder: Path, files: list[str], *, closing: str) -> None:
    """A notebook of figures as a page, with its published ``files`` in ``folder`` where its cells save them."""
    page = _read(notebook)
    left = dict.fromkeys(map(stem, files))
    for cell in page.cells:
        if cell.cell_type == "code":
            here = [name for name in _saved(cell.source) if name in left]
            cell.outputs = [_output(folder / name) for name in here]
            for name in here:
                left.pop(name)
    if left:
        rest = nbformat.v4.new_code_cell("# saved under names that are not written in a cell")
        rest.outputs = [_output(folder / name) for name in left]
        page.cells.append(rest)
    pages.put(page, target, folded=True, closing=closing)


def published(notebook: str, folder: Path, recorded: dict[str, list[str]]) -> list[str]:
    """Names of a figure notebook's files in ``folder``: those ``recorded``, or those that its cells name."""
    stems = [name for cell in _read(notebook).cells if cell.cell_type == "code" for name in _saved(cell.source)]
    names = recorded.get(notebook) or [f"{name}{end}" for name in stems for end in TABLES + PICTURES]
    return [name for name in names if (folder / name).is_file()]


def _read(notebook: str) -> Any:
    path = paths.project() / "notebooks" / f"{notebook}.ipynb"
    return nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)


def _saved(source: str) -> list[str]:
    """The names under which a cell saves figures and tables, where they are written out."""
    return [
        str(node.args[-1].value)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("export.save", "export.write_table")
        and node.args
        and isinstance(node.args[-1], ast.Constant)
    ]


def _output(path: Path) -> Any:
    """What a cell would show of a figure or table saved as ``path``, without its suffix."""
    picture = path.with_name(f"{path.name}.png")
    if picture.is_file():
        data = {"image/png": base64.b64encode(picture.read_bytes()).decode()}
    else:
        table = units.rounded(pl.read_csv(path.with_name(f"{path.name}.csv")))
        with pl.Config(tbl_rows=30, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True):
            data = {"text/html": table._repr_html_()}
    return nbformat.v4.new_output("display_data", data=data)
