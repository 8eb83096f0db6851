"""Run lm-eval tasks on a model in memory and keep one row per item and metric."""

import json
import logging
import math
from typing import TYPE_CHECKING, Any

import polars as pl

from unicomp_lib import tables
from unicomp_lib.evaluate import task as known
from unicomp_lib.evaluate.tasks import items, refusal  # noqa: F401, loaded by lm-eval: part of a step's identity

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

VERSION = "1"


def run(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", tasks: dict[str, int], *, batch_size: int = 16
) -> pl.DataFrame:
    """Evaluate ``tasks``, a map from task name to number of items (0: all), and return item rows.

    Each item gives a row per lm-eval metric; a ranked item also gives ``bits_per_byte``, the
    negative log2-likelihood of the reference answer by its UTF-8 bytes, and ``margin``, how many
    bits per byte the reference lies below the best wrong option. These still show damage
    where a small model's accuracy is at chance. Generated tasks marked ``chat`` use the model's
    chat template. Columns: ``tables.ITEMS``; ``primary`` marks the metric that counts.
    """
    import lm_eval  # heavy
    from lm_eval.tasks import TaskManager

    from unicomp_lib.evaluate.packed import PackedLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns of every custom data set
    about = {task: known.described(task) for task in tasks}
    lm = PackedLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, max_length=2048)
    # Reading lm-eval's own 14,000 tasks takes 13 s: only where one of them is wanted.
    manager = TaskManager(include_path=str(known.OWN), include_defaults=not all(map(known.is_own, tasks)))
    rows: list[dict[str, Any]] = []
    for task, limit in tasks.items():
        found = lm_eval.simple_evaluate(
            model=lm, tasks=[task], limit=limit or None, task_manager=manager, bootstrap_iters=0,
            log_samples=True, num_fewshot=about[task].get("shots"),
            apply_chat_template=bool(about[task].get("chat")) and tokenizer.chat_template is not None,
        )  # fmt: skip
        assert found is not None  # None only on ranks above 0 of a distributed run
        # A group such as MMLU gives the samples of each of its tasks.
        for samples in found["samples"].values():
            rows += [row for sample in samples for row in _item_rows(task, about[task], sample)]
    return pl.DataFrame(rows, schema=tables.ITEMS)


def _item_rows(task: str, about: dict[str, Any], sample: dict[str, Any]) -> list[dict[str, Any]]:
    ranked = about["format"] in ("cloze", "letter")
    metrics = {name: float(sample[name]) for name in sample["metrics"]} | (_continuous(sample) if ranked else {})
    shared = {
        "task": task,
        **{key: about[key] for key in ("dimension", "capability", "format")},
        "chance": float(about["chance"]),
        **{key: sample[key] for key in ("doc_id", "doc_hash", "prompt_hash")},
        "cluster": str(sample["doc"].get("cluster") or sample["doc_hash"]),
        "output": json.dumps(sample["filtered_resps"] if ranked else sample["resps"]),
        "judge": about.get("judge", ""),
    }
    return [
        {**shared, "metric": metric, "value": value, "primary": metric == about["metric"]}
        for metric, value in metrics.items()
    ]


def _continuous(sample: dict[str, Any]) -> dict[str, float]:
    options = [option for _, option in sample["arguments"]]
    bits = [
        -float(answer[0]) / math.log(2) / len(option.encode())
        for answer, option in zip(sample["filtered_resps"], options, strict=True)
    ]
    gold = int(sample["target"])
    return {
        "bits_per_byte": bits[gold],
        "margin": min(b for place, b in enumerate(bits) if place != gold) - bits[gold],
    }
