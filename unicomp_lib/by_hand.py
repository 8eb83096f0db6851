"""A notebook that is run by hand, with no runner: what it was given, and the folder it writes to."""

import ast
import difflib
import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

INJECTED = "# Parameters"  # papermill begins its cell with this line
PARAMETERS = "parameters.json"


def given() -> dict[str, Any]:
    """The parameters of the notebook that runs in this process, as its ``parameters`` cell and papermill set them.

    Empty where no notebook runs. A ``ValueError`` names a parameter from papermill that the notebook does not have:
    papermill itself would only set a variable that nobody reads.
    """
    shell = _shell()
    if shell is None:
        return {}
    cells = [str(cell) for cell in shell.user_ns.get("In", [])]
    injected = [cell for cell in cells if cell.startswith(INJECTED)]
    written = [_assigned(cell) for cell in reversed(cells) if cell not in injected]
    own = next((names for names in written if "output" in names), [])
    _check(own, [name for cell in injected for name in _assigned(cell)])
    return {name: shell.user_ns[name] for name in own if name in shell.user_ns}


def folder(root: Path, name: str, parameters: Mapping[str, Any]) -> Path:
    """A folder in ``root`` for what a notebook of this ``name`` writes with these parameters, and not with others.

    They are written there as ``parameters.json``.
    """
    text = json.dumps(dict(parameters), sort_keys=True, default=str)
    digits = hashlib.sha256(text.encode()).hexdigest()[:8]
    place = root / (f"{name}-{digits}" if parameters else name)
    place.mkdir(parents=True, exist_ok=True)
    if parameters:
        (place / PARAMETERS).write_text(json.dumps(dict(parameters), indent=1, default=str) + "\n", encoding="utf-8")
    return place


def _shell() -> Any:
    """IPython's shell where this process is one; its import is not ours to pay for."""
    found = sys.modules.get("IPython")
    return found.get_ipython() if found else None


def _assigned(cell: str) -> list[str]:
    """Names that a cell sets; none where it does anything else."""
    try:
        body = ast.parse(cell).body
    except SyntaxError:
        return []
    targets = [node.targets[0] for node in body if isinstance(node, ast.Assign)]
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    return names if len(names) == len(body) else []


def _check(own: list[str], injected: list[str]) -> None:
    for name in injected:
        if own and name not in own:
            near = difflib.get_close_matches(name, own, n=1)
            raise ValueError(
                f"parameter {name!r} is given, which this notebook does not have; it has {', '.join(own)}; "
                f"{f'did you mean {near[0]!r}?' if near else 'correct the name or leave it out'}"
            )
