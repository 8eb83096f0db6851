"""What a notebook is to the runner: its parameters, its code and the library steps it calls."""

import ast
import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from unicomp_lib import paths
from unicomp_lib.study import code
from unicomp_lib.study.hints import meant, one_line

# Parameters that the study sets itself: no profile may give them.
WIRED = ("output", "checkpoint", "dense", "teacher", "cell", "precision", "items", "variants", "dimension")


class NotebookError(ValueError):
    """A notebook or its parameters are wrong; the text says what was given and what is allowed."""


class _Cell(NamedTuple):
    kind: str
    source: str
    tags: list[str]


def _read(notebook: str) -> list[_Cell]:
    """The cells of a notebook, read as plain JSON: nbformat takes seconds to load."""
    path = paths.project() / "notebooks" / f"{notebook}.ipynb"
    if not path.is_file():
        known = sorted(file.stem for file in path.parent.glob("*.ipynb"))
        hint = meant(path.stem, known)
        raise NotebookError(
            f"notebook {notebook!r} is not there; {path.parent.name}/ holds {', '.join(known) or 'none'}"
            f"{f'; {hint}' if hint else ''}"
        )
    try:
        return [_cell(cell) for cell in _content(path)["cells"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise NotebookError(
            f"{notebook}.ipynb is no notebook of format 4 ({one_line(error)} is not as it should be); restore it, or "
            "save it anew in JupyterLab"
        ) from error


def _cell(cell: dict[str, Any]) -> _Cell:
    source = cell["source"]
    return _Cell(
        cell["cell_type"], source if isinstance(source, str) else "".join(source), cell["metadata"].get("tags", [])
    )


def _content(path: Path) -> dict[str, Any]:
    name = f"{path.parent.name}/{path.name}"
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise NotebookError(f"{name} is not in UTF-8 ({one_line(error)}); save it in this encoding") from error
    except ValueError as error:
        raise NotebookError(
            f"{name} is no notebook, since it is no valid JSON ({one_line(error)}); restore it"
        ) from error
    return content


@cache
def _cells(notebook: str) -> tuple[str, list[str]]:
    """Source of the cell tagged ``parameters``, and of the other code cells."""
    cells = [cell for cell in _read(notebook) if cell.kind == "code"]
    tagged = [cell.source for cell in cells if "parameters" in cell.tags]
    if len(tagged) != 1:
        raise NotebookError(f"notebook {notebook} has {len(tagged)} cells tagged 'parameters'; it must have one")
    return tagged[0], [cell.source for cell in cells if "parameters" not in cell.tags]


def defaults(notebook: str) -> dict[str, Any]:
    """Names and default values of a notebook's parameters. Values must be plain literals."""
    values = {}
    for node in _parsed(_cells(notebook)[0], notebook).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if not isinstance(node, ast.Assign | ast.AnnAssign) or not isinstance(target, ast.Name) or node.value is None:
            raise NotebookError(f"the parameters cell of {notebook} holds more than assignments of literals")
        try:
            values[target.id] = ast.literal_eval(node.value)
        except (ValueError, TypeError, SyntaxError) as error:
            raise NotebookError(
                f"the parameters cell of {notebook} holds more than assignments of literals: {target.id} is "
                f"{ast.unparse(node.value)}; give it a plain value"
            ) from error
    return values


class Heading(NamedTuple):
    """What a notebook opens with: its title, its question and what it shows; empty where it does not say."""

    title: str
    question: str
    shown: str


def heading(notebook: str) -> Heading:
    """Title of a notebook, and the two paragraphs that follow it."""
    cells = _read(notebook)
    first = cells[0].source if cells else ""
    title = re.sub(r"^# (Figures?: )?", "", first.partition("\n")[0]) or notebook
    paragraphs = {
        name: re.search(rf"^\*\*{name}\.\*\* (.*)$", first, flags=re.MULTILINE)
        for name in ("Question", "(?:What is shown|Method)")
    }
    return Heading(title[0].upper() + title[1:], *(match[1] if match else "" for match in paragraphs.values()))


def check(notebook: str, parameters: dict[str, Any], where: str) -> None:
    """Refuse names the notebook does not have and values of another type than its default's."""
    every = defaults(notebook)
    for name, value in parameters.items():
        if name not in every:
            allowed = sorted(set(every) - set(WIRED))
            raise NotebookError(
                f"{where} gives parameter {name!r}, which {notebook}.ipynb does not have; "
                f"allowed are {', '.join(allowed)}; {meant(name, allowed) or 'correct the name or leave it out'}"
            )
        default = every[name]
        kinds = (int, float) if isinstance(default, float) else type(default)
        if not isinstance(value, kinds) or (isinstance(value, bool) and not isinstance(default, bool)):
            raise NotebookError(
                f"{where} gives {name}={value!r}, a {type(value).__name__}; {notebook}.ipynb takes a "
                f"{type(default).__name__}, such as {default!r}{_hint(value, default)}"
            )


def _hint(value: Any, default: Any) -> str:
    """YAML reads 1e-4 as a text and no as false."""
    if isinstance(value, str) and isinstance(default, int | float) and re.fullmatch(r"[+-]?\d+[eE][+-]?\d+", value):
        base, _, power = value.lower().partition("e")
        return f"; YAML reads {value} as a text: write {base}.0e{power}"
    return f'; quote it: "{value}"' if isinstance(default, str) and isinstance(value, int | float) else ""


@cache
def fingerprint(notebook: str) -> str:
    """Hash of the code a notebook runs: its code cells and the versions of the library it calls.

    See ``code.text`` for what does not count; neither do markdown, outputs and the parameters cell, whose
    values are part of a step's key.
    """
    trees = [_parsed(source, notebook) for source in _cells(notebook)[1]]
    versions = sorted(set().union(*map(code.of_imports, trees)))
    return hashlib.sha256("\n".join([*map(code.text, trees), *versions]).encode()).hexdigest()


@cache
def data(notebook: str) -> dict[str, Any]:
    """What a notebook and the library it calls read by name, whatever its parameters are: see ``code.data``."""
    return {name: what for source in _cells(notebook)[1] for name, what in code.data(_parsed(source, notebook)).items()}


def _parsed(source: str, notebook: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise NotebookError(
            f"a code cell of {notebook}.ipynb is no valid Python ({error.msg}: {(error.text or '').strip()!r}); "
            "correct it"
        ) from error
