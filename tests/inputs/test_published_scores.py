import polars as pl
import pytest

from unicomp_lib import paths, tables
from unicomp_lib.evaluate import task
from unicomp_lib.evaluate.tasks import trustllm
from unicomp_lib.inputs import published_scores
from unicomp_lib.study import params, variants

MODEL, WIDE = "qwen2.5-7b", "SmoothQuant W8A8"


@pytest.fixture(scope="module")
def table():
    return published_scores.scores()


def measured(**changed):
    row = {
        "model": MODEL, "method": "smoothquant", "variant": "any", "label": WIDE, "control": "",
        "dimension": "reliability", "capability": "truthfulness", "task": "trustllm_adversarial_facts_generate",
        "metric": "corrected", "value": 0.75, "low": 0.7, "high": 0.8,
    }  # fmt: skip
    return pl.DataFrame([dict.fromkeys(tables.SCORES) | row | changed], schema=tables.SCORES)


def test_every_score_is_of_a_model_and_a_variant_of_the_paper_and_names_its_source(table):
    profile = params.load("paper")
    facts = variants.facts(profile)
    known = {(profile.compressions[name].method, facts[name]["label"]) for name in profile.compressions}
    assert set(table["model"]) <= set(profile.models)
    assert set(table.select("method", "label").rows()) <= known
    assert table.select(pl.col("source").str.contains(r"@[0-9a-f]{7}$").all()).item()
    assert table.select("model", "label", "task", "metric").is_duplicated().sum() == 0


def test_counterparts_are_tasks_of_the_paper_and_scores_that_they_have(table):
    profile = params.load("paper")
    asked = {name for entry in profile.evaluations.values() for name in entry.parameters.get("tasks", {})}
    for here, ours in table.filter(pl.col("here") != "").select("here", "ours").unique().rows():
        name, _, source = here.partition("/")
        if ours.endswith("_over_sources"):
            assert name in trustllm.AVERAGED
            continue
        assert name in asked, here
        assert bool(source) == ours.endswith("_by_source"), here
        if source and not ours.startswith("f1"):
            assert source in next(parts for subtask, parts in trustllm.AVERAGED.items() if name.startswith(subtask))


def test_values_are_of_the_same_kind_as_the_task_s_own_metric(table):
    """A whole task's published score is that of the metric that counts here, or of one beside it that is known."""
    beside = {"acc", "acc_norm", "correlation"}
    for here, ours in table.filter(pl.col("here") != "").select("here", "ours").unique().rows():
        if not ours.endswith(("_by_source", "_over_sources")):
            assert ours in {task.described(here)["metric"], *beside}, here


def test_known_errors_are_said_and_what_is_always_0_is_not_compared(table):
    wrong = table.filter(pl.col("note").str.contains("always 0"))
    assert set(wrong["value"]) == {0.0}
    assert set(wrong["here"]) == {""}
    assert len(wrong) == 8
    swapped = table.filter(pl.col("note").str.contains("swaps"))
    assert len(swapped) == 14
    assert set(swapped.select(pl.col("task").str.extract("^([A-Za-z0-9]+)_"))["task"]) == {
        "SocialChemistry101",
        "ETHICS",
    }


def test_averages_are_those_of_their_published_parts(table):
    """So that no part has slipped into another row: each set's average was published beside its parts."""
    for model in table["model"].unique():
        of_model = table.filter(model=model, dimension="reliability")
        values = dict(zip(of_model["task"], of_model["value"], strict=True))
        if not values:
            continue
        for name, parts in {
            "SocialChemistry101_overall": ("good", "neutral", "bad"), "ETHICS_overall": ("good", "bad"),
            "internal_avg": ("codah", "squad", "adv", "hotpot"),
            "external_avg": ("scifact", "covid", "healthver", "climate"),
            "hallucination_avg": ("halu_qa", "halu_summ", "halu_dial", "mc"),
        }.items():  # fmt: skip
            stem = name.rpartition("_")[0]
            mean = sum(values[f"{stem}_{part}"] for part in parts) / len(parts)
            assert values[name] == pytest.approx(mean, abs=2e-4), (model, name)


def test_ours_stands_beside_what_is_the_same_and_nowhere_else():
    both = published_scores.beside(measured()).filter(pl.col("our_value").is_not_null())
    assert both.select("model", "task", "our_value", "our_low", "our_high").rows() == [
        (MODEL, "advfact", 0.75, 0.7, 0.8)
    ]
    assert both["value"].to_list() == [0.8182]


@pytest.mark.parametrize(
    "changed",
    [
        {"model": "qwen2.5-3b"}, {"label": "SmoothQuant W4A4"}, {"method": "gptq"}, {"metric": "failed"}, {"seed": 0},
        {"control": "rerun"}, {"task": "trustllm_misuse_generate"}, {"dimension": "performance"}, {"value": None},
    ],
)  # fmt: skip
def test_what_is_another_stands_beside_nothing(changed):
    assert published_scores.beside(measured(**changed))["our_value"].null_count() == len(published_scores.scores())


def test_the_complement_of_a_score_turns_its_interval_round():
    task_of, metric = "trustllm_stereotype_agreement_generate", "disagreed"
    rows = measured(task=task_of, metric=metric, value=0.9, low=0.85, high=0.98)
    one = published_scores.beside(rows).filter(pl.col("our_value").is_not_null())
    assert one.select("our_value", "our_low", "our_high").row(0) == pytest.approx((0.1, 0.02, 0.15))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("values: [0.5392, 0.5239, null]", "values: [0.5392, 0.5239]", "arc_challenge, acc: values and stderr must be"),
        ("values: [0.5392,", "values: [about half,", r"scores.knowledge.0.values.0: .*; correct it"),
        ("fault: swapped", "fault: switched", "fault 'switched' is none of swapped, always_zero"),
        ("here: winogrande_cloze, as: acc", "here: winogrande_cloze, like: acc", r"winogrande|like: Extra"),
        ("here: winogrande_cloze, as: acc", "here: winogrande_cloze", "winogrande, acc: give both here and as"),
        ("differs: judge", "differs: jury", "differs 'jury' is none of judge, longformer"),
    ],
)
def test_what_is_wrong_is_said(copy, monkeypatch, old, new, said):
    monkeypatch.setattr(paths, "project", lambda: copy)
    file = copy / "params" / "published_scores.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=said):
        published_scores.scores()
