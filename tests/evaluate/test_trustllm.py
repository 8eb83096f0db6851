import json
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from sklearn.metrics import f1_score

from unicomp_lib import tables
from unicomp_lib.evaluate import harness, judging, scoring, task
from unicomp_lib.evaluate.tasks import folder, items, trustllm

DATA = Path(__file__).parents[3] / "shared" / "data"
real = pytest.mark.skipif(
    not (DATA / folder.ARCHIVE).is_file(), reason="the TrustLLM data set is not beside this checkout"
)
CELL = {"model": "m", "method": "dense", "variant": "dense", "calibration": "", "seed": 0}
COUNTS = {
    "internal": 300, "internal_codah": 100, "external": 400, "hallucination": 300, "hallucination_choice": 352,
    "sycophancy_persona": 179, "sycophancy_preference": 240, "adversarial_facts": 209, "jailbreak": 1400,
    "misuse": 1174, "exaggerated_safety": 200, "stereotype_recognition": 1000, "stereotype_agreement": 1000,
    "stereotype_query": 95, "disparagement": 810, "preference": 120, "preference_forced": 120, "advglue": 912,
    "advinstruction": 600, "ood_detection": 241, "ood_generalization": 498, "confaide": 196,
    "privacy_awareness": 280, "privacy_awareness_policy": 280, "leakage": 400, "ethics_actions": 500,
    "ethics_norms": 500, "moral_choice": 687, "moral_dilemma": 680, "awareness_mission": 966,
    "awareness_perspective": 900, "awareness_capability": 600, "awareness_emotion": 200,
}  # fmt: skip


# Their judges agree too little with labelled answers, so that they give no value without an endpoint.
UNJUDGED = {"adversarial_facts", "sycophancy_persona", "sycophancy_preference"}


def wrong(item, judge):
    """An answer that must be worth 0."""
    answers = {
        "label": lambda: item["options"][item["gold"] - 1].split("|")[0],
        "classes": lambda: item["options"][item["gold"] - 1],
        "disagreement": lambda: "Yes, I agree.",
        "letter": lambda: "ABCD"[(item["gold"] + 1) % len(item["choices"])] + ".",
        "disclosure": lambda: f"It is {item['secret']}.",
        "attacks": lambda: item["options"][item["gold"] - 1],
    }
    return answers.get(judge, lambda: "qx qx qx")()


def judged(name, answer, count=24):
    """Rows of a subtask's first items with their verdicts on what ``answer`` makes of each."""
    about = task.described(name)
    docs = items.items(task.source(name), str(DATA))[:count]
    rows = [
        {
            **{key: about[key] for key in ("dimension", "capability", "format", "chance")}, "task": name,
            "doc_id": index, "doc_hash": str(index), "prompt_hash": "", "cluster": str(index), "metric": "empty",
            "primary": False, "value": 0.0, "judge": "",
            "output": json.dumps({"answers": [answer(item, about["judge"])]}),
        }
        for index, item in enumerate(docs)
    ]  # fmt: skip
    return judging.judge(tables.label(pl.DataFrame(rows, schema=tables.ITEMS), CELL), data_dir=str(DATA))


@real
def test_every_file_is_read_whole():
    counts = {name.removeprefix("trustllm_"): len(items.items(name, str(DATA))) for name in trustllm.SOURCES}
    assert counts == COUNTS
    assert {f"trustllm_{name}_generate" for name in COUNTS} == {
        name for name in task._of_sets() if name.startswith("trustllm_")
    }


@real
def test_the_chance_of_guessing_is_that_of_the_options():
    for source in trustllm.SOURCES:
        docs = items.items(source, str(DATA))
        options = [item.get("options") or item.get("choices") for item in docs]
        if options[0]:
            about = task.described(f"{source}_generate")
            mean = sum(1 / len(choices) for choices in options) / len(options)
            assert about["chance"] == pytest.approx(mean, abs=0.002), source


@pytest.mark.slow
@real
@pytest.mark.parametrize("subtask", sorted({*COUNTS} - UNJUDGED))
def test_wrong_answers_are_worth_nothing(subtask):
    """Right ones are asked for in ``test_every_task.py``."""
    name = f"trustllm_{subtask}_generate"
    primary = judged(name, wrong).filter(pl.col("primary"))
    assert set(primary["metric"]) == {task.described(name)["metric"]}
    assert primary["value"].to_list() == [0.0] * len(primary)


@real
def test_halves_by_hand():
    """Metrics of a whole task whose every second answer is right."""

    def half(item, judge):
        half.turn += 1
        if half.turn % 2 == 0:
            return wrong(item, judge)
        return "I do not know it." if judge == "disclosure" else item["options"][item["gold"]]

    half.turn = 0
    scores = scoring.score(judged("trustllm_advglue_generate", half, count=24), {})
    by = {row["metric"]: row["value"] for row in scores.filter(pl.col("seed").is_null()).iter_rows(named=True)}
    # Each pair: the original is right, the attacked version wrong.
    assert (by["original_right"], by["right"], by["attack_success"]) == (1.0, 0.0, 1.0)
    half.turn = 0
    scores = scoring.score(judged("trustllm_leakage_generate", half, count=24), {})
    by = {row["metric"]: row["value"] for row in scores.filter(pl.col("seed").is_null()).iter_rows(named=True)}
    assert (by["withheld"], by["addressed"], by["disclosed_of_addressed"]) == (0.5, 0.5, 1.0)
    scores = scoring.score(judged("trustllm_confaide_generate", lambda item, _: str(item["human"]), count=40), {})
    by = {row["metric"]: row["value"] for row in scores.filter(pl.col("seed").is_null()).iter_rows(named=True)}
    assert by["correlation"] == pytest.approx(1, abs=0.01)
    assert "human" not in by


@real
def test_every_source_of_the_paper_is_there_and_has_its_items():
    sizes = {}
    for subtask, sources in trustllm.AVERAGED.items():
        of_subtask = [name for name in trustllm.SOURCES if name.startswith(subtask)]
        found = Counter(item["source"] for name in of_subtask for item in items.items(name, str(DATA)))
        assert set(found) == set(sources), subtask
        sizes |= found
    assert {sizes[name] for name in ("SQuAD2.0", "CODAH", "SciFact", "COVID-Fact", "HaluEval dialogues")} == {100}
    assert (sizes["DDXPlus"], sizes["Flipkart"], sizes["multiple choice"]) == (98, 400, 352)
    assert {sizes[name] for name in trustllm.AVERAGED["trustllm_leakage"]} == {50}
    attacks = Counter(item["source"] for item in items.items("trustllm_jailbreak", str(DATA)))
    assert len(attacks) == 14
    assert set(attacks.values()) == {100}
    norms = Counter(item["source"] for item in items.items("trustllm_ethics_norms", str(DATA)))
    assert norms == {"bad": 200, "neutral": 100, "good": 200}


@real
def test_f1_by_source_is_what_the_reference_code_computes_where_every_answer_is_read():
    """TrustLLM's ``external_eval``: scikit-learn's macro F1 by source, and its plain mean."""
    table = judged("trustllm_external_generate", half_right(7), count=None)
    scores = scoring.score(table, {}).filter(pl.col("seed").is_null())
    by = {(row["task"], row["metric"]): row["value"] for row in scores.iter_rows(named=True)}
    docs = items.items("trustllm_external", str(DATA))
    answer = half_right(7)
    said = [answer(item, "classes") == "support" for item in docs]
    expected = {}
    for source in trustllm.AVERAGED["trustllm_external"]:
        mine = [index for index, item in enumerate(docs) if item["source"] == source]
        gold = [docs[index]["gold"] == 0 for index in mine]
        expected[source] = f1_score(gold, [said[index] for index in mine], average="macro")
        assert by[f"trustllm_external_generate/{source}", "f1_by_source"] == pytest.approx(expected[source])
    assert by["trustllm_external", "f1_over_sources"] == pytest.approx(sum(expected.values()) / 4)


def half_right(step):
    """Answers of which every ``step``-th is wrong, and beyond those every refuted claim of an even turn."""
    turn = iter(range(10**6))

    def answer(item, _):
        place = next(turn)
        off = place % step == 0 or (place % 2 == 0 and item["gold"] == 1)
        return item["options"][item["gold"] - off]

    return answer


@real
def test_the_right_option_is_not_always_the_first():
    gold = [item["gold"] for item in items.items("trustllm_hallucination_choice", str(DATA))]
    assert max(gold.count(index) for index in range(4)) < 0.45 * len(gold)
    for item in items.items("trustllm_hallucination_choice", str(DATA)):
        letter = "ABCD"[item["gold"]]
        assert f"{letter}. {item['choices'][item['gold']]}" in item["prompt"]


@real
def test_groups_stay_together_and_their_original_comes_first():
    for source in ("trustllm_advglue", "trustllm_advinstruction"):
        seen, last = set(), None
        for item in items.items(source, str(DATA)):
            if item["group"] != last:
                assert item["group"] not in seen
                assert not item["attacked"]
                last = item["group"]
                seen.add(last)


@pytest.mark.slow
@real
def test_a_model_answers_every_subtask_and_every_answer_is_judged(tiny):
    tasks = {f"trustllm_{name}_generate": 2 for name in COUNTS}
    rows = tables.label(harness.run(*tiny, tasks, data_dir=str(DATA)), CELL)
    primary = judging.judge(rows, data_dir=str(DATA)).filter(pl.col("primary"))
    expected = {(name, task.described(name)["metric"]) for name in tasks}
    assert set(primary.select("task", "metric").rows()) == expected
    assert primary["value"].is_finite().all()
    assert set(primary["capability"]) == {"truthfulness", "safety", "fairness", "robustness", "privacy", "ethics"}


def test_an_unpacked_folder_is_read_and_a_missing_one_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="no package contains the items of trustllm_external; set data_dir to"):
        items.items("trustllm_external", str(tmp_path))
    path = tmp_path / "dataset" / "truthfulness" / "external.json"
    path.parent.mkdir(parents=True)
    before = folder.identity(str(tmp_path))
    path.write_text(json.dumps([{"prompt": "True?", "answer": "REFUTE", "source": "covid"}]))
    assert folder.identity(str(tmp_path)) != before
    items.items.cache_clear()
    (item,) = items.items("trustllm_external", str(tmp_path))
    assert item == {"prompt": "True?", "options": ["support", "refute"], "gold": 1, "source": "COVID-Fact"}
