"""What a notebook is to the runner: its parameters, its code and the library steps it calls."""

import ast
import difflib
import hashlib
import re
from functools import cache
from typing import Any, NamedTuple

import nbformat

from unicomp_lib import paths
from unicomp_lib.study import code


class NotebookError(ValueError):
    """A notebook or its parameters are wrong; the text says what was given and what is allowed."""


def _read(notebook: str) -> nbformat.NotebookNode:
    path = paths.project() / "notebooks" / f"{notebook}.ipynb"
    if not path.is_file():
        folder = path.parent
        known = ", ".join(sorted(file.stem for file in folder.glob("*.ipynb")))
        raise NotebookError(f"notebook {notebook!r} is not there; {folder.name}/ holds {known or 'none'}")
    return nbformat.read(path, as_version=4)


@cache
def _cells(notebook: str) -> tuple[str, list[str]]:
    """Source of the cell tagged ``parameters``, and of the other code cells."""
    cells = [cell for cell in _read(notebook).cells if cell.cell_type == "code"]
    tagged = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise NotebookError(f"notebook {notebook} has {len(tagged)} cells tagged 'parameters'; it must have one")
    return tagged[0], [cell.source for cell in cells if "parameters" not in cell.metadata.get("tags", [])]


def defaults(notebook: str) -> dict[str, Any]:
    """Names and default values of a notebook's parameters. Values must be plain literals."""
    values = {}
    for node in _parsed(_cells(notebook)[0], notebook).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if not isinstance(target, ast.Name):
            raise NotebookError(f"the parameters cell of {notebook} holds more than assignments of literals")
        values[target.id] = ast.literal_eval(node.value)  # type: ignore[attr-defined]
    return values


class Heading(NamedTuple):
    """What a notebook opens with: its title, its question and what it shows; empty where it does not say."""

    title: str
    question: str
    shown: str


def heading(notebook: str) -> Heading:
    """Title of a notebook, and the two paragraphs that follow it."""
    first = _read(notebook).cells[0].source
    title = re.sub(r"^# (Figures?: )?", "", first.splitlines()[0])
    paragraphs = {
        name: re.search(rf"^\*\*{name}\.\*\* (.*)$", first, flags=re.MULTILINE)
        for name in ("Question", "(?:What is shown|Method)")
    }
    return Heading(title[0].upper() + title[1:], *(match[1] if match else "" for match in paragraphs.values()))


def check(notebook: str, parameters: dict[str, Any], where: str) -> None:
    """Refuse names the notebook does not have and values of another type than its default's."""
    allowed = defaults(notebook)
    for name, value in parameters.items():
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "correct the name or leave it out"
            raise NotebookError(
                f"{where} gives parameter {name!r}, which {notebook}.ipynb does not have; "
                f"allowed are {', '.join(sorted(set(allowed) - {'output'}))}; {hint}"
            )
        default = allowed[name]
        kinds = (int, float) if isinstance(default, float) else type(default)
        if not isinstance(value, kinds) or (isinstance(value, bool) and not isinstance(default, bool)):
            raise NotebookError(
                f"{where} gives {name}={value!r}, a {type(value).__name__}; {notebook}.ipynb takes a "
                f"{type(default).__name__}, such as {default!r}"
            )


def fingerprint(notebook: str) -> str:
    """Hash of the code a notebook runs: its code cells and the versions of the library it calls.

    See ``code.text`` for what does not count; neither do markdown, outputs and the parameters cell, whose
    values are part of a step's key.
    """
    trees = [_parsed(source, notebook) for source in _cells(notebook)[1]]
    versions = sorted(set().union(*map(code.of_imports, trees)))
    return hashlib.sha256("\n".join([*map(code.text, trees), *versions]).encode()).hexdigest()


def _parsed(source: str, notebook: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise NotebookError(
            f"a code cell of {notebook}.ipynb is no valid Python ({error.msg}: {(error.text or '').strip()!r}); "
            "correct it"
        ) from error
