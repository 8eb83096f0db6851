"""Run lm-eval tasks on a model in memory and return one row per item and metric."""

import json
import logging
import math
from typing import TYPE_CHECKING, Any

import polars as pl

from unicomp_lib import tables
from unicomp_lib.evaluate import task as definitions
from unicomp_lib.evaluate.tasks import extract, ifbench, items, refusal  # noqa: F401, part of a step's identity

if TYPE_CHECKING:
    from lm_eval.api.model import LM
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

VERSION = "2"

FEWSHOT_SEED = 1234  # lm-eval's own default
REFERENCE = -1  # index of the request that scores the reference of a generated item


def run(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    tasks: dict[str, int],
    *,
    batch_size: int = 16,
    data_dir: str = "",
) -> pl.DataFrame:
    """Evaluate ``tasks``, a map from task name to number of items (0: all), and return item rows.

    ``data_dir`` is a folder of benchmark files that replace those of the assets. See ``rows``.
    """
    from unicomp_lib.evaluate import attention
    from unicomp_lib.evaluate.packed_lm import PackedLM

    attention.use(model)
    lm = PackedLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
    return rows(lm, tasks, data_dir=data_dir, chat=tokenizer.chat_template is not None)


def rows(lm: "LM", tasks: dict[str, int], *, data_dir: str = "", chat: bool = False) -> pl.DataFrame:
    """Item rows of an lm-eval model: columns ``tables.ITEMS``, ``primary`` marking the metric that counts.

    Each item gives a row per lm-eval metric. A ranked item also gives ``bits_per_byte``, the
    negative log2-likelihood of the reference answer per UTF-8 byte, and ``margin``, how many bits
    per byte the reference lies below the best wrong option; a generated item gives ``bits_per_byte``
    of its reference where it has one, ``tokens`` and ``truncated``. These still show damage where a
    small model's accuracy is at chance. Tasks marked ``chat`` use the model's chat template. A
    ``ValueError`` names the task and item of a log-likelihood or logit that is not finite.
    """
    from lm_eval.evaluator import evaluate  # heavy
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns about every custom data set
    # Indexing lm-eval's own 14,000 tasks takes 13 s, so it is done only where one of them is needed.
    manager = TaskManager(include_defaults=not all(map(definitions.is_own, tasks)))
    records: list[dict[str, Any]] = []
    for task, limit in tasks.items():
        about = definitions.described(task)
        loaded = manager.load([definitions.config(task, data_dir)])
        for subtask in loaded["tasks"].values():
            subtask.set_config(key="num_fewshot", value=about.get("shots", subtask.get_config("num_fewshot") or 0))
            subtask.set_fewshot_seed(seed=FEWSHOT_SEED)
        # Not simple_evaluate, which lists the machine's packages at every call.
        result = evaluate(
            lm=lm, task_dict=loaded, limit=limit or None, bootstrap_iters=0, log_samples=True,
            apply_chat_template=bool(about.get("chat")) and chat,
            fewshot_as_multiturn=bool(about.get("chat")) and chat,  # examples as turns of the conversation
        )  # fmt: skip
        assert result is not None  # None only on ranks above 0 of a distributed run
        # A group such as MMLU gives the samples of each of its tasks; of several filters, the first counts.
        for samples in result["samples"].values():
            filtered = [sample for sample in samples if sample["filter"] == samples[0]["filter"]]
            if about["format"] == "generate":
                scores = _generated(lm, task, about, filtered)
            else:
                for sample in filtered:
                    _check(task, sample, [float(answer[0]) for answer in sample["filtered_resps"]])
                scores = list(map(_ranked, filtered))
            for sample, score in zip(filtered, scores, strict=True):
                records += _item_rows(task, about, sample, score)
    return pl.DataFrame(records, schema=tables.ITEMS)


def _check(task: str, sample: dict[str, Any], values: list[float]) -> None:
    """Raise a ``ValueError`` unless an item's log-likelihoods are finite: a broken model has no accuracy."""
    if not all(map(math.isfinite, values)):
        raise ValueError(
            f"the model gives NaN or infinite values on item {sample['doc_id']} of {task}, so it cannot be scored; "
            "check that its checkpoint is whole"
        )


def _item_rows(
    task: str, about: dict[str, Any], sample: dict[str, Any], score: tuple[dict[str, float], str]
) -> list[dict[str, Any]]:
    extra, output = score
    metrics = {name: float(sample[name]) for name in sample["metrics"]} | extra
    shared = {
        "task": task,
        **{key: about[key] for key in ("dimension", "capability", "format")},
        "chance": float(about["chance"]),
        **{key: sample[key] for key in ("doc_id", "doc_hash", "prompt_hash")},
        "cluster": str(sample["doc"].get("cluster") or sample["doc_hash"]),
        "output": output,
        "judge": about.get("judge", ""),
    }
    return [
        {**shared, "metric": metric, "value": value, "primary": metric == about["metric"]}
        for metric, value in metrics.items()
    ]


def _ranked(sample: dict[str, Any]) -> tuple[dict[str, float], str]:
    """Continuous scores of a ranked item, and the model's output: (log-likelihood, greedy) of each option."""
    options = [option for _, option in sample["arguments"]]
    bits = [_bits(float(answer[0]), option) for answer, option in zip(sample["filtered_resps"], options, strict=True)]
    gold = int(sample["target"])
    margin = min(b for index, b in enumerate(bits) if index != gold) - bits[gold]
    return {"bits_per_byte": bits[gold], "margin": margin}, json.dumps({"options": sample["filtered_resps"]})


def _generated(
    lm: "LM", task: str, about: dict[str, Any], samples: list[dict[str, Any]]
) -> list[tuple[dict[str, float], str]]:
    """Length, truncation and continuous score of generated items, and the model's output."""
    from lm_eval.api.instance import Instance

    references = [_reference(about, sample) for sample in samples]
    requests = [
        Instance("loglikelihood", sample["doc"], (sample["arguments"][0][0], text), REFERENCE)
        for sample, text in zip(samples, references, strict=True)
        if text
    ]
    scores = iter(lm.loglikelihood(requests, disable_tqdm=True) if requests else [])
    scored = []
    for sample, text in zip(samples, references, strict=True):
        ending = getattr(lm, "endings", {}).get(sample["arguments"][0][0])
        output = {"answers": sample["resps"][0]}
        metrics = {}
        if ending is not None:
            _check(task, sample, [] if ending.finite else [math.nan])
            metrics = {"tokens": float(ending.tokens), "truncated": float(ending.truncated)}
        if text:
            output["reference"] = next(scores)[0]
            _check(task, sample, [float(output["reference"])])
            metrics["bits_per_byte"] = _bits(float(output["reference"]), text)
        scored.append((metrics, json.dumps(output | metrics)))
    return scored


def _reference(about: dict[str, Any], sample: dict[str, Any]) -> str:
    """The continuation whose log-likelihood is scored; empty where the task has no reference text."""
    target = sample["target"]
    has_reference = about.get("reference", True) and isinstance(target, str) and target.strip()
    return f" {target.strip()}" if has_reference else ""


def _bits(loglikelihood: float, text: str) -> float:
    return -loglikelihood / math.log(2) / len(text.encode())
