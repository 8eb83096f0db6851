import json
import sys

import pytest

from unicomp_lib.evaluate.tasks import ifbench, items

STRICT = ("prompt_level", "instruction_level", "unchecked")


def strict(doc, answer):
    scores = ifbench.followed(doc, [answer])
    return [scores[name] for name in STRICT]


def test_checkers_decide_as_their_instructions_say():
    prompt = "Say something."
    between = {"min_words": 3, "max_words": 5}
    assert ifbench.check("count:word_count_range", between, prompt, "one two three four")
    assert not ifbench.check("count:word_count_range", between, prompt, "one two")
    assert ifbench.check("format:no_whitespace", {}, prompt, "word")
    assert not ifbench.check("format:no_whitespace", {}, prompt, "two words")
    assert not ifbench.check("format:no_whitespace", {}, prompt, " ")  # an empty answer follows nothing


def test_every_item_offered_can_be_checked_without_a_network(monkeypatch):
    nltk = sys.modules.get("nltk") or pytest.importorskip("nltk")
    monkeypatch.setattr(nltk, "download", lambda *_, **__: pytest.fail("a checker asked the network"))
    for item in items.items("ifbench"):
        shares = ifbench.followed(item, ["A short answer. It has two sentences, no more.\n\n- one\n- two"])
        assert set(shares) == {*STRICT, "prompt_level_loose", "instruction_level_loose"}
        assert 0 <= shares["prompt_level"] <= shares["instruction_level"] <= shares["instruction_level_loose"] <= 1
        assert shares["prompt_level"] <= shares["prompt_level_loose"]


def test_all_instructions_must_be_followed_for_the_prompt_to_count():
    words, none = {"min_words": 1, "max_words": 2}, {}
    doc = {
        "prompt": "p",
        "names": ["count:word_count_range", "format:no_whitespace"],
        "arguments": json.dumps([words, none]),
    }
    assert strict(doc, "two words") == [0.0, 0.5, 0.0]
    assert strict(doc, "one") == [1.0, 1.0, 0.0]


ODD = [
    "7",
    "ok",
    "1",
    "...",
    "**",
    '"',
    "\u6771\u4eac",
    "\n.",
    "?!",
    "\u200b",
    "a" * 50,
    "- \n- ",
    "\ud83d",
    "(",
    "1. 2. 3.",
]


@pytest.mark.parametrize("answer", ODD)
def test_no_answer_makes_a_checker_end_the_run(answer):
    for item in items.items("ifbench"):
        scores = ifbench.followed(item, [answer])
        assert 0 <= scores["prompt_level"] <= scores["instruction_level"] <= 1
        assert scores["prompt_level"] + scores["unchecked"] <= 1


def test_a_checker_that_raises_says_not_followed_and_is_counted():
    overlap = {"percentage": 50, "reference_text": "Say how bread is made."}
    assert ifbench.check("ratio:overlap", overlap, "p", "ok") is False
    assert ifbench.check("format:quote_unquote", {}, "p", "1") is False
    names = ["ratio:overlap", "format:no_whitespace"]
    doc = {"prompt": "p", "names": names, "arguments": json.dumps([overlap, {}])}
    assert strict(doc, "ok") == [0.0, 0.5, 1.0]


def test_a_span_that_begins_with_the_first_word_is_no_matter_of_luck():
    span = {"prompt_to_repeat": "one two three four five six", "n_start": 0, "n_end": 2}
    assert all(ifbench.check("repeat:repeat_span", span, "p", "one two") for _ in range(20))
    assert not any(ifbench.check("repeat:repeat_span", span, "p", "two") for _ in range(20))


def test_what_the_full_set_needs_is_reported(monkeypatch):
    monkeypatch.setattr(ifbench.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"all of IFBench needs the package syllapy.*or use the task ifbench_generate"):
        items.items("ifbench_full")


def test_loading_the_checkers_leaves_the_modules_as_they_were():
    ifbench.registry()
    assert "ifbench" not in sys.modules or sys.modules["ifbench"].__spec__
    assert "spacy" not in sys.modules or sys.modules["spacy"].__spec__


def test_a_loose_reading_forgives_what_stands_around_an_answer():
    doc = {"prompt": "Write.", "names": ["count:word_count_range"], "arguments": '[{"min_words": 3, "max_words": 3}]'}
    for answer in (
        "Sure, here it is:\none two three",
        "one two three\nI hope this helps!",
        "Sure:\none two three\nBye",
    ):
        scores = ifbench.followed(doc, [answer])
        assert (scores["prompt_level"], scores["prompt_level_loose"]) == (0.0, 1.0), answer
        assert (scores["instruction_level"], scores["instruction_level_loose"]) == (0.0, 1.0), answer
    for answer, value in (("one two three", 1.0), ("one two", 0.0), ("", 0.0)):
        scores = ifbench.followed(doc, [answer])
        assert scores["prompt_level"] == scores["prompt_level_loose"] == value


def test_what_is_loosened_is_never_the_answer_itself_nor_empty():
    assert ifbench.loosened("one line") == []
    assert ifbench.loosened("*a*\nb") == ["b", "*a*", "a\nb", "a"]
