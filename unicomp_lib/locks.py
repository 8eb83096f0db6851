"""A lock that a process holds until it lets go of it or ends, however it ends."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VERSION = "1"

# flock's errors on a file system that has no locks, or not for this file.
MISSING = (
    errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.EACCES, errno.EPERM
)  # fmt: skip


@contextmanager
def held(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock ``path``, a file that is made where there is none, while the block runs.

    Yields whether it is held: False only where ``wait`` is not wanted and another process holds it. An ``OSError``
    with ``ENOLCK`` says that the file system has no locks; nobody waits for one that will never come.
    """
    handle, mine = _opened(path), False
    try:
        while True:
            mine = _take(handle, path, wait=wait)
            if not mine or _is_same(handle, path):
                break
            os.close(handle)  # who held it has moved the folder away meanwhile
            handle = _opened(path)
        yield mine
    finally:
        os.close(handle)  # and with it the lock


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _take(handle: int, path: Path, *, wait: bool) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:  # another process holds it
        return False
    except OSError as error:
        if error.errno not in MISSING:
            raise
        raise OSError(errno.ENOLCK, f"no locks there ({error.strerror})", str(path)) from error
    return True


def _is_same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
