"""Logs of inspect_ai are read in both forms, and a score that is no number is refused."""

import io
import json
import math
import zipfile

import answer_logs as logs
import pytest
import zstandard

from unicomp_lib.compare import inspect_log

VALUES = ["C", "I", "P", "N", 1, 0.25, True, "yes", "0.5"]
NUMBERS = [1.0, 0.0, 0.5, 0.0, 1.0, 0.25, 1.0, 1.0, 0.5]


@pytest.mark.parametrize(("name", "packed"), [("a.eval", True), ("a.json", False)])
def test_both_forms_give_the_same_rows(tmp_path, name, packed):
    path = logs.inspect(tmp_path / name, "arc/arc_easy", VALUES, packed=packed)
    assert inspect_log.is_log(path)
    rows = inspect_log.read(path, "A").rows
    assert rows["value"].to_list() == NUMBERS
    assert rows["task"].unique().to_list() == ["arc_easy"]
    assert rows["metric"].unique().to_list() == ["match"]
    assert rows["answer"][0] == rows["target"][0] == "no"
    assert rows["question"][1] == "Is 1 even?"


def test_a_byte_order_mark_is_passed_over(tmp_path):
    path = logs.inspect(tmp_path / "a.json", "t", ["C", "I"], packed=False)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert inspect_log.is_log(path)
    assert len(inspect_log.read(path, "A").rows) == 2


def test_an_archive_packed_with_zstandard_is_read(tmp_path):
    """As new versions write it; Python's zipfile packs so from 3.14 on, so the method is put into the bytes here."""
    plain = logs.inspect(tmp_path / "a.eval", "t", ["C", "I"])
    target, central, written = tmp_path / "b.eval", [], io.BytesIO()
    with zipfile.ZipFile(plain) as archive:
        for info in archive.infolist():
            packed = zstandard.compress(archive.read(info))
            central.append((info, written.tell(), len(packed)))
            fixed = b"PK\3\4" + bytes([63, 0, 0, 0, 93, 0, 0, 0, 0, 0])
            sizes = info.CRC.to_bytes(4, "little") + len(packed).to_bytes(4, "little")
            sizes += info.file_size.to_bytes(4, "little")
            name = info.filename.encode()
            written.write(fixed + sizes + len(name).to_bytes(2, "little") + b"\3\0" + name + b"abc" + packed)
    start = written.tell()
    for info, offset, size in central:
        name = info.filename.encode()
        written.write(
            b"PK\1\2" + bytes([63, 0, 63, 0, 0, 0, 93, 0, 0, 0, 0, 0]) + info.CRC.to_bytes(4, "little")
            + size.to_bytes(4, "little") + info.file_size.to_bytes(4, "little") + len(name).to_bytes(2, "little")
            + bytes(12) + offset.to_bytes(4, "little") + name
        )  # fmt: skip
    length, count = written.tell() - start, len(central).to_bytes(2, "little")
    written.write(
        b"PK\5\6" + bytes(4) + count * 2 + length.to_bytes(4, "little") + start.to_bytes(4, "little") + bytes(2)
    )
    target.write_bytes(written.getvalue())
    assert inspect_log.read(target, "A").rows.equals(inspect_log.read(plain, "A").rows)


def test_epochs_are_means_and_several_values_several_metrics(tmp_path):
    samples = [logs.inspect_sample(0, value, epoch=epoch) for epoch, value in ((1, "C"), (2, "I"), (3, "C"), (4, "C"))]
    samples += [logs.inspect_sample(1, {"bleu": 0.5, "rouge": 0.25}, "text")]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"version": 2, "status": "success", "eval": {"task": "t"}, "samples": samples}))
    rows = inspect_log.read(path, "A").rows
    found = dict(rows.select("metric", "value").rows())
    assert found == {"match": 0.75, "text/bleu": 0.5, "text/rouge": 0.25}


def test_what_has_no_score_is_said_and_missing_values_are_kept_as_such(tmp_path):
    path = logs.inspect(
        tmp_path / "a.eval", "t", ["C", None, "I"], error=lambda i: {"message": "x"} if i == 2 else None
    )
    side = inspect_log.read(path, "A")
    assert side.notes == ("t of A: 1 of 3 samples have no score and are left out",)
    assert math.isnan(side.rows["value"][1])


def test_clusters_are_what_the_metadata_say(tmp_path):
    path = logs.inspect(tmp_path / "a.eval", "t", ["C"] * 8)
    assert inspect_log.read(path, "A", "passage").rows["cluster"].n_unique() == 2
    with pytest.raises(ValueError, match="no 'topic' in its metadata, which has passage"):
        inspect_log.read(path, "A", "topic")


@pytest.mark.parametrize(
    ("values", "changes", "says"),
    [
        (["C", "maybe"], {}, "the score 'maybe' is neither a number nor one of C, I, P"),
        (["C", [1, 2]], {}, r"the score \[1, 2\] is neither"),
        (["C", "I"], {"id": "same"}, "has sample same twice in epoch 1"),
        (["C"], {"scores": None}, "has no scored samples"),
        (["C"], {"scores": [1]}, "a sample of .* is not of the form that inspect_ai writes .*; give the log as it was"),
        (["C"], {"metadata": ["a"]}, "is not of the form that inspect_ai writes"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, values, changes, says):
    path = logs.inspect(tmp_path / "a.json", "t", values, packed=False, **changes)
    with pytest.raises(ValueError, match=says):
        inspect_log.read(path, "A")


def test_files_that_are_no_logs_are_refused(tmp_path):
    for name, content in (("cut.eval", b"PK\3\4xxxx"), ("bad.json", b'{"version": 2, "eval": {"task": "t"}, "sam')):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="is the log whole"):
            inspect_log.read(tmp_path / name, "A")
    with zipfile.ZipFile(tmp_path / "other.eval", "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(ValueError, match=r"it has no header\.json"):
        inspect_log.read(tmp_path / "other.eval", "A")


def test_a_folder_holds_one_log_of_a_task(tmp_path):
    logs.inspect(tmp_path / "one.eval", "t", ["C"])
    logs.inspect(tmp_path / "two.eval", "u", ["I"])
    assert inspect_log.read(tmp_path, "A").rows["task"].to_list() == ["t", "u"]
    logs.inspect(tmp_path / "three.eval", "u", ["I"])
    with pytest.raises(ValueError, match="holds two logs of task u"):
        inspect_log.read(tmp_path, "A")
