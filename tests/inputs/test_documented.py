"""What docs/ say of the text that calibration on reasoning reads, computed again."""

import json
import random
import re
from pathlib import Path

import pytest
import yaml

from unicomp_lib import paths
from unicomp_lib.checkpoints import models
from unicomp_lib.inputs import calibration, texts

DEFAULT = yaml.safe_load((paths.project() / "params" / "embedded.yaml").read_text())
PAPER = yaml.safe_load((paths.project() / "params" / "paper.yaml").read_text())
DATA = Path(__file__).parents[3] / "shared" / "data"
SETS = {"LogiQA": texts._logic, "ASDiv": texts._word_problems, "GSM8K": texts._worked}


def documented(page):
    """A page as one line, since sentences are wrapped."""
    return re.sub(r"\s+", " ", (paths.project() / "docs" / page).read_text(encoding="utf-8"))


def shares(tokens):
    """``LogiQA 63 %, ASDiv 31 %, GSM8K 6 %``, of the number of tokens by set."""
    return ", ".join(f"{name} {100 * number / sum(tokens.values()):.0f} %" for name, number in tokens.items())


@pytest.fixture(scope="module")
def encoded():
    """The default model's tokenizer, and of each text of ``reasoning`` in its order the set and the tokens."""
    (source,) = DEFAULT["models"].values()
    tokenizer = models.load_tokenizer(source)
    of = {tuple(turns): name for name, read in SETS.items() for turns in read()}
    given = texts.texts(texts.REASONING)
    return tokenizer, [(of[tuple(turns)], calibration._encoded(tokenizer, turns, False)) for turns in given]


@pytest.mark.slow
def test_the_docs_say_what_the_reasoning_text_is_made_of(encoded):
    _, rows = encoded
    tokens = {name: sum(len(ids) for part, ids in rows if part == name) for name in SETS}
    assert f"it has {sum(tokens.values()):,} tokens: {shares(tokens)}" in documented("methods.md")
    assert shares(tokens) in documented("reading_the_numbers.md")


@pytest.mark.slow
@pytest.mark.parametrize("seed", DEFAULT["compressions"]["wanda-50-reasoning"]["seeds"])
def test_the_docs_say_what_each_draw_of_it_is_made_of(encoded, seed):
    tokenizer, rows = encoded
    samples, length = (DEFAULT["calibration"][name] for name in ("samples", "length"))
    shuffled = list(rows)
    random.Random(seed).shuffle(shuffled)
    drawn = [(part, token) for part, ids in shuffled for token in ids][: samples * length]
    blocks = calibration.blocks(tokenizer, texts.REASONING, samples=samples, length=length, seed=seed)
    assert blocks.flatten().tolist() == [token for _, token in drawn]
    tokens = {name: sum(part == name for part, _ in drawn) for name in SETS}
    assert f"{samples * length:,} of them" in documented("methods.md")
    assert re.search(f"with seed {seed} (these|they) are {shares(tokens)}", documented("methods.md"), re.IGNORECASE)


def test_the_docs_say_how_long_the_papers_reasoning_text_is_here():
    given = [entry for entry in PAPER["compressions"].values() if entry.get("calibration") == "arc-easy+gsm8k+math"]
    ((samples, length),) = {(entry["samples"], entry["length"]) for entry in given}
    said = documented("methods.md")
    assert f"{samples} samples of {length:,} tokens, {samples // 3} of each set" in said
    assert f"{samples * length:,} tokens, {samples / 512:.0%}".replace("%", " %") in said


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="no benchmark files are beside this checkout")
def test_the_docs_say_how_short_single_questions_are(encoded):
    tokenizer, _ = encoded
    means, filled = [], []
    for file in ("arc/arc_easy_train.jsonl", "gsm8k/train_first1024.jsonl"):
        asked = [json.loads(line)["question"].strip() for line in (DATA / file).read_text().splitlines()]
        tokens = sum(len(calibration._encoded(tokenizer, question, True)) for question in asked)
        means.append(round(tokens / len(asked)))
        filled.append((len(asked), tokens // 1024))
    said = documented("methods.md")
    assert f"ARC-Easy has {means[0]} tokens on average, one of GSM8K's first {filled[1][0]:,} has {means[1]}" in said
    assert f"its {filled[0][0]:,} questions for training fill {filled[0][1]}" in said
