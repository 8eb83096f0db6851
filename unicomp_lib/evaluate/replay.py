"""Score stored answers again, without running the model."""

import json
from typing import Any

import polars as pl
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.utils import handle_non_serializable, hash_string

from unicomp_lib.evaluate import greedy, harness

VERSION = "1"


def rescore(items: pl.DataFrame, *, data_dir: str = "") -> pl.DataFrame:
    """Item rows of one cell, computed again from the ``output`` of stored ones, as ``harness.rows`` gives them.

    Every metric is computed from the stored answers and the benchmark's items, so that a changed
    extraction or a new metric needs no model run. An item that was not stored is a ``ValueError``.
    """
    counts = items.group_by("task", maintain_order=True).agg(pl.col("doc_id").max() + 1).iter_rows()
    parts = [harness.rows(_Replay(items.filter(task=task)), {task: count}, data_dir=data_dir) for task, count in counts]
    scored = pl.concat(parts)
    # The stored hash is of the prompt in the model's chat template.
    prompts = items.select("task", "doc_id", "doc_hash", "prompt_hash").unique()
    joined = scored.drop("prompt_hash").join(prompts, on=["task", "doc_id", "doc_hash"], maintain_order="left")
    return joined.select(scored.columns)


class _Replay(LM):
    """An lm-eval model that gives the stored answers of one task."""

    def __init__(self, items: pl.DataFrame) -> None:
        super().__init__()
        stored = items.select("doc_hash", "output").unique(maintain_order=True)
        self.stored = {doc: json.loads(output) for doc, output in stored.iter_rows()}
        self.endings: dict[str, greedy.Ending] = {}

    def _output(self, request: Instance) -> dict[str, Any]:
        doc = hash_string(json.dumps(request.doc, indent=2, default=handle_non_serializable, ensure_ascii=False))
        if doc not in self.stored:
            raise ValueError(f"no stored answer to item {doc[:12]}; evaluate the model on the same items first")
        output: dict[str, Any] = self.stored[doc]
        return output

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        return [
            (self._output(request)["reference"], False)
            if request.idx == harness.REFERENCE
            else tuple(self._output(request)["options"][request.idx])
            for request in requests
        ]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        answers = []
        for request in requests:
            output = self._output(request)
            (answer,) = output["answers"]
            if "tokens" in output:
                ending = greedy.Ending(answer, int(output["tokens"]), bool(output["truncated"]))
                self.endings[request.args[0]] = ending
            answers.append(answer)
        return answers

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        raise NotImplementedError("no task of the study needs it")
