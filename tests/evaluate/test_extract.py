import pytest

from unicomp_lib.evaluate.tasks import extract

CHOICES = ["a knife", "a pillow", "the cup", "dog"]


def test_no_answer_is_failed_and_wrong():
    doc = {"choices": CHOICES, "gold": 0}
    assert extract.chosen(doc, ["I do not know"]) == {"exact_match": 0.0, "failed": 1.0}
    assert extract.chosen(doc, ["B"]) == {"exact_match": 0.0, "failed": 0.0}
    assert extract.chosen(doc, ["A"]) == {"exact_match": 1.0, "failed": 0.0}


def test_a_thought_is_no_answer():
    doc = {"choices": CHOICES, "gold": 1, "answer": "2", "answers": ["Paris"]}
    assert extract.chosen(doc, ["<think>It is A.</think>B"])["exact_match"] == 1
    assert extract.chosen(doc, ["<think>It is B."]) == {"exact_match": 0.0, "failed": 1.0}
    assert extract.final_number(doc, ["<think>3</think>2<|im_end|>4"])["exact_match"] == 1
    assert extract.short_answer(doc, ["<think>Rome?</think>Paris"])["exact_match"] == 1
    assert extract.nothing(doc, ["<think>What now?"]) == {"empty": 1.0}


def test_a_whole_answer_decides_what_a_point_is():
    assert extract.final_number({"answer": "1234"}, ["Die Antwort ist 1.234."])["exact_match"] == 1
    assert extract.final_number({"answer": "1.234"}, ["The answer is 1.234."])["exact_match"] == 1
    assert extract.final_number({"answer": "0.5"}, ["It is 1/2"])["exact_match"] == 1


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("3*5=15\n#### 15", 1),
        ("The answer is $15. That is 3 more.", 1),
        ("#### 1,500", 0),
        ("It is 3 times 5, so 15", 1),
        ("#### 15\n\nNext: 20", 1),
    ],
)
def test_the_marked_number_counts_before_the_last(text, right):
    assert extract.final_number({"answer": "15"}, [text])["exact_match"] == right


def test_short_answers_match_but_for_case_articles_and_punctuation():
    doc = {"answers": ["The Beatles", "Beatles"]}
    assert extract.short_answer(doc, [" the beatles."]) == {"exact_match": 1.0, "failed": 0.0}
    assert extract.short_answer(doc, ["Beatles and Stones"])["exact_match"] == 0
    assert extract.short_answer(doc, ["\u201cThe Beatles\u201d"])["exact_match"] == 1
    assert extract.short_answer(doc, [" . "])["failed"] == 1
