import numpy as np
import polars as pl
import pytest
from scipy import stats

from unicomp_lib import tables
from unicomp_lib.evaluate import scoring, statistics

FACTS = {
    "dense": {"label": "Dense"},
    "wanda-50": {"label": "Wanda 60 %", "rate": 0.6},
    "rtn-int4": {"label": "RTN int4"},
    "dense-rerun": {"label": "Dense, rerun", "control": "rerun"},
}
METHODS = {"dense": "dense", "dense-rerun": "dense", "wanda-50": "wanda", "rtn-int4": "rtn"}


def cell(variant, seed=0):
    return {"model": "m", "method": METHODS[variant], "variant": variant, "calibration": "", "seed": seed}


def rows(values, variant, seed=0, chance=0.25, metric="acc_norm", task="t_cloze", capability="knowledge", form="cloze"):
    names = [str(index) for index in range(len(values))]
    frame = pl.DataFrame(
        {
            "dimension": "performance", "capability": capability, "task": task, "format": form, "chance": chance,
            "doc_id": range(len(values)), "doc_hash": names, "prompt_hash": [f"{form} {name}" for name in names],
            "cluster": names, "metric": metric, "primary": metric != "bits_per_byte",
            "value": [float(value) for value in values], "output": "", "judge": "",
        }
    )  # fmt: skip
    return tables.label(frame.cast(tables.ITEMS), cell(variant, seed))


def one(found, **where):
    (row,) = found.filter(*(pl.col(key).eq_missing(value) for key, value in where.items())).iter_rows(named=True)
    return row


DENSE = [1] * 80 + [0] * 20


def test_scores_retention_and_flips_are_those_of_the_items():
    kept = [1] * 55 + [0] * 35 + [1] * 10  # loses 25, gains 10
    found = scoring.score(pl.concat([rows(DENSE, "dense"), rows(kept, "wanda-50")]), FACTS)
    assert found.schema == pl.Schema(tables.SCORES)
    mine = {"variant": "wanda-50", "seed": 0}
    assert one(found, metric="acc_norm", **mine)["value"] == 0.65
    retention = one(found, metric="retention", capability="knowledge", format="all", **mine)
    assert retention["value"] == pytest.approx((0.65 - 0.25) / (0.8 - 0.25))
    assert retention["low"] < retention["value"] < retention["high"]
    plain = one(found, metric="plain_retention", capability="knowledge", format="all", **mine)
    assert plain["value"] == pytest.approx(0.65 / 0.8)
    assert plain["low"] < plain["value"] < plain["high"]
    assert one(found, metric="flips_lost", **mine)["value"] == 0.25
    assert one(found, metric="flips_gained", **mine)["value"] == 0.10


def test_a_task_is_tested_beside_dense_and_adjusted_for_all_tests():
    kept = [1] * 55 + [0] * 35 + [1] * 10
    cells = [rows(DENSE, "dense"), rows(kept, "wanda-50"), rows(DENSE, "rtn-int4"), rows(DENSE, "dense-rerun")]
    found = scoring.score(pl.concat(cells), FACTS)
    mine = {"variant": "wanda-50", "seed": None, "task": "t_cloze"}
    assert one(found, metric="difference", **mine)["value"] == pytest.approx(-0.15)
    assert one(found, metric="dense", **mine)["value"] == 0.8
    p = one(found, metric="mcnemar_p", **mine)["value"]
    assert p == pytest.approx(stats.binomtest(25, 35).pvalue)
    assert one(found, metric="mcnemar_p_holm", **mine)["value"] == pytest.approx(2 * p)  # two compressed variants
    assert one(found, metric="mcnemar_p_holm", variant="rtn-int4", seed=None)["value"] == 1
    assert one(found, metric="detectable", **mine)["value"] > 0.1
    assert found.filter(variant="dense-rerun", metric="mcnemar_p_holm").is_empty()
    assert one(found, metric="flips_lost", variant="dense-rerun", seed=None)["value"] == 0


def test_the_interaction_compares_the_sets_that_exist_in_both_formats():
    def cell_rows(variant, kept):
        """Dense is right on 80 of 100; the shares kept are of (knowledge, reasoning) x (cloze, generate)."""
        parts = []
        for (source, capability, form), share in kept.items():
            values = [1] * round(80 * share) + [0] * (100 - round(80 * share))
            about = {"chance": 0.0, "task": f"{source}_{form}", "capability": capability, "form": form}
            parts.append(rows(values, variant, **about))
        return pl.concat(parts)

    shape = {
        ("a", "knowledge", "cloze"): 0.9, ("a", "knowledge", "generate"): 0.5,
        ("b", "reasoning", "cloze"): 0.6, ("b", "reasoning", "generate"): 0.4,
        ("c", "knowledge", "cloze"): 0.1,
    }  # fmt: skip
    found = scoring.score(pl.concat([cell_rows("dense", dict.fromkeys(shape, 1)), cell_rows("wanda-50", shape)]), FACTS)
    row = one(found, metric="interaction_retention", variant="wanda-50", seed=None)
    assert row["value"] == pytest.approx((0.9 - 0.6) - (0.5 - 0.4), abs=1e-9)
    assert row["low"] < row["value"] < row["high"]
    assert (row["capability"], row["n"]) == ("knowledge - reasoning", 400)
    assert one(found, metric="bias_retention", format="cloze", variant="wanda-50", seed=0)["value"] == pytest.approx(
        0.3
    )
    assert one(found, metric="bias_retention", format="generate", variant="wanda-50", seed=0)["value"] == pytest.approx(
        0.1
    )
    by_format = {
        (row["capability"], row["format"]): row["value"]
        for row in found.filter(metric="retention", variant="wanda-50", seed=0).iter_rows(named=True)
    }
    assert by_format["reasoning", "generate"] == pytest.approx(0.4)
    assert by_format["knowledge", "cloze"] == pytest.approx(0.5)


def test_sets_with_one_prompt_for_both_formats_do_not_count_for_growth():
    def cell_rows(variant, bits):
        parts = []
        for (source, capability, form), value in bits.items():
            about = {"metric": "bits_per_byte", "task": f"{source}_{form}", "capability": capability, "form": form}
            frame = rows([value] * 40, variant, **about)
            same = frame.with_columns(prompt_hash=pl.lit("one prompt")) if source == "nq" else frame
            parts.append(same)
        return pl.concat(parts)

    sets = [("a", "knowledge"), ("nq", "knowledge"), ("b", "reasoning")]
    dense = {(*about, form): 2.0 for about in sets for form in ("cloze", "generate")}
    growth = {("a", "cloze"): 1.5, ("a", "generate"): 1.2, ("b", "cloze"): 1.1, ("b", "generate"): 3.0}
    ours = {key: 2.0 * growth.get((key[0], key[2]), 9.0) for key in dense}
    found = scoring.score(pl.concat([cell_rows("dense", dense), cell_rows("wanda-50", ours)]), FACTS)
    bias = {
        row["format"]: row
        for row in found.filter(metric="bias_growth", variant="wanda-50", seed=0).iter_rows(named=True)
    }
    assert bias["cloze"]["value"] == pytest.approx(np.log(1.5) - np.log(1.1))
    assert bias["generate"]["value"] == pytest.approx(np.log(1.2) - np.log(3.0))
    assert bias["cloze"]["n"] == 80


def test_growth_needs_no_score_above_chance():
    dense, ours = (
        rows([2.0] * 50, "dense", metric="bits_per_byte"),
        rows([3.0] * 50, "wanda-50", metric="bits_per_byte"),
    )
    found = scoring.score(pl.concat([dense, ours]), FACTS)
    growth = one(
        found, metric="bits_per_byte_growth", variant="wanda-50", seed=None, capability="knowledge", format="cloze"
    )
    assert growth["value"] == pytest.approx(np.log(1.5))


def test_every_row_says_of_its_variant_what_is_known_of_it():
    cells = pl.concat([rows(DENSE, "dense"), rows(DENSE, "wanda-50"), rows(DENSE, "dense-rerun")])
    columns = ["variant", *tables.FACTS]
    known, unknown = (scoring.score(cells, facts).select(columns).unique().sort("variant") for facts in (FACTS, {}))
    assert known.rows() == [
        ("dense", "Dense", "", None, "", ""),
        ("dense-rerun", "Dense, rerun", "", None, "", "rerun"),
        ("wanda-50", "Wanda 60 %", "", 0.6, "", ""),
    ]
    names = ("dense", "dense-rerun", "wanda-50")
    assert unknown.rows() == [(name, name, "", None, "", "") for name in names]


def test_the_spread_over_seeds_stands_apart_from_that_over_items():
    first, second = [1] * 40 + [0] * 60, [1] * 60 + [0] * 40
    table = pl.concat([rows(DENSE, "dense"), rows(first, "wanda-50", 0), rows(second, "wanda-50", 1)])
    row = one(scoring.score(table, FACTS), metric="primary_seed_sd")
    assert (row["variant"], row["n"]) == ("wanda-50", 2)
    assert row["value"] == pytest.approx(np.std([0.4, 0.6], ddof=1))
    assert row["high"] > row["value"] > row["low"]


def test_a_dense_score_at_chance_gives_no_retention():
    guess = [1, 0, 0, 0] * 25
    found = scoring.score(pl.concat([rows(guess, "dense"), rows(guess, "wanda-50")]), FACTS)
    retention = one(found, metric="retention", capability="knowledge", format="all", variant="wanda-50", seed=0)
    assert retention["value"] is None
    assert (retention["n"], retention["reason"]) == (0, "dense is not clearly above chance")


def test_seeds_are_pooled_item_by_item():
    first, second = [1] * 40 + [0] * 60, [1] * 60 + [0] * 40
    table = pl.concat([rows(DENSE, "dense"), rows(first, "wanda-50", 0), rows(second, "wanda-50", 1)])
    found = scoring.score(table, FACTS)
    assert one(found, metric="acc_norm", variant="wanda-50", seed=None)["value"] == pytest.approx(0.5)
    assert one(found, metric="acc_norm", variant="wanda-50", seed=None)["n"] == 100


def test_other_items_than_those_of_dense_are_refused():
    ours, dense = rows(DENSE, "wanda-50"), rows(DENSE, "dense")
    other = rows(DENSE, "wanda-50", task="u_cloze")
    not_first = ours.filter(pl.col("doc_id") > 50)
    for given in ([dense[:50], ours], [dense, not_first], [dense, ours.filter(pl.col("doc_id") != 7)], [dense, other]):
        with pytest.raises(ValueError, match="evaluate both on the same tasks"):
            scoring.score(pl.concat(given), FACTS)
    both = pl.concat([dense, rows(DENSE, "dense", task="u_cloze")])
    with pytest.raises(ValueError, match="evaluate both on the same tasks"):
        scoring.score(pl.concat([both, ours]), FACTS)
    served = pl.concat([rows([0.1, 0.2, 0.4], name, metric="nll_engine") for name in ("dense", "wanda-50")])
    served = served.with_columns(dimension=pl.lit("served"), primary=False)
    compressed = scoring.score(served, FACTS).filter(variant="wanda-50")
    assert scoring.score(served.filter(variant="wanda-50"), FACTS).equals(compressed)
    with pytest.raises(ValueError, match="has no dense cell"):
        scoring.score(ours, FACTS)


def regression(kept, dense):
    """The regression estimate, by scipy, of a score over all of dense's items."""
    fit = stats.linregress(dense[: len(kept)], kept)
    return fit.intercept + fit.slope * np.mean(dense)


def test_a_sample_of_denses_items_is_scored_with_the_support_of_the_others():
    dense = np.random.default_rng(0).permutation(DENSE)
    kept = np.where(np.arange(40) % 4, dense[:40], 0)
    found = scoring.score(pl.concat([rows(dense, "dense"), rows(kept, "wanda-50")]), FACTS)
    mine = {"variant": "wanda-50", "seed": 0}
    score, difference = (one(found, metric=metric, **mine) for metric in ("acc_norm", "difference"))
    assert score["value"] == pytest.approx(regression(kept, dense))
    assert difference["value"] == pytest.approx(kept.mean() - dense[:40].mean())
    assert (score["n"], difference["n"], one(found, metric="dense", **mine)["n"]) == (40, 40, 100)
    assert one(found, metric="dense", **mine)["value"] == 0.8
    retention = one(found, metric="retention", capability="knowledge", format="all", **mine)
    assert (retention["value"], retention["n"]) == (pytest.approx((regression(kept, dense) - 0.25) / 0.55), 40)
    assert one(found, metric="acc_norm", variant="dense", seed=0)["n"] == 100


def test_retention_is_of_the_probability_where_a_task_has_it_and_accuracy_stands_beside():
    dense, ours = np.linspace(0.3, 0.9, 50), np.linspace(0.25, 0.6, 50)
    cells = [
        part
        for variant, right, likely in (("dense", DENSE[::2], dense), ("wanda-50", [1] * 30 + [0] * 20, ours))
        for part in (
            rows(right, variant),
            rows(likely, variant, metric="probability").with_columns(primary=pl.lit(value=False)),
            rows(right, variant, task="t_generate", form="generate", metric="exact_match", chance=0.0),
        )
    ]
    found = scoring.score(pl.concat(cells), FACTS)
    mine = {"variant": "wanda-50", "seed": 0, "capability": "knowledge"}
    values = {
        (row["metric"], row["format"]): row["value"] for row in found.filter(**mine, task="all").iter_rows(named=True)
    }
    likely, right = (ours.mean() - 0.25) / 0.75, (0.6 - 0.25) / 0.75
    assert values["retention", "cloze"] == pytest.approx(likely / ((dense.mean() - 0.25) / 0.75))
    assert values["accuracy_retention", "cloze"] == pytest.approx(right / ((0.8 - 0.25) / 0.75))
    assert values["retention", "generate"] == values["accuracy_retention", "generate"] == pytest.approx(0.6 / 0.8)
    assert values["retention", "all"] == pytest.approx((likely + 0.6) / ((dense.mean() - 0.25) / 0.75 + 0.8))


def test_growth_takes_denses_further_items_too():
    dense, kept = np.linspace(1, 3, 60), np.linspace(1, 3, 60)[:20] ** 1.5
    about = {"metric": "bits_per_byte"}
    found = scoring.score(pl.concat([rows(dense, "dense", **about), rows(kept, "wanda-50", **about)]), FACTS)
    growth = one(found, metric="bits_per_byte_growth", variant="wanda-50", seed=None, capability="all")
    assert growth["value"] == pytest.approx(np.log(regression(kept, dense) / dense.mean()))


def test_a_value_that_denses_further_items_lack_costs_the_task_its_retention(capsys):
    dense = [*DENSE[:99], float("nan")]
    found = scoring.score(pl.concat([rows(dense, "dense"), rows(DENSE[:50], "wanda-50")]), FACTS)
    row = one(found, metric="retention", variant="wanda-50", seed=0, capability="knowledge", format="all")
    assert row["value"] is None
    assert "item 99" in capsys.readouterr().out


def test_a_check_that_raised_for_one_model_alone_leaves_the_scores():
    raised = rows([1] + [0] * 99, "wanda-50", metric="unchecked").with_columns(primary=pl.lit(value=False))
    found = scoring.score(pl.concat([rows(DENSE, "dense"), rows(DENSE, "wanda-50"), raised]), FACTS)
    assert one(found, metric="unchecked", variant="wanda-50", seed=0)["value"] == pytest.approx(0.01)
    other = scoring.score(
        pl.concat([
            rows(DENSE, "dense"), raised.with_columns(variant=pl.lit("dense"), method=pl.lit("dense")),
            rows(DENSE, "wanda-50"),
        ]),
        FACTS,
    )  # fmt: skip
    assert one(other, metric="unchecked", variant="dense", seed=0)["value"] == pytest.approx(0.01)


def measured(parts, dimension):
    """Item rows of several values a metric, as the fidelity and efficiency notebooks write them."""
    rows = [
        {"doc_id": index, "metric": name, "value": value}
        for name, values in parts.items()
        for index, value in enumerate(values)
    ]
    return tables.label(tables.measurements(pl.DataFrame(rows), dimension=dimension, task="t"), cell("wanda-50"))


def test_perplexity_is_the_exponential_of_the_mean_loss():
    parts = {"nll": [1.0, 2.0, 3.0, 2.0], "nll_dense": [0.5, 1.5, 2.5, 1.5], "kl": [0.1] * 4, "agreement": [1.0] * 4}
    found = scoring.fidelity(measured(parts, "fidelity"), FACTS)
    assert one(found, metric="perplexity", seed=0)["value"] == pytest.approx(np.exp(2.0))
    agreement = one(found, metric="agreement", seed=0)
    assert (agreement["value"], agreement["low"], agreement["reason"]) == (1, None, "all values are equal")
    ratio = one(found, metric="perplexity_ratio", seed=0)
    assert (ratio["value"], ratio["low"]) == (pytest.approx(np.exp(0.5)), None)
    perplexity = one(found, metric="perplexity", seed=0)
    assert perplexity["low"] < perplexity["value"] < perplexity["high"]


def test_the_worst_tokens_are_scored_over_all_seeds():
    def of_seed(seed, values):
        frame = measured(
            {"nll": [2.0] * 6, "nll_dense": [2.0] * 6, "kl": [1.0] * 6, "agreement": [0.5] * 6}, "fidelity"
        )
        output = pl.when(pl.col("metric") == "kl").then(pl.lit(str(values))).alias("output")
        return frame.with_columns(output, seed=pl.lit(seed, dtype=pl.Int64))

    found = scoring.fidelity(pl.concat([of_seed(0, [0.1, 0.2]), of_seed(1, [0.3, 0.9])]), FACTS)
    worst = {seed: one(found, metric="kl_max", seed=seed)["value"] for seed in (0, 1, None)}
    assert worst == {0: 0.2, 1: 0.9, None: 0.9}
    assert one(found, metric="kl_median", seed=None)["value"] == 0.2


def test_efficiency_ratios_are_taken_repeat_by_repeat():
    parts = {
        "decode": [10.0, 20.0, 30.0] * 2, "decode_dense": [5.0, 20.0, 10.0] * 2, "bytes_on_disk": [50.0],
        "prefill": [1.0, 2.0, 3.0], "prefill_dense": [1.0, 1.0, 1.0],
        "token": [0.1, 0.1, 0.3, 0.3, 0.5, 0.5] * 2, "token_dense": [0.1] * 12,
        "read": [4.0], "bandwidth": [90.0], "bandwidth_dense": [100.0],
    }  # fmt: skip
    found = scoring.efficiency(measured(parts, "efficiency"), FACTS)
    ratio = one(found, metric="decode_ratio", seed=0)
    assert (ratio["value"], ratio["low"], ratio["high"]) == (2.0, 1.0, 3.0)
    latency = one(found, metric="latency_p50", seed=0)
    assert (latency["value"], latency["low"], latency["high"]) == (0.3, 0.1, 0.5)
    assert one(found, metric="latency_p50_ratio", seed=0)["value"] == pytest.approx(3)
    # 20 tokens a second of 4 bytes are 80 of the 100 bytes a second that memory moves.
    assert one(found, metric="decode_of_limit", seed=0)["value"] == pytest.approx(0.8)
    in_engine = scoring.efficiency(measured({**parts, "bandwidth": []}, "efficiency"), FACTS)  # which measures none
    assert one(in_engine, metric="decode_of_limit", seed=0)["value"] == pytest.approx(0.8)
    size = one(found, metric="bytes_on_disk", seed=0)
    assert size["value"] == 50
    assert (size["low"], size["reason"]) == (None, "measured once")
    few = one(found, metric="prefill_ratio", seed=0)  # three repeats
    assert (few["value"], few["low"], few["high"], few["reason"]) == (2, None, None, statistics.FEW_REPEATS)


def test_languages_have_rows_of_their_own_in_each_format():
    sets = (("mmlu_de", "cloze", 2), ("exams_de", "generate", 3), ("exams_vi", "cloze", 2))
    cells = [
        rows(values, variant, metric=metric, task=f"{name}_{form}", capability="multilingual", form=form)
        for variant in ("dense", "wanda-50")
        for name, form, grown in sets
        for metric, values in (
            ("bits_per_byte", [(grown if variant != "dense" else 1) * (1 + index / 10) for index in range(20)]),
            ("acc_norm", [1] * 20 if variant == "dense" else [1] * 15 + [0] * 5),
        )
    ]
    found = scoring.score(pl.concat([*cells, rows(DENSE, "dense"), rows(DENSE, "wanda-50")]), FACTS)
    mine = {"variant": "wanda-50", "seed": 0, "capability": "multilingual"}
    for name, form, factor in sets:
        here = mine | {"task": name[-2:], "format": form}
        assert one(found, metric="bits_per_byte_growth_by_language", **here)["value"] == pytest.approx(np.log(factor))
        kept = one(found, metric="retention_by_language", **here)
        assert kept["value"] == pytest.approx((0.75 - 0.25) / (1 - 0.25))
        assert kept["n"] == 20
    assert len(found.filter(metric="retention_by_language", variant="wanda-50", seed=0)) == len(sets)
    assert (
        len(found.filter(metric="retention", capability="multilingual", format="all", variant="wanda-50", seed=0)) == 1
    )


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf")])
def test_a_value_that_is_none_costs_its_own_cell_alone_and_is_named(bad, capsys):
    def two(variant, seed=0, value=None):
        parts = [rows([1] * 60 + [0] * 40, variant, seed, task=f"{name}_cloze") for name in ("t", "u")]
        hole = (pl.col("task") == "t_cloze") & (pl.col("doc_id") == 5)
        table = pl.concat(parts)
        return (
            table
            if variant == "dense"
            else table.with_columns(
                value=pl.when(hole & pl.lit(seed == 1)).then(pl.lit(value, dtype=pl.Float64)).otherwise("value")
            )
        )

    cells = [two("dense"), two("wanda-50", 0), two("wanda-50", 1, bad), two("rtn-int4")]
    found = scoring.score(pl.concat(cells), FACTS)
    (line,) = capsys.readouterr().out.splitlines()
    assert line == f"m, wanda-50, 1: t_cloze, acc_norm: item 5 is {bad}; no score is given"
    told = "1 of 100 items has no value"
    for seed in (1, None):
        mine = {"variant": "wanda-50", "seed": seed}
        for metric in ("acc_norm", "difference", "flips_lost", "detectable"):
            row = one(found, metric=metric, task="t_cloze", **mine)
            assert (row["value"], row["low"], row["reason"]) == (None, None, told)
            assert one(found, metric=metric, task="u_cloze", **mine)["value"] is not None
        whole = one(found, metric="retention", capability="knowledge", format="all", **mine)
        assert (whole["value"], whole["n"]) == (1, 100)
        assert whole["reason"] == "without t_cloze: not all items have a value"
    for variant in ("wanda-50", "rtn-int4"):
        assert one(found, metric="acc_norm", task="t_cloze", variant=variant, seed=0)["value"] == 0.6
    floats = found.select("value", "low", "high")
    assert not any(floats[name].is_nan().any() or floats[name].is_infinite().any() for name in floats.columns)


def test_a_value_that_dense_lacks_leaves_the_others_their_own_scores(capsys):
    dense = rows(DENSE, "dense").with_columns(value=pl.when(pl.col("doc_id") > 0).then("value"))
    found = scoring.score(pl.concat([dense, rows(DENSE, "wanda-50")]), FACTS)
    assert "m, dense, 0: t_cloze, acc_norm: item 0 is None" in capsys.readouterr().out
    mine = {"variant": "wanda-50", "seed": 0}
    assert one(found, metric="acc_norm", **mine)["value"] == 0.8
    for metric in ("difference", "dense", "mcnemar_p"):
        assert one(found, metric=metric, **mine)["reason"] == "1 of 100 items has no value"


def test_a_task_without_a_judge_says_so(capsys):
    why = "not judged without an endpoint: kappa of rules is 0.3, below 0.6"
    cells = [
        rows(DENSE, variant, seed).with_columns(value=pl.lit(None, dtype=pl.Float64), judge=pl.lit(why))
        for variant, seed in (("dense", 0), ("wanda-50", 0), ("wanda-50", 1))
    ]
    others = [
        rows(DENSE, variant, seed, task="u_cloze") for variant, seed in (("dense", 0), ("wanda-50", 0), ("wanda-50", 1))
    ]
    found = scoring.score(pl.concat([*cells, *others]), FACTS)
    assert capsys.readouterr().out.count(f"t_cloze, acc_norm: {why}; no score is given") == 3
    for seed in (0, 1, None):
        mine = {"variant": "wanda-50", "seed": seed}
        assert one(found, metric="acc_norm", task="t_cloze", **mine)["reason"] == why
        assert one(found, metric="retention", capability="all", **mine)["value"] == 1


def test_dense_compared_with_itself_is_no_estimate():
    found = scoring.score(pl.concat([rows(DENSE, "dense"), rows(DENSE, "dense-rerun")]), FACTS)
    for metric, value in (("difference", 0), ("retention", 1), ("flips_lost", 0)):
        where = {"metric": metric, "seed": 0, "capability": "knowledge", "format": "cloze"}
        row = one(found, variant="dense", **where)
        assert (row["value"], row["low"], row["reason"]) == (value, None, "dense itself")
        again = one(found, variant="dense-rerun", **where)
        assert again["value"] == value
        assert again["high"] - again["low"] > 0.01  # the same answers, of as many items
    assert one(found, metric="dense", variant="dense", seed=0)["low"] < 0.8


def test_no_interval_of_a_table_has_no_width():
    for count in (1, 2, 5, 20):
        cells = [rows([1] * count, "dense"), rows([0] * count, "wanda-50"), rows([1] * count, "rtn-int4")]
        bits = [
            rows([factor] * count, variant, metric="bits_per_byte")
            for variant, factor in (("dense", 1), ("wanda-50", 2), ("rtn-int4", 1))
        ]
        found = scoring.score(pl.concat([*cells, *bits]), FACTS)
        assert found.filter(pl.col("high") - pl.col("low") < 1e-3).is_empty()
        plain = found.filter(pl.col("low").is_null(), pl.col("reason").is_null())["metric"].unique()
        assert set(plain) <= {"detectable", "mcnemar_p", "mcnemar_mid_p", "mcnemar_p_holm"}


def test_repeats_without_a_value_cost_their_metric_alone(capsys):
    parts = {"decode": [10.0, float("nan"), 30.0], "prefill": [1.0, 2.0, 3.0], "prefill_dense": [0.0, 1.0, 1.0]}
    found = scoring.efficiency(measured(parts, "efficiency"), FACTS)
    assert "m, wanda-50, 0: t, decode: item 1 is nan" in capsys.readouterr().out
    assert one(found, metric="decode", seed=0)["reason"] == "1 of 3 items has no value"
    assert one(found, metric="prefill", seed=0)["value"] == 2
    assert one(found, metric="prefill_ratio", seed=0)["value"] is None
