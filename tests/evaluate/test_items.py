import json

import pytest

from unicomp_lib.evaluate import task
from unicomp_lib.evaluate.tasks import items, refusal

EXPECTED = {
    "mmlu": 2850, "openbookqa": 500, "commonsenseqa": 1212, "piqa": 1500, "siqa": 1953, "bbq": 1012,
    "strongreject": 313, "overrefusal": 150, "mmlu_de": 285, "mmlu_th": 285,
}  # fmt: skip


@pytest.mark.parametrize("source", sorted(EXPECTED))
def test_every_source_gives_its_items(source):
    assert len(items.items(source)) == EXPECTED[source]


def test_closed_items_have_one_right_option():
    for source in ("mmlu", "piqa", "siqa", "commonsenseqa", "bbq", "openbookqa", "logiqa"):
        for item in items.items(source):
            assert item["choices"].count(item["choices"][item["gold"]]) == 1
            assert source == "logiqa" or not item["choices"][0].startswith("A. ")  # there A is a player's name


def test_languages_ask_the_same_questions_in_the_same_order():
    orders = [[item["cluster"] for item in items.items(f"mmlu_{language}")] for language in items.LANGUAGES]
    assert all(order == orders[0] for order in orders)
    assert len(set(orders[0])) == 285


def test_word_problems_have_a_plain_number():
    assert len(items.items("asdiv")) > 1000
    assert all(float(item["answer"]) >= 0 for item in items.items("asdiv"))


def test_every_task_file_is_described_and_its_chance_is_that_of_its_items():
    for file in task.OWN.glob("[!_]*.yaml"):
        about = task.described(file.stem)
        assert {"dimension", "capability", "format", "metric", "chance", "asset"} <= set(about)
        if about["format"] == "cloze":
            found = items.items(task._definition(file.stem)["dataset_kwargs"]["source"])
            mean = sum(1 / len(item["choices"]) for item in found) / len(found)
            assert about["chance"] == pytest.approx(mean, abs=0.002), file.stem


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


def test_an_empty_answer_is_neither_refused_nor_answered():
    assert refusal.refused({}, [""]) == {"refused": 0.0}
    assert refusal.answered({}, [" "]) == {"answered": 0.0}


def test_items_are_plain_json():
    assert json.dumps(items.items("siqa")[0])
