import itertools
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from unicomp_lib.evaluate import design, statistics
from unicomp_lib.evaluate.design import Known

TASKS = [
    Known("a", "knowledge", 0.10, 0.5, 0.1, 500),
    Known("b", "knowledge", 0.05, 0.9, 0.4, 500),
    Known("c", "reasoning", 0.20, 0.4, 0.05, 500, 4.0),
]


def cost(tasks, numbers):
    return sum(numbers[one.task] * one.seconds for one in tasks)


def variance(tasks, numbers):
    widths = design.half_widths(tasks, numbers)
    return sum(width**2 for name, width in widths.items() if name != "all")


def test_no_other_design_of_the_same_cost_is_better():
    numbers = design.allocate(TASKS, 60)
    assert cost(TASKS, numbers) == pytest.approx(60, abs=0.6)
    best = variance(TASKS, numbers)
    for a, b in itertools.product(range(16, 501, 4), range(16, 150, 4)):
        c = (60 - a * 0.1 - b * 0.4) / 0.05
        if 16 <= c <= 500:
            assert variance(TASKS, {"a": a, "b": b, "c": c}) > 0.99 * best  # items are whole


def test_small_sets_are_taken_whole_and_what_they_leave_goes_to_the_others():
    small = [*TASKS[:2], Known("c", "reasoning", 0.2, 0.4, 0.05, 60, 4.0)]
    numbers = design.allocate(small, 60)
    assert numbers["c"] == 60
    assert cost(small, numbers) == pytest.approx(60, abs=0.6)
    assert design.allocate(TASKS, 1e6) == {"a": 500, "b": 500, "c": 500}


def test_tasks_at_chance_have_the_least_and_little_time_gives_all_the_least():
    chance = [*TASKS, Known("d", "multilingual", 0.0, 0.5, 0.1, 500), Known("e", "multilingual", 0.0, 0.5, 0.1, 7)]
    numbers = design.allocate(chance, 60)
    assert (numbers["d"], numbers["e"]) == (16, 7)
    assert design.allocate(chance, 0) == {"a": 16, "b": 16, "c": 16, "d": 16, "e": 7}
    widths = design.half_widths(chance, numbers)
    assert np.isnan(widths["multilingual"])
    assert widths["all"] < widths["knowledge"]


def test_what_a_run_tells_is_what_its_rows_were_drawn_from():
    rng = np.random.default_rng(0)
    dense = rng.random(3000) * 0.8 + 0.1  # mean 0.5
    rows = []
    for variant, values in (("dense", dense), ("wanda-50", 0.8 * dense + 0.1 + rng.normal(0, 0.03, 3000))):
        for index, value in enumerate(values[: 3000 if variant == "dense" else 2000]):
            about = {"variant": variant, "task": "t_cloze", "capability": "knowledge", "doc_id": index, "chance": 0.25}
            rows.append(about | {"metric": "probability", "primary": False, "value": value, "cluster": str(index)})
            rows.append(about | {"metric": "acc_norm", "primary": True, "value": 1.0, "cluster": str(index)})
    costs = pl.DataFrame({"task": ["t_cloze"], "items": [3000], "seconds": [150.0]})
    (one,) = design.known(pl.DataFrame(rows), costs, {"t_cloze": 9000})
    assert one.above == pytest.approx((dense.mean() - 0.25) / 0.75)
    assert one.sigma == pytest.approx(0.03 / 0.75, rel=0.05)
    assert (one.seconds, one.largest) == (0.05, 9000)


def test_imaginary_answers_count_as_they_do_in_the_interval():
    rng = np.random.default_rng(1)
    rows = []
    for task, n in (("few_generate", 40), ("many_generate", 160)):
        dense = (rng.random(n) < 0.4).astype(float)
        same = rng.random(n) < 0.8
        for variant, values in (("dense", dense), ("wanda-50", np.where(same, dense, rng.random(n) < 0.4))):
            about = {
                "variant": variant,
                "task": task,
                "capability": "reasoning",
                "chance": 0.0,
                "metric": "exact_match",
            }
            rows += [
                about | {"doc_id": index, "primary": True, "value": float(value), "cluster": f"{task}-{index}"}
                for index, value in enumerate(values)
            ]
    frame = pl.DataFrame(rows)
    costs = pl.DataFrame({"task": ["few_generate", "many_generate"], "items": [1, 1], "seconds": [0.1, 0.1]})
    tasks = design.known(frame, costs, {"few_generate": 40, "many_generate": 160})
    expected = design.half_widths(tasks, {"few_generate": 40, "many_generate": 160})["reasoning"]
    parts = [design._parts(frame.filter(task=task))[0] for task in ("few_generate", "many_generate")]
    found = statistics.retention(parts)
    assert expected == pytest.approx((found.high - found.low) / 2, rel=0.15)
    without = [replace(one, imagined=0.0) for one in tasks]
    assert design.half_widths(without, {"few_generate": 40, "many_generate": 160})["reasoning"] < 0.95 * expected
