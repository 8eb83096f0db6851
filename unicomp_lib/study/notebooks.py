"""What a notebook is to the runner: its parameters, its code and the library steps it calls."""

import ast
import difflib
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import nbformat

from unicomp_lib import paths

# Draws inside an executed notebook; no table or figure file depends on it.
PICTURES = "unicomp_lib.figures.diagnostics"


class NotebookError(ValueError):
    """A notebook or its parameters are wrong; the text says what was given and what is allowed."""


@cache
def _cells(notebook: str) -> tuple[str, list[str]]:
    """Source of the cell tagged ``parameters``, and of the other code cells."""
    path = paths.project() / "notebooks" / f"{notebook}.ipynb"
    if not path.is_file():
        folder = path.parent
        known = ", ".join(sorted(file.stem for file in folder.glob("*.ipynb")))
        raise NotebookError(f"notebook {notebook!r} is not there; {folder.name}/ holds {known or 'none'}")
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    tagged = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise NotebookError(f"notebook {notebook} has {len(tagged)} cells tagged 'parameters'; it must have one")
    return tagged[0], [cell.source for cell in cells if "parameters" not in cell.metadata.get("tags", [])]


def defaults(notebook: str) -> dict[str, Any]:
    """Names and default values of a notebook's parameters. Values must be plain literals."""
    found = {}
    for node in ast.parse(_cells(notebook)[0]).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if not isinstance(target, ast.Name):
            raise NotebookError(f"the parameters cell of {notebook} holds more than assignments of literals")
        found[target.id] = ast.literal_eval(node.value)  # type: ignore[attr-defined]
    return found


def check(notebook: str, parameters: dict[str, Any], where: str) -> None:
    """Refuse names the notebook does not have and values of another type than its default's."""
    allowed = defaults(notebook)
    for name, value in parameters.items():
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "mend the name or leave it out"
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

    Of the syntax tree, so that a comment or a blank line changes nothing; markdown, outputs and
    the parameters cell, whose values are part of a step's key, do not count.
    """
    trees = [ast.parse(source) for source in _cells(notebook)[1]]
    versions = sorted(set().union(*(_versions_of_imports(tree) for tree in trees)))
    text = "\n".join([ast.dump(tree) for tree in trees] + versions)
    return hashlib.sha256(text.encode()).hexdigest()


def _versions_of_imports(tree: ast.AST) -> set[str]:
    """``module=VERSION`` of the library modules a piece of code imports, and of those they import."""
    found: set[str] = set()
    seen = {PICTURES}
    waiting = set(_imports(tree))
    while waiting:
        module = waiting.pop()
        if module in seen or (inside := _source(module)) is None:
            continue
        seen.add(module)
        found |= {f"{module}={version}" for version in _declared(inside)}
        waiting |= _imports(inside)
    return found


@cache
def _imports(tree: ast.AST) -> frozenset[str]:
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
        elif isinstance(node, ast.Import):
            modules |= {name.name for name in node.names}
    return frozenset(module for module in modules if module.split(".")[0] == "unicomp_lib")


@cache
def _source(module: str) -> ast.Module | None:
    """Syntax tree of a library module, read without importing it; None if the name is no module."""
    path = paths.project() / Path(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return ast.parse(file.read_text(encoding="utf-8"))
    return None


def _declared(tree: ast.Module) -> list[str]:
    return [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "VERSION"
    ]
