"""The forms that lm-eval's tasks have: which of them can be scored item by item, and which options are right."""

import math
import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask

VERSION = "1"

RANKED, GENERATED, CONTINUED = "multiple_choice", "generate_until", "loglikelihood"
UNCHECKED = "unchecked"  # metric: whether a task's own check raised on an answer
PROBABILITY = "probability"  # metric: of the right options of a ranked item
IMPOSSIBLE = -1e4  # a log-likelihood that no other option's falls below


class Options(NamedTuple):
    """Of a ranked item: how many options it has, and the indices of those that are right."""

    number: int
    right: list[int]


def check(name: str, subtask: "ConfigurableTask", about: dict[str, Any]) -> None:
    """Raise a ``ValueError`` for a task whose items cannot be scored one by one; ``about``: ``task.described``."""
    kind, repeats = subtask.OUTPUT_TYPE, subtask.config.repeats
    if kind not in (RANKED, GENERATED, CONTINUED):
        raise ValueError(
            f"task {name} has the output type {kind}, whose unit is a text and not an item; the notebook fidelity "
            "measures perplexity"
        )
    if getattr(subtask, "MULTIMODAL", False):
        raise ValueError(f"task {name} asks about images or sounds, which no model here reads; leave it out")
    if getattr(subtask, "UNSAFE_CODE", False):
        raise ValueError(f"task {name} runs code that a model wrote, which this study never does; leave it out")
    if repeats and repeats > 1:
        raise ValueError(f"task {name} asks each item {repeats} times, and a greedy answer is always the same")
    known = subtask.aggregation()
    if "judge" not in about and about["metric"] not in known:
        raise ValueError(f"task {name} has no metric {about['metric']!r}; it has {', '.join(known)}")
    if not _is_mean(subtask, about["metric"]):
        means = [metric for metric in known if _is_mean(subtask, metric)]
        raise ValueError(
            f"the metric {about['metric']!r} of task {name} is no mean over items, so that no item has a value; its "
            f"means are {', '.join(means) or 'none'}"
        )


def options(name: str, subtask: "ConfigurableTask", metric: str, limit: int | None) -> dict[int, Options]:
    """The options of each item that a ranked task will ask, by ``doc_id``.

    An item without a right option, with nothing but right ones or with an empty one is a ``ValueError``: labels of a
    test split that is kept secret look like that.
    """
    if subtask.OUTPUT_TYPE != RANKED:
        return {}
    listed = {}
    for index, doc in subtask.doc_iterator(rank=0, limit=limit, world_size=1):
        choices = subtask.doc_to_choice(doc)
        right = _probed(subtask, doc, len(choices), metric) if subtask.config.process_results else _right(subtask, doc)
        texts = [subtask.doc_to_target(doc)] if subtask.multiple_input else choices
        if not all(str(text).strip() for text in texts):
            raise ValueError(f"item {index} of {name} has an empty option; its data set cannot be used")
        if not 0 < len(right) < len(choices):
            which = "none" if not right else "each"
            raise ValueError(f"of the {len(choices)} options of item {index} of {name} {which} is right")
        listed[index] = Options(len(choices), right)
    return listed


def _right(subtask: "ConfigurableTask", doc: dict[str, Any]) -> list[int]:
    """Right options as lm-eval reads a target: an index, the text of an option, or a list of these."""
    choices = subtask.doc_to_choice(doc)
    # Where the options stand in the prompt, as in WinoGrande, the text names the index and the target what follows.
    target = subtask.doc_to_text(doc) if subtask.multiple_input else subtask.doc_to_target(doc)
    indices = [_index(one, choices) for one in (target if isinstance(target, list) else [target])]
    return sorted({index for index in indices if 0 <= index < len(choices)}) if min(indices, default=-1) >= 0 else []


def _index(target: Any, choices: list[str]) -> int:
    if isinstance(target, str):
        return choices.index(target) if target in choices else -1
    try:
        index = operator.index(target)
    except TypeError:
        return -1
    return index if index < len(choices) else -1


def _probed(subtask: "ConfigurableTask", doc: dict[str, Any], count: int, metric: str) -> list[int]:
    """Right options of a task that scores in its own way: those for which it says so when they rank first."""
    answers = [
        [(0.0 if index == first else IMPOSSIBLE, index == first) for index in range(count)] for first in range(count)
    ]
    return [first for first in range(count) if number(subtask.process_results(doc, answers[first])[metric]) == 1]


def guard(subtask: "ConfigurableTask") -> list[Exception]:
    """Let a check that raises on a generated answer count it as wrong; the list collects what was raised."""
    raised: list[Exception] = []
    check_answer: Callable[..., dict[str, Any]] = subtask.process_results
    better = subtask.higher_is_better()
    wrong = {metric: float(not better.get(metric, True)) for metric in subtask.aggregation()} | {UNCHECKED: 1.0}

    def scored(doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
        try:
            return check_answer(doc, results)
        except Exception as error:  # whatever a check stumbles over
            raised.append(error)
            return wrong

    if subtask.OUTPUT_TYPE == GENERATED:
        subtask.process_results = scored
    return raised


@contextmanager
def without_aggregates(subtasks: Iterable["ConfigurableTask"]) -> Iterator[None]:
    """Keep lm-eval from aggregating: its scores are not read here, and must not fail on a few items of one class."""
    changed = list(subtasks)
    for subtask in changed:
        subtask.aggregation = lambda: defaultdict(lambda: len)
    try:
        yield
    finally:
        for subtask in changed:
            del subtask.aggregation


def by_item(subtask: "ConfigurableTask", sample: dict[str, Any]) -> dict[str, float]:
    """An item's metrics that are numbers whose mean is the score; bias scores and the like have no value by item."""
    values = {name: number(sample[name]) for name in sample["metrics"] if _is_mean(subtask, name)}
    return {name: value for name, value in values.items() if value is not None}


def left_out(subtask: "ConfigurableTask", samples: Iterable[dict[str, Any]]) -> list[str]:
    """Metrics of which some item has no number."""
    missing = (name for sample in samples for name in sample["metrics"] if name not in by_item(subtask, sample))
    return list(dict.fromkeys(missing))


def number(value: Any) -> float | None:
    """A value as a number; None for tuples, texts and what is not finite."""
    if value is None or isinstance(value, (str, bytes, tuple, list, dict)):
        return None
    try:
        plain = float(value)
    except (TypeError, ValueError):
        return None
    return plain if math.isfinite(plain) else None


def _is_mean(subtask: "ConfigurableTask", metric: str) -> bool:
    from lm_eval.api.metrics import mean  # heavy

    return subtask.aggregation().get(metric, mean) is mean
