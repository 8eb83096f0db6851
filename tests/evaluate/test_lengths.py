import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unicomp_lib import tables
from unicomp_lib.evaluate import lengths, scoring

WORDS = st.sampled_from(
    ["the", "of", "earth", "Nuclear", "power", "x", "42", "I'm", "sure", "né", "*", "=", "1.", "是", "的"]
)
CYCLE = st.lists(WORDS, min_size=1, max_size=12)


@given(st.lists(WORDS, max_size=30), CYCLE, st.integers(3, 9), st.sampled_from([" ", "\n", "\n\n", "  "]))
def test_any_text_that_ends_in_three_repeats_at_its_limit_is_a_loop(before, cycle, times, blank):
    text = blank.join(before + cycle * times)
    assert lengths.looped(text, truncated=True)
    assert not lengths.looped(text, truncated=False)


@given(CYCLE, st.integers(3, 9), st.data())
def test_the_last_repeat_may_be_cut_between_two_words(cycle, times, data):
    rest = cycle[: data.draw(st.integers(0, len(cycle)))]
    assert lengths.looped(" ".join(["So"] + cycle * times + rest), truncated=True)


@given(st.text(min_size=1, max_size=20), st.integers(3, 9), st.text(max_size=30))
def test_a_long_cycle_of_any_characters_is_a_loop(cycle, times, before):
    assert lengths.looped(before + cycle * max(times, lengths.SHORTEST), truncated=True)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60, unique=True), st.sampled_from(["w{}", "{}, ", "是{}"]))
def test_where_no_word_comes_twice_there_is_no_loop(numbers, form):
    assert not lengths.looped(" ".join(form.format(number) for number in numbers), truncated=True)


@pytest.mark.parametrize(
    ("text", "loop"),
    [
        ("I'm sure you're not alone. I'm sure you're not alone. I'm sure you're not alone. I'm sure you", True),
        ("or the quick fox or the quick fox or the quick fox or the qui", True),
        ("Programming\nSystem.\nSystem.\nSystem.\nSystem", True),
        ("1. 1. 1. 1. 1. 1. ", True),
        ("trained by the N.N.N.N.N.N.N.N.N.N", True),
        ("American-Japanese-American-Japanese-American-Japanese-", True),
        ("As follows:" + "\n" * 40, True),
        ("答案是不是不是不是", True),
        ("", False),
        ("Yes", False),
        ("1, 2, 3, 4, 5, 6, 7, 8, 9", False),
        ("1. eat well\n2. eat well\n3. eat well\n4. eat", False),  # the numbers go on
        ("a budget of 1,000,000,000", False),
        ("about 100000", False),
        ("It is very, very important", False),
        ("It is very, very, very important", False),
        ("The cat sat. The cat sat. Then the cat", False),
        ("The cat sat. The cat sat. The cat sa", False),
        ("Row, row, row your boat, gently down the stream", False),
    ],
)
def test_what_is_a_loop_where_the_limit_was_reached(text, loop):
    assert lengths.looped(text, truncated=True) == loop


@pytest.mark.parametrize(
    "text", ["Row, row, row", "1, 2, 3, 1, 2, 3, 1, 2, 3.", "O Captain!\nO Captain!\nO Captain!\n", "ha" * 30]
)
def test_an_answer_that_ends_by_itself_is_no_loop(text):
    assert not lengths.looped(text, truncated=False)


def cell(variant, answers, seed=0):
    """Item rows of generated answers: (text, tokens, truncated, right) each."""
    rows = [
        {
            "dimension": "performance", "capability": ("reasoning", "knowledge")[index % 2],
            "task": f"t{index % 2}_generate", "format": "generate", "chance": 0.0,
            "doc_id": index, "doc_hash": f"d{index}", "prompt_hash": "",
            "cluster": f"d{index}", "metric": metric, "primary": metric == "exact_match", "value": float(value),
            "output": json.dumps({"answers": [text]}), "judge": "",
        }
        for index, (text, tokens, truncated, right) in enumerate(answers)
        for metric, value in (("exact_match", right), ("tokens", tokens), ("truncated", truncated))
    ]  # fmt: skip
    about = {"model": "m", "method": variant, "variant": variant, "calibration": "", "seed": seed}
    return tables.label(pl.DataFrame(rows, schema=tables.ITEMS), about)


LOOP = "so so so so"
DENSE = [("It is 4.", 5, 0, 1), ("It is 5.", 7, 0, 1), ("I think that", 12, 1, 0), ("No.", 2, 0, 0)] * 5


def by(scores, variant, capability="all"):
    rows = scores.filter(
        pl.col("variant") == variant, pl.col("seed").is_null(), capability=capability, task="all"
    ).filter(pl.col("metric").str.starts_with("length_"))
    return {row["metric"].removeprefix("length_"): row for row in rows.iter_rows(named=True)}


def test_lengths_are_compared_with_dense_and_loops_counted_apart():
    compressed = [("It is 4 I", 12, 1, 1), (LOOP, 12, 1, 0), ("I think", 9, 0, 0), ("No.", 2, 0, 0)] * 5
    scores = scoring.score(pl.concat([cell("dense", DENSE), cell("wanda", compressed)]), {})
    rows = by(scores, "wanda")
    assert {name: row["value"] for name, row in rows.items()} == pytest.approx(
        {
            "change": (7 + 5 - 3 + 0) / 4, "change_without_loops": (7 - 3 + 0) / 3, "cut_off": 1 / 4, "looped": 1 / 4,
            "score_ended": 0, "score_cut": 1 / 2,
        }
    )  # fmt: skip
    assert {name: row["n"] for name, row in rows.items()} == {
        "change": 20, "change_without_loops": 15, "cut_off": 20, "looped": 20, "score_ended": 10, "score_cut": 10
    }  # fmt: skip
    assert rows["change"]["low"] < rows["change"]["value"] < rows["change"]["high"]
    dense = by(scores, "dense")
    assert (dense["change"]["value"], dense["cut_off"]["value"], dense["looped"]["value"]) == (0, 0.25, 0)
    assert dense["score_ended"]["value"] == pytest.approx(2 / 3)
    assert dense["cut_off"]["low"] < 0.25 < dense["cut_off"]["high"]
    assert dense["change"]["low"] is None
    reasoning = by(scores, "wanda", "reasoning")
    assert reasoning["change"]["value"] == pytest.approx((7 - 3) / 2)


def test_answers_of_several_seeds_all_count():
    first = [(LOOP, 12, 1, 0), ("It is 5.", 7, 0, 1), ("I think that", 12, 1, 0), ("No.", 2, 0, 0)] * 5
    cells = [cell("dense", DENSE), cell("wanda", first, 0), cell("wanda", DENSE, 1)]
    scores = scoring.score(pl.concat(cells), {})
    rows = by(scores, "wanda")
    assert rows["change"]["value"] == pytest.approx(7 / 8)
    assert (rows["looped"]["value"], rows["cut_off"]["value"]) == (1 / 8, 2 / 8)
    assert rows["score_ended"]["value"] == pytest.approx(3 / 5)  # of 25 ended answers 15 are right


def test_where_nothing_was_generated_nothing_is_said():
    ranked = cell("dense", DENSE).with_columns(format=pl.lit("cloze")).filter(pl.col("metric") == "exact_match")
    scores = scoring.score(pl.concat([ranked, ranked.with_columns(variant=pl.lit("wanda"))]), {})
    assert not scores["metric"].str.starts_with("length_").any()


def test_a_variant_that_always_loops_has_no_change_without_loops():
    compressed = [(LOOP, 12, 1, 0)] * 20
    rows = by(scoring.score(pl.concat([cell("dense", DENSE), cell("wanda", compressed)]), {}), "wanda")
    assert rows["change_without_loops"]["n"] == rows["score_ended"]["n"] == 0
    assert rows["change_without_loops"]["value"] is None
    assert rows["looped"]["value"] == 1
