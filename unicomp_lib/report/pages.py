"""Notebooks as pages."""

from pathlib import Path
from typing import Any

import nbformat

from unicomp_lib import files
from unicomp_lib.report.markup import code, plain
from unicomp_lib.report.redact import redacted
from unicomp_lib.study import records

WIDGET = "application/vnd.jupyter.widget-view+json"


def write(run: Path, target: Path, *, heading: str = "", folded: bool = False, closing: str = "") -> None:
    """The executed notebook of a run as the page ``target``; see ``put`` for the rest.

    Left out are what went to the error stream, the folders of the machine, and the cell of parameters that the
    run was given, which stand with its provenance.
    """
    executed: Any = nbformat.reads((run / records.NOTEBOOK).read_text(encoding="utf-8"), as_version=4)
    parameters = executed.metadata.get("papermill", {}).get("parameters")
    notebook: Any = nbformat.from_dict(redacted(executed, parameters))
    notebook.cells = [cell for cell in notebook.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    put(notebook, target, heading=heading, folded=folded, closing=closing)


def put(notebook: Any, target: Path, *, heading: str = "", folded: bool = False, closing: str = "") -> None:
    """A notebook as the page ``target``, with ``closing`` markdown behind its last cell.

    ``heading`` tells apart pages of one notebook, whose own title then stands below it. On a ``folded`` page
    code that shows something opens on demand, and the rest is left out. So is the widgets' state, which a
    page cannot use (their pictures stay).
    """
    notebook.metadata.pop("widgets", None)
    notebook.metadata.pop("papermill", None)
    title = notebook.cells[0].source.splitlines()[0].removeprefix("# ")
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        if cell.cell_type == "code":
            cell.outputs = [_still(output) for output in cell.outputs if output.get("name") != "stderr"]
            cell.metadata["mystnb"] = {"image": {"alt": title, "scale": "100"}}
            if folded:
                cell.metadata["tags"] = ["hide-input" if cell.outputs else "remove-cell"]
    if heading:
        first = notebook.cells[0]
        first.source = f"# {plain(heading)}\n\n*{title}*\n" + first.source.partition("\n")[2]
    if closing:
        notebook.cells.append(nbformat.v4.new_markdown_cell(closing))
    files.write_text(target, nbformat.writes(notebook))


def provenance(record: dict[str, Any], parameters: dict[str, Any], reads: dict[str, str]) -> str:
    """Markdown that says when, where and from what a run was made; ``reads`` are the steps it reads with their keys."""
    machine = record["hardware"]
    packages = ", ".join(f"{name} {version}" for name, version in record["packages"].items())
    lines = [
        f"| step | {code(record['name'])}, key {code(record['key'])} |",
        "|---|---|",
        f"| notebook | {code('notebooks/' + record['notebook'] + '.ipynb')}{', with ' if parameters else ''}"
        f"{given(parameters)} |",
        f"| begun | {record['started']}, for {record['seconds']:.0f} s |",
        f"| machine | {plain(', '.join(f'{key} {value}' for key, value in machine.items()))} |",
        f"| commit | {code(record['commit'])}{' with changes' if record['dirty'] else ''} |",
        f"| packages | {packages} |",
        *(f"| reads | {code(name)}, key {code(key)} |" for name, key in reads.items()),
    ]
    return "\n".join(lines)


def given(parameters: dict[str, Any]) -> str:
    """Parameters as markdown, without the folders of the machine in front of a path."""
    return ", ".join(code(f"{name}={value!r}") for name, value in redacted(parameters, parameters).items())


def _still(output: Any) -> Any:
    """An output without its widget, where it also has a picture of it."""
    data = output.get("data", {})
    if WIDGET in data:
        data.pop(WIDGET)
        if "image/png" not in data:
            data["text/plain"] = "Controls: open this notebook in Jupyter (nox -s lab) to use them."
    return output
