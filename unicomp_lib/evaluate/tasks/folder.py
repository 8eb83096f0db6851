"""Benchmark items from a user's folder: for machines without a package registry, and for whole data sets."""

import re
import zipfile
import zlib
from functools import cache
from pathlib import Path
from typing import Any

from unicomp_lib import files, paths
from unicomp_lib.inputs import rows

VERSION = "2"

LANGUAGES = ("bn", "de", "en", "es", "fr", "ja", "ru", "sw", "te", "th", "zh")
FILES = {
    "mmlu": "mmlu/mmlu_test.jsonl",
    "arc_challenge": "arc/arc_challenge_validation.jsonl",
    "arc_easy": "arc/arc_easy_validation.jsonl",
    "gsm8k": "gsm8k/test.jsonl",
    **{f"mgsm_{language}": f"mgsm/mgsm_{language}.tsv" for language in LANGUAGES},
}
OPEN = ("gsm8k", "mgsm_")  # what the names of sets begin with whose answers are numbers
COLUMNS = ("question", "answer")
LETTERS = "ABCDEFGHIJ"  # of options, as the tasks' prompts list them
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
    """The folder's file for a source; None where there is no folder or it has no such file.

    Any of ``rows.KINDS`` will do, compressed or not: ``mmlu_test.jsonl``, ``mmlu_test.JSON``, ``mmlu_test.parquet.gz``.
    Two of them are a ``ValueError``, since only one could be read.
    """
    folder = root(data_dir)
    if folder is None or source not in FILES or not (folder / FILES[source]).parent.is_dir():
        return None
    named = Path(FILES[source]).stem
    same = [path for path in sorted((folder / FILES[source]).parent.iterdir()) if rows.stem(path) == named]
    same = [path for path in same if rows.kind(path) in rows.KINDS and path.is_file()]
    if len(same) > 1:
        raise ValueError(f"{' and '.join(map(str, same))} are both items of {source}; keep one of them")
    return same[0] if same else None


def identity(data_dir: str) -> list[tuple[str, str]]:
    """Path within the folder and SHA-256 of every file that tasks may read from it."""
    folder = root(data_dir)
    if folder is None:
        return []
    own = {path for source in FILES if (path := file(source, data_dir))}
    readable = [*sorted(own), *sorted(path for pattern in TRUSTLLM for path in folder.glob(pattern))]
    return [(path.relative_to(folder).as_posix(), _sha256(path, _stamp(path))) for path in readable]


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes with a file's content: its time of change too, which copying does not carry over."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


@cache
def _sha256(path: Path, stamp: tuple[int, ...]) -> str:
    """Read once for each ``stamp``: a plan asks for every step, and sets may have hundreds of megabytes."""
    return files.sha256(path)


def read(path: Path, source: str) -> list[dict[str, Any]]:
    """Items of one file, in its order: questions with ``choices`` and ``gold``, or with a number as ``answer``.

    The answer to a closed question is a letter, a number from 1 as text (as a few items of ARC have it), the index
    from 0 as a whole number (as on the hub), or the right option's text. A ``ValueError`` names the file and the
    lines of all rows that are no such items.
    """
    records = list(rows.records(path, COLUMNS if rows.kind(path) == ".tsv" else ()))
    if not records:
        raise ValueError(f"{path} holds no items of {source}; give a file with one item a row")
    lettered = all(_is_letter(row.get("answer")) for _, row in records if isinstance(row, dict))
    items, faults = [], dict[str, str]()
    for place, row in records:
        try:
            items.append(_open(row, place) if source.startswith(OPEN) else _closed(row, place, lettered=lettered))
        except ValueError as error:
            faults[place.partition(" of ")[0]] = str(error)
    if faults:
        first, *others = faults
        more = f"; so must {', '.join(others)}" if others else ""
        raise ValueError(f"{faults[first]}: correct or remove it{more}")
    return items


def fault(item: dict[str, Any]) -> str:
    """What keeps an item with options from being asked and scored, as half a sentence; empty where nothing does."""
    name = next((name for name in ("choices", "options") if name in item), "")
    if not name:
        return ""
    options = item[name]
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        return f"gives {str(options)[:60]!r} as its {name}, which is no list of texts"
    if len(options) < 2:
        return f"has {len(options)} option(s), and needs at least 2"
    if not all(option.strip() for option in options):
        return f"has an empty option, number {[bool(option.strip()) for option in options].index(False) + 1}"
    gold = item.get("gold", 0)  # some items have options and none that is right
    if not isinstance(gold, int) or isinstance(gold, bool) or not 0 <= gold < len(options):
        return f"gives {gold!r} as the index of the right one of {len(options)} options"
    return ""


def checked(items: list[dict[str, Any]], *, prompts: bool = True) -> list[dict[str, Any]]:
    """The items themselves; a ``ValueError`` says which of them has a ``fault``, or an empty prompt."""
    for number, item in enumerate(items, start=1):
        prompt = item.get("prompt", "none")
        empty = prompts and not (isinstance(prompt, str) and prompt.strip())
        if reason := "has no text as its prompt" if empty else fault(item):
            raise ValueError(f"item {number} {reason}")
    return items


def listed(path: Path, inside: str) -> list[tuple[str, Any]]:
    """Place and content of each row of a JSON list, that of a file or of a member ``inside`` an archive."""
    if path.suffix.lower() != ".zip":
        return list(rows.records(path))
    try:
        with zipfile.ZipFile(path) as archive:
            return rows.of_json(archive.read(inside), f"{inside} in {path}")
    except (zipfile.BadZipFile, KeyError, EOFError, zlib.error) as error:
        raise ValueError(f"{inside} cannot be read from {path} ({error}); restore the archive") from error


def worked(question: str, solution: str) -> dict[str, Any]:
    """A GSM8K item; its calculator annotations, ``<<3*4=12>>``, are removed from the solution.

    A ``ValueError`` says where the solution does not end with one number.
    """
    plain = re.sub(r"<<.*?>>", "", solution).strip()
    return {"question": question.strip(), "answer": _number(plain.split("####")[-1]), "solution": plain}


def _number(text: str) -> str:
    """A number without currency, per cent and separators of thousands: ``1000`` of ``$1,000``."""
    plain = re.sub(r"^([-+]?)[$€£¥]", r"\1", text.strip().replace("\u2212", "-").rstrip("%.$€£¥ "))
    if not re.fullmatch(r"[-+]?(\d{1,3}(,\d{3})+|\d+|(?=\.))(\.\d+)?", plain, re.ASCII):
        raise ValueError(f"gives {text.strip()[:60]!r} as its answer, which is no number")
    return plain.replace(",", "").removeprefix("+")


def _open(row: object, place: str) -> dict[str, Any]:
    fields = _fields(row, COLUMNS, place)
    question, answer = (rows.text(fields, name, place) for name in COLUMNS)
    try:
        item = worked(question, answer)
    except ValueError as error:
        raise ValueError(f"{place} {error}") from error
    return item if "####" in answer else item | {"solution": ""}


def _closed(row: object, place: str, *, lettered: bool) -> dict[str, Any]:
    fields = _fields(row, ("question", "choices", "answer"), place)
    question, options = rows.text(fields, "question", place).strip(), fields["choices"]
    if isinstance(options, list):
        options = [str(option) if type(option) is int else option for option in options]
        options = [option.strip() if isinstance(option, str) else option for option in options]
    item = {"passage": "", "question": question, "choices": options, "gold": 0}
    if reason := fault(item):
        raise ValueError(f"{place} {reason}")
    if len(options) > len(LETTERS):
        raise ValueError(f"{place} has {len(options)} options, and the prompts have letters for {len(LETTERS)}")
    # Options may repeat each other, as in a few items of MMLU; such items are asked as they were published.
    item["gold"] = _gold(fields["answer"], options, place, lettered=lettered)
    return item


def _fields(row: object, names: tuple[str, ...], place: str) -> dict[str, Any]:
    if not isinstance(row, dict) or not set(names) <= set(row):
        raise ValueError(f"{place} has {rows.has(row)}, and needs {', '.join(names)}")
    return row


def _is_letter(answer: object) -> bool:
    return isinstance(answer, str) and len(answer.strip()) == 1 and answer.strip().upper() in LETTERS + "123456789"


def _gold(answer: object, options: list[str], place: str, *, lettered: bool) -> int:
    """The index that an answer names; in a file whose answers are all letters, none stands for an option's text."""
    wanted = f"give a letter from A to {LETTERS[len(options) - 1]}, an index from 0, or the text of one option"
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(options):
        return answer
    if not isinstance(answer, str) or not answer.strip():
        raise ValueError(f"{place} gives {answer!r} as its answer to {len(options)} options; {wanted}")
    given = answer.strip()
    named = int(given) - 1 if re.fullmatch(r"[1-9]", given) else LETTERS.find(given.upper()) if len(given) == 1 else -1
    meant = {named} if 0 <= named < len(options) else set()
    if given in options and not (meant and lettered and given.isalpha()):
        meant |= {index for index, option in enumerate(options) if option == given}
    if len(meant) != 1:
        which = (
            f"none of its {len(options)} options"
            if not meant
            else "the text of several options"
            if options.count(given) == len(meant)
            else "both the place of one option and the text of another"
        )
        raise ValueError(f"{place} gives {given[:60]!r} as its answer, which is {which}; {wanted}")
    return meant.pop()
