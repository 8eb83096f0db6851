"""Users' files: read exactly, or refused in one sentence with file and line."""

import gzip
import json
import os

import polars as pl
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from unicomp_lib.inputs import rows, texts

ROWS = [{"text": "hello you"}, {"text": "zwei\u2028Zeilen, \U0001f600"}]
LINES = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32")
PACKINGS = {"": lambda data: data, ".gz": gzip.compress, ".zst": zstandard.compress, ".ZST": zstandard.compress}


@pytest.mark.parametrize(
    ("ending", "content"),
    [
        (".jsonl", LINES),
        (".JSONL", LINES.replace("\n", "\r\n\r\n") + "\r\n"),
        (".ndjson", LINES.replace("\n", "\r")),
        (".json", json.dumps(ROWS)),
        (".Json", json.dumps(ROWS, indent=1)),
        (".json", LINES),
        (".jsonl", json.dumps(ROWS, indent=1)),
        (".tsv", "text\n" + "\n".join(row["text"] for row in ROWS)),
        (".CSV", 'text,n\nhello you,1\n\n"' + ROWS[1]["text"] + '",2\n'),
        (".txt", "\n".join(row["text"] for row in ROWS) + "\n \n"),
    ],
)
def test_every_form_of_a_file_gives_the_same_texts(tmp_path, ending, content):
    encoded = [content.encode(encoding) for encoding in ENCODINGS] + [f"\ufeff{content}".encode("utf-16-be")]
    for data in encoded:
        for packing, pack in PACKINGS.items():
            path = tmp_path / f"mine{ending}{packing}"
            path.write_bytes(pack(data))
            assert texts.texts(str(path)) == [row["text"] for row in ROWS], (data[:4], packing)


def test_parquet_is_read(tmp_path):
    pl.DataFrame([{"question": "why?", "answer": 4}]).write_parquet(tmp_path / "mine.PARQUET")
    assert texts.texts(str(tmp_path / "mine.PARQUET")) == [["why?", "4"]]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip), min_size=1))
def test_any_text_comes_back_from_json_and_compression(tmp_path_factory, written):
    path = tmp_path_factory.mktemp("rows") / "mine.jsonl.zst"
    path.write_bytes(zstandard.compress("\n".join(json.dumps({"text": text}) for text in written).encode("utf-16")))
    assert texts.texts(str(path)) == written


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_a_file_is_read_in_pieces_of_any_size(tmp_path, monkeypatch, size):
    monkeypatch.setattr(rows, "CHUNK", size)
    for encoding in ENCODINGS:
        for pack in (bytes, gzip.compress, zstandard.compress):
            path = tmp_path / "mine.txt"
            path.write_bytes(pack("one\r\ntwo \u00e9\rthree \U0001f600\n\nend".encode(encoding)))
            assert list(rows.lines(path)) == [
                (f"line {number} of {path}", line)
                for number, line in ((1, "one"), (2, "two \u00e9"), (3, "three \U0001f600"), (5, "end"))
            ]


def test_frames_of_zstd_may_follow_each_other(tmp_path):
    path = tmp_path / "mine.txt.zst"
    path.write_bytes(zstandard.compress(b"one\n") + zstandard.compress(b"two\n"))
    assert texts.texts(str(path)) == ["one", "two"]


GOOD = '{"text": "a"}\n'


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("null.jsonl", GOOD + '{"text": null}', "line 2 .*gives null as text"),
        ("empty.jsonl", GOOD + '{"text": " "}', "line 2 .*gives an empty text"),
        ("number.jsonl", GOOD + '{"text": 1.5}', "line 2 .*gives 1.5 as text"),
        ("truth.jsonl", GOOD + '{"text": true}', "line 2 .*gives true as text"),
        ("list.jsonl", GOOD + '{"question": "q", "answer": ["a"]}', r"line 2 .*gives \[\"a\"\] as answer"),
        ("surrogate.jsonl", GOOD + '{"text": "\\ud800"}', "line 2 .*half a surrogate pair"),
        ("cut.jsonl", GOOD + '{"text": "a', "line 2 .*is no valid JSON .*Unterminated string"),
        ("twice.jsonl", GOOD + '{"text": "a", "text": "b"}', "line 2 .*'text' stands twice"),
        ("other.jsonl", GOOD + '{"txt": "a"}', "line 2 .*has txt; each needs a text, or a question and an answer"),
        ("string.jsonl", b'"text alone"', "line 1 .*has a str"),
        ("deep.jsonl", GOOD + "[" * 100_000, "line 2 .*no valid JSON"),
        ("long.jsonl", GOOD + '{"text": ' + "9" * 5000 + "}", "line 2 .*no valid JSON"),
        ("null.json", '[\n{"text": "a"},\n{"text": null}\n]', "line 3 .*gives null as text"),
        ("cut.json", '[\n{"text": "a"},\n{"text": "b"}\n', "line 3 .*no valid JSON .*Expecting ',' or ']'"),
        ("cut2.json", '[\n{"text": "a"},\n', "is cut off: its list has no end"),
        ("comma.json", '[\n{"text": "a"},\n]', "line 3 .*no valid JSON .*Comma at the end"),
        ("more.json", '[{"text": "a"}]\n[]', "goes on behind the end of its list"),
        ("one.json", '{"data": [{"text": "a"}]}', "has data; each needs"),
        ("fields.csv", "text,n\na,1\nb,2,3\n", "line 3 .*has 3 field.*not 2 .text, n"),
        ("quote.csv", 'text\na\n"b', "line 3 .*no valid row"),
        ("none.csv", "text,n\n,1\n", "line 2 .*gives an empty text"),
        ("none.parquet", b"PAR1 and nothing", "is no readable Parquet file"),
        ("latin.txt", "one\ntwo\ncaf\u00e9".encode("latin-1"), "line 3 .*not valid UTF-8 .*byte 0xe9"),
        ("latin.jsonl", GOOD.encode() + b'{"text": "\xe9"}', "line 2 .*not valid UTF-8"),
        ("cut.txt", "one\n\u00e9".encode()[:-1], "line 2 .*not valid UTF-8 .*unexpected end"),
        ("cut16.txt", "one\ntwo".encode("utf-16")[:-1], "line 2 .*not valid UTF-16"),
        ("unmarked.txt", "one".encode("utf-16-le"), "no text: its line 1 has zero bytes"),
        ("cut.txt.gz", gzip.compress(os.urandom(3000).hex().encode())[:-9], "cut off or damaged"),
        ("cut.txt.zst", zstandard.compress(os.urandom(3000).hex().encode())[:-9], "cut off or damaged"),
        ("bad.txt.gz", b"\x1f\x8b\x08nothing of the kind", "cut off or damaged"),
        ("bad.txt.zst", b"\x28\xb5\x2f\xfd\xff\xff\xff", "cut off or damaged"),
        ("empty.txt", b"", "holds no text"),
        ("empty.json", "[]", "holds no text"),
        ("empty.jsonl", "[]", "holds no text"),
        ("lists.jsonl", '["a"]\n["b"]', "line 1 .*has a str"),
        ("mark.jsonl", b"\xef\xbb\xbf", "holds no text"),
        ("blank.txt", b"\n \r\n\t\n", "holds no text"),
        ("head.csv", "text\n", "holds no text"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_with_file_and_line(tmp_path, name, content, says):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=says) as caught:
        texts.texts(str(path))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_first_row_that_a_set_cannot_take_is_named():
    placed = [(f"line {number} of set.json", row) for number, row in enumerate([{"a": 1}, {"a": 2}, {}, {"b": 1}], 1)]
    assert rows.built(lambda part: [row["a"] for row in part], placed[:2]) == [1, 2]
    with pytest.raises(ValueError, match=r"line 3 of set\.json is no row of this set \(KeyError: 'a'\)"):
        rows.built(lambda part: [row["a"] for row in part], placed)
