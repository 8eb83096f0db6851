"""Logs of lm-eval's ``--log_samples``: a file ``samples_<task>_<date>.jsonl`` for each task, a line an item.

lm-eval writes them in ``loggers/evaluation_tracker.py``, with ``results_<date>.json`` beside them.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from unicomp_lib.compare import lmeval_metrics
from unicomp_lib.compare.side import MALFORMED, Side, cluster_of, likeliest, short, table

KIND = "log of lm-eval"
NAME = re.compile(r"samples_(?P<task>.+)_(?P<date>\d{4}-\d{2}-\d{2}T[\d.-]+)\.jsonl")
# What a line holds beside its metrics; old logs do not list these.
FIELDS = {
    "doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics", "doc_hash", "prompt_hash",
    "target_hash",
}  # fmt: skip
NO_FILTER = "none"


def read(given: Path, name: str, cluster: str = "") -> Side:
    """The rows of a file, or of all tasks of one run in a folder; ``cluster`` is a field of items that groups them.

    A task without a number for each item is left out and said. Raises a ``ValueError`` for a folder of several models
    or runs, a line that is no JSON, an item that occurs twice, and where no task is left.
    """
    files = _files(given)
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for task, file in files.items():
        found, without = _task(file, task, cluster)
        if without:
            notes.append(f"{task} of {name}: {', '.join(without)} left out, which is no number for each item")
        elif not found:
            notes.append(f"{task} of {name}: {file.name} holds no scored item")
        notes += lmeval_metrics.notes(task, found)
        rows += found
    if not rows:
        raise ValueError(f"{given} has nothing to compare: {'; '.join(notes)}; give a log with a number for each item")
    settings, higher = _results(files, rows)
    return Side(name, KIND, table(rows), settings, higher, tuple(notes))


def is_log(given: Path) -> bool:
    """Whether a file or folder looks like one."""
    if given.is_file():
        return given.suffix == ".jsonl"
    return any(given.rglob("samples_*.jsonl")) or any(given.rglob("results_*.json"))


def _files(given: Path) -> dict[str, Path]:
    """The file of each task. No run is chosen for the user: which one was meant is not known."""
    if given.is_file():
        return {_named(given)[0]: given}
    found = sorted(given.rglob("samples_*.jsonl"))
    if not found:
        raise ValueError(f"{given} holds results of lm-eval without samples; run lm-eval with --log_samples")
    if len(models := sorted({str(file.parent) for file in found})) > 1:
        raise ValueError(f"{given} holds logs of several models; give one of {', '.join(models)}")
    files: dict[str, Path] = {}
    for file in found:
        task, _ = _named(file)
        if task in files:
            raise ValueError(
                f"{given} holds two logs of task {task}, {files[task].name} and {file.name}; give a folder with one "
                "run, or a file"
            )
        files[task] = file
    return files


def _named(file: Path) -> tuple[str, str]:
    match = NAME.fullmatch(file.name)
    return (match["task"], match["date"]) if match else (file.stem.removeprefix("samples_"), "")


def _task(file: Path, task: str, cluster: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of one file, and the metrics that are no number for each item."""
    rows: list[dict[str, Any]] = []
    without: dict[str, None] = {}
    for number, sample in _samples(file):
        if "doc_id" not in sample:
            raise ValueError(f"line {number} of {file} has no doc_id, so it is no sample of lm-eval; give another file")
        try:
            found = _scored(sample, task, cluster, f"line {number} of {file}", without)
        except MALFORMED as error:
            raise ValueError(
                f"line {number} of {file} is not of the form that lm-eval writes ({type(error).__name__}: {error}); "
                "give the log as it was written"
            ) from error
        rows += found
    lmeval_metrics.check(rows, str(file))
    return [row for row in rows if row["logged"] not in without], [*without]


def _scored(
    sample: dict[str, Any], task: str, cluster: str, where: str, without: dict[str, None]
) -> list[dict[str, Any]]:
    """Rows of one sample, one a metric; metrics whose value is no number are added to ``without``.

    A row also has what its metric is called in the log (``logged``), and whether its value there is a ``pair``.
    """
    shared = _shared(sample, task, cluster, where)
    chosen = _answers(sample)
    names = sample.get("metrics") or [key for key in sample if key not in FIELDS]
    if not isinstance(names, list):
        raise TypeError(f"metrics is {names!r} and no list")
    rows = []
    for metric in names:
        meaning = lmeval_metrics.meaning(metric, sample.get(metric))
        if meaning is None:
            without[metric] = None
            continue
        name, value = meaning
        key = name if sample.get("filter", NO_FILTER) == NO_FILTER else f"{name},{sample['filter']}"
        own = {"logged": metric, "pair": isinstance(sample.get(metric), list), "metric": key, "value": value}
        rows.append({**shared, **own, "answer": short(chosen(metric))})
    return rows


def _samples(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                sample = json.loads(line.decode("utf-8-sig"))  # some editors put a byte order mark first
            except ValueError as error:
                raise ValueError(f"line {number} of {file} is no JSON ({error}); is the log whole?") from error
            if not isinstance(sample, dict):
                raise ValueError(f"line {number} of {file} is no sample of lm-eval; give another file")
            yield number, sample


def _shared(sample: dict[str, Any], task: str, cluster: str, where: str) -> dict[str, Any]:
    doc: dict[str, Any] = sample["doc"] if isinstance(sample.get("doc"), dict) else {}
    if cluster and cluster not in doc:
        raise ValueError(f"{where}: the item has no field {cluster!r}; it has {', '.join(doc) or 'none'}")
    group = doc.get(cluster or "cluster")
    whole = sample.get("doc_hash")  # old logs have none
    prompt, _ = _arguments(sample.get("arguments"))
    return {
        "task": task,
        "doc_id": str(sample["doc_id"]),
        "doc_hash": whole,
        "target_hash": sample.get("target_hash"),
        "prompt_hash": sample.get("prompt_hash"),
        "cluster": cluster_of(task, group) if group is not None else whole or f"{task}/{sample['doc_id']}",
        "question": short(prompt, end=True),
        "target": short(sample.get("target", "")),
    }


def _arguments(arguments: Any) -> tuple[str, list[str]]:
    """The prompt, and the continuation of each request; a list of pairs, or the dictionaries of a written log."""
    if isinstance(arguments, dict):
        arguments = [[*each.values()] if isinstance(each, dict) else each for each in arguments.values()]
    pairs = [pair for pair in arguments or [] if isinstance(pair, list | tuple) and pair]
    return str(pairs[0][0]) if pairs else "", [str(pair[1]) if len(pair) > 1 else "" for pair in pairs]


def _answers(sample: dict[str, Any]) -> Callable[[str], str]:
    """What was answered, by metric: the text that was written, or of ranked continuations the one that was chosen."""
    answers: list[Any] = sample.get("filtered_resps") or sample.get("resps") or []
    _, continuations = _arguments(sample.get("arguments"))
    try:
        likelihoods = [float(answer[0]) for answer in answers if isinstance(answer, list | tuple)]
    except (TypeError, ValueError, IndexError):
        likelihoods = []
    if likelihoods and len(likelihoods) == len(answers) == len(continuations):
        options = [continuation.lstrip() for continuation in continuations]
        return lambda metric: likeliest(likelihoods, options, metric)
    first = answers[0] if answers else ""
    text = str(first[0] if isinstance(first, list | tuple) and first else first)
    return lambda _: text


def _results(
    files: dict[str, Path], rows: list[dict[str, Any]]
) -> tuple[dict[str, dict[str, str]], dict[tuple[str, str], bool]]:
    """Version and shots of each task, and whether more of a metric is better, from the results beside the samples."""
    settings: dict[str, dict[str, str]] = {}
    higher: dict[tuple[str, str], bool] = {}
    metrics = {(row["task"], row["metric"]) for row in rows}
    for task, file in files.items():
        path = file.with_name(f"results_{_named(file)[1]}.json")
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8-sig"))
            facts = {"version": content.get("versions", {}), "number of shots": content.get("n-shot", {})}
            better = content.get("higher_is_better", {}).get(task, {})
            settings[task] = {name: str(values[task]) for name, values in facts.items() if task in values}
        except (OSError, ValueError, AttributeError, TypeError):
            continue  # a log without its results: nothing is known of these
        higher |= {
            (name, metric): bool(better[metric.partition(",")[0]])
            for name, metric in metrics
            if name == task and better.get(metric.partition(",")[0]) is not None
        }
    return settings, higher
