import numpy as np
import polars as pl
import pytest
from scipy.stats import binomtest

from unicomp_lib import tables
from unicomp_lib.evaluate import scoring, strata, totals
from unicomp_lib.evaluate.tasks import trustllm

RNG = np.random.default_rng(0)


def rows(task, sources, primary, **metrics):
    """Item rows of one task: of each metric a value per item, in the order of ``sources``."""
    return pl.concat(
        pl.DataFrame({"source": sources, "value": np.asarray(values, dtype=float)}).with_columns(
            doc_id=pl.int_range(pl.len()),
            cluster=pl.lit(f"{task}-") + pl.int_range(pl.len()).cast(pl.String),
            task=pl.lit(task),
            metric=pl.lit(metric),
            primary=pl.lit(metric == primary),
        )
        for metric, values in metrics.items()
    )


def by_name(frame):
    return {(name, metric): estimate for _, name, metric, estimate in strata.scores(frame)}


def test_a_source_has_its_own_score_and_the_average_counts_each_the_same():
    sources = ["SQuAD2.0"] * 300 + ["HotpotQA"] * 100 + ["AdversarialQA"] * 200
    right = [1] * 150 + [0] * 150 + [1] * 90 + [0] * 10 + [1] * 20 + [0] * 180
    questions = rows("trustllm_internal_generate", sources, "right", right=right, failed=[0] * 600)
    assert {name for name, _ in by_name(questions)} == {
        f"trustllm_internal_generate/{source}" for source in set(sources)
    }  # CODAH is missing, so there is no average
    codah = rows("trustllm_internal_codah_generate", ["CODAH"] * 400, "right", right=[1] * 200 + [0] * 200)
    scores = by_name(pl.concat([questions, codah]))
    hotpot = scores["trustllm_internal_generate/HotpotQA", "right_by_source"]
    exact = binomtest(90, 100).proportion_ci(0.95, method="exact")
    assert (hotpot.value, hotpot.low, hotpot.high) == pytest.approx((0.9, exact.low, exact.high))
    average = scores["trustllm_internal", "right_over_sources"]
    assert average.value == pytest.approx((0.5 + 0.5 + 0.9 + 0.1) / 4)
    # Independent sources: the variances add.
    error = np.sqrt(sum(p * (1 - p) / n for p, n in ((0.5, 300), (0.5, 400), (0.9, 100), (0.1, 200)))) / 4
    assert (average.low, average.high) == pytest.approx((0.5 - 1.96 * error, 0.5 + 1.96 * error), abs=0.004)


def advglue(right, original):
    """Rows of AdvGLUE's verdicts from each pair's two answers, by task."""
    frames = []
    for task in right:
        after, before = np.array(right[task]), np.array(original[task])
        verdicts = {"right": after, "kept": before, "broken": before * (1 - after), "original_right": before}
        frames.append(rows("trustllm_advglue_generate", [task] * len(after), "right", **verdicts))
    together = pl.concat(frames)
    apart = pl.col("source") + "-" + pl.col("doc_id").cast(pl.String)
    return together.with_columns(doc_id=apart.rank("dense").cast(pl.Int64), cluster=apart)


def test_the_robustness_score_is_accuracy_under_attack_less_attack_success_over_the_four_tasks():
    right = {"qqp": [1, 1, 0, 0], "sst2": [1, 1, 1, 0], "qnli": [0] * 5, "mnli": [1, 0]}
    original = {"qqp": [1, 1, 1, 0], "sst2": [1, 1, 1, 1], "qnli": [0] * 5, "mnli": [1, 1]}
    scores = by_name(advglue(right, original))
    accuracy, before = (0.5 + 0.75 + 0 + 0.5) / 4, (0.75 + 1 + 0 + 1) / 4
    success = (1 / 3 + 1 / 4 + 0 + 1 / 2) / 4  # qnli has nothing to attack, which TrustLLM's code counts as 0
    assert scores["trustllm_advglue", "right_over_sources"].value == pytest.approx(accuracy)
    assert scores["trustllm_advglue", "original_right_over_sources"].value == pytest.approx(before)
    assert scores["trustllm_advglue", "attack_success_over_sources"].value == pytest.approx(success)
    assert scores["trustllm_advglue", "robustness_score_over_sources"].value == pytest.approx(accuracy - success)
    assert scores["trustllm_advglue_generate/sst2", "robustness_score_by_source"].value == pytest.approx(0.75 - 0.25)
    assert np.isnan(scores["trustllm_advglue_generate/qnli", "attack_success_by_source"].value)


@pytest.mark.slow
def test_the_interval_of_the_robustness_score_covers_what_it_estimates():
    chances = {"qqp": (0.8, 0.3), "sst2": (0.9, 0.2), "qnli": (0.7, 0.4), "mnli": (0.6, 0.5)}  # right, then broken
    true = np.mean([p * (1 - q) - q for p, q in chances.values()])
    covered = 0
    for _ in range(100):
        original = {task: RNG.random(60) < p for task, (p, _) in chances.items()}
        right = {task: original[task] & (RNG.random(60) >= q) for task, (_, q) in chances.items()}
        score = by_name(advglue(right, original))["trustllm_advglue", "robustness_score_over_sources"]
        covered += score.low <= true <= score.high
    assert 88 <= covered <= 100


def test_leakage_is_averaged_over_examples_and_templates():
    sources = [source for source in trustllm.AVERAGED["trustllm_leakage"] for _ in range(10)]
    addressed = RNG.random(80) < np.repeat([0, 0.2, 0.4, 0.6, 0.8, 1, 0.5, 0.5], 10)
    disclosed = addressed & (RNG.random(80) < 0.4)
    verdicts = {"withheld": ~disclosed, "disclosed": disclosed, "addressed": addressed}
    people = pl.concat([pl.Series("cluster", [f"person {index}" for index in range(10)])] * 8)
    frame = rows("trustllm_leakage_generate", sources, "withheld", **verdicts)
    scores = by_name(frame.with_columns(cluster=pl.concat([people] * 3)))
    strata_of = [slice(start, start + 10) for start in range(0, 80, 10)]
    told = [disclosed[part].sum() / addressed[part].sum() if addressed[part].any() else 0 for part in strata_of]
    assert scores["trustllm_leakage", "no_address_over_sources"].value == pytest.approx(1 - addressed.mean())
    assert scores["trustllm_leakage", "disclosed_over_sources"].value == pytest.approx(disclosed.mean())
    assert scores["trustllm_leakage", "disclosed_of_addressed_over_sources"].value == pytest.approx(np.mean(told))
    assert len({name for name, _ in scores}) == 9


def test_f1_is_averaged_over_sources_and_its_interval_surrounds_it():
    sources = [source for source in trustllm.AVERAGED["trustllm_external"] for _ in range(40)]
    gold = RNG.integers(2, size=160)
    choice = np.where(RNG.random(160) < 0.6, gold, RNG.integers(-1, 2, size=160))
    verdicts = {"right": gold == choice, "failed": choice < 0, "gold": gold, "choice": choice}
    scores = by_name(rows("trustllm_external_generate", sources, "right", **verdicts))
    parts = [
        totals.macro_f1(totals._counts(np.stack([gold, choice], axis=1)[part]).mean(axis=0))
        for part in (slice(start, start + 40) for start in range(0, 160, 40))
    ]
    average = scores["trustllm_external", "f1_over_sources"]
    assert average.value == pytest.approx(np.mean(parts))
    assert average.low < average.value < average.high < average.low + 0.25
    assert scores["trustllm_external_generate/COVID-Fact", "f1_by_source"].value == pytest.approx(parts[2])


def test_a_source_whose_answers_lack_a_verdict_leaves_no_average_of_it():
    """A limit on items that cuts a pair in two leaves a task of AdvGLUE without an attacked sentence."""
    answers = {"qqp": [1, 1], "sst2": [1, 0], "qnli": [0, 1], "mnli": [1, 1]}
    pairs = advglue(answers, answers).filter((pl.col("source") != "mnli") | (pl.col("metric") == "original_right"))
    scores = by_name(pairs)
    assert np.isnan(scores["trustllm_advglue", "robustness_score_over_sources"].value)
    assert ("trustllm_advglue", "right_over_sources") not in scores
    assert scores["trustllm_advglue", "original_right_over_sources"].value == pytest.approx((1 + 0.5 + 0.5 + 1) / 4)


def test_a_table_of_a_time_before_sources_has_no_scores_by_source():
    frame = rows("trustllm_external_generate", ["SciFact"] * 5, "right", right=[1] * 5)
    assert not by_name(frame.drop("source"))
    assert not by_name(frame.with_columns(source=pl.lit(None, dtype=pl.String)))


def test_scores_of_several_seeds_count_every_answer():
    """Three seeds of a variant: the parts of a total are not averaged before it is computed."""
    gold = np.array([0, 1] * 8)
    cells = []
    for variant, seed, flip in (("dense", 0, 4), ("wanda", 0, 2), ("wanda", 1, 8), ("wanda", 2, 5)):
        choice = np.where(np.arange(16) < flip, 1 - gold, gold)
        sources = [source for source in trustllm.AVERAGED["trustllm_external"] for _ in range(4)]
        verdicts = {"right": gold == choice, "failed": choice < 0, "gold": gold, "choice": choice}
        frame = rows("trustllm_external_generate", sources, "right", **verdicts).with_columns(
            model=pl.lit("m"), method=pl.lit(variant), variant=pl.lit(variant), calibration=pl.lit(""),
            seed=pl.lit(seed, dtype=pl.Int64), dimension=pl.lit("reliability"), capability=pl.lit("truthfulness"),
            format=pl.lit("generate"), chance=pl.lit(0.5), doc_hash=pl.col("cluster"), prompt_hash=pl.lit(""),
            judge=pl.lit("rules"),
        )  # fmt: skip
        cells.append((choice, frame))
    scores = scoring.score(pl.concat([frame for _, frame in cells]), {})
    assert scores.columns == list(tables.SCORES)
    pooled = scores.filter(pl.col("variant") == "wanda", pl.col("seed").is_null())
    by = {(row["task"], row["metric"]): row["value"] for row in pooled.iter_rows(named=True)}
    choices = np.concatenate([choice for choice, _ in cells[1:]])
    counts = totals._counts(np.stack([np.tile(gold, 3), choices], axis=1)).mean(axis=0)
    assert by["trustllm_external_generate", "f1"] == pytest.approx(totals.macro_f1(counts))
    assert by["trustllm_external_generate", "right"] == pytest.approx((choices == np.tile(gold, 3)).mean())
    assert ("trustllm_external", "f1_over_sources") in by
    assert not {"gold", "choice"} & set(pooled["metric"])
