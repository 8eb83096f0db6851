"""Logs of inspect_ai: ``.eval``, an archive with a file for each sample, or ``.json``, one EvalLog."""

import json
import math
import zipfile
from pathlib import Path
from typing import Any

from unicomp_lib.compare.side import MALFORMED, Side, cluster_of, digest, short, table

KIND = "log of inspect_ai"
HEADERS = ("header.json", "start.json", "_journal/start.json")  # of a finished log, of old ones, of one cut short
ZSTANDARD = 93  # the archive's compression in new logs, which Python's zipfile has from 3.14 on
# What inspect_ai's ``value_to_float`` makes of a score that is no number.
WORDS = {
    "C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0,
}  # fmt: skip


def is_log(given: Path) -> bool:
    """Whether a file or folder looks like one."""
    if given.is_file():
        return given.suffix == ".eval" or (given.suffix == ".json" and _is_eval_log(given))
    return any(given.glob("*.eval")) or any(_is_eval_log(file) for file in given.glob("*.json"))


def read(given: Path, name: str, cluster: str = "") -> Side:
    """The rows of a log, or of all logs in a folder; ``cluster`` is a field of the samples' metadata.

    The value of an item is the mean over its epochs. Raises a ``ValueError`` for two logs of one task, an epoch that
    occurs twice, a log without samples, and a score that is neither a number nor one of inspect_ai's letters.
    """
    files = [given] if given.is_file() else sorted(_logs(given))
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    settings: dict[str, dict[str, str]] = {}
    for file in files:
        header, samples = _archive(file) if file.suffix == ".eval" else _whole(file)
        task = _task_name(header, file)
        if task in settings:
            raise ValueError(f"{given} holds two logs of task {task}; give a folder with one, or a file")
        settings[task] = _settings(header)
        if (status := header.get("status", "success")) != "success":
            notes.append(f"{task} of {name} ended with status {status!r}: only the items that were scored count")
        found, unscored = _rows(samples, task, cluster, file)
        if not found:
            raise ValueError(f"{file} has no scored samples; run the evaluation again with its samples logged")
        if unscored:
            notes.append(f"{task} of {name}: {unscored} of {len(samples)} samples have no score and are left out")
        rows += found
    return Side(name, KIND, table(rows), settings, {}, tuple(notes))


def _logs(folder: Path) -> list[Path]:
    return [*folder.glob("*.eval"), *(file for file in folder.glob("*.json") if _is_eval_log(file))]


def _is_eval_log(file: Path) -> bool:
    try:
        with file.open(encoding="utf-8-sig") as opened:
            beginning = opened.read(4000)
    except (OSError, UnicodeDecodeError):
        return False
    return beginning.lstrip().startswith("{") and '"eval"' in beginning and '"version"' in beginning


def _whole(file: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        content: dict[str, Any] = json.loads(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file} is no JSON ({error}); is the log whole?") from error
    return content, content.get("samples") or []


def _archive(file: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        with zipfile.ZipFile(file) as archive:
            names = list(dict.fromkeys(archive.namelist()))  # of a sample written twice, the last counts
            header = next((name for name in HEADERS if name in names), None)
            if header is None:
                raise ValueError(f"{file} is no log of inspect_ai: it has no {HEADERS[0]}; give another file")
            samples = [name for name in names if name.startswith("samples/") and name.endswith(".json")]
            return _content(archive, header), [_content(archive, name) for name in samples]
    except (zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{file} is no readable archive ({error}); is the log whole?") from error


def _content(archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    info = archive.getinfo(name)
    raw = _unpacked(archive, info) if info.compress_type == ZSTANDARD else archive.read(name)
    try:
        content: dict[str, Any] = json.loads(raw)
    except ValueError as error:
        raise ValueError(f"{name} of {archive.filename} is no JSON ({error}); is the log whole?") from error
    return content


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """The bytes of a file that is packed with Zstandard: behind its local header, whose last fields give its length."""
    import zstandard

    assert archive.fp is not None
    archive.fp.seek(info.header_offset + 26)
    lengths = archive.fp.read(4)
    skip = int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
    archive.fp.seek(info.header_offset + 30 + skip)
    packed = archive.fp.read(info.compress_size)
    return zstandard.ZstdDecompressor().decompressobj().decompress(packed)


def _task_name(header: dict[str, Any], file: Path) -> str:
    try:
        return str(header["eval"]["task"]).rpartition("/")[2]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{file} is no log of inspect_ai: it names no task; give another file") from error


def _settings(header: dict[str, Any]) -> dict[str, str]:
    given = header["eval"]
    wanted = {"version": given.get("task_version"), "epochs": (given.get("config") or {}).get("epochs")}
    return {name: str(value) for name, value in wanted.items() if value is not None}


def _rows(samples: list[dict[str, Any]], task: str, cluster: str, file: Path) -> tuple[list[dict[str, Any]], int]:
    """A row for each item and score, and how many samples have no score."""
    epochs: dict[tuple[str, str], dict[Any, float]] = {}
    shared: dict[str, dict[str, Any]] = {}
    unscored = 0
    for sample in samples:
        try:
            scores = {} if sample.get("error") else _scores(sample, file)
            about = _shared(sample, task, cluster, file) if scores else {}
        except MALFORMED as error:
            raise ValueError(
                f"a sample of {file} is not of the form that inspect_ai writes ({type(error).__name__}: {error}); give "
                "the log as it was written"
            ) from error
        if not scores:
            unscored += 1
            continue
        item = about["doc_id"]
        shared.setdefault(item, about)
        for metric, value in scores.items():
            seen = epochs.setdefault((item, metric), {})
            if sample.get("epoch", 1) in seen:
                raise ValueError(f"{file} has sample {item} twice in epoch {sample.get('epoch', 1)}; give a whole log")
            seen[sample.get("epoch", 1)] = value
    return [
        {**shared[item], "metric": metric, "value": sum(values.values()) / len(values)}
        for (item, metric), values in epochs.items()
    ], unscored


def _scores(sample: dict[str, Any], file: Path) -> dict[str, float]:
    """Each score by its scorer, or by scorer and key where a score has several values."""
    found = sample.get("scores") or ({"score": sample["score"]} if sample.get("score") else {})
    values: dict[str, float] = {}
    for scorer, score in found.items():
        value = score.get("value")
        parts = {f"{scorer}/{key}": part for key, part in value.items()} if isinstance(value, dict) else {scorer: value}
        values |= {name: _number(part, f"sample {sample.get('id')} of {file}, {name}") for name, part in parts.items()}
    return values


def _number(value: Any, where: str) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool | int | float):
        return float(value)
    if isinstance(value, str):
        word = value.strip()
        if (known := WORDS.get(word, WORDS.get(word.lower()))) is not None:
            return known
        try:
            return float(word)
        except ValueError:
            pass
    raise ValueError(f"{where}: the score {value!r} is neither a number nor one of {', '.join(WORDS)}; score it anew")


def _shared(sample: dict[str, Any], task: str, cluster: str, file: Path) -> dict[str, Any]:
    metadata = sample.get("metadata") or {}
    if cluster and cluster not in metadata:
        raise ValueError(
            f"sample {sample['id']} of {file} has no {cluster!r} in its metadata, which has "
            f"{', '.join(metadata) or 'nothing'}"
        )
    asked = {"input": _said(sample.get("input")), "choices": sample.get("choices")}
    group = metadata.get(cluster or "cluster")
    output = ((sample.get("output") or {}).get("choices") or [{}])[0].get("message") or {}
    return {
        "task": task,
        "doc_id": str(sample["id"]),
        "doc_hash": digest(asked),
        "target_hash": digest(sample.get("target")),
        "prompt_hash": digest(_prompt(sample.get("messages") or [])),
        "cluster": cluster_of(task, group) if group is not None else digest(asked),
        "question": short(_text(sample.get("input"))),
        "target": short(sample.get("target", "")),
        "answer": short(_text(output.get("content", ""))),
    }


def _said(messages: Any) -> Any:
    """Messages by role and content: their ids are drawn at random."""
    if not isinstance(messages, list):
        return messages
    return [{"role": each.get("role"), "content": each.get("content")} for each in messages if isinstance(each, dict)]


def _prompt(messages: list[Any]) -> Any:
    """The messages before the first answer."""
    before = []
    for message in messages:
        if isinstance(message, dict) and message.get("role") == "assistant":
            break
        before.append(message)
    return _said(before)


def _text(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(
            _text(part.get("text") or part.get("content") or "") for part in content if isinstance(part, dict)
        )
    return str(content)
