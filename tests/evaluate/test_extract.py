import pytest

from unicomp_lib.evaluate.tasks import extract

CHOICES = ["a knife", "a pillow", "the cup", "dog"]


@pytest.mark.parametrize(
    ("text", "index"),
    [
        (" B", 1),
        (" B. a pillow", 1),
        ("(C)", 2),
        ("**D**", 3),
        ("The answer is C, since", 2),
        ("It is the pillow.", 1),
        ("A dog is what I would take.", 3),  # an article, not the first option
        ("a knife or a pillow", None),
        ("E. something else", None),
        ("", None),
    ],
)
def test_the_option_is_read_where_it_is_clear(text, index):
    assert extract.option(text, CHOICES) == index


def test_no_answer_is_failed_and_wrong():
    doc = {"choices": CHOICES, "gold": 0}
    assert extract.chosen(doc, ["I do not know"]) == {"exact_match": 0.0, "failed": 1.0}
    assert extract.chosen(doc, ["B"]) == {"exact_match": 0.0, "failed": 0.0}
    assert extract.chosen(doc, ["A"]) == {"exact_match": 1.0, "failed": 0.0}


@pytest.mark.parametrize(("text", "right"), [(" 5 + 3 = 8", 1), (" 8.0", 1), (" 1,008", 0), ("eight", 0)])
def test_the_last_number_counts(text, right):
    assert extract.last_number({"answer": "8"}, [text])["exact_match"] == right


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
    assert extract.short_answer(doc, [" . "])["failed"] == 1
