"""What the study needs to know of a task beyond lm-eval: its capability, format and chance level."""

import difflib
import hashlib
import importlib
import importlib.metadata
import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import yaml

from unicomp_lib.evaluate.tasks import paper
from unicomp_lib.inputs import assets, hub

VERSION = "1"

OWN = Path(__file__).parent / "tasks"
FORMATS = ("cloze", "letter", "generate")
METRICS = {"cloze": "acc_norm", "letter": "acc", "generate": "exact_match"}
FUNCTIONS = "unicomp_lib.evaluate.tasks."
FOLDER = "folder"  # the asset of sets that are read only from data_dir
HUB = "hub"  # of sets that are data sets of the hub, where data_dir does not hold them


class _Plain(yaml.SafeLoader):
    """Reads a task's YAML without importing the functions its ``!function`` tags name."""


class _Resolved(yaml.SafeLoader):
    """Reads a task's YAML for lm-eval, with the functions of this package that it names."""


def _function(name: str) -> Callable[..., Any]:
    module, _, attribute = name.rpartition(".")
    function: Callable[..., Any] = getattr(importlib.import_module(FUNCTIONS + module), attribute)
    return function


_Plain.add_constructor("!function", lambda loader, node: str(node.value))
_Resolved.add_constructor("!function", lambda loader, node: _function(str(node.value)))


@cache
def is_own(task: str) -> bool:
    """Whether the task is one of ours rather than one that lm-eval ships."""
    return task in _of_sets() or (not task.startswith("_") and (OWN / f"{task}.yaml").is_file())


@cache
def described(task: str) -> dict[str, Any]:
    """A task's dimension, capability, format, primary metric, chance level and asset.

    From ``tasks/_sets.yaml``, from ``metadata`` in ``tasks/<task>.yaml``, or from ``tasks/_lm_eval.yaml``
    for the tasks that lm-eval ships. An unknown task is a ``ValueError`` that names those like it, or else all.
    """
    if is_own(task):
        metadata: dict[str, Any] = _definition(task, _Plain)["metadata"]
        return metadata
    shipped: dict[str, dict[str, Any]] = _plain("_lm_eval")
    if task not in shipped:
        own = sorted({*_of_sets(), *(file.stem for file in OWN.glob("[!_]*.yaml"))})
        near = difflib.get_close_matches(task, [*own, *shipped], n=3)
        if near:
            meant = " or ".join(map(repr, near))
            raise ValueError(f"task {task!r} is not known; did you mean {meant}? docs/tasks.md tells of all tasks")
        raise ValueError(f"task {task!r} is not known; allowed are {', '.join([*own, *sorted(shipped)])}")
    return shipped[task]


@cache
def identity(task: str) -> str:
    """Hash of everything that determines a task's items and scoring: definition and asset."""
    parts: list[Any] = [described(task)]
    if is_own(task):
        parts.append(_definition(task, _Plain))
    asset = described(task)["asset"]
    if asset == "lm-eval":
        parts.append(importlib.metadata.version("lm-eval"))
    elif asset == HUB:
        parts.append([hub.catalogue()[name].model_dump() for name in paper.SOURCES[source(task)].reads])
    elif asset != FOLDER:
        parts.append(assets.asset(asset).files)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def config(task: str, data_dir: str = "") -> str | dict[str, Any]:
    """What to pass to lm-eval for a task: its name, or for one of ours its whole definition.

    Items are read from the folder ``data_dir`` where it holds them.
    """
    if not is_own(task):
        return task
    definition = _definition(task, _Resolved)
    return {**definition, "dataset_kwargs": {**definition["dataset_kwargs"], "data_dir": data_dir}}


def source(task: str) -> str:
    """The item set behind one of our tasks."""
    item_set: str = _definition(task, _Plain)["dataset_kwargs"]["source"]
    return item_set


def _definition(task: str, loader: type[yaml.SafeLoader]) -> dict[str, Any]:
    read = _plain if loader is _Plain else partial(_read, loader=loader)
    if task not in _of_sets():
        return read(task)
    source, form, about = _of_sets()[task]
    template = read(about.get("template", f"_{form}"))
    fields = {key: value for key, value in about.items() if key not in ("formats", "template")}
    metadata = {"version": 1.0, "format": form, "metric": METRICS[form], **fields}
    return {**template, "task": task, "dataset_kwargs": {"source": source}, "metadata": metadata}


@cache
def _of_sets() -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Every task of ``tasks/_sets.yaml``: its set, its format and the set's line."""
    sets: dict[str, dict[str, Any]] = _plain("_sets")
    return {
        f"{source}_{form}": (source, form, about)
        for source, about in sets.items()
        for form in about.get("formats", FORMATS)
    }


@cache
def _plain(stem: str) -> dict[str, Any]:
    """What a file says, for those who only read it: lm-eval may change what it is given."""
    return _read(stem, _Plain)


def _read(stem: str, loader: type[yaml.SafeLoader]) -> dict[str, Any]:
    content: dict[str, Any] = yaml.load((OWN / f"{stem}.yaml").read_text(encoding="utf-8"), Loader=loader)
    return content
