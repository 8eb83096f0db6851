"""Two models at hand: asked the study's tasks now, on this machine, and compared token by token."""

import gc
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from unicomp_lib import hardware, paths, quiet
from unicomp_lib.compare import cells, questions
from unicomp_lib.compare.side import Side
from unicomp_lib.evaluate.statistics import Estimate, bootstrap
from unicomp_lib.study import external, sources

KIND = "checkpoint"
TASKS = ("piqa_cloze", "openbookqa_cloze", "siqa_cloze", "commonsenseqa_cloze", "asdiv_cloze")
ITEMS = 100
BATCH, OTHER_BATCH = 16, 5  # of a run, and of a rerun of the same model: answers then differ by rounding alone
SAMPLES, LENGTH = 16, 256  # blocks of held-out text, and tokens of each


def located(given: str) -> str:
    """What ``checkpoints.models.load`` takes for a folder, an asset or ``owner/name@revision``.

    Raises a ``ValueError`` for a folder without a checkpoint that is read, a name that is not known, and a model that
    the hub does not give.
    """
    folder = sources.model(given, paths.project() / "params")
    if folder:
        from unicomp_lib.checkpoints.given import check_weights

        check_weights(folder)
    if folder is None and "@" in given:
        from unicomp_lib.inputs import hub

        hub.fetch_model(*given.split("@", 1))
        return hub.pinned(given)
    return str(folder or given)


def is_checkpoint(given: str) -> bool:
    """Whether the text names a checkpoint: a folder with a configuration, an asset, or a model of the hub."""
    folder = Path(given).expanduser()
    if folder.exists():
        return folder.is_dir() and (folder / "config.json").is_file()
    return given in sources.made() or bool(external.ON_HUB.fullmatch(given))


def described(tasks: dict[str, int]) -> None:
    """Raise a ``ValueError`` for a task that is not known, or whose answers wait for a judge."""
    from unicomp_lib.evaluate import task

    for name in tasks:
        if task.described(name).get("judge"):
            raise ValueError(
                f"the answers of task {name} are judged in a step of the study; give other tasks, or compare cells"
            )


def read(given: str, name: str, tasks: dict[str, int], *, batch_size: int = BATCH, data_dir: str = "") -> Side:
    """The rows of a model's answers to ``tasks``, a map from task to number of items (0: all)."""
    from unicomp_lib.checkpoints import models
    from unicomp_lib.evaluate import harness

    quiet.known()
    model, tokenizer = models.load(given, precision=hardware.native_precision())
    rows = harness.run(model, tokenizer, tasks, batch_size=batch_size, data_dir=data_dir)
    templates = {"chat template": "yes" if tokenizer.chat_template else "no"}
    del model
    gc.collect()
    settings = dict.fromkeys(tasks, templates)
    return Side(name, KIND, questions.filled(cells.shared(rows, name), data_dir), settings, model=given)


def fidelity(a: str, b: str, text: str = "held-out") -> dict[str, Estimate]:
    """KL(A || B) in nats a token, and the share of positions where both put the same token first, on held-out text.

    Raises a ``ValueError`` where the two do not have the same tokens, so that no position compares.
    """
    from unicomp_lib.checkpoints import given, models
    from unicomp_lib.evaluate import fidelity as measured
    from unicomp_lib.inputs.calibration import blocks

    given.check_tokens(b, a)
    precision = hardware.native_precision()
    reference, tokenizer = models.load(a, precision=precision)
    model, _ = models.load(b, precision=precision)
    return estimates(measured.compare(model, reference, blocks(tokenizer, text, samples=SAMPLES, length=LENGTH)))


def estimates(blocks: pl.DataFrame) -> dict[str, Estimate]:
    """Means over blocks of the rows of ``evaluate.fidelity.compare`` (doc_id, metric, value), with their intervals."""
    found: dict[str, Estimate] = {}
    for metric, most in (("kl", np.inf), ("agreement", 1.0)):
        rows = blocks.filter(pl.col("metric") == metric)
        mean = bootstrap(rows["value"].to_numpy(), rows["doc_id"].to_numpy())
        # The stretched bootstrap knows no bounds; NaN stays NaN.
        found[metric] = replace(mean, low=float(np.maximum(mean.low, 0)), high=float(np.minimum(mean.high, most)))
    return found
