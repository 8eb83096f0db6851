"""A cell of the study as a model to use: what a step has compressed, loaded."""

import subprocess
import sys

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from unicomp_lib import paths
from unicomp_lib.checkpoints import models
from unicomp_lib.study import params, records
from unicomp_lib.study.plan import plan, precision
from unicomp_lib.study.steps import keys

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
    stem = f"compress/{model}/{variant}"
    names = [step.name for step in steps if step.name == stem or step.name.startswith(f"{stem}/seed-")]
    if seed is not None:
        names = [name for name in names if name == f"{stem}/seed-{seed}"]
    if not names:
        raise ValueError(
            f"profile {profile} has no cell {stem}{'' if seed is None else f'/seed-{seed}'}; its models are "
            f"{', '.join(known.models)}, its variants {', '.join(known.compressions)}"
        )
    run = records.folder(names[0], keys(steps)[names[0]])
    if not records.finished(run):
        _make(profile, names[0])
    return models.load(str(run / "checkpoint"), precision=precision(known))


def _make(profile: str, name: str) -> None:
    print(f"{name} has not been run yet; running it, with all it reads")
    command = [sys.executable, "-m", "unicomp_lib", "reproduce", "--profile", profile, "--only", name]
    done = subprocess.run(command, cwd=paths.project(), capture_output=True, text=True)
    if done.returncode:
        reason = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("failed:", "error:"))]
        raise RuntimeError(reason[0] if reason else f"{name} could not be made; run {' '.join(command[1:])} to see why")
