import hashlib
import json
import os

import pytest

from unicomp_lib import files
from unicomp_lib.inputs import digests


@pytest.fixture
def folder(home, monkeypatch):
    """Four files in two folders, which have not been changed for long."""
    monkeypatch.setattr(digests, "SETTLED", 0)
    for name in ("a/0", "a/1", "b/0", "b/1"):
        (home / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (home / "set" / name).write_text(name)
    return home / "set"


@pytest.fixture
def read(monkeypatch):
    """Files whose bytes were read."""
    found, sha256 = [], files.sha256

    def counted(path):
        found.append(path.name)
        return sha256(path)

    monkeypatch.setattr(files, "sha256", counted)
    return found


def names(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_digests_are_those_of_the_bytes_and_in_the_order_asked_for(folder):
    asked = names(folder)[::-1]
    assert digests.of(asked) == [hashlib.sha256(path.read_bytes()).hexdigest() for path in asked]
    assert digests.of([]) == []


def test_a_file_is_read_once_for_all_processes_and_wherever_it_is_seen_from(folder, read):
    first = digests.of(names(folder))
    assert len(read) == 4
    (folder.parent / "link").symlink_to(folder)
    assert digests.of(names(folder)) == digests.of(names(folder.parent / "link" / "a") + names(folder / "b")) == first
    assert len(read) == 4
    (folder / "a" / "2").write_text("new")
    digests.of(names(folder))
    assert len(read) == 5


def test_a_change_that_keeps_size_and_time_is_seen(folder, read):
    before, file = digests.of(names(folder)), folder / "a" / "0"
    kept = file.stat()
    file.write_text("A/0")
    os.utime(file, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    after = digests.of(names(folder))
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, True, True, True]
    assert len(read) == 5


def test_a_file_that_has_just_changed_is_not_remembered(folder, read, monkeypatch):
    monkeypatch.setattr(digests, "SETTLED", 60)
    digests.of(names(folder))
    digests.of(names(folder))
    assert len(read) == 8
    assert not list(folder.parent.glob("digests/*"))


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"0": 3}', '{"0": [1, 2, 3, "x"]}', '{"0": null}'])
def test_a_damaged_table_is_made_again(folder, read, damage):
    first = digests.of(names(folder / "a"))
    (table,) = folder.parent.glob("digests/*.json")
    table.write_text(damage)
    assert digests.of(names(folder / "a")) == first
    assert sorted(json.loads(table.read_text())) == ["0", "1"]
    assert len(read) == 4


def test_a_link_counts_with_what_it_leads_to(folder):
    (folder / "a" / "2").symlink_to(folder / "b" / "0")
    assert digests.of([folder / "a" / "2"]) == digests.of([folder / "b" / "0"])


def test_a_file_that_is_not_there_is_named(folder):
    with pytest.raises(ValueError, match=r"gone cannot be read .*; remove or restore it"):
        digests.of([folder / "gone"])
