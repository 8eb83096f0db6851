import json

import pytest

from unicomp_lib.evaluate import judging, task
from unicomp_lib.evaluate.tasks import extract, items, refusal
from unicomp_lib.inputs import texts

EXPECTED = {
    "mmlu": 2850, "openbookqa": 500, "commonsenseqa": 1212, "piqa": 1500, "siqa": 1953, "bbq": 1012,
    "strongreject": 313, "overrefusal": 150, "mmlu_de": 285, "mmlu_th": 285, "nq_open": 1370, "exams_de": 574,
    "exams_vi": 1941, "ifbench": 256, "facts": 185, "summaries": 368, "sycophancy": 250, "moral": 100,
    "privacy_policy": 10923, "piqa_typos": 1500,
}  # fmt: skip


@pytest.mark.parametrize("source", sorted(EXPECTED))
def test_every_source_gives_its_items(source):
    assert len(items.items(source)) == EXPECTED[source]


def test_closed_items_have_one_right_option():
    closed = ("mmlu", "piqa", "siqa", "commonsenseqa", "bbq", "openbookqa", "logiqa", "facts", "summaries", "moral")
    for source in closed:
        for item in items.items(source):
            assert item["choices"].count(item["choices"][item["gold"]]) == 1
            assert source == "logiqa" or not item["choices"][0].startswith("A. ")  # there A is a player's name


def test_languages_ask_the_same_questions():
    asked = [{item["cluster"] for item in items.items(f"mmlu_{language}")} for language in items.LANGUAGES]
    assert all(clusters == asked[0] for clusters in asked)
    assert len(asked[0]) == 285


def test_word_problems_have_a_plain_number_and_three_wrong_ones():
    records = items.items("asdiv")
    assert len(records) > 1000
    for item in records:
        assert float(item["answer"]) >= 0
        assert len({float(choice) for choice in item["choices"]}) == 4
        assert item["choices"][item["gold"]] == item["answer"]


def test_wrong_answers_to_short_questions_are_none_of_the_right_ones():
    records = items.items("nq_open")
    assert len(records) > 1000
    for item in records:
        wrong = [choice for index, choice in enumerate(item["choices"]) if index != item["gold"]]
        assert not {extract.normal(answer) for answer in item["answers"]} & {extract.normal(choice) for choice in wrong}


def test_typos_disturb_the_questions_of_the_same_sample_alone():
    clean, disturbed = items.items("openbookqa"), items.items("openbookqa_typos")
    changed = 0
    for before, after in zip(clean, disturbed, strict=True):
        assert (after["choices"], after["gold"]) == (before["choices"], before["gold"])
        words = list(zip(before["question"].split(" "), after["question"].split(" "), strict=True))
        swapped = [(old, new) for old, new in words if old != new]
        assert all(sorted(old) == sorted(new) and old[0] == new[0] and old[-1] == new[-1] for old, new in swapped)
        changed += bool(swapped)
    assert changed > 0.9 * len(clean)
    assert items.items("openbookqa") == clean  # not disturbed in place


def test_either_option_may_be_the_right_one():
    for source in ("facts", "summaries", "sycophancy", "moral", "privacy_policy"):
        share = sum(item["gold"] for item in items.items(source)) / len(items.items(source))
        assert 0.3 < share < 0.7, source


def test_no_worked_problem_serves_for_calibration_too():
    asked = {item["question"] for item in items.items("gsm8k")}
    drawn = {text[0] for text in texts.texts("reasoning") if isinstance(text, list)}
    assert 30 < len(asked) < 70
    assert not asked & drawn


def test_every_task_is_described_and_its_chance_is_that_of_its_items():
    own = {file.stem for file in task.OWN.glob("[!_]*.yaml")} | set(task._of_sets())
    for name in sorted(own):
        about = task.described(name)
        assert {"dimension", "capability", "format", "metric", "chance", "asset"} <= set(about)
        definition = task._definition(name, task._Plain)
        if definition.get("process_results") == "extract.nothing":
            assert about["judge"] in judging.JUDGES
        else:
            assert about["metric"] in {metric["metric"] for metric in definition["metric_list"]}
        if about["format"] not in ("generate", "reference") and about["asset"] not in (task.FOLDER, task.HUB):
            records = items.items(definition["dataset_kwargs"]["source"])
            mean = sum(1 / len(item.get("choices", "AB")) for item in records) / len(records)
            assert about["chance"] == pytest.approx(mean, abs=0.002), name


def test_a_source_of_the_users_folder_is_asked_for_in_one_sentence():
    with pytest.raises(
        ValueError, match=r"no package contains the items of mgsm_de; set data_dir to a folder that contains mgsm/"
    ):
        items.items("mgsm_de")
    with pytest.raises(ValueError, match="data_dir 'nowhere' is not a folder"):
        items.items("mgsm_de", "nowhere")


@pytest.mark.parametrize(
    ("answer", "declined"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I cannot provide instructions for this.", True),
        ("As an AI language model, I am not able to do this.", True),
        ("To bake bread you need flour, water and yeast.", False),
        ("Here is a plan. " + "Step. " * 60 + "I cannot say more.", False),
        ("", False),
    ],
)
def test_the_judge_sees_openings(answer, declined):
    assert refusal.declines(answer) is declined


def test_items_are_plain_json():
    assert json.dumps(items.items("siqa")[0])
