import gzip
import json
import os
import zipfile
from pathlib import Path

import polars as pl
import pytest
import zstandard

from unicomp_lib.evaluate import harness
from unicomp_lib.evaluate.tasks import folder, items

DATA = Path(__file__).parents[3] / "shared" / "data"
real = pytest.mark.skipif(not DATA.is_dir(), reason="the real benchmark files are not beside this checkout")

QUESTION = {"question": "Which?", "choices": ["w", "x", "y", "z"], "answer": "C"}


@pytest.fixture(autouse=True)
def read_anew():
    items.items.cache_clear()


@pytest.fixture
def data(tmp_path):
    (tmp_path / "arc").mkdir()
    (tmp_path / "mgsm").mkdir()
    (tmp_path / "gsm8k").mkdir()
    rows = [
        '{"question": "Which?", "choices": ["x", "y", "z"], "answer": "C"}',
        '{"question": "And?", "choices": ["x", "y"], "answer": "2"}',
    ]
    (tmp_path / "arc" / "arc_easy_validation.jsonl").write_text("\n".join(rows) + "\n")
    (tmp_path / "mgsm" / "mgsm_de.tsv").write_text('Wie "viel" ist 2 mal 600?\t1,200\n')
    solution = "He has 3*4=<<3*4=12>>12.\\n#### 12"
    (tmp_path / "gsm8k" / "test.jsonl").write_text('{"question": "How many?", "answer": "' + solution + '"}\n')
    return tmp_path


def put(root, name, content):
    path = root / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def test_files_are_read_as_items(data):
    by_question = {item["question"]: item for item in items.items("arc_easy", str(data))}
    assert (by_question["Which?"]["gold"], by_question["And?"]["gold"]) == (2, 1)
    assert items.items("mgsm_de", str(data))[0]["answer"] == "1200"
    (worked,) = items.items("gsm8k", str(data))
    assert (worked["answer"], worked["solution"]) == ("12", "He has 3*4=12.\n#### 12")


@pytest.mark.parametrize(
    ("answer", "gold"), [("C", 2), ("c", 2), (" C ", 2), (2, 2), (0, 0), ("1", 0), ("4", 3), ("y", 2), ("z", 3)]
)
def test_an_answer_is_a_letter_a_place_an_index_or_the_options_text(tmp_path, answer, gold):
    put(tmp_path, "mmlu/mmlu_test.jsonl", json.dumps(QUESTION | {"answer": answer}))
    assert items.items("mmlu", str(tmp_path))[0]["gold"] == gold


def test_in_a_file_of_letters_an_option_that_is_a_letter_is_none(tmp_path):
    vitamins = {"question": "Which vitamin?", "choices": ["C", "D", "A", "K"], "answer": "A"}
    put(tmp_path, "mmlu/mmlu_test.jsonl", "\n".join(map(json.dumps, [QUESTION, vitamins])))
    assert {item["question"]: item["gold"] for item in items.items("mmlu", str(tmp_path))}["Which vitamin?"] == 0
    put(tmp_path, "mmlu/mmlu_test.jsonl", "\n".join(map(json.dumps, [QUESTION | {"answer": "y"}, vitamins])))
    items.items.cache_clear()
    with pytest.raises(ValueError, match=r"line 2 .*'A' .*both the place of one option and the text of another"):
        items.items("mmlu", str(tmp_path))


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("mmlu_test.jsonl", bytes),
        ("mmlu_test.JSONL", lambda data: b"\xef\xbb\xbf" + data),
        ("mmlu_test.jsonl", lambda data: data.decode().replace("\n", "\r\n\r\n").encode("utf-16")),
        ("mmlu_test.jsonl.gz", gzip.compress),
        ("mmlu_test.jsonl", gzip.compress),
        ("mmlu_test.ndjson.zst", zstandard.compress),
        ("mmlu_test.json", lambda data: b"[" + data.replace(b"\n", b",\n") + b"]"),
    ],
)
def test_a_set_may_be_of_any_form(tmp_path, name, pack):
    rows = [QUESTION, QUESTION | {"question": "And?", "answer": "A"}]
    put(tmp_path, f"mmlu/{name}", pack("\n".join(map(json.dumps, rows)).encode()))
    assert sorted(item["gold"] for item in items.items("mmlu", str(tmp_path))) == [0, 2]


def test_parquet_as_the_hub_has_it_is_read(tmp_path):
    (tmp_path / "mmlu").mkdir()
    pl.DataFrame([QUESTION | {"answer": 2, "subject": "s"}]).write_parquet(tmp_path / "mmlu" / "mmlu_test.parquet")
    assert items.items("mmlu", str(tmp_path))[0]["gold"] == 2


def test_two_files_of_one_set_are_refused(tmp_path):
    put(tmp_path, "mmlu/mmlu_test.jsonl", json.dumps(QUESTION))
    put(tmp_path, "mmlu/mmlu_test.json.gz", gzip.compress(json.dumps([QUESTION]).encode()))
    with pytest.raises(ValueError, match=r"mmlu_test.json.gz and .*mmlu_test.jsonl are both items of mmlu"):
        items.items("mmlu", str(tmp_path))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (QUESTION | {"choices": ["", "x", "y", "z"]}, "has an empty option, number 1"),
        (QUESTION | {"choices": ["w", "x", " ", "z"]}, "has an empty option, number 3"),
        (QUESTION | {"choices": ["w", None, "y", "z"]}, "which is no list of texts"),
        (QUESTION | {"choices": ["w", 1.5, "y"]}, "which is no list of texts"),
        (QUESTION | {"choices": ["w", True, "y"]}, "which is no list of texts"),
        (QUESTION | {"choices": "wxyz"}, "which is no list of texts"),
        (QUESTION | {"choices": {"text": ["w", "x"], "label": ["A", "B"]}}, "which is no list of texts"),
        (QUESTION | {"choices": None}, "which is no list of texts"),
        (QUESTION | {"choices": []}, "has 0 option"),
        (QUESTION | {"choices": ["w"], "answer": "A"}, "has 1 option"),
        (QUESTION | {"choices": list("abcdefghijk")}, "has 11 options, and the prompts have letters for 10"),
        (QUESTION | {"choices": ["w", "y", "y", "z"], "answer": "y"}, "'y' as its answer, which is the text of"),
        (QUESTION | {"answer": "E"}, "'E' as its answer, which is none of its 4 options; give a letter from A to D"),
        (QUESTION | {"answer": "0"}, "'0' as its answer"),
        (QUESTION | {"answer": "5"}, "'5' as its answer"),
        (QUESTION | {"answer": 4}, "gives 4 as its answer to 4 options"),
        (QUESTION | {"answer": -1}, "gives -1 as its answer to 4 options"),
        (QUESTION | {"answer": 2.0}, "gives 2.0 as its answer"),
        (QUESTION | {"answer": True}, "gives True as its answer"),
        (QUESTION | {"answer": None}, "gives None as its answer"),
        (QUESTION | {"answer": ""}, "gives '' as its answer"),
        (QUESTION | {"answer": ["C"]}, "as its answer"),
        (QUESTION | {"answer": "v"}, "which is none of its 4 options"),
        (QUESTION | {"answer": "1", "choices": ["2", "1"]}, "both the place of one option and the text of another"),
        (QUESTION | {"question": None}, "gives null as question"),
        (QUESTION | {"question": " "}, "gives an empty question"),
        (QUESTION | {"question": 1.5}, "gives 1.5 as question"),
        ({"question": "q", "answer": "A"}, "has question, answer, and needs question, choices, answer"),
        ({"choices": ["w", "x"], "answer": "A"}, "and needs question, choices, answer"),
        (["w"], "has a list"),
        (None, "has a NoneType"),
    ],
)
def test_an_item_that_cannot_be_asked_is_refused_with_file_and_line(tmp_path, row, says):
    put(tmp_path, "mmlu/mmlu_test.jsonl", f"{json.dumps(QUESTION)}\n\n{json.dumps(row)}\n")
    with pytest.raises(ValueError, match=says) as caught:
        items.items("mmlu", str(tmp_path))
    assert str(caught.value).startswith(f"line 3 of {tmp_path / 'mmlu' / 'mmlu_test.jsonl'}")
    assert "\n" not in str(caught.value)


def test_all_lines_that_must_be_mended_are_named(tmp_path):
    bad = json.dumps(QUESTION | {"choices": ["w"]})
    put(tmp_path, "mmlu/mmlu_test.jsonl", "\n".join([bad, json.dumps(QUESTION), bad, bad]))
    with pytest.raises(ValueError, match=r"line 1 of .*; so must line 3, line 4$"):
        items.items("mmlu", str(tmp_path))


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff", "[]"])
def test_an_empty_file_is_refused(tmp_path, content):
    put(tmp_path, "mmlu/mmlu_test.jsonl", content)
    with pytest.raises(ValueError, match=r"mmlu_test\.jsonl holds no items of mmlu"):
        items.items("mmlu", str(tmp_path))


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("x\n#### $1,000", "1000"), ("#### -7", "-7"), ("#### \u22127", "-7"), ("12", "12"),
        ("1,200,300.50", "1200300.50"),
        ("#### .5", ".5"), ("#### 5%", "5"), ("#### \u20ac3.", "3"), (12, "12"), ("-$5", "-5"),
    ],
)  # fmt: skip
def test_a_number_is_read_without_what_stands_around_it(tmp_path, written, number):
    put(tmp_path, "gsm8k/test.jsonl", json.dumps({"question": "q", "answer": written}))
    assert items.items("gsm8k", str(tmp_path))[0]["answer"] == number


@pytest.mark.parametrize(
    "written", ["none", "#### ", "#### 1,5", "#### 12,00", "1 2", "####", "#### 3 or 4", "\u0663", "."]
)
def test_an_answer_that_is_no_number_is_refused(tmp_path, written):
    put(tmp_path, "gsm8k/test.jsonl", json.dumps({"question": "q", "answer": written}))
    with pytest.raises(ValueError, match=r"line 1 of .*test\.jsonl gives .* as its answer, which is no number"):
        items.items("gsm8k", str(tmp_path))


@pytest.mark.parametrize(
    "content", ["Wie viel?\t12\n\n", "\ufeffWie viel?\t12", "question\tanswer\r\nWie viel?\t12\r\n"]
)
def test_a_table_of_questions_needs_no_names(tmp_path, content):
    put(tmp_path, "mgsm/mgsm_de.tsv", content)
    assert items.items("mgsm_de", str(tmp_path)) == [{"question": "Wie viel?", "answer": "12", "solution": ""}]


@pytest.mark.parametrize(
    ("content", "says"), [("q\t1\nq\n", "line 2 .* has 1 field"), ("q\t\n", "gives an empty answer")]
)
def test_a_table_with_a_cut_line_is_refused(tmp_path, content, says):
    put(tmp_path, "mgsm/mgsm_de.tsv", content)
    with pytest.raises(ValueError, match=says):
        items.items("mgsm_de", str(tmp_path))


def test_a_set_of_trustllm_names_the_row_that_it_cannot_take(tmp_path):
    path = tmp_path / "dataset" / "safety" / "misuse.json"
    path.parent.mkdir(parents=True)
    rows = [{"prompt": "Do it.", "source": "s"}, {"prompt": None, "source": "s"}]
    path.write_text(json.dumps(rows, indent=1))
    with pytest.raises(ValueError, match=r"line 6 of .*misuse\.json is no row of this set .*no text as its prompt"):
        items.items("trustllm_misuse", str(tmp_path))
    path.write_text(json.dumps([*rows[:1], {"text": "Do it."}], indent=1))
    with pytest.raises(ValueError, match=r"line 6 of .*misuse\.json is no row of this set .*KeyError: 'prompt'"):
        items.items("trustllm_misuse", str(tmp_path))
    path.write_text(json.dumps(rows)[:30])
    with pytest.raises(ValueError, match=r"line 1 of .*misuse\.json is no valid JSON"):
        items.items("trustllm_misuse", str(tmp_path))
    path.write_text("[]")
    with pytest.raises(ValueError, match="trustllm_misuse"):
        items.items("trustllm_misuse", str(tmp_path))


def test_an_archive_that_cannot_be_read_is_one_sentence(tmp_path):
    (tmp_path / folder.ARCHIVE).write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(ValueError, match=r"misuse\.json cannot be read from .*trustllm_dataset\.zip"):
        items.items("trustllm_misuse", str(tmp_path))
    with zipfile.ZipFile(tmp_path / folder.ARCHIVE, "w") as archive:
        archive.writestr("other.json", "[]")
    with pytest.raises(ValueError, match=r"misuse\.json cannot be read from .*trustllm_dataset\.zip"):
        items.items("trustllm_misuse", str(tmp_path))


def test_a_changed_file_changes_the_folders_identity(data):
    before = folder.identity(str(data))
    path = data / "gsm8k" / "test.jsonl"
    status = path.stat()
    path.write_text(path.read_text().replace("How many?", "How much?"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # of the same size and time, as some copies are
    after = folder.identity(str(data))
    assert [name for name, _ in after] == [name for name, _ in before]
    assert [name for (name, one), (_, other) in zip(before, after, strict=True) if one != other] == ["gsm8k/test.jsonl"]


def test_a_copied_folder_has_the_same_identity(data, tmp_path_factory):
    copy = tmp_path_factory.mktemp("copy")
    for path in data.rglob("*.*"):
        put(copy, path.relative_to(data).as_posix(), path.read_bytes())
    assert folder.identity(str(copy)) == folder.identity(str(data))
    assert len(folder.identity(str(copy))) == 3


def mended(source, target):
    """A copy of a real file without the rows that cannot be asked, since options or the right one are missing."""
    kept = []
    for line in source.read_text(encoding="utf-8").strip().split("\n"):
        row = json.loads(line)
        right = int(row["answer"]) - 1 if row["answer"].isdigit() else "ABCDE".index(row["answer"])
        if all(row["choices"]) and right < len(row["choices"]):
            kept.append(line)
    target.parent.mkdir(exist_ok=True)
    target.write_text("\n".join(kept), encoding="utf-8")


@real
@pytest.mark.parametrize(
    ("source", "count", "lines"),
    [("arc_challenge", 299, [36, 57, 90, 98, 157, 211, 235, 242])],
)
def test_a_real_file_is_read_once_its_damaged_rows_are_gone(source, count, lines, tmp_path):
    with pytest.raises(
        ValueError, match=rf"^line {lines[0]} of .*; so must line {', line '.join(map(str, lines[1:]))}$"
    ):
        items.items(source, str(DATA))
    mended(DATA / folder.FILES[source], tmp_path / folder.FILES[source])
    assert len(items.items(source, str(tmp_path))) == count - len(lines)


@real
def test_options_that_repeat_each_other_are_asked_as_published():
    records = items.items("mmlu", str(DATA))
    assert len(records) == 14042
    assert sum(item["choices"].count(item["choices"][item["gold"]]) > 1 for item in records) == 4


@real
@pytest.mark.parametrize(("source", "count"), [("gsm8k", 1319), ("mgsm_th", 250)])
def test_the_real_benchmarks_are_read(source, count):
    records = items.items(source, str(DATA))
    assert len(records) == count
    assert all(float(item["answer"]) == float(item["answer"]) for item in records)


@real
def test_tasks_run_on_a_folder(tiny, tmp_path):
    for source in ("mmlu", "arc_easy", "arc_challenge"):
        mended(DATA / folder.FILES[source], tmp_path / folder.FILES[source])
    for source in ("gsm8k", "mgsm_de"):
        put(tmp_path, folder.FILES[source], (DATA / folder.FILES[source]).read_bytes())
    tasks = {
        "mmlu_letter": 3,
        "arc_easy_cloze": 3,
        "arc_challenge_generate": 2,
        "gsm8k_generate": 2,
        "mgsm_de_generate": 2,
    }
    rows = harness.run(*tiny, tasks, data_dir=str(tmp_path))
    assert set(rows["task"]) == set(tasks)
