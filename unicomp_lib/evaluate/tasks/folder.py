"""Benchmark items from a user's folder: for machines without a package registry, and for whole data sets."""

import csv
import json
import re
from pathlib import Path
from typing import Any

from unicomp_lib import paths

VERSION = "1"

LANGUAGES = ("bn", "de", "en", "es", "fr", "ja", "ru", "sw", "te", "th", "zh")
FILES = {
    "mmlu": "mmlu/mmlu_test.jsonl",
    "arc_challenge": "arc/arc_challenge_validation.jsonl",
    "arc_easy": "arc/arc_easy_validation.jsonl",
    "gsm8k": "gsm8k/test.jsonl",
    **{f"mgsm_{language}": f"mgsm/mgsm_{language}.tsv" for language in LANGUAGES},
}
ARCHIVE = "trustllm_dataset.zip"
TRUSTLLM = (ARCHIVE, "dataset/*/*.json")


def root(data_dir: str) -> Path | None:
    """The folder itself, where one is given; a relative path is relative to the checkout."""
    if not data_dir:
        return None
    folder = Path(data_dir).expanduser()
    folder = folder if folder.is_absolute() else paths.project() / folder
    if not folder.is_dir():
        raise ValueError(f"data_dir {data_dir!r} is not a folder; give one that contains files such as {FILES['mmlu']}")
    return folder


def file(source: str, data_dir: str) -> Path | None:
    """The folder's file for a source; None where there is no folder or it has no such file."""
    folder = root(data_dir)
    if folder is None or source not in FILES:
        return None
    return folder / FILES[source] if (folder / FILES[source]).is_file() else None


def identity(data_dir: str) -> list[tuple[str, int, int]]:
    """Size and modification time of every file that tasks may read from the folder."""
    folder = root(data_dir)
    files = [path for source in FILES if (path := file(source, data_dir))]
    files += sorted(path for pattern in TRUSTLLM for path in folder.glob(pattern)) if folder else []
    return [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]


def read(path: Path) -> list[dict[str, Any]]:
    """Items of one file, in its order: questions with ``choices`` and ``gold``, or with a number as ``answer``."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".tsv":
        rows = csv.reader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
        return [{"question": question, "answer": answer.replace(",", ""), "solution": ""} for question, answer in rows]
    records = [json.loads(line) for line in text.split("\n") if line.strip()]
    return [_closed(row) if "choices" in row else worked(row["question"], row["answer"]) for row in records]


def worked(question: str, solution: str) -> dict[str, Any]:
    """A GSM8K item; its calculator annotations, ``<<3*4=12>>``, are removed from the solution."""
    plain = re.sub(r"<<.*?>>", "", solution).strip()
    return {"question": question.strip(), "answer": plain.split("####")[-1].strip().replace(",", ""), "solution": plain}


def _closed(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "passage": "",
        "question": row["question"].strip(),
        "choices": [str(choice).strip() for choice in row["choices"]],
        # A few items of ARC number their options.
        "gold": int(row["answer"]) - 1 if row["answer"].isdigit() else "ABCDE".index(row["answer"]),
    }
