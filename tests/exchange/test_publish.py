"""``nox -s publish``: what others read says what the study's tables say, with units, intervals and no text of items."""

import hashlib
import json
import re

import polars as pl
import pytest
import yaml

from unicomp_lib import results, tables
from unicomp_lib.__main__ import main
from unicomp_lib.exchange import columns, every_eval_ever, model_cards, paper_tables

SCORES = pl.read_parquet(results.folder("embedded") / "scores.parquet")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    assert main(["publish", str(folder), "--by", "someone"]) == 0
    return folder


def test_the_data_set_holds_every_row_and_its_card_every_column(published):
    folder = published / "data_set"
    card = (folder / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    files = {path.stem for path in (folder / "data").glob("*.parquet")}
    assert {config["config_name"] for config in head["configs"]} == files >= {"fidelity", "reliability", "vision"}
    own = [pl.read_parquet(path) for path in (results.folder("embedded") / "items").glob("*.fidelity.parquet")]
    rows = pl.read_parquet(folder / "data" / "fidelity.parquet")
    assert len(rows) == sum(map(len, own))
    assert rows["value"].sum() == pytest.approx(sum(each["value"].sum() for each in own))
    for name in rows.columns:
        assert f"| `{name}` |" in card
    assert not {"question", "doc", "text"} & set(rows.columns)


def test_croissant_names_every_file_with_its_hash_and_every_column_with_its_type(published):
    folder = published / "data_set"
    content = json.loads((folder / "croissant.json").read_text())
    assert content["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    for file in content["distribution"]:
        assert file["sha256"] == hashlib.sha256((folder / file["contentUrl"]).read_bytes()).hexdigest()
    ids = {file["@id"] for file in content["distribution"]}
    for record, file in zip(content["recordSet"], content["distribution"], strict=True):
        rows = pl.read_parquet(folder / file["contentUrl"])
        assert [field["source"]["extract"]["column"] for field in record["field"]] == rows.columns
        assert {field["source"]["fileObject"]["@id"] for field in record["field"]} <= ids
        kinds = {field["name"]: field["dataType"] for field in record["field"]}
        assert (kinds["value"], kinds["doc_id"], kinds["primary"]) == ("sc:Float", "sc:Integer", "sc:Boolean")


def test_records_have_what_the_schema_requires_and_the_scores_with_their_intervals(published):
    """Required fields and values of eval.schema.json, version 0.3.0."""
    paths = list((published / "every_eval_ever").rglob("*.json"))
    records = [json.loads(path.read_text()) for path in paths]
    of_models = SCORES.filter(pl.col("dimension").is_in(["performance", "reliability"]), control="")
    assert len(records) == of_models["variant"].n_unique() > 10
    for path, record in zip(paths, records, strict=True):
        assert set(record) == {
            "schema_version", "evaluation_id", "retrieved_timestamp", "source_metadata", "eval_library", "model_info",
            "evaluation_results",
        }  # fmt: skip
        assert record["schema_version"] == "0.3.0"
        assert record["source_metadata"]["source_organization_name"] == "someone"
        assert {"deployment_type", "model_availability"} <= set(record["model_info"]["additional_details"])
        assert all(isinstance(value, str) for value in record["model_info"]["additional_details"].values())
        assert path.parent.parent.name == record["model_info"]["id"].partition("/")[0]
        for result in record["evaluation_results"]:
            assert {"evaluation_name", "source_data", "metric_config", "score_details"} <= set(result)
            assert result["source_data"]["source_type"] in ("hf_dataset", "other")
            assert 0 <= result["score_details"]["score"] <= 1
    (wanda,) = [record for record in records if record["model_info"]["id"].endswith("-wanda-50")]
    found = {result["evaluation_name"]: result["score_details"] for result in wanda["evaluation_results"]}
    row = SCORES.filter(
        pl.col("seed").is_null(), variant="wanda-50", task="piqa_cloze", metric="acc_norm"
    ).row(0, named=True)  # fmt: skip
    assert found["piqa_cloze"]["score"] == row["value"]
    interval = found["piqa_cloze"]["uncertainty"]["confidence_interval"]
    assert (interval["lower"], interval["upper"]) == (row["low"], row["high"])


def test_only_scores_of_tasks_in_the_metric_that_counts_are_given():
    rows = every_eval_ever.scored(SCORES)
    assert set(rows["dimension"]) <= {"performance", "reliability"}
    assert "all" not in rows["task"]
    assert set(rows["metric"]) <= {"acc", "acc_norm", "exact_match", "prompt_level", "refused", "answered"}
    assert rows.group_by("model", "variant", "task").len()["len"].max() == 1


def test_model_cards_are_of_hub_data_sets_alone_and_say_how_many_items(tmp_path):
    row = {
        "model": "m", "variant": "w", "label": "Wanda 50 %", "dimension": "performance", "capability": "knowledge",
        "task": "hellaswag_cloze", "format": "cloze", "metric": "acc_norm", "value": 0.512345, "low": 0.5,
        "high": 0.525, "n": 1000, "chance": 0.25, "seed": None,
    }  # fmt: skip
    scores = tables.scores(
        [{**dict.fromkeys(tables.SCORES), **row}, {**dict.fromkeys(tables.SCORES), **row, "task": "piqa_cloze"}], {}
    )
    assert model_cards.write(scores, tmp_path) == 1
    (entry,) = yaml.safe_load((tmp_path / "m" / "w" / ".eval_results" / "hellaswag_cloze.yaml").read_text())
    assert entry["dataset"]["id"] == "Rowan/hellaswag"
    assert re.fullmatch("[0-9a-f]{40}", entry["dataset"]["revision"])
    assert entry["value"] == 51.23
    assert "1000 items, cloze, acc_norm, 95 % interval 50.0 to 52.5" in entry["notes"]


def test_tables_are_rounded_have_units_and_fit_latex(published):
    folder = published / "tables"
    scores = pl.read_csv(folder / "scores.csv", infer_schema_length=None)
    units = dict(scores.select("metric", "unit").unique().rows())
    assert scores["unit"].null_count() == 0
    assert (units["acc_norm"], units["bits_per_byte"], units["decode"], units["bytes_on_disk"], units["kl"]) == (
        "share", "bits/byte", "tokens/s", "bytes", "nats",
    )  # fmt: skip
    full = SCORES.filter(pl.col("value").is_finite())["value"].to_list()
    short = scores.filter(pl.col("value").is_not_null())["value"].to_list()
    assert short == pytest.approx(full, rel=0.006)
    assert max(len(f"{abs(value):.12e}".partition("e")[0].rstrip("0").replace(".", "")) for value in short) <= 3
    table = pl.read_csv(folder / "performance.csv")
    assert all(
        re.fullmatch(r"\d+\.\d( \[\d+\.\d, \d+\.\d\])?", cell)
        for row in table.drop(table.columns[0]).rows()
        for cell in row
        if cell
    )
    tex = (folder / "performance.tex").read_text().splitlines()
    assert {line.count(" & ") for line in tex if line.endswith(r"\\")} == {table.width - 1}
    assert not re.search(r"(?<!\\)[_#$]", "\n".join(tex[5:-3]).replace("$-$", "").replace("$<$", ""))


def test_every_column_is_described_and_one_that_is_not_is_refused():
    described = columns.dictionary([*tables.SCORES, *tables.ITEMS])
    assert all(described["meaning"].str.len_chars() > 5)
    with pytest.raises(ValueError, match="the column 'odd' has no description"):
        columns.dictionary(["odd"])


def test_wide_tables_have_the_fewer_of_tasks_and_variants_across():
    rows = [{"model": "m", "variant": name, "label": name, "task": task, "value": 0.5, "low": None, "high": None}
            for name in "abc" for task in ("t", "u")]  # fmt: skip
    table = pl.DataFrame(rows, schema_overrides={"low": pl.Float64, "high": pl.Float64})
    assert paper_tables.wide(table).columns == ["variant", "t", "u"]
    assert paper_tables.wide(table.filter(pl.col("variant") == "a")).columns == ["task", "a"]


def test_without_results_it_is_one_sentence(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "folder", lambda profile: tmp_path / profile)
    assert main(["publish", str(tmp_path / "out")]) == 2
    assert "run the study first" in capsys.readouterr().err


def test_a_record_written_again_is_one_file_and_names_who_made_the_model(tmp_path):
    sources = {"smollm2-135m": "smollm2-135m-instruct"}
    for moment in (1, 2):
        number = every_eval_ever.write(
            SCORES, tmp_path, sources=sources, by="we", moment=moment, relation="first_party"
        )
    written = [json.loads(path.read_text()) for path in tmp_path.rglob("*.json")]
    assert len(written) == number
    assert {record["source_metadata"]["evaluator_relationship"] for record in written} == {"first_party"}
    assert {record["model_info"]["developer"] for record in written} == {"HuggingFaceTB"}
    with pytest.raises(ValueError, match="--relationship friend is not allowed; give one of first_party, third_party"):
        every_eval_ever.write(SCORES, tmp_path, sources=sources, by="we", moment=3, relation="friend")


@pytest.mark.parametrize(
    ("source", "found"),
    [("org/m@" + "a" * 40, ("org", "m")), ("", ("unknown", "mine")), ("/home/me/model", ("unknown", "mine"))],
)
def test_a_folder_has_no_known_developer(source, found):
    assert every_eval_ever.origin(source, "mine") == found
