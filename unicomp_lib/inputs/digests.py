"""SHA-256 of many files, each read once for all processes."""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm.auto import tqdm

from unicomp_lib import files, hardware, paths

VERSION = "1"

SETTLED = 2.0  # seconds; two changes may lie within one tick of a file system's clock


def of(names: Iterable[Path | str]) -> list[str]:
    """Hexadecimal SHA-256 of the bytes of each file, in order; of a link, of what it leads to.

    A file is read again only where its size, its modification time or its change time has changed. What is known is
    stored by folder in the cache, so that an interruption loses one folder. A file that was changed less than
    ``SETTLED`` seconds ago is not stored. Raises a ``ValueError`` that names a file that cannot be read.
    """
    wanted = [os.path.split(name) for name in names]
    folders: dict[str, list[str]] = {}
    for folder, name in wanted:
        folders.setdefault(folder, []).append(name)
    with ThreadPoolExecutor(hardware.cores()) as threads:
        bar = tqdm(folders.items(), desc="hashing files", unit="folder", leave=False, mininterval=5, delay=5)
        known = {folder: _of_folder(folder, inside, threads) for folder, inside in bar}
    return [known[folder][name] for folder, name in wanted]


def _of_folder(folder: str, names: list[str], threads: ThreadPoolExecutor) -> dict[str, str]:
    place = hashlib.sha256(os.path.realpath(folder).encode(errors="surrogateescape")).hexdigest()[:16]
    table = paths.home() / "digests" / f"{place}.json"
    stored, facts = _stored(table), {name: _facts(os.path.join(folder, name)) for name in names}
    changed = [name for name, fact in facts.items() if stored.get(name, [None])[:-1] != fact]
    read = dict(zip(changed, threads.map(lambda name: _read(os.path.join(folder, name)), changed), strict=True))
    settled = (time.time() - SETTLED) * 1e9
    entries = {name: [*facts[name], digest] for name, digest in read.items() if max(facts[name][1:]) < settled}
    if entries:
        # Two processes may write at once: the later one's file stays, and the other's entries are found again.
        files.write_text(table, json.dumps({**stored, **entries}))
    return {name: read.get(name) or stored[name][-1] for name in names}


def _facts(file: str) -> list[int]:
    """Size, and the times in nanoseconds at which content and entry last changed; the second cannot be set back."""
    try:
        status = os.stat(file)
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({error.strerror}); remove or restore it") from error
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _read(file: str) -> str:
    try:
        return files.sha256(Path(file))
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({error.strerror}); remove or restore it") from error


def _stored(table: Path) -> Mapping[str, list]:
    """What is known of a folder's files; nothing where the table is missing or damaged."""
    try:
        found = json.loads(table.read_text(encoding="utf-8"))
        whole = all(len(entry) == 4 and len(entry[-1]) == 64 for entry in found.values())
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
    return found if whole else {}
