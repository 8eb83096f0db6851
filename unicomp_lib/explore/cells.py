"""A cell of the study as a model to use: what a step has compressed, loaded."""

import subprocess
import sys

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from unicomp_lib import paths
from unicomp_lib.checkpoints import models
from unicomp_lib.study import params, records
from unicomp_lib.study.plan import plan, precision
from unicomp_lib.study.steps import Cell, Stage, keys, step_name

VERSION = "1"


def load(
    variant: str, *, profile: str = "embedded", model: str = "", seed: int | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The compressed model and its tokenizer of a cell, such as ``wanda-50``; made first if the study has not yet.

    ``model`` is one of the profile's, the first by default; ``seed`` one of the variant's, the first by default.
    A ``ValueError`` names a cell that the profile does not have, and a ``RuntimeError`` says why one cannot be made.
    """
    known = params.load(profile)
    steps = plan(known)
    model = model or next(iter(known.models))
    asked = Cell(model, variant, "", seed=seed or 0, seeded=seed is not None)
    matching = [step for step in steps if step.stage == Stage.COMPRESS and step.cell and _is(step.cell, asked)]
    if not matching:
        raise ValueError(
            f"profile {profile} has no cell {step_name(Stage.COMPRESS, asked)}; its models are "
            f"{', '.join(known.models)}, its variants {', '.join(known.compressions)}"
        )
    name = matching[0].name
    run = records.folder(name, keys(steps)[name])
    if not records.finished(run) or records.dropped(run):
        _make(profile, name)
    return models.load(str(run / "checkpoint"), precision=precision(known))


def _is(cell: Cell, asked: Cell) -> bool:
    same = (cell.model, cell.variant) == (asked.model, asked.variant)
    return same and (not asked.seeded or (cell.seeded and cell.seed == asked.seed))


def _make(profile: str, name: str) -> None:
    print(f"{name} has not been run yet; running it, with all it reads")
    command = [sys.executable, "-m", "unicomp_lib", "reproduce", "--profile", profile, "--only", name]
    done = subprocess.run(command, cwd=paths.project(), capture_output=True, text=True)
    if done.returncode:
        reason = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("failed:", "error:"))]
        raise RuntimeError(reason[0] if reason else f"{name} could not be made; run {' '.join(command[1:])} to see why")
