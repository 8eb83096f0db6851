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


def test_a_file_that_is_written_is_on_disk_with_its_name(tmp_path, monkeypatch):
    synced, sync = [], files.sync
    monkeypatch.setattr(files, "sync", lambda path: synced.append(path) or sync(path))
    path = files.write_text(tmp_path / "new" / "table.txt", "text")
    assert synced[-1] == path.parent
    assert len(synced) == 2


def test_a_disk_that_does_not_take_the_data_is_an_error(tmp_path, monkeypatch):
    def fail(_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        files.sync(tmp_path)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    assert files.folder(tmp_path / "a" / "b", "--output").is_dir()
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "inside"):
        with pytest.raises(ValueError, match=f"--output {path} cannot be a folder .*; give another one"):
            files.folder(path, "--output")
