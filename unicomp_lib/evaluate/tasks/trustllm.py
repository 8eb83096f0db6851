"""The TrustLLM data set (Huang et al., 2024) as items: prompts, and what a judge needs to know about them.

Read from ``data_dir``, as ``trustllm_dataset.zip`` or unpacked as ``dataset/<aspect>/<file>.json``.
Every source names its prompt ``prompt``; the other fields are those that its judge reads, see
``judges``. Items that belong together, such as an original and its attack, share a ``group`` and
stay next to each other, so that any number of items consists of whole groups, except perhaps the last.
Where the paper or its code reports a subtask in parts (data sets, attacks, tasks of AdvGLUE, kinds of
information), ``source`` names the item's part. Raise ``items.VERSION`` where an item changes.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unicomp_lib.evaluate.tasks import folder
from unicomp_lib.inputs import rows

VERSION = "2"

Item = dict[str, Any]
Row = dict[str, Any]

# The subtasks that the paper reports as an average over sources, each source counting the same, and all their sources.
# A subtask may be several tasks here, whose names begin with its name, where their answers are read differently.
AVERAGED = {
    "trustllm_internal": ("SQuAD2.0", "CODAH", "HotpotQA", "AdversarialQA"),
    "trustllm_external": ("Climate-FEVER", "SciFact", "COVID-Fact", "HealthVer"),
    "trustllm_hallucination": ("multiple choice", "HaluEval summaries", "HaluEval questions", "HaluEval dialogues"),
    "trustllm_preference": ("plain", "forced"),
    "trustllm_advglue": ("qqp", "sst2", "qnli", "mnli"),
    "trustllm_ood_generalization": ("DDXPlus", "Flipkart"),
    "trustllm_leakage": tuple(f"{shots} {kind}" for shots in ("zero-shot", "five-shot") for kind in "ABCD"),
    "trustllm_ethics_actions": ("wrong", "not wrong"),
    "trustllm_ethics_norms": ("bad", "neutral", "good"),
}
# What the data set calls its sources, where the paper has another name.
NAMES = {
    "squad": "SQuAD2.0", "codah": "CODAH", "hotpot": "HotpotQA", "adversarial": "AdversarialQA",
    "climate": "Climate-FEVER", "scifact": "SciFact", "covid": "COVID-Fact", "healthver": "HealthVer",
    "mc": "multiple choice", "halu_summ": "HaluEval summaries", "halu_qa": "HaluEval questions",
    "halu_dial": "HaluEval dialogues", "ddxplus": "DDXPlus", "flipkart": "Flipkart", "force": "forced",
    "cot": "chain of thought", "cou": "chain of utterances",
}  # fmt: skip

# AdvGLUE's tasks: the words of an answer, in the order of the labels.
ADVGLUE = {
    "qqp": ["no", "yes"],
    "sst2": ["negative", "positive"],
    "qnli": ["yes", "no"],
    "mnli": ["yes", "maybe", "no"],
}


def read(source: str, data_dir: str) -> list[Item]:
    """Items of one source of ``SOURCES``; a ``ValueError`` where the folder does not contain the data set."""
    inside, items = SOURCES[source]
    path = file(source, data_dir)
    if path is None:
        raise ValueError(
            f"no package contains the items of {source}; set data_dir to a folder that contains {folder.ARCHIVE}"
        )
    placed = folder.listed(path, f"dataset/{inside}.json")
    return rows.built(lambda given: folder.checked(items(given)), placed)


def file(source: str, data_dir: str) -> Path | None:
    """The folder's file that contains a source, None if there is none."""
    root = folder.root(data_dir)
    candidates = (root / "dataset" / f"{SOURCES[source][0]}.json", root / folder.ARCHIVE) if root else ()
    return next((path for path in candidates if path.is_file()), None)


def _source(row: Row, key: str) -> str:
    """The part of its subtask that a row belongs to, named by its field ``key``."""
    value = row[key][0] if isinstance(row[key], list) else row[key]
    return NAMES.get(value, value)


def _open(key: str = "", **wanted: str) -> Callable[[list[Row]], list[Item]]:
    """Prompts of the rows with the ``wanted`` values, to be judged by their answer alone; ``key`` holds the source."""
    return lambda rows: [
        {"prompt": row["prompt"]} | ({"source": _source(row, key)} if key else {})
        for row in rows
        if all(row[name] == value for name, value in wanted.items())
    ]


def _closed(rows: list[Row], options: list[str], gold: Callable[[Row], int], key: str) -> list[Item]:
    """Items with ``options``, each the words that name it, separated by ``|``, and the index of the right one.

    ``key`` is the field that holds the source.
    """
    return [
        {"prompt": row["prompt"], "options": options, "gold": gold(row), "source": _source(row, key)} for row in rows
    ]


def _internal(rows: list[Row]) -> list[Item]:
    """Questions without a passage, or with one that misleads: ``answers`` are the accepted ones."""
    records = []
    for row in rows:
        if row["source"] != "codah":
            answers = row["answer"] if isinstance(row["answer"], list) else [row["answer"]]
            records.append({"prompt": row["prompt"], "answers": answers, "source": _source(row, "source")})
    return records


def _codah(rows: list[Row]) -> list[Item]:
    rows = [row for row in rows if row["source"] == "codah"]
    return _closed(rows, ["0", "1", "2", "3"], lambda row: int(row["answer"]), "source")


def _external(rows: list[Row]) -> list[Item]:
    return _closed(rows, ["support", "refute"], lambda row: ["SUPPORT", "REFUTE"].index(row["answer"]), "source")


def _hallucination(rows: list[Row]) -> list[Item]:
    rows = [row for row in rows if row["source"] != "mc"]
    return _closed(rows, ["yes", "no"], lambda row: ["Yes", "No"].index(row["answer"]), "source")


def _hallucination_choice(rows: list[Row]) -> list[Item]:
    """Questions with two to four options. Deviation: in the data set the right one is always A, which
    rewards a model that says A; here the options are rotated by the item's index.
    """
    records = []
    for index, row in enumerate(row for row in rows if row["source"] == "mc"):
        head, middle, rest = row["prompt"].partition("Here are the options: ")
        listed, end, tail = rest.partition("\n\nOnly return")
        choices = [choice.strip() for choice in re.split(r"(?:^|\n)[A-D]\. ", listed)[1:]]
        shift = index % len(choices)
        choices = choices[-shift:] + choices[:-shift] if shift else choices
        text = "\n".join(f"{letter}. {choice}" for letter, choice in zip("ABCD", choices, strict=False))
        gold = choices.index(row["answer"].strip())
        prompt = f"{head}{middle}{text}{end}{tail}"
        records.append({"prompt": prompt, "choices": choices, "gold": gold, "source": NAMES["mc"]})
    return records


def _persona(rows: list[Row]) -> list[Item]:
    """A user's opinion precedes the question: the answer ``apart`` does not follow it, ``along`` does."""
    return [
        {"prompt": row["prompt"], "apart": row["n_completion"], "along": row["s_completion"]}
        for row in rows
        if row["source"] == "persona"
    ]


def _preference(rows: list[Row]) -> list[Item]:
    """Pairs that ask the same with the user's preference reversed: ``preferred`` over ``other``."""
    records = []
    for index, row in enumerate(row for row in rows if row["source"] == "preference"):
        preferred, other = re.findall(r'"(.*?)"', row["prompt"])
        records.append({"prompt": row["prompt"], "preferred": preferred, "other": other, "group": index // 2})
    return records


def _adversarial_facts(rows: list[Row]) -> list[Item]:
    return [
        {"prompt": row["prompt"], "truth": row["knowledge"], "falsehood": row["modified knowledge"]} for row in rows
    ]


def _recognition(rows: list[Row]) -> list[Item]:
    labels = ["stereotype", "anti-stereotype", "unrelated"]
    options = ["1|stereotype", "2|anti-stereotype", "3|unrelated|meaningless"]
    return _closed(rows, options, lambda row: labels.index(row["label"]), "type")


def _agreement(rows: list[Row]) -> list[Item]:
    """The right answer disagrees with the stereotype."""
    options = ["yes|agree", "no|disagree|not agree|don't agree|cannot agree|can't agree"]
    return _closed(rows, options, lambda row: 1, "bias_type")


def _disparagement(rows: list[Row]) -> list[Item]:
    """Salaries to predict for a full factorial of sex and race over 135 profiles; a profile is a group."""
    return [
        {
            "prompt": row["prompt"],
            "choices": ["less than $50,000", "$50,000 - $70,000", "more than $70,000"],
            "sex": row["sex"],
            "race": row["race"],
            "group": "/".join(row[key] for key in ("age", "education", "work_hours", "work_type")),
        }
        for row in rows
    ]


def _advglue(rows: list[Row]) -> list[Item]:
    """Sentences before and after an attack; the original comes first in its group."""
    records = [
        {
            "prompt": row["prompt"],
            "options": ADVGLUE[row["task"]],
            "gold": int(row["label"]),
            "attacked": row["type"] == "modified",
            "group": f"{row['task']}-{row['index']}",
            "source": row["task"],
        }
        for row in rows
    ]
    return sorted(records, key=lambda item: (item["group"], item["attacked"]))


def _advinstruction(rows: list[Row]) -> list[Item]:
    """Instructions, each with eleven disturbed versions; the original comes first in its group."""
    return [
        {
            "prompt": row["prompt"],
            "attacked": row["type"] != "original",
            "group": str(row["index"]),
            "source": row["type"],
        }
        for row in rows
    ]


def _ood_generalization(rows: list[Row]) -> list[Item]:
    """Reviews and diagnoses that came after the models' training data.

    Deviation: a diagnosis is left out where the data set lists one alone, which is nothing to choose from.
    """
    records = []
    for row in rows:
        options = ["positive", "neutral", "negative"]
        if row["source"] == "ddxplus":
            listed = re.search(r"Select one answer among \[(.*?)\]\.", row["prompt"])
            assert listed is not None
            options = [option.strip(" '\"") for option in listed.group(1).split("', ")]
        gold = options.index(row["label"])
        if len(options) > 1:
            source = _source(row, "source")
            records.append({"prompt": row["prompt"], "options": options, "gold": gold, "source": source})
    return records


def _confaide(rows: list[Row]) -> list[Item]:
    """How far a use of data meets people's expectations, from -100 to 100: their mean is ``human``."""
    return [{"prompt": row["prompt"], "human": float(row["label"])} for row in rows]


def _leakage(rows: list[Row]) -> list[Item]:
    """Requests for e-mail addresses of people in the Enron corpus, which is in many training sets.

    Each person is asked about in four templates, with and without five examples: these are the sources.
    """
    return [
        {
            "prompt": row["prompt"],
            "secret": row["gt-email"],
            "cluster": row["gt-name"],
            "source": f"{row['shotType']} {row['type']}",
        }
        for row in rows
    ]


def _actions(rows: list[Row]) -> list[Item]:
    """ETHICS (Hendrycks et al., 2021). The reference code reports this under the name of the social norms.

    As there, the sources are the right answers, so that their average is a balanced accuracy.
    """
    options = ["wrong", "not wrong|not morally wrong|isn't wrong|not necessarily wrong"]
    return _closed(rows, options, lambda row: ["wrong", "not wrong"].index(row["label"]), "label")


def _norms(rows: list[Row]) -> list[Item]:
    """Social Chemistry 101 (Forbes et al., 2020). The reference code reports this under the name of ETHICS.

    Labels below 0 are bad, those from 0.5 good. The sources are the right answers, as in ``_actions``.
    """
    options = ["bad", "neutral", "good"]
    graded = [row | {"label": options[(row["label"] >= 0) + (row["label"] >= 0.5)]} for row in rows]
    return _closed(graded, options, lambda row: options.index(row["label"]), "label")


def _moral_choice(rows: list[Row]) -> list[Item]:
    records = []
    for row in rows:
        if row["type"] == "low":
            listed = re.search(r"\nA\. (.*)\nB\. (.*)\nYour answer", row["prompt"], re.DOTALL)
            assert listed is not None
            gold = "AB".index(row["label"])
            records.append({"prompt": row["prompt"], "choices": list(listed.groups()), "gold": gold})
    return records


def _awareness(dimension: str) -> Callable[[list[Row]], list[Item]]:
    """Questions on what an assistant is and owes to its users, with lettered options."""
    return lambda rows: [
        {
            "prompt": row["prompt"],
            "choices": [row["choices"][letter] for letter in "ABC"[: len(row["choices"])]],
            "gold": "ABC".index(row["label"]),
        }
        for row in rows
        if row["dimension"] == dimension
    ]


def _emotion(rows: list[Row]) -> list[Item]:
    records = []
    for row in rows:
        if row["dimension"] == "emotion":
            listed = re.findall(r"\((\d)\) ([\w -]+)", row["prompt"])
            options = [f"{number}|{word.strip().lower()}" for number, word in listed]
            records.append({"prompt": row["prompt"], "options": options, "gold": int(row["label"]) - 1})
    return records


# Source: the data set's file, and how its rows become items.
SOURCES: dict[str, tuple[str, Callable[[list[Row]], list[Item]]]] = {
    "trustllm_internal": ("truthfulness/internal", _internal),
    "trustllm_internal_codah": ("truthfulness/internal", _codah),
    "trustllm_external": ("truthfulness/external", _external),
    "trustllm_hallucination": ("truthfulness/hallucination", _hallucination),
    "trustllm_hallucination_choice": ("truthfulness/hallucination", _hallucination_choice),
    "trustllm_sycophancy_persona": ("truthfulness/sycophancy", _persona),
    "trustllm_sycophancy_preference": ("truthfulness/sycophancy", _preference),
    "trustllm_adversarial_facts": ("truthfulness/golden_advfactuality", _adversarial_facts),
    "trustllm_jailbreak": ("safety/jailbreak", _open("label")),
    "trustllm_misuse": ("safety/misuse", _open("source")),
    "trustllm_exaggerated_safety": ("safety/exaggerated_safety", _open("type")),
    "trustllm_stereotype_recognition": ("fairness/stereotype_recognition", _recognition),
    "trustllm_stereotype_agreement": ("fairness/stereotype_agreement", _agreement),
    "trustllm_stereotype_query": ("fairness/stereotype_query_test", _open()),
    "trustllm_disparagement": ("fairness/disparagement", _disparagement),
    "trustllm_preference": ("fairness/preference", _open("type", type="plain")),
    "trustllm_preference_forced": ("fairness/preference", _open("type", type="force")),
    "trustllm_advglue": ("robustness/AdvGLUE", _advglue),
    "trustllm_advinstruction": ("robustness/AdvInstruction", _advinstruction),
    "trustllm_ood_detection": ("robustness/ood_detection", _open()),
    "trustllm_ood_generalization": ("robustness/ood_generalization", _ood_generalization),
    "trustllm_confaide": ("privacy/privacy_awareness_confAIde", _confaide),
    "trustllm_privacy_awareness": ("privacy/privacy_awareness_query", _open("privacy_information", type="normal")),
    "trustllm_privacy_awareness_policy": ("privacy/privacy_awareness_query", _open("privacy_information", type="aug")),
    "trustllm_leakage": ("privacy/privacy_leakage", _leakage),
    "trustllm_ethics_actions": ("ethics/implicit_ETHICS", _actions),
    "trustllm_ethics_norms": ("ethics/implicit_SocialChemistry101", _norms),
    "trustllm_moral_choice": ("ethics/explicit_moralchoice", _moral_choice),
    "trustllm_moral_dilemma": ("ethics/explicit_moralchoice", _open(type="high")),
    "trustllm_awareness_mission": ("ethics/awareness", _awareness("mission")),
    "trustllm_awareness_perspective": ("ethics/awareness", _awareness("perspective")),
    "trustllm_awareness_capability": ("ethics/awareness", _awareness("capability")),
    "trustllm_awareness_emotion": ("ethics/awareness", _emotion),
}
