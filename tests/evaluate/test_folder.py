from pathlib import Path

import pytest

from unicomp_lib.evaluate import harness
from unicomp_lib.evaluate.tasks import folder, items

DATA = Path(__file__).parents[3] / "shared" / "data"
real = pytest.mark.skipif(not DATA.is_dir(), reason="the real benchmark files are not beside this checkout")


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


def test_files_are_read_as_items(data):
    by_question = {item["question"]: item for item in items.items("arc_easy", str(data))}
    assert (by_question["Which?"]["gold"], by_question["And?"]["gold"]) == (2, 1)
    assert items.items("mgsm_de", str(data))[0]["answer"] == "1200"
    (worked,) = items.items("gsm8k", str(data))
    assert (worked["answer"], worked["solution"]) == ("12", "He has 3*4=12.\n#### 12")


def test_a_changed_file_changes_the_folders_identity(data):
    before = folder.identity(str(data))
    (data / "gsm8k" / "test.jsonl").write_text('{"question": "Other?", "answer": "#### 5"}\n')
    assert folder.identity(str(data)) != before
    assert len(before) == 3


@real
@pytest.mark.parametrize(
    ("source", "count"), [("mmlu", 14042), ("arc_challenge", 299), ("arc_easy", 570), ("gsm8k", 1319), ("mgsm_th", 250)]
)
def test_the_real_benchmarks_are_read(source, count):
    records = items.items(source, str(DATA))
    assert len(records) == count
    assert all(float(item["answer"]) == float(item["answer"]) for item in records if "answer" in item)


@real
def test_tasks_run_on_a_folder(tiny):
    tasks = {
        "mmlu_letter": 3,
        "arc_easy_cloze": 3,
        "arc_challenge_generate": 2,
        "gsm8k_generate": 2,
        "mgsm_de_generate": 2,
    }
    rows = harness.run(*tiny, tasks, data_dir=str(DATA))
    assert set(rows["task"]) == set(tasks)
