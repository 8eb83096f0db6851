"""Run folders: what was run, with what, and whether it finished."""

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path, PurePath
from typing import Any

from unicomp_lib import files, hardware, locks, paths

RECORD, FAILURE, STEP = "record.json", "failure.json", "step.json"
CHECKPOINT = "checkpoint"  # the folder of what a compression has made
NOTEBOOK, LOG, LOCK = "notebook.ipynb", "log.txt", ".lock"
# Folders of what is done, which the same step takes up: rows of tasks (``evaluate.kept``), states of trainings.
KEPT = ("tasks", "training", "correction")
PACKAGES = ("torch", "transformers", "lm-eval", "optimum-quanto", "polars", "numpy", "datasets")
# What all readers of a record take for granted, and its types: a record without is none.
NUMBER = (int, float)
FACTS: dict[str, type | tuple[type, ...]] = {
    "name": str, "notebook": str, "key": str, "parameters": dict, "started": str, "seconds": NUMBER,
    "cpu_seconds": NUMBER, "peak_memory": NUMBER, "packages": dict, "hardware": dict,
    "commit": (str, type(None)), "dirty": (bool, type(None)), "files": dict,
}  # fmt: skip
MACHINE = {"processor": str, "cores": int, "device": str, "python": str, "system": str}


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

    None where there is no record or a damaged one, where a file is missing or another, where a step that it has read
    has since written something else, and where the run was made with other versions of the packages that results
    depend on: these are not mixed. A file whose size and time are as recorded is taken for the same without reading
    it; ``damage`` reads all. Runs of earlier versions, whose records do not say what they read, are taken as they are.
    """
    record = written(run)
    return record if record and _as_read(run, record) else None


def outdated(run: Path) -> bool:
    """Whether a run stands but for what it has read, which was made again and is not what it was."""
    record = written(run)
    return record is not None and not _as_read(run, record)


def written(run: Path) -> dict[str, Any] | None:
    """The record of a run as ``finished`` gives it, whatever has become of what it has read."""
    record = _record(run)
    if record is None or record["packages"] != packages():
        return None
    try:
        return record if all(_unchanged(run / name, entry) for name, entry in record["files"].items()) else None
    except OSError:
        return None


def failure(run: Path) -> str | None:
    """Why a run failed, in one sentence, or None."""
    reason = _read(run / FAILURE).get("reason")
    return reason if isinstance(reason, str) else None


def fail(run: Path, reason: str) -> None:
    """Write why a run failed, in one sentence."""
    files.write_text(run / FAILURE, json.dumps({"reason": reason}))


def job(run: Path) -> dict[str, Any] | None:
    """What was to be run in a run folder, with its paths as they are now, or None: the checkout may have moved."""
    given = _read(run / STEP)
    kinds = {"name": str, "notebook": str, "key": str, "parameters": dict, "run": str}
    if not _has(given, kinds):
        return None
    there, here = (json.dumps(str(place))[1:-1] for place in (Path(given["run"]).parent, run.parent))
    return json.loads(json.dumps(given).replace(there, here))


def read_by(job: dict[str, Any]) -> list[Path]:
    """The run folders of the steps that a job reads: its parameters name files in them."""
    root = Path(job["run"]).parent
    return list(dict.fromkeys(root / place.parts[0] for place in _places(job)))


def reading(job: dict[str, Any]) -> dict[str, str]:
    """What a job reads of other runs, by its place in ``runs/``, with a digest of what is recorded of it there."""
    root = Path(job["run"]).parent
    return {place.as_posix(): _contents(root, place) for place in _places(job)}


def _places(job: dict[str, Any]) -> list[Path]:
    """The files and folders of other runs that a job's parameters name, relative to ``runs/``."""
    run = Path(job["run"])
    values = [
        value for given in job["parameters"].values() for value in (given if isinstance(given, list) else [given])
    ]
    inside = [Path(value) for value in values if isinstance(value, str) and Path(value).is_relative_to(run.parent)]
    places = (path.relative_to(run.parent) for path in inside if path != run.parent)
    return [place for place in dict.fromkeys(places) if place.parts[0] != run.name]


def _contents(root: Path, place: Path) -> str:
    """A digest of what is recorded of a file or folder in one of the runs of ``root``; empty where nothing is."""
    record = _record(root / place.parts[0])
    if record is None:
        return ""
    written = {**record["files"], **record.get("dropped", {}), **record.get("as_read", {})}
    part = PurePath(*place.parts[1:])
    digests = {
        name: entry["sha256"]
        for name, entry in written.items()
        if isinstance(entry, dict) and PurePath(name).is_relative_to(part)
    }
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest() if digests else ""


def _as_read(run: Path, record: dict[str, Any]) -> bool:
    """Whether all that a run has read is still what it was; what has yet to be made again cannot be told."""
    now = {place: _contents(run.parent, Path(place)) for place in record.get("read", {})}
    return all(digest in ("", record["read"][place]) for place, digest in now.items())


def damage(run: Path) -> str:
    """What is wrong with a run that has finished, as half a sentence; empty where all of its files are as written.

    Reads every file. One that was recorded without its SHA-256, as earlier versions did, is known by its size alone.
    """
    record = _record(run)
    if record is None:
        return f"{run.name} has no record that can be read"
    for name, entry in record["files"].items():
        try:
            same = _as_written(run / name, entry)
        except OSError as error:
            return f"{name} in {run.name} cannot be read ({error.strerror})"
        if not same:
            return f"{name} in {run.name} is not what its step wrote"
    return ""


def write(run: Path, facts: dict[str, Any]) -> None:
    """Write ``record.json``, the last file of a run: ``facts``, and size, time and SHA-256 of all others.

    They are on disk before it is: a record that outlives a power cut speaks of files that did too. ``facts`` hold
    the packages and the machine of the process that computed. A ``ValueError`` where these packages are not ours:
    nobody here would take the run for finished.
    """
    for name, version in facts["packages"].items():
        if version != packages().get(name):
            raise ValueError(
                f"the step ran with {name} {version}, and its runner has {packages().get(name)}; run both in one "
                "environment, without PYTHONPATH"
            )
    written = {}
    for file in _outputs(run):
        files.sync(file)
        status = file.stat()
        written[str(file.relative_to(run))] = {
            "size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": files.sha256(file)
        }  # fmt: skip
    for place in (*(path for path in run.rglob("*") if path.is_dir()), run, run.parent):
        files.sync(place)
    files.write_text(run / RECORD, json.dumps({**facts, "files": written}, indent=1))


def dropped(run: Path) -> dict[str, Any]:
    """The weights that were removed of a finished run, and what was recorded of them; empty where all are there."""
    record = _record(run)
    return dict(record.get("dropped", {})) if record else {}


def drop(run: Path) -> int:
    """Remove the weights of a finished run's checkpoint; the bytes that are free again.

    The run stays finished. Its record says so first: whoever is interrupted leaves files that the next call removes.
    A folder in which a step works, or where this user may not write, is left as it is.
    """
    freed = 0
    with suppress(OSError), locks.held(run / LOCK, wait=False) as mine:
        record = _record(run) if mine else None
        if record is None:
            return 0
        gone = {name: entry for name, entry in record["files"].items() if _is_weights(name)}
        all_gone = {**record.get("dropped", {}), **gone}
        if gone:
            rest = {name: entry for name, entry in record["files"].items() if name not in gone}
            files.write_text(run / RECORD, json.dumps({**record, "files": rest, "dropped": all_gone}, indent=1))
        for path in (run / name for name in all_gone):
            if path.is_file():
                freed += path.stat().st_size
                path.unlink()
    return freed


def restore(run: Path, again: Path) -> str:
    """Take over the weights of a finished run from ``again``, where the same step has run once more.

    Returns the first file that is another than the one that was dropped; empty where all are the same. The record is
    written last: until then the weights count as dropped.
    """
    record, new = _record(run), _record(again)
    if record is None or new is None:
        raise OSError(f"the record of {run.name} has gone; run the same command again")
    made = {name: entry for name, entry in new["files"].items() if _is_weights(name)}
    for name in made:
        (again / name).replace(run / name)
    known = {name: entry for name, entry in record.pop("dropped", {}).items() if isinstance(entry, dict)}
    others = {name: entry for name, entry in known.items() if made.get(name, {}).get("sha256") != entry["sha256"]}
    record["files"] |= made
    if others:  # what has read those before stays as it is
        record["as_read"] = others | record.get("as_read", {})
    files.write_text(run / RECORD, json.dumps(record, indent=1))
    return next(iter(others), "")


def _is_weights(name: str) -> bool:
    return PurePath(name).parts[0] == CHECKPOINT and PurePath(name).suffix == ".safetensors"


def _outputs(run: Path) -> Iterator[Path]:
    """The files that a step has written, and not those of the runner."""
    for file in sorted(run.rglob("*")):
        if file.is_file() and file.name not in (LOG, RECORD, STEP) and not file.name.startswith("."):
            yield file


def _record(run: Path) -> dict[str, Any] | None:
    """The record in a run folder, or None where a reader could stumble over it."""
    record = _read(run / RECORD)
    sound = _has(record, FACTS) and _has(record["hardware"], MACHINE) and record["files"]
    sound = sound and all(isinstance(record.get(name, {}), dict) for name in ("dropped", "read", "as_read"))
    if not sound or not all(PurePath(place).parts for place in record.get("read", {})):
        return None
    entries = [entry for name in ("files", "dropped", "as_read") for entry in record.get(name, {}).values()]
    return record if all(map(_is_entry, entries)) else None


def _read(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none, or something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _has(content: dict[str, Any], kinds: Any) -> bool:
    return all(name in content and isinstance(content[name], kind) for name, kind in kinds.items())


def _is_entry(entry: Any) -> bool:
    kinds = {"size": int, "mtime_ns": int, "sha256": str}
    return isinstance(entry, int) or (isinstance(entry, dict) and _has(entry, kinds))


def _unchanged(file: Path, entry: Any) -> bool:
    """Whether a file is as recorded; read only where its time is another, as in a copy."""
    status = file.stat()
    if isinstance(entry, int) or (status.st_size, status.st_mtime_ns) == (entry["size"], entry["mtime_ns"]):
        return status.st_size == (entry if isinstance(entry, int) else entry["size"])
    if not _as_written(file, entry):
        return False
    with suppress(OSError):  # the next look need not read it again
        os.utime(file, ns=(status.st_atime_ns, entry["mtime_ns"]))
    return True


def _as_written(file: Path, entry: Any) -> bool:
    if isinstance(entry, int):
        return file.stat().st_size == entry
    return file.stat().st_size == entry["size"] and files.sha256(file) == entry["sha256"]


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
    """The checkout's commit and whether it has uncommitted changes; None where it has no repository of its own.

    A folder of files inside another repository has none, nor do variables such as ``GIT_DIR`` lead to another.
    """
    try:
        top = _git("rev-parse", "--show-toplevel")
        if not os.path.samefile(top.rstrip("\n"), paths.project()):
            return {"commit": None, "dirty": None}
        head = _git("rev-parse", "--verify", "HEAD").strip()
        changes = _git("status", "--porcelain", "--", ".", ":!figures", ":!results")  # not what a run itself rewrites
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}
    return {"commit": head, "dirty": bool(changes.strip())}


def _git(*arguments: str) -> str:
    """What git prints in the checkout, whatever the user's variables say and whoever owns the files."""
    root = paths.project()
    # In a container the checkout is often another user's, which git refuses; its code runs here anyhow.
    safe = ["-c", f"safe.directory={root}", "-c", "core.fsmonitor=false"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", *safe, "-C", str(root), *arguments]
    env["GIT_OPTIONAL_LOCKS"] = "0"
    return subprocess.run(command, capture_output=True, check=True, env=env, encoding="utf-8", errors="replace").stdout
