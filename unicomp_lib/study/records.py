"""Run folders: what was run, with what, and whether it finished."""

import importlib.metadata
import json
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from unicomp_lib import files, hardware, paths

RECORD, FAILURE, STEP = "record.json", "failure.json", "step.json"
NOTEBOOK, LOG = "notebook.ipynb", "log.txt"
PACKAGES = ("torch", "transformers", "lm-eval", "optimum-quanto", "polars", "numpy", "datasets")


def runs() -> Path:
    """The folder of all run folders, ``runs/`` in the checkout."""
    return paths.project() / "runs"


def folder(name: str, key: str) -> Path:
    """The run folder of a step, ``runs/<step>-<key>``."""
    return runs() / f"{name.replace('/', '.')}-{key}"


def finished_before(name: str) -> bool:
    """Whether a step has a record under any key, of whatever packages."""
    digits = "?" * 12  # a key's
    return any((run / RECORD).is_file() for run in runs().glob(f"{folder(name, digits).name}"))


def finished(run: Path) -> dict[str, Any] | None:
    """The record of a finished run, or None.

    None where there is no record or a damaged one, where a file is cut short, and where the run
    was made with other versions of the packages that results depend on: these are not mixed.
    """
    try:
        record: dict[str, Any] = json.loads((run / RECORD).read_text(encoding="utf-8"))
        whole = all((run / name).stat().st_size == size for name, size in record["files"].items())
        return record if whole and record["packages"] == packages() else None
    except (OSError, ValueError, KeyError):
        return None


def failure(run: Path) -> str | None:
    """Why a run failed, in one sentence, or None."""
    try:
        return str(json.loads((run / FAILURE).read_text(encoding="utf-8"))["reason"])
    except (OSError, ValueError, KeyError):
        return None


def write(run: Path, facts: dict[str, Any]) -> None:
    """Write ``record.json``, the last file of a run, with the sizes of all others."""
    sizes = {
        str(file.relative_to(run)): file.stat().st_size
        for file in sorted(run.rglob("*"))
        if file.is_file() and file.name not in (LOG, RECORD) and not file.name.startswith(".")
    }
    record = {**facts, "packages": packages(), "hardware": machine(), **commit(), "files": sizes}
    files.write_text(run / RECORD, json.dumps(record, indent=1))


@cache
def packages() -> dict[str, str]:
    """Versions of the packages that results depend on."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


@cache
def machine() -> dict[str, Any]:
    """Processor, cores, device type and Python of this machine."""
    return {
        "processor": hardware.processor(),
        "cores": hardware.cores(),
        "device": hardware.accelerator(),
        "python": platform.python_version(),
        "system": platform.system(),
    }


@cache
def commit() -> dict[str, Any]:
    """The checkout's commit and whether it has uncommitted changes; empty where git is absent."""
    git = ["git", "-C", str(paths.project())]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        # Not what a run itself rewrites.
        mine = [*git, "status", "--porcelain", "--", ".", ":!figures", ":!results"]
        changes = subprocess.run(mine, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}
    return {"commit": head, "dirty": bool(changes.strip())}
