"""Claims: what a rule may say, and when data hold it."""

import copy
import itertools
import math
import re

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from unicomp_lib import paths, results, tables
from unicomp_lib.evaluate import statistics
from unicomp_lib.figures import claims, style, verdicts
from unicomp_lib.figures.claims import Comparison, Outcome
from unicomp_lib.study import steps, strict_yaml

ANYTHING = (-math.inf, math.inf)


def entry(name="a-claim", *, score=None, **rule):
    score = {"dimension": "fidelity", "metric": "agreement"} | (score or {})
    return {"name": name, "sentence": "It is so.", "source": "this study", "rule": {"score": score, **rule}}


def row(variant, value, half=0.1, **given):
    about = {"model": "m", "method": variant, "variant": variant, "calibration": "", "seed": None, "capability": ""}
    rest = {"dimension": "fidelity", "task": "all", "format": "", "n": 9, "chance": None, "metric": "agreement"}
    interval = {"value": value, "low": value - half, "high": value + half}
    return {**about, **rest, **interval, **given}


def judged(entries, rows, facts=None):
    return claims.judge(claims.parse(entries), tables.scores(rows, facts or {}))


def one(rule, rows, facts=None, **score):
    (verdict,) = judged([entry(score=score, **rule)], rows, facts)
    return verdict


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        ({"above": 0.69}, Outcome.HELD),
        ({"above": 0.89}, Outcome.UNDECIDED),  # between value and end
        ({"above": 0.91}, Outcome.CONTRADICTED),
        ({"above": 0.5}, Outcome.HELD),
        ({"above": 1.0}, Outcome.CONTRADICTED),
        ({"above": 0.8}, Outcome.UNDECIDED),  # the value itself
        ({"below": 1.0}, Outcome.HELD),
        ({"below": 0.85}, Outcome.UNDECIDED),
        ({"below": 0.6}, Outcome.CONTRADICTED),
        ({"within": [0.6, 1.0]}, Outcome.HELD),
        ({"within": [0.75, 1.0]}, Outcome.UNDECIDED),
        ({"within": [0.6, 0.85]}, Outcome.UNDECIDED),
        ({"within": [0.95, 2]}, Outcome.CONTRADICTED),
        ({"within": [-1, 0.65]}, Outcome.CONTRADICTED),
        ({"within": [0.85, 0.95]}, Outcome.UNDECIDED),
    ],
)
def test_only_an_interval_wholly_on_one_side_decides(rule, outcome):
    assert one({"of": "a", **rule}, [row("a", 0.8)]).outcome == outcome


def test_an_interval_that_touches_its_bound_decides_nothing():
    assert one({"of": "a", "above": 0.5}, [row("a", 0.75, half=0.25)]).outcome == Outcome.UNDECIDED
    assert one({"of": "a", "below": 1}, [row("a", 0.75, half=0.25)]).outcome == Outcome.UNDECIDED


@pytest.mark.parametrize("bound", [0.3, 0.69, 0.71, 0.95])
def test_each_side_of_a_skewed_interval_counts_for_itself(bound):
    skewed = row("a", 0.7) | {"low": 0.4, "high": 0.9}
    outcome = Outcome.HELD if bound < 0.4 else Outcome.CONTRADICTED if bound > 0.9 else Outcome.UNDECIDED
    assert one({"of": "a", "above": bound}, [skewed]).outcome == outcome


@pytest.mark.parametrize(("first", "second", "by"), [(0.8, 0.7, 0), (0.8, 0.7, 0.05), (0.5, 0.7, 0), (0.71, 0.7, 0)])
def test_a_difference_of_two_variants_is_the_test_of_independent_normals(first, second, by):
    errors = np.array([0.03, 0.02])
    rows = [row(name, value, half=statistics.Z * error) for name, value, error in zip("ab", (first, second), errors)]
    verdict = one({"of": "a", "above": "b", "by": by}, rows)
    error = np.sqrt((errors**2).sum())
    z = (first - second - by) / error
    assert verdict.p == pytest.approx(2 * stats.norm.sf(abs(z)))
    (comparison,) = verdict.comparisons
    assert comparison.high - comparison.value == pytest.approx(1.96 * error, rel=1e-3)
    decided = Outcome.HELD if z > 0 else Outcome.CONTRADICTED
    assert verdict.outcome == (decided if verdict.p < 0.05 else Outcome.UNDECIDED)
    assert one({"of": "b", "below": "a", "by": -by}, rows).p == pytest.approx(verdict.p)


def test_limits_of_a_difference_are_those_of_zou_and_donner():
    # Their formula (5), with both correlations zero, written out for skewed intervals.
    rows = [row("a", 0.8) | {"low": 0.7, "high": 0.95}, row("b", 0.5) | {"low": 0.45, "high": 0.6}]
    (comparison,) = one({"of": "a", "above": "b"}, rows).comparisons
    assert comparison.low == pytest.approx(0.3 - np.sqrt(0.1**2 + 0.1**2))
    assert comparison.high == pytest.approx(0.3 + np.sqrt(0.15**2 + 0.05**2))


def test_verdicts_are_corrected_for_all_claims_of_the_list():
    distances = np.array([0.101, 0.12, 0.15, 0.2, 0.02, -0.14, -0.3])
    rows = [row(f"v{i}", 0.5 + distance) for i, distance in enumerate(distances)]
    found = judged([entry(f"c-{i}", of=f"v{i}", above=0.5) for i in range(len(rows))], rows)
    p = 2 * stats.norm.sf(np.abs(distances) / 0.1 * statistics.Z)
    refused, adjusted, *_ = multipletests(p, alpha=0.05, method="holm")
    np.testing.assert_allclose([verdict.p_holm for verdict in found], adjusted)
    sides = [Outcome.HELD if distance > 0 else Outcome.CONTRADICTED for distance in distances]
    expected = [side if yes else Outcome.UNDECIDED for side, yes in zip(sides, refused, strict=True)]
    assert [verdict.outcome for verdict in found] == expected
    assert found[0].reason == "not after Holm's correction for 7 claims"
    assert found[4].reason == ""
    assert judged([entry(of="v0", above=0.5)], rows)[0].outcome == Outcome.HELD


def comparisons(estimates, region=(0.0, math.inf)):
    return tuple(Comparison("", "", v, v - statistics.Z, v + statistics.Z, v, v, region) for v in estimates)


@pytest.mark.parametrize("some", [False, True])
def test_the_number_of_comparisons_raises_no_false_verdict(some):
    """Five true values at the bound or on the other side: a false verdict in at most one of twenty samples."""
    (claim,) = claims.parse([entry(of="a", above=0, some=some)])
    drawn = np.random.default_rng(0).normal(size=(1000, 5))
    wrong = 1 if some else -1
    sides = [claims._evidence(claim.rule, comparisons(sample)) for sample in drawn]
    assert np.mean([side == wrong and p < 0.05 for side, p in sides]) < 0.05
    # And of every one: true of four, false of the fifth by as little as can be.
    shifted = drawn + (np.array([-9, -9, -9, -9, 0]) if some else np.array([9, 9, 9, 9, 0]))
    sides = [claims._evidence(claim.rule, comparisons(sample)) for sample in shifted]
    assert np.mean([side and p < 0.05 for side, p in sides]) < 0.06


def test_every_needs_all_and_some_needs_one():
    rows = [row("a", 0.8), row("b", 0.55), row("c", 0.3)]
    outcomes = {
        (tuple(of), some): one({"of": list(of), "above": 0.5, "some": some}, rows).outcome
        for of in ("a", "ab", "abc", "bc", "c")
        for some in (False, True)
    }
    assert outcomes == {
        (("a",), False): Outcome.HELD, (("a",), True): Outcome.HELD,
        (("a", "b"), False): Outcome.UNDECIDED, (("a", "b"), True): Outcome.HELD,
        (("a", "b", "c"), False): Outcome.CONTRADICTED, (("a", "b", "c"), True): Outcome.HELD,
        (("b", "c"), False): Outcome.CONTRADICTED, (("b", "c"), True): Outcome.UNDECIDED,
        (("c",), False): Outcome.CONTRADICTED, (("c",), True): Outcome.CONTRADICTED,
    }  # fmt: skip


def test_variants_are_compared_each_with_each_or_in_order():
    rows = [row(name, 0.9 - 0.2 * place, half=0.01) for place, name in enumerate("abcd")]
    assert one({"of": ["a", "b"], "above": ["c", "d"]}, rows).outcome == Outcome.HELD
    assert one({"of": ["a", "c"], "above": ["b", "d"]}, rows).outcome == Outcome.CONTRADICTED
    in_order = one({"of": ["a", "c"], "above": ["b", "d"], "in_order": True}, rows)
    assert in_order.outcome == Outcome.HELD
    assert [(each.of, each.other) for each in in_order.comparisons] == [("a", "b"), ("c", "d")]
    itself = one({"of": "a", "above": {}}, rows)
    assert [each.other for each in itself.comparisons] == ["b", "c", "d"]


def test_every_single_seed_has_to_agree():
    seeds = [row("a", value, half=0.5, seed=seed) for seed, value in enumerate((0.9, 0.8, 0.45))]
    pooled = row("a", 0.72, half=0.1)
    verdict = one({"of": "a", "above": 0.5}, [*seeds, pooled])
    assert (verdict.outcome, verdict.reason) == (Outcome.UNDECIDED, "not with every calibration seed")
    assert one({"of": "a", "above": 0.4}, [*seeds, pooled]).outcome == Outcome.HELD
    assert one({"of": "a", "below": 0.5}, [*seeds, pooled]).outcome == Outcome.UNDECIDED
    other = [row("b", 0.5, half=0.02), *(row("b", value, half=0.5, seed=i) for i, value in enumerate((0.4, 0.6)))]
    assert one({"of": "a", "above": "b"}, [*seeds, pooled, *other]).outcome == Outcome.UNDECIDED
    assert verdict.comparisons[0].seeds == 3
    single = one({"of": "a", "above": 0.5}, [row("a", 0.9, seed=0)])
    assert single.outcome == Outcome.HELD
    assert one({"of": "a", "above": 0.1}, seeds).reason == "there are several seeds, and no score over them"


@pytest.mark.parametrize("ends", [(None, None), (math.nan, math.nan), (0.9, 0.9)])
def test_without_an_interval_only_counts_are_decided(ends):
    known = dict(zip(("low", "high"), ends)) | {"reason": "measured once"}
    verdict = one({"of": "a", "above": 0.5}, [row("a", 0.9) | known])
    assert (verdict.outcome, verdict.reason) == (Outcome.UNDECIDED, "measured once")
    for bound, outcome in ((0.5, Outcome.HELD), (0.95, Outcome.CONTRADICTED), (0.9, Outcome.UNDECIDED)):
        counted = [row("a", 0.9, metric="bytes_on_disk_ratio") | known]
        assert one({"of": "a", "above": bound}, counted, metric="bytes_on_disk_ratio").outcome == outcome


def test_of_several_one_without_an_interval_leaves_open_what_it_could_change():
    rows = [row("a", 0.9), row("b", 0.9) | {"low": None, "high": None, "reason": "one cluster"}, row("c", 0.1)]
    assert one({"of": ["a", "b"], "above": 0.5}, rows).reason == "one cluster"
    assert one({"of": ["a", "b"], "above": 0.5, "some": True}, rows).outcome == Outcome.HELD
    assert one({"of": ["b", "c"], "above": 0.5}, rows).outcome == Outcome.CONTRADICTED
    assert one({"of": ["b", "c"], "above": 0.5, "some": True}, rows).outcome == Outcome.UNDECIDED


def test_what_a_profile_has_not_is_said_and_no_error():
    rows = [row("a", 0.9)]
    for rule, reason in (
        ({"of": "x", "above": 0.5}, "there is no x"),
        ({"of": "a", "above": ["x", "y"]}, "there is no x, y"),
        ({"of": {"method": ["lrc"], "rate": 0.5}, "above": 0.5}, "there is no variant of method lrc, rate 0.5"),
    ):
        verdict = one(rule, rows)
        assert (verdict.outcome, verdict.reason) == (Outcome.ABSENT, reason)
        assert math.isnan(verdict.p_holm)
    partly = one({"of": ["a", "x"], "above": 0.5}, rows)
    assert (partly.outcome, partly.reason) == (Outcome.HELD, "without x")
    nowhere = one({"of": "a", "above": 0.5}, rows, dimension="vision")
    assert (nowhere.outcome, nowhere.reason) == (Outcome.ABSENT, "vision was not measured")
    unmeasured = one({"of": "a", "above": 0.5}, rows, metric="kl", capability="text")
    assert (unmeasured.outcome, unmeasured.reason) == (Outcome.UNDECIDED, "there is no kl, capability text")
    assert verdicts.numbers(unmeasured) == "a: no value"


def test_a_kind_has_no_controls_no_siblings_and_not_dense():
    facts = {"s": {"sibling": "a"}, "r": {"control": "rerun"}, "b": {"rate": 0.5, "schedule": "iterative"}}
    rows = [row(name, 0.9) for name in "absr"] + [row("dense", 1.0)]
    assert [each.of for each in one({"of": {}, "above": 0.5}, rows, facts).comparisons] == ["a", "b"]
    for kind in ({"rate": 0.5}, {"schedule": "iterative"}, {"method": ["b", "r"]}):
        assert [each.of for each in one({"of": kind, "above": 0.5}, rows, facts).comparisons] == ["b"]


def test_a_score_of_several_rows_has_to_be_told_apart():
    rows = [row("a", 0.9, capability=name, format=form) for name in ("x", "y") for form in ("cloze", "letter")]
    with pytest.raises(ValueError, match=r"^claim a-claim: agreement of fidelity has several rows for one variant; cho"
                                         r"ose among capability: x, y; format: cloze, letter$"):  # fmt: skip
        one({"of": "a", "above": 0.5}, rows)
    with pytest.raises(ValueError, match=r"among format: cloze, letter$"):
        one({"of": "a", "above": 0.5}, rows, capability="x")
    assert one({"of": "a", "above": 0.5}, rows, capability="x", format="cloze").outcome == Outcome.HELD


@pytest.mark.parametrize("number", [3, 12])
def test_a_correlation_is_over_the_variants_that_have_both_scores(number):
    chance = np.random.default_rng(number)
    x, y = chance.normal(size=(2, number))
    rows = [row(f"v{i}", value) for i, value in enumerate(x)]
    rows += [row(f"v{i}", value, metric="kl") for i, value in enumerate(y)] + [row("only", 3.0)]
    verdict = one({"of": {}, "within": [-0.999, 0.999], "correlated_with": entry()["rule"]["score"]}, rows, metric="kl")
    (comparison,) = verdict.comparisons
    assert comparison.of == f"rank correlation over {number} variants"
    if number == 3:
        assert verdict.reason == "fewer than four variants"
    else:
        assert comparison.value == pytest.approx(stats.spearmanr(x, y).statistic)


def test_another_score_of_the_same_variant_is_subtracted():
    rows = [row("a", 0.9, 0.03), row("a", 0.5, 0.04, metric="kl"), row("b", 0.7)]
    less = {"dimension": "fidelity", "metric": "kl"}
    (comparison,) = one({"of": "a", "above": 0.3, "less": less}, rows).comparisons
    assert (comparison.value, comparison.low, comparison.high) == pytest.approx((0.4, 0.35, 0.45))
    assert comparison.other == ""
    assert one({"of": "a", "above": 0.3, "less": less}, rows).outcome == Outcome.HELD
    assert "there is no agreement" in one({"of": ["a", "b"], "above": 0.3, "less": less}, rows).comparisons[1].reason
    with pytest.raises(ValueError, match="of two scores"):
        one({"of": {}, "above": 0, "less": less, "correlated_with": less}, rows)


def test_each_model_has_a_verdict_of_its_own():
    rows = [row("a", 0.9), row("a", 0.1, model="other"), row("b", 0.5, model="third")]
    found = judged([entry(of="a", above=0.5)], rows)
    assert [(verdict.model, verdict.outcome) for verdict in found] == [
        ("m", Outcome.HELD), ("other", Outcome.CONTRADICTED), ("third", Outcome.ABSENT),
    ]  # fmt: skip


def changed(**parts):
    content = entry(of="a", above=0.5)
    for place, value in parts.items():
        *parents, key = place.split("__")
        target = content
        for parent in parents:
            target = target[parent]
        if value is None:
            del target[key]
        else:
            target[key] = value
    return content


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "claims.yaml must be a list of claims, each with name, sentence, source and rule"),
        ([], "claims.yaml must be a list of claims"),
        (["x"], "claim 1 of claims.yaml is 'x'; give a mapping"),
        ([changed(name=None)], "claim 1 of claims.yaml lacks 'name'; add it"),
        ([changed(rule__of=None)], "claim a-claim of claims.yaml lacks 'rule.of'; add it"),
        ([changed(rule__score__metric=None)], "lacks 'rule.score.metric'; add it"),
        ([changed(sentense="x")], "unknown key 'sentense'; allowed are name, sentence, source, rule, readme; did you"),
        ([changed(rule__abov=1)], "has an unknown key 'rule.abov'; allowed are score, of, above, below, within, by"),
        ([changed(rule__score__metrik="x")], "unknown key 'rule.score.metrik'; allowed are dimension, metric, capab"),
        ([changed(rule__score__dimension="speed")], "gives rule.score.dimension='speed', which is not allowed"),
        ([changed(sentence="No end")], "gives sentence='No end', which is not allowed"),
        ([changed(name="A claim")], "gives name='A claim', which is not allowed"),
        ([changed(readme="yes")], "gives readme='yes', which is not allowed"),
        ([changed(rule="above 3")], "gives rule='above 3', which is not allowed"),
        ([changed(rule__above=None)], "rule is wrong: give one of above, below and within, not none"),
        ([changed(rule__below=1)], "rule is wrong: give one of above, below and within, not above and below"),
        ([changed(rule__by=0.1)], "rule is wrong: by and in_order need variants to compare with, not a number"),
        ([changed(rule__above="b", rule__in_order=True, rule__of={})], "in_order needs two lists of names"),
        ([changed(rule__above=["b", "c"], rule__in_order=True)], "in_order needs as many names in of as in above"),
        ([changed(rule__above="b", rule__correlated_with=entry()["rule"]["score"])], "a correlation is compared"),
        ([changed(rule__of=3)], "rule.of is wrong: give the name of a variant, a list of names, or a kind"),
        ([changed(rule__of=[])], "rule.of is wrong: give the name of a variant"),
        ([changed(rule__of=["a", "a"])], "rule.of is wrong: a name is given twice; remove one"),
        ([changed(rule__of={"methods": ["a"]})], "a kind of variants has an unknown key 'methods'; allowed are"),
        ([changed(rule__of={"schedule": "slow"})], "a kind of variants gives schedule='slow', which is not allowed"),
        ([changed(rule__above=True)], "rule.above is wrong: give the name of a variant"),
        ([changed(rule__above=math.inf)], "rule.above is wrong: give the name of a variant"),
        ([changed(rule__above=None, rule__within=[1, 0])], "rule.within is wrong: give two numbers, the smaller one"),
        ([changed(rule__above=None, rule__within=0.5)], "rule.within is wrong: give two numbers"),
        ([changed(), changed()], "claim a-claim of claims.yaml is there twice; give one of them another name"),
    ],
)  # fmt: skip
def test_a_bad_rule_is_refused_in_one_sentence(content, said):
    before = copy.deepcopy(content)
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the text is compared
        claims.parse(content)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert content == before


@pytest.mark.parametrize(
    ("unit", "numbers", "text"),
    [
        ("%", (0.8123, 0.77, 0.85), "81.2 [77.0, 85.0] %"),
        ("points", (-0.0123, -0.03, 0.01), "-1.2 [-3.0, +1.0] points"),
        ("times", (1.9, 1.58, 1.93), "1.90 [1.58, 1.93] times"),
        ("", (0.265, -0.4, 0.74), "0.27 [-0.40, 0.74]"),
        ("%", (0.9, 0.5, 1.3), "90 [50, 130] %"),
        ("", (-0.00001, -0.1, 0.1), "0.00 [-0.10, 0.10]"),
        ("", (231.4, math.nan, math.nan), "231"),
        ("", (math.nan, math.nan, math.nan), "no value"),
    ],
)
def test_numbers_have_the_digits_that_their_interval_supports(unit, numbers, text):
    assert verdicts.estimate(Comparison("a", "", *numbers, *numbers[:1] * 2, ANYTHING), unit) == text


def test_the_decisive_comparison_is_shown():
    rows = [row("a", 0.8), row("b", 0.65), row("c", 0.9)]
    every, some = (one({"of": ["a", "b", "c"], "above": 0.5, "some": some}, rows) for some in (False, True))
    assert verdicts.numbers(every) == "the least clear of 3 comparisons: b, 0.65 [0.55, 0.75]"
    assert verdicts.numbers(some) == "the clearest of 3 comparisons: c, 0.90 [0.80, 1.00]"
    table = verdicts.table([every, some])
    assert table["of"].to_list() == ["b", "c"]
    assert verdicts.comparisons([every])["of"].to_list() == ["a", "b", "c"]


@pytest.mark.parametrize("width", [style.PAGE, style.COLUMN])
def test_the_picture_has_a_row_a_claim_with_its_mark_on_its_side(width, recwarn):
    rows = [row("a", 0.8), row("b", 0.5) | {"low": None, "high": None, "reason": "one cluster"}]
    entries = [entry("for", of="a", above=0.5), entry("against", of="a", above=0.99), entry("open", of="a", above=0.8)]
    entries += [entry("unknown", of="b", above=0.1), entry("absent", of="x", above=0), entry("far", of="a", above=-9)]
    found = judged(entries, rows)
    figure = verdicts.picture(found, width)
    figure.canvas.draw()
    (axes,) = figure.axes
    texts = [text.get_text() for text in axes.texts]
    assert texts.count("It is so.") == 6
    assert "This study" in texts
    assert any("one cluster" in text for text in texts)
    assert {"not in this profile:", "there is no x"} <= set(texts)
    layout = verdicts.COLUMN if width == style.COLUMN else verdicts.PAGE
    marks = [line for line in axes.lines if line.get_marker() not in ("None", "", None)]
    sides = [float(line.get_xdata()[0]) - verdicts._place(0, layout) for line in marks]
    assert [round(math.copysign(1, side)) if abs(side) > 1e-6 else 0 for side in sides] == [1, -1, 0, 1]
    assert [line.get_marker() for line in marks] == ["o", "X", "o", ">"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "held (2)", "contradicted (1)", "undecided (2)", "further than 6 half-widths",
    ]  # fmt: skip
    assert all(text.get_window_extent().x1 <= figure.bbox.x1 for text in axes.texts)
    assert not recwarn.list
    plt.close(figure)


@pytest.mark.parametrize("width", [style.PAGE, style.COLUMN])
def test_a_long_reason_is_whole_and_no_line_touches_another(width):
    reason = "Minitron depth with 4 bits: measured once; Magnitude 50 %: measured once; Wanda 2:4: measured twice"
    rows = [row("a", -0.3), row("b", 0.5) | {"low": None, "high": None, "reason": reason}]
    figure = verdicts.picture(judged([entry("x", of="b", above=0.1), entry("y", of="a", below=-0.1)], rows), width)
    figure.canvas.draw()
    (axes,) = figure.axes
    texts = [text.get_text() for text in axes.texts]
    assert reason in " ".join(texts)
    assert "−0.30 [−0.40, −0.20] < −0.1" in texts
    boxes = [text.get_window_extent() for text in axes.texts]
    assert all(box.x1 <= figure.bbox.x1 for box in boxes)
    layout = verdicts.COLUMN if width == style.COLUMN else verdicts.PAGE
    told = sorted((text.get_position()[1], text) for text in axes.texts if text.get_position()[0] == layout.numbers)
    pairs = zip([text.get_window_extent() for _, text in told], [text.get_window_extent() for _, text in told[1:]])
    assert all(below.y1 < above.y0 for above, below in pairs)
    plt.close(figure)


@pytest.mark.parametrize("number", [34, 42])
def test_many_claims_fit_in_a_column_by_name(number):
    reason = "Minitron depth with 4 bits: measured once; Magnitude 50 %: measured once"
    rows = [row("a", 0.8), row("b", 0.5) | {"low": None, "high": None, "reason": reason}]
    names = [f"{'a-rather-long-name-' if place % 3 else ''}claim-{place}" for place in range(number)]
    entries = [entry(name, of="b" if place % 20 == 3 else "a", above=0.5) for place, name in enumerate(names)]
    sentence = "A sentence of two lines, which is as long as those of the study are and says what is claimed of whom."
    found = judged([one | {"sentence": sentence} for one in entries], rows)
    with style.narrow():
        figure = verdicts.picture(found, style.COLUMN)
        figure.canvas.draw()
    assert figure.get_figheight() <= style.TALL + 1e-6
    (axes,) = figure.axes
    left = [text for text in axes.texts if text.get_position()[0] == 0.03 and text.get_weight() != "bold"]
    assert [text.get_text().replace("\n", "") for text in left] == [*names, verdicts.NOTE]
    assert max(text.get_window_extent().x1 for text in left[:-1]) <= verdicts.NAMED.left * figure.dpi
    for column in (left, [text for text in axes.texts if text.get_position()[0] == verdicts.NAMED.numbers]):
        boxes = [text.get_window_extent() for text in sorted(column, key=lambda text: text.get_position()[1])]
        assert all(below.y1 <= above.y0 + 0.5 for above, below in itertools.pairwise(boxes))  # pixels
    plt.close(figure)


def test_few_claims_in_a_column_are_sentences():
    rows = [row("a", 0.8)]
    figure = verdicts.picture(judged([entry("few", of="a", above=0.5)], rows), style.COLUMN)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert "It is so." in texts
    assert not {"few", verdicts.NOTE} & set(texts)
    plt.close(figure)


@pytest.mark.parametrize(("width", "number"), [(style.PAGE, 40), (style.COLUMN, 40), (style.COLUMN, 3)])
def test_all_text_is_within_the_picture_and_large_enough_for_a_column(width, number):
    found = judged([entry(f"claim-{place}", of="a", above=0.5) for place in range(number)], [row("a", 0.8)])
    with style.narrow():
        figure = verdicts.picture(found, width)
        figure.canvas.draw()
    texts = [*figure.axes[0].texts, *figure.legends[0].get_texts()]
    for text in texts:
        box = text.get_window_extent()
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
        assert text.get_fontsize() >= (6 if style.in_column(width) else 5.5)
    top = max(text.get_window_extent().y1 for text in figure.legends[0].get_texts())
    assert top < min(text.get_window_extent().y0 for text in figure.axes[0].texts)
    plt.close(figure)


def test_the_committed_figure_fits_in_a_column():
    path = paths.project() / "figures" / "embedded" / "claims.column.svg"
    (height,) = re.findall(r'<svg [^>]*height="([\d.]+)pt"', path.read_text(encoding="utf-8"))
    assert float(height) <= 72 * style.TALL


def blocks(variant, values, metric="agreement"):
    """Item rows of blocks of text, and the score that they give."""
    cell = {"model": "m", "method": variant, "variant": variant, "calibration": "", "seed": None}
    frame = pl.DataFrame({"doc_id": range(len(values)), "metric": metric, "value": values})
    items = tables.label(tables.measurements(frame, dimension="fidelity", task="all"), cell)
    mean = statistics.bootstrap(np.array(values), np.arange(len(values)))
    return items, row(variant, mean.value, metric=metric) | {"low": mean.low, "high": mean.high}


def paired(rule, *of_variants):
    items, rows = zip(*of_variants)
    (verdict,) = claims.judge(
        claims.parse([entry(**rule)]), tables.scores(rows, {}), {"fidelity": pl.concat(items).drop("output")}
    )
    return verdict


def test_variants_that_answered_the_same_items_are_compared_on_these():
    chance = np.random.default_rng(0)
    block, noise = chance.normal(0.7, 0.1, 24), chance.normal(0, 0.01, (2, 24))
    better, worse = blocks("a", block + 0.03 + noise[0]), blocks("b", block + noise[1])
    alone = one({"of": "a", "above": "b"}, [better[1], worse[1]])
    assert (alone.outcome, alone.decisive.interval) == (Outcome.UNDECIDED, "independent: no items of fidelity")
    both = paired({"of": "a", "above": "b"}, better, worse)
    assert (both.outcome, both.decisive.interval) == (Outcome.HELD, "paired, 24 items")
    assert both.decisive.value == pytest.approx(alone.decisive.value)
    expected = statistics.bootstrap(block + 0.03 + noise[0] - block - noise[1], np.arange(24))
    assert (both.decisive.low, both.decisive.high) == pytest.approx((expected.low, expected.high), rel=0.1)
    assert paired({"of": "b", "above": "a"}, better, worse).outcome == Outcome.CONTRADICTED
    assert paired({"of": "a", "above": "b", "by": 0.03}, better, worse).outcome == Outcome.UNDECIDED
    assert verdicts.table([both])["interval"].to_list() == ["paired, 24 items"]
    assert verdicts.comparisons([alone])["interval"].to_list() == ["independent: no items of fidelity"]


def test_equal_variants_are_undecided():
    values = np.random.default_rng(0).random(24)
    for rule in ({"above": "b"}, {"below": "b"}):
        verdict = paired({"of": "a", **rule}, blocks("a", values), blocks("b", values))
        assert (verdict.outcome, verdict.reason) == (Outcome.UNDECIDED, "all values are equal")


def test_items_of_another_run_are_not_taken_for_those_of_the_scores():
    values = np.random.default_rng(0).random((2, 24))
    first, second = (blocks(name, of) for name, of in zip("ab", values))
    other = (first[0].with_columns(pl.col("value") + 0.01), first[1])
    verdict = paired({"of": "a", "above": "b"}, other, second)
    assert verdict.decisive.interval == "independent: the items give another value"
    assert verdict.decisive.low == one({"of": "a", "above": "b"}, [first[1], second[1]]).decisive.low


def test_how_an_interval_was_made_is_told():
    counted = [row(name, 0.5, metric="bytes_on_disk_ratio", dimension="efficiency") for name in "ab"]
    timed = [row(name, 0.5, metric="decode_ratio", dimension="efficiency") for name in "ab"]
    score = {"dimension": "efficiency", "metric": "bytes_on_disk_ratio"}
    assert one({"of": "a", "above": "b"}, counted, **score).decisive.interval == "a count"
    assert one({"of": "a", "above": 1}, counted, **score).decisive.interval == "a count"
    score = {"dimension": "efficiency", "metric": "decode_ratio"}
    assert one({"of": "a", "above": "b"}, timed, **score).decisive.interval == "independent: measured apart"
    assert one({"of": "a", "above": 1}, timed, **score).decisive.interval == "of the score"


def repeats(variant, ratios, dense=None, seed=None):
    """Item rows of a speed, in turn with dense's, and the scores that they give: medians with their range."""
    dense = np.full(len(ratios), 20.0) if dense is None else dense
    cell = {"model": "m", "method": variant, "variant": variant, "calibration": "", "seed": seed}
    columns = {"decode": np.array(ratios) * dense, "decode_dense": dense, "cost_seconds": np.array([9.0])}
    frames = [
        pl.DataFrame({"doc_id": range(len(values)), "metric": name, "value": values})
        for name, values in columns.items()
    ]
    items = tables.label(tables.measurements(pl.concat(frames), dimension="efficiency", task="speed"), cell)
    ends = {"low": min(ratios), "high": max(ratios)}
    scores = [row(variant, float(np.median(ratios)), metric="decode_ratio", dimension="efficiency") | ends]
    tokens = columns["decode"]
    scores.append(
        row(variant, float(np.median(tokens)), metric="decode", dimension="efficiency")
        | {"low": tokens.min(), "high": tokens.max()}
    )
    return items, scores


def timed(rule, *of_variants, metric="decode_ratio"):
    items, rows = zip(*of_variants)
    score = {"dimension": "efficiency", "metric": metric, "unit": "times"}
    (verdict,) = claims.judge(
        claims.parse([entry(score=score, **rule)]), tables.scores([each for part in rows for each in part], {}),
        {"efficiency": pl.concat(items).drop("output")},
    )  # fmt: skip
    return verdict


@pytest.mark.parametrize("bound", [0.9, 1.0, 1.12, 1.3, 1.9])
def test_a_speed_is_held_against_its_bound_by_students_t_of_its_repeats(bound):
    """In place of the range, which a normal distribution would stretch to a p far too small."""
    ratios = [1.13, 1.23, 1.12, 1.07, 1.11, 1.15]
    dense = np.array([20.0, 10, 22, 19, 25, 20])
    found = timed({"of": "a", "above": bound}, repeats("a", ratios, dense))
    expected = stats.ttest_1samp(np.log(ratios), np.log(bound))
    ends = np.exp(stats.ttest_1samp(np.log(ratios), 0).confidence_interval())
    assert found.p == pytest.approx(expected.pvalue)
    comparison = found.decisive
    assert (comparison.low, comparison.high) == pytest.approx(tuple(ends))
    assert comparison.value == pytest.approx(stats.gmean(ratios))
    assert comparison.interval == "Student's t, 6 repeats"
    side = Outcome.HELD if comparison.value > bound else Outcome.CONTRADICTED
    assert found.outcome == (side if expected.pvalue < 0.05 else Outcome.UNDECIDED)


def test_the_range_of_repeats_is_never_extrapolated():
    """1.6 to 2.8 times in six repeats: as a normal interval 7e-8 of four comparisons, by Student's t 2e-4."""
    found = timed({"of": "a", "above": 1}, repeats("a", [2.0, 1.63, 2.83, 1.89, 1.97, 2.04]))
    assert found.p == pytest.approx(2.2e-4, rel=0.05)
    two = timed({"of": "a", "above": 1}, repeats("a", [1.9, 2.0]))
    assert two.p == pytest.approx(stats.ttest_1samp(np.log([1.9, 2.0]), 0).pvalue)


@pytest.mark.parametrize("second", [[2.0, 1.6, 2.8, 1.9], [2.4, 2.5, 2.45, 2.6], [1.1, 1.2, 1.1, 1.2]])
def test_two_speeds_are_compared_by_their_ratio_as_measured_apart(second):
    first = [2.43, 2.83, 2.09, 2.24, 2.6, 2.46]
    found = timed({"of": "a", "above": "b"}, repeats("a", first), repeats("b", second))
    expected = stats.ttest_ind(np.log(first), np.log(second), equal_var=False)
    assert found.p == pytest.approx(expected.pvalue)
    comparison = found.decisive
    ends = np.exp(expected.confidence_interval())
    assert (comparison.low, comparison.high) == pytest.approx(tuple(ends))
    assert (comparison.region, comparison.interval) == ((1, math.inf), "Student's t, 6 and 4 repeats, a ratio")
    assert timed({"of": "b", "below": "a"}, repeats("a", first), repeats("b", second)).p == pytest.approx(found.p)
    assert verdicts.numbers(found).startswith("a over b: ")
    assert verdicts.numbers(found).endswith(" times")
    told = timed({"of": "a", "above": "b", "by": 0.1}, repeats("a", first), repeats("b", second))
    assert (told.outcome, told.reason[:36]) == (Outcome.UNDECIDED, "speeds are compared by their ratio, ")


def test_a_speed_without_its_repeats_decides_nothing():
    items, rows = repeats("a", [1.9, 2.0, 1.8, 1.9, 2.1, 2.0])
    rule, score = {"of": "a", "above": 1}, {"dimension": "efficiency", "metric": "decode_ratio"}
    away = one(rule, rows, **score)
    assert (away.outcome, away.reason) == (Outcome.UNDECIDED, "its repeats are not among the items")
    changed = [items.with_columns(pl.col("value") * pl.when(metric="decode").then(1.01).otherwise(1.0))]
    changed += [pl.concat([items, items.with_columns(seed=pl.lit(1, dtype=items.schema["seed"]))])]
    changed += [items.with_columns(value=pl.when(metric="decode", doc_id=0).then(0.0).otherwise("value"))]
    for other in changed:
        found = timed(rule, (other, rows))
        assert (found.outcome, found.reason) == (Outcome.UNDECIDED, "its repeats are not among the items")
    equal = timed(rule, repeats("a", [2.0] * 6))
    assert (equal.outcome, equal.reason) == (Outcome.UNDECIDED, "all repeats are equal")
    once = rows[0] | {"metric": "cost_seconds", "value": 9.0, "low": None, "high": None, "reason": "measured once"}
    assert timed(rule, (items, [once]), metric="cost_seconds").reason == "measured once"


def test_repeats_at_the_bound_are_decided_as_seldom_as_students_t_says():
    chance = np.random.default_rng(0)
    found = [timed({"of": "a", "above": 1}, repeats("a", np.exp(chance.normal(0, 0.1, 6)))).outcome for _ in range(150)]
    assert np.mean([outcome != Outcome.UNDECIDED for outcome in found]) < 0.1


def test_no_p_is_zero():
    verdict = one({"of": "a", "above": 0.5}, [row("a", 0.9, half=0.01)])
    assert verdict.outcome == Outcome.HELD
    assert 0 < verdict.p < 1e-200


def test_two_scores_of_one_variant_are_drawn_together():
    loss, noise = np.random.default_rng(0).normal(0.7, 0.1, (2, 24))
    frames = [blocks("a", loss), blocks("a", loss + noise / 50, metric="kl")]
    less = {"dimension": "fidelity", "metric": "kl"}
    verdict = paired({"of": "a", "below": 0, "less": less}, *frames)
    assert verdict.decisive.interval == "together, 24 items"
    assert verdict.outcome == Outcome.HELD
    assert one({"of": "a", "below": 0, "less": less}, [rows for _, rows in frames]).outcome == Outcome.UNDECIDED


def test_items_are_those_given_or_published_beside_the_scores(tmp_path):
    first, second = (blocks(name, [0.1, 0.2])[0] for name in "ab")
    (tmp_path / "items").mkdir()
    tables.write(first, tmp_path / "items" / "m.a.fidelity.parquet")
    tables.write(first, tmp_path / "items" / "m.a.reliability.parquet")
    tables.write(second, tmp_path / "judged.reliability.parquet")
    beside = dict.fromkeys(claims.ITEMS, str(tmp_path / "scores.parquet"))
    found = claims.item_rows({}, beside)
    assert {name: rows["variant"].unique().to_list() for name, rows in found.items()} == {
        "fidelity": ["a"], "reliability": ["b"],
    }  # fmt: skip
    given = claims.item_rows({"fidelity": [str(tmp_path / "judged.reliability.parquet")]}, beside)
    assert given["fidelity"]["variant"].unique().to_list() == ["b"]
    assert claims.item_rows({}, dict.fromkeys(claims.ITEMS, str(tmp_path / "none" / "scores.parquet"))) == {}


def committed():
    return claims.parse(strict_yaml.read(paths.project() / "params" / "claims.yaml"))


def test_the_claims_of_the_study_are_of_its_default_profile():
    listed = committed()
    found = claims.judge(listed, tables.read(results.folder("embedded") / "scores.parquet"))
    assert len(found) == len(listed)  # one language model, one network
    assert [verdict.claim.name for verdict in found if verdict.outcome == Outcome.ABSENT] == []
    assert [verdict.reason for verdict in found if "there is no" in verdict.reason or "without" in verdict.reason] == []


def test_both_papers_and_the_study_are_heard():
    sources = {claim.source for claim in committed()}
    assert all(source.startswith(("this study", "UniComp, ", "GoogLeNet, ")) for source in sources)
    assert {source[:4] for source in sources} == {"this", "UniC", "Goog"}


def test_a_changed_claim_makes_the_figure_stale(tmp_path):
    file = tmp_path / "claims.yaml"
    step = steps.Step(steps.Stage.FIGURES, "figures/claims", {"claims_file": str(file)}, topic="claims")
    keys = []
    for text in ("- one", "- two", "- one"):
        file.write_text(text)
        keys.append(steps.key(step, {}))
    assert keys[0] == keys[2] != keys[1]
    assert isinstance(steps._source("claims_file", "", step), str)


def test_scores_that_are_null_or_nan_are_the_same():
    frame = pl.DataFrame([row("a", 0.9)])
    for empty in (None, math.nan):
        rows = frame.with_columns(value=pl.lit(empty, dtype=pl.Float64)).to_dicts()
        assert one({"of": "a", "above": 0.5}, rows).outcome == Outcome.UNDECIDED
