"""A step: one notebook run, its inputs and its identity."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from unicomp_lib import files, paths, results, tables
from unicomp_lib.inputs import assets, texts
from unicomp_lib.study import code, notebooks, records
from unicomp_lib.vision import folders

OUTPUT = "output"
TEXTS = ("calibration", "text")  # parameters that name a source of texts, or a mixture of such


class Stage(StrEnum):
    """The parts of a study; learn and explore are run for the report alone."""

    COMPRESS = "compress"
    EVALUATE = "evaluate"
    JUDGE = "judge"
    SCORES = "scores"
    FIGURES = "figures"
    VISION = "vision"
    LEARN = "learn"
    EXPLORE = "explore"


@dataclass(frozen=True)
class Output:
    """A file or folder in another step's run folder."""

    step: str
    path: str


@dataclass(frozen=True)
class Cell:
    """What a result belongs to: one variant of one model, and the seed of what it draws.

    ``seeded``: the profile lists seeds, so that the seed tells cells of one variant apart.
    """

    model: str
    variant: str
    method: str
    calibration: str = ""
    seed: int = 0
    seeded: bool = False

    @property
    def parts(self) -> list[str]:
        """Model, variant and, where it tells cells apart, seed: what names are made of."""
        return [self.model, self.variant, *([f"seed-{self.seed}"] if self.seeded else [])]

    @property
    def columns(self) -> dict[str, Any]:
        """The columns ``tables.CELL`` of its rows."""
        return {name: getattr(self, name) for name in tables.CELL}


@dataclass(frozen=True)
class Step:
    """One run of a notebook.

    ``stage`` is the part of the study it belongs to and ``topic`` what it is about there: a dimension, a
    figure, a chapter, or what is done with a network. ``parameters`` are plain values; ``reads`` names the
    parameters that are outputs of other steps, and that alone is the graph. ``publishes`` are files of its run
    folder and where they go in ``results/<profile>``. A step that ``computes`` runs a model and takes an
    accelerator where there is one; an ``exclusive`` one measures time, and runs by itself. ``located`` are the
    parameters that name a file or a folder, with its absolute path on this machine: what is run is given this
    path, and the key is made of the name that the profile gives and of the content. ``keeps``: its checkpoint stays
    when all that reads it is done; that is no part of its key.
    """

    stage: Stage
    notebook: str
    parameters: dict[str, Any]
    reads: dict[str, Output | list[Output]] = field(default_factory=dict)
    cell: Cell | None = None
    topic: str = ""
    publishes: dict[str, str] = field(default_factory=dict)
    computes: bool = False
    exclusive: bool = False
    located: dict[str, str] = field(default_factory=dict)
    keeps: bool = True

    @property
    def name(self) -> str:
        """Its name, made of its facts and never read back."""
        return step_name(self.stage, self.cell, self.topic)

    @property
    def parents(self) -> list[str]:
        """Names of the steps this one reads, in order, each once."""
        outputs = [out for read in self.reads.values() for out in (read if isinstance(read, list) else [read])]
        return list(dict.fromkeys(out.step for out in outputs))


def step_name(stage: Stage, cell: Cell | None = None, topic: str = "") -> str:
    """``stage/model/variant/seed-N/topic``, without what there is not; the stage vision has one model alone."""
    parts = cell.parts if cell else []
    return "/".join([stage, *(parts[1:] if stage == Stage.VISION else parts), *([topic] if topic else [])])


def keys(steps: list[Step]) -> dict[str, str]:
    """The key of every step by name; ``steps`` must be in an order in which parents come first."""
    known: dict[str, str] = {}
    with folders.looked_at_once():
        for step in steps:
            known[step.name] = key(step, known)
    return known


def key(step: Step, parents: Mapping[str, str]) -> str:
    """Identity of a step: 12 hexadecimal digits of a SHA-256.

    Of the notebook's code and the versions of the library it calls, the files and assets these read by name, its
    resolved parameters, the keys of the steps it reads, and the identity of every model, text and task they name.
    """
    values = notebooks.defaults(step.notebook) | step.parameters
    values.pop(OUTPUT, None)
    values = {name: value for name, value in values.items() if name not in step.reads}
    parts = {
        "code": notebooks.fingerprint(step.notebook),
        "data": notebooks.data(step.notebook),
        "parameters": {name: _without_folders(name, value, step) for name, value in values.items()},
        "reads": {name: _read_keys(read, parents) for name, read in step.reads.items()},
        "sources": {name: _source(name, step.located.get(name, value), step) for name, value in values.items()},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def resolved(step: Step, known: Mapping[str, str]) -> dict[str, Any]:
    """The parameters papermill is given, defaults included, with the paths of what the step reads and writes."""

    def path(out: Output) -> str:
        return str(records.folder(out.step, known[out.step]) / out.path)

    wired = {
        name: [path(out) for out in read] if isinstance(read, list) else path(read) for name, read in step.reads.items()
    }
    output = str(records.folder(step.name, known[step.name]))
    return notebooks.defaults(step.notebook) | step.parameters | step.located | wired | {OUTPUT: output}


def _read_keys(read: Output | list[Output], parents: Mapping[str, str]) -> list[str]:
    return [f"{parents[out.step]}/{out.path}" for out in (read if isinstance(read, list) else [read])]


def _without_folders(name: str, value: Any, step: Step) -> Any:
    """A value as the key holds it: of an absolute path the last part, since a file that moves is still the same."""
    if name not in step.located:
        return value
    parts = texts.split(value) if name in TEXTS else [("", value)]
    away = [(weight, part, Path(part).is_absolute() or part.startswith("~")) for weight, part in parts]
    return "+".join(weight + (Path(part).name if absolute else part) for weight, part, absolute in away)


def _source(name: str, value: Any, step: Step) -> Any:
    """Identity of what a parameter names outside the notebook; None for a plain value."""
    if name == "tasks":
        from unicomp_lib.evaluate import task

        return {name: task.identity(name) for name in value}
    if name == "model" and value in assets.catalogue():
        return assets.asset(value).files
    if name == "model" and (checkpoint := paths.checkpoint_folder(value)):
        # Size and time of each file: hashing gigabytes at every plan would cost more than it protects.
        return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(checkpoint.iterdir())]
    if name == "data":
        return folders.identity(value)
    if name == "data_dir" and value:
        from unicomp_lib.evaluate.tasks import folder

        return folder.identity(value)
    if name in TEXTS:
        return texts.identity(value)
    if name == "weights" and name in step.located:
        return files.sha256(Path(value))
    if name.endswith("_scores") and not value:  # a chapter reads what the last default run has published
        published = results.folder(results.DEFAULT) / "scores.parquet"
        return files.sha256(published) if published.is_file() else None
    if name == "engine" and value:
        return _engine(value, step)
    if name == "claims_file":
        return files.sha256(Path(value) if value else paths.project() / "params" / "claims.yaml")
    return None


def _engine(engine: str, step: Step) -> list[str]:
    """What measures in an engine: the script that its interpreter runs, what a lock pins if nox made that, and here."""
    from unicomp_lib.evaluate import efficiency

    interpreter = step.parameters.get("interpreter", "")
    if engine not in efficiency.ENGINES:
        return []  # the notebook refuses it
    script = code.digest(f"{code.LIBRARY}.evaluate.{efficiency.script(engine)}")
    installed = _installed(Path(step.located.get("interpreter", interpreter))) if interpreter else []
    return [script, "" if interpreter else efficiency.locked(engine), efficiency.ENGINES_VERSION, *installed]


def _installed(interpreter: Path) -> list[str]:
    """Names and versions of the packages beside a Python, by the folders that its installers leave."""
    return sorted({place.name for place in interpreter.parent.parent.glob("lib*/python*/site-packages/*.dist-info")})
