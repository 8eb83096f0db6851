"""What the study needs to know of a task beside lm-eval: its capability, format and chance."""

import hashlib
import importlib.metadata
import json
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from unicomp_lib import assets

OWN = Path(__file__).parent / "tasks"


class _Plain(yaml.SafeLoader):
    """Reads a task's YAML without importing the functions its ``!function`` tags name."""


_Plain.add_constructor("!function", lambda loader, node: str(node.value))


@cache
def is_own(task: str) -> bool:
    """Whether the task is a file of ours, on the pinned assets, rather than one of lm-eval's."""
    return not task.startswith("_") and (OWN / f"{task}.yaml").is_file()


@cache
def described(task: str) -> dict[str, Any]:
    """A task's dimension, capability, format, primary metric, chance level and asset.

    From ``metadata`` in ``tasks/<task>.yaml``, or from ``tasks/_lm_eval.yaml`` for the tasks that
    lm-eval ships. An unknown task is a ``ValueError`` that lists the known.
    """
    if is_own(task):
        metadata: dict[str, Any] = _definition(task)["metadata"]
        return metadata
    shipped: dict[str, dict[str, Any]] = yaml.safe_load((OWN / "_lm_eval.yaml").read_text(encoding="utf-8"))
    if task not in shipped:
        known = sorted(file.stem for file in OWN.glob("[!_]*.yaml")) + sorted(shipped)
        raise ValueError(f"task {task!r} is not known; allowed are {', '.join(known)}")
    return shipped[task]


@cache
def identity(task: str) -> str:
    """Hash of all that decides a task's items and scoring: definition and asset."""
    parts: list[Any] = [described(task)]
    if is_own(task):
        parts.append(_definition(task))
    asset = described(task)["asset"]
    if asset == "lm-eval":
        parts.append(importlib.metadata.version("lm-eval"))
    else:
        parts.append(assets.asset(asset).files)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _definition(task: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load((OWN / f"{task}.yaml").read_text(encoding="utf-8"), Loader=_Plain)
    return (_definition(Path(found["include"]).stem) if "include" in found else {}) | found
