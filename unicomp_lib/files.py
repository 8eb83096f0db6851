"""Files that appear whole or not at all."""

import errno
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

VERSION = "1"


def write_whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Let ``write`` fill a temporary file in the folder of ``path``, then rename it to ``path``.

    The rename is atomic on one file system, so a reader, a crash or a full disk sees the old
    file or the new one, never a part. When this returns, the new one is on disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        sync(temporary)
        # mkstemp makes the file private; results are for everyone who may read the folder.
        temporary.chmod(0o644)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def folder(path: Path, option: str) -> Path:
    """Make the folder that a user gave as ``option``; a ``ValueError`` where there can be none."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{option} {path} cannot be a folder ({error.strerror}); give another one") from error
    return path


def write_text(path: Path, text: str) -> Path:
    """Write ``text`` as UTF-8, whole or not at all."""
    return write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


def sync(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems cannot do this to a folder, and need not: they tell the server of each name.
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP, errno.EBADF)):
            raise
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
