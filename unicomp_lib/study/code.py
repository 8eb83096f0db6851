"""What code does, whatever its comments, its layout and its place: the part of a step's key that is code."""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from unicomp_lib import files, paths
from unicomp_lib.inputs import assets

LIBRARY = "unicomp_lib"
# They draw inside an executed notebook, set its fonts, choose a folder where no runner does, or leave warnings out: no
# result is another for it.
BESIDE = ("diagnostics", "vision_diagnostics", "style", "by_hand", "quiet")
# What they read is counted where a parameter names it, the task or the text: see ``steps.key``.
COUNTED = ("corpora", "ifbench", "items", "paper", "texts")
PINS = ("params/assets.yaml", "params/hub.yaml")  # counted entry by entry
WRITTEN = ("results", "figures", "runs", ".nox")  # folders that commands make: what lies there is no input
CALLS = {"assets.asset": "asset", "assets.fetch": "asset", "assets.path": "asset", "hub.rows": "data set"}
# Fields of the syntax tree that not every version of Python has, or that say nothing.
SKIPPED = ("type_params", "type_comment", "type_ignores", "kind", "ctx")


def of_imports(tree: ast.AST) -> list[str]:
    """``module=VERSION`` of the library modules a piece of code imports, and of those they import.

    By the module's own name, not its path: to move a file makes no result stale.
    """
    return sorted(f"{name(module)}={number}" for module in reached(tree) if (number := version(module)))


def text(tree: ast.Module) -> str:
    """What code does, as text: without comments, docstrings, formatting, and where in the library imports come from.

    The same for all versions of Python, so that keys and records are too.
    """
    imports = sorted(binding for node in ast.walk(tree) for binding in _bindings(node))
    return "\n".join([*imports, _dump(tree)])


def reached(tree: ast.AST) -> set[str]:
    """Paths of the library's modules that a piece of code imports, and of those that they import."""
    root = paths.project()
    found: dict[str, Path] = {}
    waiting = set(_imports(tree))
    while waiting:
        module = waiting.pop()
        if module not in found and name(module) not in BESIDE and (file := _file(module, root)):
            found[module] = file
            waiting |= _imports(_parsed(file))
    return {module for module, file in found.items() if file.name != "__init__.py"}


def data(tree: ast.AST) -> dict[str, Any]:
    """What a piece of code and the library's modules it reaches read by name, each with what identifies its content.

    Files of the checkout, as in ``paths.project() / "params" / "claims.yaml"``, and pinned assets and data sets of the
    hub, as in ``assets.path("pyrit", ...)`` or ``hub.rows(NAME, ...)``.
    """
    modules = [module for module in reached(tree) if name(module) not in COUNTED]
    found: set[tuple[str, str]] = set().union(*map(_read, [tree, *filter(None, map(_source, modules))]))
    known: dict[str, Any] = {}
    for kind, what in found:
        if kind == "asset":
            known[f"asset {what}"] = [assets.asset(what).archive, assets.asset(what).files]
        elif kind == "data set":
            from unicomp_lib.inputs import hub  # imports polars, which names and colours do without

            known[f"data set {what}"] = hub.catalogue()[what].model_dump()
        elif what not in PINS and what.split("/")[0] not in WRITTEN and (file := paths.project() / what).is_file():
            known[what] = files.sha256(file)
    return known


@cache
def _read(tree: ast.AST) -> frozenset[tuple[str, str]]:
    """Kind and name of each thing that is read under a name written out in the code, or in a constant of it."""
    constants = {
        target.id: node.value.value
        for node in getattr(tree, "body", [])
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and (parts := _parts(node, constants)):
            found.add(("file", "/".join(parts)))
        elif isinstance(node, ast.Call) and node.args and (kind := CALLS.get(_called(node.func))):
            found.add((kind, _text(node.args[0], constants)))
    return frozenset((kind, what) for kind, what in found if what)


def _called(node: ast.AST) -> str:
    """``module.function`` as it is called; empty for a call of anything else."""
    module = getattr(node, "value", None)
    return f"{module.id}.{node.attr}" if isinstance(node, ast.Attribute) and isinstance(module, ast.Name) else ""


def _parts(node: ast.AST, constants: dict[str, Any]) -> list[str]:
    """The parts of a path below ``paths.project()``; none where it is not such, or where one of them is computed."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and (last := _text(node.right, constants)):
        above = _parts(node.left, constants)
        return [*above, last] if above or ast.unparse(node.left) == "paths.project()" else []
    return []


def _text(node: ast.AST, constants: dict[str, Any]) -> str:
    value = node.value if isinstance(node, ast.Constant) else constants.get(getattr(node, "id", ""))
    return value if isinstance(value, str) else ""


@cache
def _imports(tree: ast.AST) -> frozenset[str]:
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
        elif isinstance(node, ast.Import):
            modules |= {name.name for name in node.names}
    return frozenset(module for module in modules if module.partition(".")[0] == LIBRARY)


def _source(module: str) -> ast.Module | None:
    """Syntax tree of a library module, read without importing it; None if the name is no module."""
    file = _file(module, paths.project())
    return _parsed(file) if file else None


@cache
def _file(module: str, root: Path) -> Path | None:
    """The file of a library module; None if the name is no module. Every plan asks for each some hundred times."""
    path = root / Path(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


@cache
def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def name(module: str) -> str:
    """A module's own name: to move it to another package changes nothing."""
    return module.rpartition(".")[2]


def version(module: str) -> str:
    """What a module declares as its ``VERSION``; empty where it declares none."""
    for node in getattr(_source(module), "body", []):
        if _is_version(node):
            return str(ast.literal_eval(node.value))
    return ""


def _is_version(node: ast.AST) -> bool:
    return isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "VERSION"


def digest(module: str) -> str:
    """Hash of what a module does, its version apart."""
    source = _source(module)
    assert source is not None  # it was reached
    code = ast.Module([node for node in source.body if not _is_version(node)], [])
    return hashlib.sha256(text(code).encode()).hexdigest()[:16]


def _bindings(node: ast.AST) -> Iterator[str]:
    """What an import of the library binds: the module's name, what is taken of it, and the name it is given."""
    if not _is_of_library(node):
        return
    for alias in node.names:  # type: ignore[attr-defined]
        origin = getattr(node, "module", None)
        whole = f"{origin}.{alias.name}" if origin else alias.name
        taken = name(whole) if _source(whole) is not None else f"{name(str(origin))}.{alias.name}"
        yield f"{taken} as {alias.asname or alias.name}"


def _is_of_library(node: Any) -> bool:
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").partition(".")[0] == LIBRARY
    return isinstance(node, ast.Import) and any(alias.name.partition(".")[0] == LIBRARY for alias in node.names)


def _dump(node: Any) -> str:
    if isinstance(node, list):
        return "[" + ", ".join(_dump(part) for part in node if not _is_of_library(part)) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = dict(ast.iter_fields(node))
    body = fields.get("body")
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
        fields["body"] = body[1:]  # type: ignore[index]
    told = {name: value for name, value in fields.items() if name not in SKIPPED and value not in (None, [])}
    return f"{type(node).__name__}({', '.join(f'{name}={_dump(value)}' for name, value in told.items())})"
