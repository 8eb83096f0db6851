import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from unicomp_lib.evaluate import greedy, packed_lm

SHOTS = "Question: two and two? Answer: four. " * 12
PROMPTS = ["one", "two and three", "a much longer prompt than the others, to be padded to", "x y"]


def requests(prompts, **settings):
    settings = {"until": ["\n"], "max_gen_toks": 12, "do_sample": False} | settings
    return [Instance("generate_until", {}, (prompt, settings), 0) for prompt in prompts]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("start", ["", SHOTS])
def test_answers_are_those_of_plain_lm_eval(dense, batch, start):
    model, tokenizer = dense
    plain = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=2, max_length=512)
    fast = packed_lm.PackedLM(pretrained=model, tokenizer=tokenizer, batch_size=batch, max_length=512)
    for settings in ({}, {"until": [" the", "."]}):
        given = requests([start + prompt for prompt in PROMPTS], **settings)
        assert fast.generate_until(given, True) == plain.generate_until(given, True)


def test_an_answer_tells_how_it_ended(dense):
    model, tokenizer = dense
    lm = packed_lm.PackedLM(pretrained=model, tokenizer=tokenizer, batch_size=4, max_length=512)
    long, stopped = (
        requests(["Once upon a time"], until=["@@@"], max_gen_toks=5),
        requests(["One, two, three,"], until=[","]),
    )
    lm.generate_until(long, True)
    lm.generate_until(stopped, True)
    assert (lm.endings["Once upon a time"].tokens, lm.endings["Once upon a time"].truncated) == (5, True)
    ending = lm.endings["One, two, three,"]
    assert not ending.truncated
    assert "," not in ending.text
    assert 0 < ending.tokens < 12


def test_rows_that_have_ended_are_not_computed_further(dense, monkeypatch):
    model, tokenizer = dense
    lm = packed_lm.PackedLM(pretrained=model, tokenizer=tokenizer, batch_size=4, max_length=512)
    rows, widths = [], []

    def stopped(lm, tokens, stops):
        """The first row ends after one token, the second after two, and so on."""
        if not any(tokens is row for row in rows):
            rows.append(tokens)
        return len(tokens) > next(index for index, row in enumerate(rows) if tokens is row)

    monkeypatch.setattr(greedy, "_stopped", stopped)
    hook = model.register_forward_pre_hook(
        lambda _, args, given: widths.append(len(given["input_ids"])), with_kwargs=True
    )
    lm.generate_until(requests(PROMPTS, max_gen_toks=6), True)
    hook.remove()
    assert widths == [4, 3, 2, 1]
    assert sorted(ending.tokens for ending in lm.endings.values()) == [1, 2, 3, 4]


def test_sampling_and_models_with_penalties_are_left_to_lm_eval(tiny):
    model, _ = tiny
    assert greedy.applies(model, {"do_sample": False, "temperature": 0.0})
    assert not greedy.applies(model, {"do_sample": True, "temperature": 0.7})
    model.generation_config.repetition_penalty = 1.05
    assert not greedy.applies(model, {"do_sample": False})
    model.generation_config.repetition_penalty = None
