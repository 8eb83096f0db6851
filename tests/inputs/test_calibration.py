import json

import pytest
import torch

from unicomp_lib.evaluate.tasks import items
from unicomp_lib.inputs import calibration, texts


def test_blocks_have_their_shape_and_follow_the_seed(tiny):
    _, tokenizer = tiny
    first = calibration.blocks(tokenizer, samples=3, length=50, seed=1)
    assert first.shape == (3, 50)
    assert torch.equal(first, calibration.blocks(tokenizer, samples=3, length=50, seed=1))
    assert not torch.equal(first, calibration.blocks(tokenizer, samples=3, length=50, seed=2))


def test_calibration_and_held_out_text_share_no_article():
    titles = [{text.partition(" -- ")[0] for text in texts.texts(source)} for source in (texts.GENERAL, texts.HELD_OUT)]
    assert min(map(len, titles)) > 500
    assert not titles[0] & titles[1]


@pytest.mark.parametrize("suffix", [".txt", ".jsonl"])
def test_a_users_own_file_is_read(tiny, tmp_path, suffix):
    path = tmp_path / f"mine{suffix}"
    lines = ["one text", "another text"]
    path.write_text("\n".join(json.dumps({"text": line}) if suffix == ".jsonl" else line for line in lines))
    assert texts.texts(str(path)) == lines
    assert calibration.blocks(tiny[1], str(path), samples=1, length=10).shape == (1, 10)
    with pytest.raises(ValueError, match=r"holds \d+ tokens, 100 samples of 10 need 1000"):
        calibration.blocks(tiny[1], str(path), samples=100, length=10)


def test_bad_input_is_one_clear_sentence(tiny):
    with pytest.raises(ValueError, match="calibration source 'c5' is not known"):
        calibration.blocks(tiny[1], "c5")
    with pytest.raises(ValueError, match="samples=0 and length=5 are not allowed"):
        calibration.blocks(tiny[1], samples=0, length=5)


def test_a_mixture_takes_its_shares(tiny):
    _, tokenizer = tiny
    mixed = calibration.blocks(tokenizer, "3*general+reasoning", samples=8, length=20, seed=1)
    assert torch.equal(mixed[:6], calibration.blocks(tokenizer, samples=6, length=20, seed=1))
    assert torch.equal(mixed[6:], calibration.blocks(tokenizer, "reasoning", samples=2, length=20, seed=1))


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("x*general", "gives the weight 'x'; give a number above 0"),
        ("0*general+reasoning", "gives a weight of 0 or less"),
        ("general+c5", "calibration source 'c5' is not known"),
        ("1000*general+reasoning", "4 samples do not cover all parts"),
    ],
)
def test_a_bad_mixture_is_one_clear_sentence(tiny, source, says):
    with pytest.raises(ValueError, match=says.replace("*", r"\*")):
        calibration.blocks(tiny[1], source, samples=4, length=10)


def test_no_reasoning_text_is_a_benchmark_item():
    asked = {turns[0] for turns in texts.texts(texts.REASONING)}
    assert len(asked) > 800
    for source in ("asdiv", "logiqa"):
        assert len(items.items(source)) > 400
        passages = {item["passage"].strip() for item in items.items(source) if item["passage"].strip()}
        assert not [text for text in asked if any(text.startswith(passage) for passage in passages)]


def test_a_file_of_questions_and_answers_and_the_chat_template(tiny, tmp_path):
    _, tokenizer = tiny
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps({"question": "two and two?", "answer": "four"}) + "\n")
    joined = calibration.blocks(tokenizer, str(path), samples=1, length=17)
    assert tokenizer.decode(joined[0]) == "two and two?\nfour"
    with pytest.raises(ValueError, match="chat_template is on, but this model's tokenizer has none"):
        calibration.blocks(tokenizer, str(path), samples=1, length=17, chat_template=True)
    tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    chat = calibration.blocks(tokenizer, str(path), samples=1, length=33, chat_template=True)
    assert tokenizer.decode(chat[0]) == "<user>two and two?<assistant>four"
    path.write_text(json.dumps({"prompt": "x"}))
    with pytest.raises(ValueError, match="has prompt; each needs a text, or a question and an answer"):
        texts.texts(str(path))
