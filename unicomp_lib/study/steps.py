"""A step: one notebook run, its inputs and its identity."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from unicomp_lib import paths
from unicomp_lib.evaluate import task
from unicomp_lib.evaluate.tasks import folder
from unicomp_lib.inputs import assets, texts
from unicomp_lib.study import notebooks, records
from unicomp_lib.vision import images

OUTPUT = "output"


@dataclass(frozen=True)
class Output:
    """A file or folder in another step's run folder."""

    step: str
    path: str


@dataclass(frozen=True)
class Step:
    """One run of a notebook.

    ``parameters`` are plain values; ``reads`` names the parameters that are outputs of other
    steps, and that alone is the graph. ``exclusive`` steps measure time, and run by themselves.
    """

    name: str
    notebook: str
    parameters: dict[str, Any]
    reads: dict[str, Output | list[Output]] = field(default_factory=dict)
    exclusive: bool = False

    @property
    def parents(self) -> list[str]:
        """Names of the steps this one reads, in order, each once."""
        outputs = [out for read in self.reads.values() for out in (read if isinstance(read, list) else [read])]
        return list(dict.fromkeys(out.step for out in outputs))


def keys(steps: list[Step]) -> dict[str, str]:
    """The key of every step; ``steps`` must be in an order in which parents come first."""
    found: dict[str, str] = {}
    for step in steps:
        found[step.name] = key(step, found)
    return found


def key(step: Step, parents: Mapping[str, str]) -> str:
    """Identity of a step: 12 hexadecimal digits of a SHA-256.

    Of the notebook's code and the versions of the library it calls, its resolved parameters,
    the keys of the steps it reads, and the identity of every model, text and task they name.
    """
    values = notebooks.defaults(step.notebook) | step.parameters
    values.pop(OUTPUT, None)
    parts = {
        "code": notebooks.fingerprint(step.notebook),
        "parameters": {name: value for name, value in values.items() if name not in step.reads},
        "reads": {name: _read_keys(read, parents) for name, read in step.reads.items()},
        "sources": {name: _source(name, value) for name, value in values.items() if name not in step.reads},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def resolved(step: Step, found: Mapping[str, str]) -> dict[str, Any]:
    """The parameters papermill is given, defaults included, with the paths of what the step reads and writes."""

    def place(out: Output) -> str:
        return str(records.folder(out.step, found[out.step]) / out.path)

    wired = {
        name: [place(out) for out in read] if isinstance(read, list) else place(read)
        for name, read in step.reads.items()
    }
    output = str(records.folder(step.name, found[step.name]))
    return notebooks.defaults(step.notebook) | step.parameters | wired | {OUTPUT: output}


def _read_keys(read: Output | list[Output], parents: Mapping[str, str]) -> list[str]:
    return [f"{parents[out.step]}/{out.path}" for out in (read if isinstance(read, list) else [read])]


def _source(name: str, value: Any) -> Any:
    """Identity of what a parameter names outside the notebook; None for a plain value."""
    if name == "tasks":
        return {each: task.identity(each) for each in value}
    if name == "model" and value in assets.catalogue():
        return assets.asset(value).files
    if name == "model" and (folder_ := paths.checkpoint_folder(value)):
        # Size and time of each file: hashing gigabytes at every plan would cost more than it protects.
        return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(folder_.iterdir())]
    if name == "data":
        return images.identity(value)
    if name == "data_dir" and value:
        return folder.identity(value)
    if name in ("calibration", "text"):
        return texts.identity(value)
    return None
