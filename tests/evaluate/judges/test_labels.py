import csv
import hashlib

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from unicomp_lib import paths, results, tables
from unicomp_lib.__main__ import main
from unicomp_lib.evaluate import judging
from unicomp_lib.evaluate.judges import labels, measured
from unicomp_lib.evaluate.tasks import refusal

TRUSTLLM = paths.project().parent / "shared" / "data" / "trustllm_dataset.zip"


@pytest.fixture
def judged(tmp_path, monkeypatch):
    """A finished profile of 40 forbidden prompts, 10 of them declined, and 20 harmless ones, all answered."""
    parts = [
        ("strongreject_generate", "refused", [1.0] * 10 + [0.0] * 30),
        ("overrefusal_generate", "answered", [1.0] * 20),
    ]
    frames = [
        pl.DataFrame(
            {
                "dimension": "reliability", "capability": "safety", "task": name, "format": "generate", "chance": 0.0,
                "doc_id": range(len(values)), "doc_hash": "", "prompt_hash": "", "cluster": "", "metric": metric,
                "primary": True, "value": values, "judge": "rule-1",
                "output": '{"answers": ["an answer, \\"quoted\\""]}',
            }
        ).cast(tables.ITEMS)
        for name, metric, values in parts
    ]  # fmt: skip
    cell = {"model": "m", "method": "dense", "variant": "dense", "calibration": "", "seed": 0}
    monkeypatch.setattr(paths, "project", lambda: tmp_path)
    tables.write(tables.label(pl.concat(frames), cell), results.judgements("mine", "reliability"))
    for folder in ("params", "d"):
        (tmp_path / folder).mkdir()
    for name in ("mine", "other"):
        profile = "{models: {m: m}, compressions: {dense: {method: dense}}, evaluations: {reliability: {data_dir: d}}}"
        (tmp_path / "params" / f"{name}.yaml").write_text(profile)
    monkeypatch.setattr(labels.judging, "documents", documents)
    return tmp_path / "labels.csv"


def documents(name, indices, data_dir):
    return [{"prompt": f"{name} {index}", "options": ["yes", "no"], "gold": 1} for index in indices]


def fill(target, human):
    table = pl.read_csv(target, schema_overrides={"label": pl.String})
    key = pl.read_csv(target.with_name("labels.key.csv"))
    values = [human(row) for row in key.iter_rows(named=True)]
    table.with_columns(pl.Series("label", values, dtype=pl.String)).write_csv(target)


def test_a_sample_is_stratified_and_blind(judged):
    assert labels.draw("mine", judged, number=24) == 24
    drawn, key = pl.read_csv(judged), pl.read_csv(judged.with_name("labels.key.csv"))
    assert drawn.columns == labels.SHOWN
    assert key.group_by("task", "value").len()["len"].to_list() == [8, 8, 8]
    assert set(drawn["answer"]) == {'an answer, "quoted"'}
    assert all(prompt.split()[0] == task for prompt, task in drawn.select("prompt", "task").iter_rows())
    assert drawn["id"].to_list() == list(range(24))
    assert set(drawn["reference"]) == {"no"}
    before = judged.read_bytes()
    with pytest.raises(ValueError, match="already exists and may contain labels"):
        labels.draw("mine", judged)
    assert judged.read_bytes() == before


def test_agreement_is_by_task_and_over_all(judged):
    labels.draw("mine", judged, number=30)
    # The person disagrees on every fifth answer, and left the last two empty.
    fill(judged, lambda row: "" if row["id"] >= 28 else str(int(row["value"] if row["id"] % 5 else 1 - row["value"])))
    agreement = labels.score(judged)
    everything = agreement.filter(task="all").row(0, named=True)
    assert everything["n"] == 28
    assert everything["accuracy"] == pytest.approx(1 - 6 / 28)
    assert everything["kappa_low"] < everything["kappa"] < everything["kappa_high"]
    assert agreement.filter(pl.col("task") != "all")["n"].sum() == 28


CELLS = [
    "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "'=1", "''=1", '=HYPERLINK("http://host","a, b")',
    "plain", "'quoted'", "1 = 1", "", "'", " =1", "a\n=1",
]  # fmt: skip


def test_no_cell_is_run_by_a_spreadsheet_and_each_is_read_back_as_it_was(tmp_path):
    table = pl.DataFrame({"id": range(len(CELLS)), "answer": CELLS, "value": -1.5})
    labels.quoted(table).write_csv(tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        stored = [row["answer"] for row in csv.DictReader(file)]
    assert not [cell for cell in stored if cell[:1] in tuple("=+-@\t\r\n＝＋－＠")]
    assert [cell for cell, before in zip(stored, CELLS, strict=True) if cell != before] == [
        f"'{cell}" for cell in CELLS[:11]
    ]
    assert labels.read(tmp_path / "a.csv").equals(table)


def test_formulas_of_a_model_are_quoted_and_the_agreement_is_unchanged(judged, monkeypatch):
    def score():
        labels.draw("mine", judged, number=30)
        fill(judged, lambda row: str(int(row["value"] if row["id"] % 5 else 1 - row["value"])))
        found = labels.score(judged)
        texts = pl.read_csv(judged), pl.read_csv(judged.with_name("labels.key.csv"))
        judged.unlink()
        return found, *texts

    plain, _, _ = score()
    path = results.judgements("mine", "reliability")
    hostile = tables.read(path).with_columns(
        pl.lit('{"answers": ["=cmd|\' /C calc\'!A0"]}').alias("output"), pl.lit("@judge-1").alias("judge")
    )
    tables.write(hostile, path)
    monkeypatch.setattr(labels.judging, "documents", lambda *given: [{"prompt": "+1", "answers": ["-1"]}])
    found, drawn, key = score()
    assert set(drawn["answer"]) == {"'=cmd|' /C calc'!A0"}
    assert set(drawn["prompt"]) == {"'+1"}
    assert set(drawn["reference"]) == {"'-1"}
    assert set(key["judge"]) == {"'@judge-1"}
    assert set(found["judge"]) == {"@judge-1", "all"}
    assert found.drop("judge").equals(plain.drop("judge"))


@pytest.mark.parametrize(
    ("human", "says"),
    [
        (lambda row: "", "contains no labels yet"),
        (lambda row: "yes", "label 'yes' of id 0 in labels.csv is not allowed"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(judged, capsys, human, says):
    assert main(["label", "draw", str(judged), "--profile", "mine"]) == 0
    assert "nox -s label -- score" in capsys.readouterr().out
    fill(judged, human)
    assert main(["label", "score", str(judged)]) == 2
    assert says in capsys.readouterr().err


def test_an_answer_that_is_there_twice_is_refused(judged, capsys):
    assert main(["label", "draw", str(judged), "--profile", "mine", "--seed", "-1"]) == 2
    assert "--seed -1 is not allowed" in capsys.readouterr().err
    assert main(["label", "draw", str(judged), "--profile", "mine"]) == 0
    fill(judged, lambda row: "1")
    judged.write_text(judged.read_text() + judged.read_text().splitlines()[1] + "\n")
    assert main(["label", "score", str(judged)]) == 2
    assert "id 0 is in labels.csv more than once; keep one row of each answer" in capsys.readouterr().err


def test_a_file_that_was_saved_with_semicolons_is_read(judged):
    labels.draw("mine", judged, number=30)
    fill(judged, lambda row: str(int(row["value"])))
    expected = labels.score(judged)
    pl.read_csv(judged).write_csv(judged, separator=";")
    assert labels.score(judged).equals(expected)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a,b\n1,2\n", "labels.csv has columns a, b and lacks id, label; keep all columns as nox -s label -- draw"),
        (b"id,label\n1,1,3,4\n", "labels.csv is no CSV file in UTF-8"),
        (b"", "labels.csv is no CSV file in UTF-8"),
        ("id,label\n0,ä\n".encode("utf-16"), "labels.csv is no CSV file in UTF-8"),
    ],
)
def test_a_file_of_another_form_is_one_sentence(judged, capsys, content, says):
    labels.draw("mine", judged)
    judged.write_bytes(content)
    assert main(["label", "score", str(judged)]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert len(error.strip().splitlines()) == 1


def test_nothing_to_draw_from_and_nothing_to_score(judged, capsys):
    assert main(["label", "draw", str(judged), "--profile", "other"]) == 2
    assert "judged.reliability.parquet, are not there; make them: nox -s reproduce" in capsys.readouterr().err
    assert main(["label", "score", str(judged)]) == 2
    assert "draw a sample first" in capsys.readouterr().err


def test_labelled_refusals_are_read_whole_and_the_rule_flags_no_compliant_answer():
    answers = labels.refusals()
    assert answers.group_by("file", maintain_order=True).len()["len"].to_list() == [105, 64]
    assert set(answers["human"]) == {0, 1}
    compliant = answers.filter(human=0, part="work")["answer"]
    assert not any(map(refusal.declines, compliant))


def test_a_prompts_answers_are_all_in_one_part():
    answers = labels.refusals()
    assert answers.group_by("objective").agg(pl.col("part").n_unique())["part"].max() == 1
    assert 0.3 < (answers["part"] == "report").mean() < 0.7
    assert labels.half("A  prompt\n") == labels.half("a prompt")


def test_own_labels_are_whole_and_say_who_labelled():
    own = labels.own()
    assert set(own["label"]) == {0, 1, None}
    assert set(own["labelled_by"]) == {"a language model"}
    assert set(own["part"]) == {"work", "report"}
    assert set(own.filter(pl.col("label").is_null())["metric"]) <= {"steady", "right"}
    default = own.filter(pl.col("task").is_in(["strongreject_generate", "overrefusal_generate"]))
    assert len(default) == 150
    for (name,), frame in default.group_by("task"):
        prompts = [doc["prompt"] for doc in judging.documents(name, frame["doc_id"].to_list())]
        assert [labels.half(prompt) for prompt in prompts] == frame["part"].to_list()
        hashes = [hashlib.sha256(prompt.encode()).hexdigest()[:12] for prompt in prompts]
        assert hashes == frame["prompt_hash"].to_list()


@pytest.mark.slow
@pytest.mark.skipif(not TRUSTLLM.is_file(), reason="needs the TrustLLM data set beside the checkout")
def test_the_recorded_agreement_is_that_of_todays_judges():
    today = labels.measure(str(TRUSTLLM.parent)).with_columns(pl.col(pl.Float64).round(4))
    assert_frame_equal(today, measured.table(), abs_tol=0.02)
