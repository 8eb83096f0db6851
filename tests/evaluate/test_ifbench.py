import json
import sys

import pytest

from unicomp_lib.evaluate.tasks import ifbench, items


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
        assert set(shares) == {"prompt_level", "instruction_level"}
        assert 0 <= shares["prompt_level"] <= shares["instruction_level"] <= 1


def test_all_instructions_must_be_followed_for_the_prompt_to_count():
    words, none = {"min_words": 1, "max_words": 2}, {}
    doc = {
        "prompt": "p",
        "names": ["count:word_count_range", "format:no_whitespace"],
        "arguments": json.dumps([words, none]),
    }
    assert ifbench.followed(doc, ["two words"]) == {"prompt_level": 0.0, "instruction_level": 0.5}
    assert ifbench.followed(doc, ["one"]) == {"prompt_level": 1.0, "instruction_level": 1.0}


def test_what_the_full_set_needs_is_reported(monkeypatch):
    monkeypatch.setattr(ifbench.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"all of IFBench needs the package syllapy.*or use the task ifbench_generate"):
        items.items("ifbench_full")


def test_loading_the_checkers_leaves_the_modules_as_they_were():
    ifbench.registry()
    assert "ifbench" not in sys.modules or sys.modules["ifbench"].__spec__
    assert "spacy" not in sys.modules or sys.modules["spacy"].__spec__
