"""Data sets for the pretended hub: a few rows each, in the columns of the real ones that ``params/hub.yaml`` pins."""

from pathlib import Path
from typing import Any

import hub

from unicomp_lib.inputs.hub import catalogue

SUBJECTS = ("abstract_algebra", "anatomy", "world_religions")
COUNT = 8  # rows of each split

Rows = list[dict[str, Any]]


def stocked(folder: Path, *, leave_out: set[str] = frozenset()) -> Path:
    """Publish all data sets of ``params/hub.yaml`` but those left out, with every config and split."""
    for name, wanted in catalogue().items():
        if name not in leave_out and not wanted.file:
            configs = {
                config: {split: ROWS[name](config, split) for split in wanted.splits} for config in wanted.configs
            }
            hub.publish(folder, wanted.repository, configs)
    return folder


def _mmlu(config: str, split: str) -> Rows:
    return [
        {
            "question": f"In subject {index % 3}, which number is {index}? ",
            "subject": SUBJECTS[index % 3],
            "choices": [str(index + step) for step in range(4)],
            "answer": 0,
        }
        for index in range(COUNT)
    ]


def _global_mmlu(config: str, split: str) -> Rows:
    return [
        {
            "sample_id": f"{SUBJECTS[index % 3]}/test/{index}",
            "subject": SUBJECTS[index % 3],
            "question": f"({config}) {index} + 1 = ?",
            **{f"option_{letter}": str(index + step) for step, letter in enumerate("abcd")},
            "answer": "B",
        }
        for index in range(COUNT)
    ]


def _arc(config: str, split: str) -> Rows:
    """Options with letters or with numbers, three to five of them, as in the real set."""
    rows = []
    for index in range(COUNT):
        labels = [list("ABCD"), list("1234"), list("ABC"), list("ABCDE")][index % 4]
        choices = {"text": [f"thing {index}-{label}" for label in labels], "label": labels}
        rows.append({"id": str(index), "question": f"What is {index}?", "choices": choices, "answerKey": labels[1]})
    return rows


def _hellaswag(config: str, split: str) -> Rows:
    return [
        {
            "activity_label": "Roof repair",
            "ctx_a": f"[header] Man number {index} is on a roof.",
            "ctx_b": "he",
            "endings": [f"starts to work [title] part {index}.", "sings.", "sleeps.", "eats."],
            "label": "0",
        }
        for index in range(COUNT)
    ]


def _piqa(config: str, split: str) -> Rows:
    return [
        {"goal": f"How do I boil {index} eggs?", "sol1": "In water.", "sol2": "In a freezer.", "label": 0}
        for index in range(COUNT)
    ]


def _winogrande(config: str, split: str) -> Rows:
    return [
        {
            "sentence": f"Sarah was better than Maria, so _ got the {index} easier cases.",
            "option1": "Sarah",
            "option2": "Maria",
            "answer": "2",
        }
        for index in range(COUNT)
    ]


def _truthfulqa(config: str, split: str) -> Rows:
    """Each question with a number of answers of its own."""
    rows = []
    for index in range(COUNT):
        answers = [
            f"Nothing happens {index}.",
            *(f"You turn into a frog {index}-{step}." for step in range(1 + index % 4)),
        ]
        targets = {"choices": answers, "labels": [1] + [0] * (len(answers) - 1)}
        rows.append({"question": f"What happens if you eat {index} seeds?", "mc1_targets": targets})
    return rows


def _gsm8k(config: str, split: str) -> Rows:
    return [
        {"question": f"Ann has {index} apples and buys {index} more. How many has she?",
         "answer": f"She has {index}+{index}=<<{index}+{index}={1000 + index}>>{1000 + index}.\n#### 1,{index:03}"}
        for index in range(COUNT)
    ]  # fmt: skip


def _math_500(config: str, split: str) -> Rows:
    return [
        {
            "problem": f"What is $\\frac{{{index}}}{{7}} + 1$?",
            "solution": f"It is $\\boxed{{\\frac{{{index + 7}}}{{7}}}}$.",
            "answer": f"\\frac{{{index + 7}}}{{7}}",
            "subject": "Algebra",
            "level": 1,
            "unique_id": f"test/algebra/{index}.json",
        }
        for index in range(COUNT)
    ]


def _math(config: str, split: str) -> Rows:
    """One of the test's problems is among them, and one drawing: neither may become an example."""
    rows = [
        {"problem": f"In {config}, what is {index}+1?", "solution": f"$\\boxed{{{index + 1}}}$."}
        for index in range(COUNT)
    ]
    asked = {"problem": _math_500("", "")[0]["problem"], "solution": "It is asked."}
    drawn = {"problem": f"[asy] {config} [/asy] What is drawn?", "solution": "$\\boxed{1}$."}
    return [{**row, "level": "Level 1", "type": config} for row in (*rows, asked, drawn)]


def _gpqa(config: str, split: str) -> Rows:
    """Diamond is the first part of main; one question of main has no explanation."""
    count = COUNT if config == "gpqa_diamond" else 2 * COUNT
    return [
        {
            "Question": f"Which particle is number {index}?",
            "Correct Answer": f"particle {index}",
            **{f"Incorrect Answer {step}": f"particle {index + step}" for step in (1, 2, 3)},
            "Explanation": None if index == COUNT else f"Particles are numbered; this is number {index}.",
            "Record ID": str(index),
        }
        for index in range(count)
    ]


def _wikitext2(config: str, split: str) -> Rows:
    return [{"text": text} for text in ("", " = Title = \n", "", " A paragraph of words about a town . \n") * COUNT]


ROWS = {
    "mmlu": _mmlu,
    "global-mmlu": _global_mmlu,
    "arc": _arc,
    "hellaswag": _hellaswag,
    "piqa": _piqa,
    "winogrande": _winogrande,
    "truthfulqa": _truthfulqa,
    "gsm8k": _gsm8k,
    "math-500": _math_500,
    "math": _math,
    "gpqa": _gpqa,
    "wikitext2": _wikitext2,
}
