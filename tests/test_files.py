import errno
from pathlib import Path

import pytest

from unicomp_lib import files


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.txt"
    files.write_text(path, "old")

    def fail(part):
        part.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write_whole(path, fail)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["table.txt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.txt"
    files.write_text(path, "old")

    def fill(part):
        with open("/dev/full", "w") as full:
            full.write("x" * 10_000)

    with pytest.raises(OSError) as raised:  # noqa: PT011, the number says which
        files.write_whole(path, fill)
    assert raised.value.errno == errno.ENOSPC
    assert path.read_text() == "old"
