"""Executed notebooks as pages."""

import json
from pathlib import Path
from typing import Any

import nbformat

from unicomp_lib import files, paths
from unicomp_lib.study import records

WIDGET = "application/vnd.jupyter.widget-view+json"


def write(run: Path, target: Path, *, heading: str = "", folded: bool = False, closing: str = "") -> None:
    """The executed notebook of a run as the page ``target``, with ``closing`` markdown behind its last cell.

    ``heading`` tells apart pages of one notebook, whose own title then stands below it. On a ``folded`` page
    code that shows something opens on demand, and the rest is left out. So are the widgets' state, which a
    page cannot use (their pictures stay), what went to the error stream, and the folders of the machine.
    """
    text = (run / records.NOTEBOOK).read_text(encoding="utf-8")
    for folder in (paths.project(), paths.home()):
        text = text.replace(json.dumps(f"{folder}/")[1:-1], "")
    notebook: Any = nbformat.reads(text, as_version=4)
    notebook.metadata.pop("widgets", None)
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        if cell.cell_type == "code":
            cell.outputs = [_still(output) for output in cell.outputs if output.get("name") != "stderr"]
            if folded:
                cell.metadata["tags"] = ["hide-input" if cell.outputs else "remove-cell"]
    if heading:
        first = notebook.cells[0]
        first.source = (
            f"# {heading}\n\n*{first.source.splitlines()[0].removeprefix('# ')}*\n" + first.source.partition("\n")[2]
        )
    if closing:
        notebook.cells.append(nbformat.v4.new_markdown_cell(closing))
    files.write_text(target, nbformat.writes(notebook))


def provenance(record: dict[str, Any], parameters: dict[str, Any], reads: dict[str, str]) -> str:
    """Markdown that says when, where and from what a run was made; ``reads`` are the steps it reads with their keys."""
    given = ", ".join(f"`{name}={value!r}`" for name, value in parameters.items())
    machine = record["hardware"]
    packages = ", ".join(f"{name} {version}" for name, version in record["packages"].items())
    lines = [
        f"| step | `{record['name']}`, key `{record['key']}` |",
        "|---|---|",
        f"| notebook | `notebooks/{record['notebook']}.ipynb`{', with ' if given else ''}{given} |",
        f"| begun | {record['started']}, for {record['seconds']:.0f} s |",
        f"| machine | {', '.join(f'{key} {value}' for key, value in machine.items())} |",
        f"| commit | `{record['commit']}`{' with changes' if record['dirty'] else ''} |",
        f"| packages | {packages} |",
        *(f"| reads | `{name}`, key `{key}` |" for name, key in reads.items()),
    ]
    return "\n".join(lines)


def _still(output: Any) -> Any:
    """An output without its widget, where it also has a picture of it."""
    data = output.get("data", {})
    if WIDGET in data:
        data.pop(WIDGET)
        if "image/png" not in data:
            data["text/plain"] = "Controls: open this notebook in Jupyter (nox -s lab) to use them."
    return output
