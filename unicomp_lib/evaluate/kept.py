"""Rows of the tasks that are done, kept in the run's folder until all of its tasks are."""

import hashlib
import importlib.metadata
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl
import torch

from unicomp_lib import tables
from unicomp_lib.evaluate import task as definitions
from unicomp_lib.evaluate.tasks import folder as users

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

VERSION = "1"

FOLDER = "tasks"
PACKAGES = ("torch", "transformers", "lm-eval")
TOKENS = 64


class Kept(NamedTuple):
    """Where rows are kept, and the identity of what all tasks share: model, settings and packages."""

    folder: Path
    shared: str

    def path(self, task: str, limit: int) -> Path:
        """The file of a task's rows; another model, number of items or version of the task has another name."""
        return self.folder / FOLDER / f"{task}-{_hash([self.shared, definitions.identity(task), limit])[:12]}.parquet"

    def read(self, task: str, limit: int) -> pl.DataFrame | None:
        """The rows of a task that was done before the run ended; None where there are none that can be read."""
        try:
            return tables.read(self.path(task, limit))
        except ValueError:
            return None

    def write(self, rows: pl.DataFrame, task: str, limit: int) -> None:
        """Keep a task's rows."""
        tables.write(rows, self.path(task, limit))

    def remove(self) -> None:
        """Remove what was kept, once all tasks are done."""
        shutil.rmtree(self.folder / FOLDER, ignore_errors=True)


def kept(
    folder: Path,
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    versions: list[str],
    *,
    batch_size: int,
    data_dir: str,
) -> Kept:
    """Rows kept in ``folder`` of this model, tokenizer, batch size and folder of items."""
    packages = [importlib.metadata.version(name) for name in PACKAGES]
    asked = tokenizer.encode("A text of some words, with 12 numbers.")
    facts = [versions, packages, batch_size, users.identity(data_dir), tokenizer.chat_template, asked]
    return Kept(folder, _hash([*facts, str(model.device), _answer(model)]))


@torch.no_grad()
def _answer(model: "PreTrainedModel") -> str:
    """Hash of a model's logits on a fixed text: they change with any weight that counts."""
    tokens = torch.arange(1, TOKENS + 1) % model.config.get_text_config().vocab_size
    logits = model(input_ids=tokens[None].to(model.device)).logits
    return hashlib.sha256(logits.float().cpu().numpy().tobytes()).hexdigest()


def _hash(facts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
