"""The study's evaluation compared with lm-eval's plain HFLM, and a prompt read once with one read for each question.

Same model, same items, one process, the two sides in turn, on the machine's accelerator or one thread of its CPU.
HFLM runs at the batch size that is fastest for it on the first items. Of the second comparison, both sides are the
study's: one plans the formats of a set together, the other evaluates each alone and asks for its likelihoods and its
answers one after the other.
"""

import argparse
import copy
import logging
import time
from typing import Any

import polars as pl
import torch
from datasets import Dataset
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from unicomp_lib import files, hardware, paths
from unicomp_lib.checkpoints import models
from unicomp_lib.evaluate import attention, harness, task
from unicomp_lib.evaluate.packed_lm import PackedLM
from unicomp_lib.evaluate.tasks import items

SHOTS = 5
LISTED = "{{question}}\n{% for c in choices %}{{'ABCD'[loop.index0]}}. {{c}}\n{% endfor %}Answer:"
# Name: (task, worked examples in the prompt).
CASES = {
    "texts ranked, 5-shot": ("mmlu_cloze", SHOTS),
    "letters ranked, 5-shot": ("mmlu_letter", SHOTS),
    "texts ranked, 0-shot": ("mmlu_cloze", 0),
    "letters ranked, 0-shot": ("mmlu_letter", 0),
    "statements ranked behind one prompt": ("facts_cloze", 0),
    "generated": ("asdiv_generate", 0),
}
# Formats that ask the same prompts.
TOGETHER = {
    "multiple choice: letters, answers": ("mmlu_letter", "mmlu_generate"),
    "commonsense: letters, answers": ("siqa_letter", "siqa_generate"),
    "open questions: options, answers": ("nq_open_cloze", "nq_open_generate"),
}


def main() -> None:
    """Parse the command line, run every case on both sides and print and save the table."""
    parser = argparse.ArgumentParser(prog="nox -s bench -- evaluation", description=__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct", help="as in a profile (%(default)s)")
    parser.add_argument("--precision", default="auto", choices=("auto", "bfloat16", "float32"))
    parser.add_argument("--items", type=int, default=200, help="ranked items per case (%(default)s)")
    parser.add_argument("--generated", type=int, default=20, help="generated answers (%(default)s)")
    parser.add_argument("--once", type=int, default=32, help="items whose formats are asked together (%(default)s)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16], help="batch sizes tried for HFLM")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    precision = hardware.native_precision() if options.precision == "auto" else options.precision
    plain, tokenizer = models.load(options.model, precision=precision)
    ours = copy.deepcopy(plain)
    attention.use(ours)
    rows = []
    for name, (source, shots) in CASES.items():
        count = options.generated if "generate" in source else options.items
        peer = _best(plain, tokenizer, options.batches, source, shots)
        packed = PackedLM(pretrained=ours, tokenizer=tokenizer, batch_size=16, max_length=2048)
        rows.append({"case": name, **_compared(packed, peer, source, shots, count)})
        print(pl.DataFrame(rows[-1:]), flush=True)
    _say(rows, "evaluation.csv", f"{precision}; speed-up is study / HFLM in items per second, above 1 in its favour")
    rows = [{"case": name, **_once(ours, tokenizer, tasks, options.once)} for name, tasks in TOGETHER.items()]
    note = f"{precision}; tokens read and seconds when each question reads its prompt / when it is read once"
    _say(rows, "evaluation-once.csv", note)


def _say(rows: list[dict[str, Any]], name: str, note: str) -> None:
    table = pl.DataFrame(rows)
    target = paths.project() / "results" / "bench" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    files.write_whole(target, table.write_csv)
    with pl.Config(tbl_cols=-1, tbl_rows=-1, tbl_width_chars=180, float_precision=3, fmt_str_lengths=50):
        print(table)
    print(f"{note}; written to {target}")


def _once(model: Any, tokenizer: Any, tasks: tuple[str, ...], count: int) -> dict[str, Any]:
    """Tokens read and seconds (a CPU's own) of formats when each question reads its prompt and when it is read once.

    ``same_score``: the share of items and formats of which both say right, or both wrong.
    """
    each, tokens_each, seconds_each = _cost(_Each, model, tokenizer, tasks, count)
    once, tokens_once, seconds_once = _cost(PackedLM, model, tokenizer, tasks, count)
    return {
        "items": count, "tokens_each": tokens_each, "tokens_once": tokens_once, "tokens": tokens_each / tokens_once,
        "seconds_each": seconds_each, "seconds_once": seconds_once, "seconds": seconds_each / seconds_once,
        "same_score": (each.filter("primary")["value"] == once.filter("primary")["value"]).mean(),
    }  # fmt: skip


class _Each(PackedLM):
    """Reads nothing ahead: every call of lm-eval reads the prompts that it asks about."""

    read = None


def _cost(
    kind: type[PackedLM], model: Any, tokenizer: Any, tasks: tuple[str, ...], count: int
) -> tuple[Any, int, float]:
    """Item rows, tokens given to the model before the first token of an answer, padding included, and seconds."""
    read = []
    clock = time.process_time if model.device.type == "cpu" else time.perf_counter
    hook = model.register_forward_pre_hook(
        lambda _, args, given: read.append(given["input_ids"].numel() if given["input_ids"].shape[1] > 1 else 0),
        with_kwargs=True,
    )
    lm = kind(pretrained=model, tokenizer=tokenizer, batch_size=16)
    start = clock()
    rows = harness.rows(lm, dict.fromkeys(tasks, count))
    seconds = clock() - start
    hook.remove()
    return rows, sum(read), seconds


def _best(model: Any, tokenizer: Any, sizes: list[int], source: str, shots: int) -> HFLM:
    """HFLM at the batch size that answers the first items fastest."""
    peers = {size: HFLM(pretrained=model, tokenizer=tokenizer, batch_size=size, max_length=2048) for size in sizes}
    seconds = {size: _run(lm, source, shots, 8)[0] for size, lm in peers.items()}
    return peers[min(seconds, key=seconds.__getitem__)]


def _compared(packed: PackedLM, peer: HFLM, source: str, shots: int, count: int) -> dict[str, float]:
    seconds, answers, metric = _run(packed, source, shots, count)
    peer_seconds, peer_answers, peer_metric = _run(peer, source, shots, count)
    count = len(answers)  # a set may have fewer items
    if isinstance(answers[0], str):
        same = [ours == theirs for ours, theirs in zip(answers, peer_answers, strict=True)]
    else:
        same = [
            ours.index(max(ours)) == theirs.index(max(theirs))
            for ours, theirs in zip(answers, peer_answers, strict=True)
        ]
    return {
        "items": count, "study": count / seconds, "hflm": count / peer_seconds, "speed_up": peer_seconds / seconds,
        "hflm_batch": peer.batch_size, "same_answer": sum(same) / count,
        "accuracy_study": metric, "accuracy_hflm": peer_metric,
    }  # fmt: skip


def _run(lm: HFLM, source: str, shots: int, count: int) -> tuple[float, list[Any], float]:
    """Seconds, each item's answer (its text, or the options' log-likelihoods), and the mean of the main metric."""
    drawn = items.items(task._definition(source, task._Plain)["dataset_kwargs"]["source"])
    parts = {"test": Dataset.from_list(drawn[SHOTS : SHOTS + count]), "examples": Dataset.from_list(drawn[:SHOTS])}
    config = task.config(source)
    if source.endswith("_letter"):
        config["doc_to_text"] = LISTED  # without the examples of the study's own prompt
    config |= {
        "custom_dataset": lambda **_: parts, "num_fewshot": shots,
        "fewshot_split": "examples", "fewshot_config": {"sampler": "first_n"},
    }  # fmt: skip
    start = time.perf_counter()
    loaded = TaskManager(include_defaults=False).load([config])
    results = evaluate(lm=lm, task_dict=loaded, bootstrap_iters=0, log_samples=True)
    seconds = time.perf_counter() - start
    samples = sorted(results["samples"][source], key=lambda sample: sample["doc_id"])
    generated = task.described(source)["format"] == "generate"
    answers = [
        sample["resps"][0][0] if generated else [float(value) for value, _ in sample["filtered_resps"]]
        for sample in samples
    ]
    metric = "exact_match" if generated else "acc"
    return seconds, answers, sum(sample[metric] for sample in samples) / len(samples)


if __name__ == "__main__":
    main()
