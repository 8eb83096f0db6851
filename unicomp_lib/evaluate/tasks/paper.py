"""The item sets of UniComp (arXiv 2602.09130, section 4) from the hub, and the worked examples of their prompts."""

import random
import re
from collections.abc import Callable
from functools import partial
from importlib import resources
from typing import Any, NamedTuple

import yaml

from unicomp_lib.inputs import hub

VERSION = "1"

Item = dict[str, Any]
LANGUAGES = ("en", "de", "fr", "es", "ru", "zh", "ja", "ar", "sw", "bn", "te", "pt")
SHOTS = 5  # the longest list of examples that a prompt takes: GPQA's
LETTERS = "ABCDE"


def _mmlu() -> list[Item]:
    return [
        {
            "subject": row["subject"].replace("_", " "),
            "question": row["question"].strip(),
            "choices": row["choices"],
            "gold": row["answer"],
            "cluster": row["subject"],
        }
        for row in hub.rows("mmlu", "all", "test")
    ]


def _global_mmlu(language: str) -> list[Item]:
    """Professional and machine translations of MMLU (Singh et al., arXiv 2412.03304); asked without the subject."""
    return [
        {
            "subject": "",
            "question": row["question"].strip(),
            "choices": [row[f"option_{letter}"] for letter in "abcd"],
            "gold": LETTERS.index(row["answer"]),
            "cluster": row["subject"],
        }
        for row in hub.rows("global-mmlu", language, "test")
    ]


def _arc(config: str) -> list[Item]:
    return [
        {
            "passage": "",
            "question": row["question"].strip(),
            "choices": row["choices"]["text"],
            "gold": row["choices"]["label"].index(row["answerKey"]),
        }
        for row in hub.rows("arc", config, "test")
    ]


def _hellaswag() -> list[Item]:
    return [
        {
            "prompt": _unbracketed(f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}"),
            "choices": [_unbracketed(ending) for ending in row["endings"]],
            "gold": int(row["label"]),
        }
        for row in hub.rows("hellaswag", "default", "validation")
    ]


def _unbracketed(text: str) -> str:
    """Without the marks that WikiHow's pages left in HellaSwag, as lm-eval removes them."""
    return re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". ")).replace("  ", " ")


def _piqa() -> list[Item]:
    return [
        {"passage": "", "question": row["goal"], "choices": [row["sol1"], row["sol2"]], "gold": row["label"]}
        for row in hub.rows("piqa", "default", "validation")
    ]


def _winogrande() -> list[Item]:
    """The sentence up to the blank, with either name in it, and the rest, which is what gets scored."""
    items = []
    for row in hub.rows("winogrande", "winogrande_xl", "validation"):
        before, after = row["sentence"].split("_", 1)
        names = [row["option1"], row["option2"]]
        items.append(
            {"contexts": [before + name for name in names], "rest": after.strip(), "gold": int(row["answer"]) - 1}
        )
    return items


def _truthfulqa() -> list[Item]:
    """MC1 of TruthfulQA (Lin et al., arXiv 2109.07958): one right answer, which is listed first, and wrong ones."""
    return [
        {"question": row["question"], "choices": row["mc1_targets"]["choices"], "gold": 0}
        for row in hub.rows("truthfulqa", "multiple_choice", "validation")
    ]


def _gsm8k() -> list[Item]:
    """Problems with their solutions, whose calculator annotations, ``<<3*4=12>>``, are removed."""
    items = []
    for row in hub.rows("gsm8k", "main", "test"):
        steps, _, answer = re.sub(r"<<.*?>>", "", row["answer"]).rpartition("####")
        number = answer.strip().replace(",", "")
        solution = f"{steps.strip()} The answer is {number}."
        items.append({"question": row["question"].strip(), "solution": solution, "answer": number})
    return items


def _gsm8k_examples() -> list[Item]:
    """The first chains of thought of Wei et al. (arXiv 2201.11903), as lm-eval's ``gsm8k_cot`` lists them."""
    text = (resources.files("lm_eval") / "tasks/gsm8k/gsm8k-cot.yaml").read_text(encoding="utf-8")
    samples = yaml.safe_load(text)["fewshot_config"]["samples"]
    return [{"question": sample["question"], "solution": sample["target"], "answer": ""} for sample in samples]


def _math() -> list[Item]:
    return [
        {"question": row["problem"], "solution": row["solution"], "answer": row["answer"]}
        for row in hub.rows("math-500", "default", "test")
    ]


def _math_examples() -> list[Item]:
    """Problems of MATH's train split, of which no problem of MATH-500 is one, drawn once from all seven subjects."""
    asked = {row["problem"] for row in hub.rows("math-500", "default", "test")}
    rows = [row for config in hub.catalogue()["math"].configs for row in hub.rows("math", config, "train")]
    short = [row for row in rows if row["problem"] not in asked and "[asy]" not in row["problem"] + row["solution"]]
    drawn = random.Random("math").sample(short, min(SHOTS, len(short)))
    return [{"question": row["problem"], "solution": row["solution"], "answer": ""} for row in drawn]


def _gpqa() -> list[Item]:
    return [_ordered(row) for row in hub.rows("gpqa", "gpqa_diamond", "train")]


def _gpqa_examples() -> list[Item]:
    """Questions of GPQA's main set that are not in Diamond, with the experts' explanations as chains of thought."""
    asked = {row["Question"] for row in hub.rows("gpqa", "gpqa_diamond", "train")}
    rows = [
        row for row in hub.rows("gpqa", "gpqa_main", "train") if row["Question"] not in asked and row["Explanation"]
    ]
    return [_ordered(row) for row in random.Random("gpqa").sample(rows, min(SHOTS, len(rows)))]


def _ordered(row: dict[str, Any]) -> Item:
    """An item of GPQA with its options in an order that its question alone decides.

    lm-eval shuffles them by the state of the process, so that two models are asked different questions.
    """
    right, *wrong = (
        str(row[name]).strip() for name in ("Correct Answer", *(f"Incorrect Answer {n}" for n in (1, 2, 3)))
    )
    choices = [right, *wrong]
    random.Random(row["Question"]).shuffle(choices)
    gold = choices.index(right)
    solution = f"{str(row['Explanation'] or '').strip()} The answer is ({LETTERS[gold]})."
    return {"question": row["Question"].strip(), "choices": choices, "gold": gold, "solution": solution.strip()}


class Source(NamedTuple):
    """A set: its items, the configs of ``params/hub.yaml`` that they are read from, and its worked examples."""

    items: Callable[[], list[Item]]
    reads: dict[str, list[str] | None]  # None: all configs
    examples: Callable[[], list[Item]] | None = None


SOURCES: dict[str, Source] = {
    "mmlu_full": Source(_mmlu, {"mmlu": ["all"]}),
    **{
        f"global_mmlu_{language}": Source(partial(_global_mmlu, language), {"global-mmlu": [language]})
        for language in LANGUAGES
    },
    "arc_easy": Source(partial(_arc, "ARC-Easy"), {"arc": ["ARC-Easy"]}),
    "arc_challenge": Source(partial(_arc, "ARC-Challenge"), {"arc": ["ARC-Challenge"]}),
    "hellaswag": Source(_hellaswag, {"hellaswag": ["default"]}),
    "piqa_full": Source(_piqa, {"piqa": ["default"]}),
    "winogrande": Source(_winogrande, {"winogrande": ["winogrande_xl"]}),
    "truthfulqa": Source(_truthfulqa, {"truthfulqa": ["multiple_choice"]}),
    "gsm8k_cot": Source(_gsm8k, {"gsm8k": ["main"]}, _gsm8k_examples),
    "math_500": Source(_math, {"math-500": ["default"], "math": None}, _math_examples),
    "gpqa_diamond": Source(_gpqa, {"gpqa": ["gpqa_diamond", "gpqa_main"]}, _gpqa_examples),
}
