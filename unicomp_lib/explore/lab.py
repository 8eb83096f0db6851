"""What JupyterLab saves of a notebook: its text, as it is committed, so that to run a chapter changes no file."""

import json
from pathlib import Path
from typing import Any

# What JupyterLab notes of a cell; the rest of its metadata is the notebook's.
NOTED = ("execution", "ExecuteTime", "collapsed", "scrolled", "trusted")
FOLDED = ("jupyter", "jp-MarkdownHeadingCollapsed")  # JupyterLab unfolds what it runs and what is looked at


def strip(model: dict[str, Any], path: str, contents_manager: Any, **_: Any) -> None:
    """Jupyter's hook before a file is saved: take outputs, counts and a kernel's notes out of a notebook in place.

    ``model`` is Jupyter's, with the notebook as its ``content``. Cells are folded as in the file. What is on the
    screen stays there.
    """
    if model["type"] != "notebook" or model["content"]["nbformat"] != 4:
        return
    notebook, before = model["content"], _saved(Path(contents_manager._get_os_path(path)))
    folds = {cell.get("id"): _chosen(cell["metadata"], FOLDED) for cell in before.get("cells", [])}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
        for name in (*NOTED, *(FOLDED if cell.get("id") in folds else ())):
            cell["metadata"].pop(name, None)
        cell["metadata"].update(folds.get(cell.get("id"), {}))
    notebook["metadata"].pop("widgets", None)
    # The kernel writes its name and version here.
    notebook["metadata"].update(_chosen(before.get("metadata", {}), ("kernelspec", "language_info")))


def _chosen(metadata: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: metadata[name] for name in names if name in metadata}


def _saved(path: Path) -> dict[str, Any]:
    """A notebook as it is in its file; empty for a new one, or one that cannot be read."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        return notebook if notebook["nbformat"] == 4 else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
