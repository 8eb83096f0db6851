"""A guard on ``VERSION``: a module whose code changed raises it, or says that its results are the same.

``python -m unicomp_lib.study.versions`` records the modules whose version was raised in ``versions.json`` beside
the library; ``--check`` records nothing and is what lint runs; ``--same NAME`` records that a module gives the same
results as before.
"""

import argparse
import ast
import json
import sys
from collections import Counter
from pathlib import Path

import nbformat

from unicomp_lib import files, paths
from unicomp_lib.study import code

RUNNER = f"{code.LIBRARY}.study."  # decides what is run and when, not what comes out: its own tests hold it

State = dict[str, dict[str, str]]


def main(arguments: list[str] | None = None) -> int:
    """Check or record; 0 when all modules are as recorded, 1 when one is not."""
    parser = argparse.ArgumentParser(prog="nox -s versions --", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="say what is not recorded, and change nothing")
    parser.add_argument(
        "--same", metavar="NAME", nargs="+", action="extend", default=[], help="modules that give the same results"
    )
    options = parser.parse_args(arguments)
    now, recorded = state(), _recorded()
    unknown = [name for name in options.same if name not in now]
    if unknown:
        print(f"error: no module is named {unknown[0]!r}; allowed are {', '.join(sorted(now))}", file=sys.stderr)
        return 2
    if not options.check:
        refused = {name for name in _changed(now, recorded) if name not in options.same}
        recorded = {name: recorded[name] if name in refused else entry for name, entry in now.items()}
        files.write_text(_file(), json.dumps(recorded, indent=1, sort_keys=True) + "\n")
    complaints = check(now, recorded)
    print(*complaints, sep="\n", file=sys.stderr) if complaints else print(f"{len(now)} modules are as recorded")
    return 1 if complaints else 0


def state() -> State:
    """Version and hash of the code of every module that a notebook calls, by the module's name."""
    return {code.name(module): {"version": code.version(module), "code": code.digest(module)} for module in _called()}


def check(now: State, recorded: State) -> list[str]:
    """A sentence for each module that is not as recorded: changed without a raise, without a version, or new."""
    names = Counter(map(code.name, _called()))
    twice = [name for name, count in names.items() if count > 1]
    complaints = [f"two modules are named {name}: a step's key could not tell them apart; rename one" for name in twice]
    for name, entry in now.items():
        if not entry["version"]:
            complaints.append(f'{name} is called by notebooks and declares no VERSION; add VERSION = "1"')
        elif name in _changed(now, recorded):
            complaints.append(
                f"{name} changed and is still version {entry['version']}: raise its VERSION if results change, or say "
                f"that they are the same with: nox -s versions -- --same {name}"
            )
        elif recorded.get(name) != entry:
            complaints.append(
                f"{name} at version {entry['version']} is not recorded yet; record it with: nox -s versions"
            )
    return complaints + [
        f"{name} is recorded and no notebook calls it; remove it with: nox -s versions"
        for name in recorded.keys() - now
    ]


def _changed(now: State, recorded: State) -> set[str]:
    """Modules whose code is another under the same version."""
    return {
        name
        for name, entry in now.items()
        if name in recorded and recorded[name] != entry and recorded[name]["version"] == entry["version"]
    }


def _recorded() -> State:
    return json.loads(_file().read_text(encoding="utf-8")) if _file().is_file() else {}


def _file() -> Path:
    return paths.project() / code.LIBRARY / "versions.json"


def _called() -> list[str]:
    """Paths of the modules that notebooks import, directly or through others."""
    trees = [
        ast.parse(cell.source)
        for notebook in sorted((paths.project() / "notebooks").glob("*/*.ipynb"))
        for cell in nbformat.read(notebook, as_version=4).cells
        if cell.cell_type == "code"
    ]
    modules = set().union(*map(code.reached, trees))
    return sorted(module for module in modules if not module.startswith(RUNNER))


if __name__ == "__main__":
    sys.exit(main())
