import families
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from unicomp_lib.checkpoints import int8, models, packed_integers, quanto_form, saving
from unicomp_lib.compress import magnitude, quanto, rtn
from unicomp_lib.evaluate import greedy, packed_lm

SHOTS = "Question: two and two? Answer: four. " * 12
PROMPTS = ["one", "two and three", "a much longer prompt than the others, to be padded to", "x y"]


def requests(prompts, **settings):
    settings = {"until": ["\n"], "max_gen_toks": 12, "do_sample": False} | settings
    return [Instance("generate_until", {}, (prompt, settings), 0) for prompt in prompts]


@pytest.mark.parametrize("start", ["", SHOTS])
def test_answers_are_those_of_plain_lm_eval(dense, start):
    model, tokenizer = dense
    plain = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=2, max_length=512)
    for settings in ({}, {"until": [" the", "."]}):
        given = requests([start + prompt for prompt in PROMPTS], **settings)
        expected = plain.generate_until(given, True)
        for batch in (1, 3):
            fast = packed_lm.PackedLM(pretrained=model, tokenizer=tokenizer, batch_size=batch, max_length=512)
            assert fast.generate_until(given, True) == expected


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
    assert widths == [1, 2, 2, 3, 2, 1]  # one to see what the model keeps, prompts by two, then what is being written
    assert sorted(ending.tokens for ending in lm.endings.values()) == [1, 2, 3, 4]


def test_only_a_tasks_own_settings_ask_for_more_than_plain_greedy(tiny):
    model, _ = tiny
    model.generation_config.repetition_penalty = 1.05
    for settings in ({"do_sample": False, "temperature": 0.0}, {"top_p": 0.9, "num_beams": 1, "until": ["x"]}, {}):
        assert greedy.applies(model, settings)
    for settings in ({"do_sample": True}, {"temperature": 0.7}, {"num_beams": 4}, {"repetition_penalty": 1.2}):
        assert not greedy.applies(model, settings)


def test_generation_within_plainly_follows_no_penalty_of_the_model(tiny):
    model, tokenizer = tiny
    own = model.generation_config
    own.repetition_penalty, own.eos_token_id, own.no_repeat_ngram_size = 1.9, [0, 5], 2
    prompt = tokenizer("One, two, three, one, two, three,", return_tensors="pt").input_ids
    penalized = model.generate(prompt, max_new_tokens=30, do_sample=False)
    with greedy.plainly(model):
        assert model.generation_config.eos_token_id == [0, 5]
        plain = model.generate(prompt, max_new_tokens=30, do_sample=False)
    assert model.generation_config is own
    assert plain[0].tolist() == prompt[0].tolist() + by_hand(model, prompt[0].tolist(), 30)
    assert plain.tolist() != penalized.tolist()


@torch.no_grad()
def by_hand(model, prompt, limit, ends=(0, 5)):
    """Greedy tokens after a prompt, each from the whole text before it."""
    tokens = list(prompt)
    for _ in range(limit):
        tokens.append(int(model(torch.tensor([tokens]), use_cache=False).logits[0, -1].argmax()))
        if tokens[-1] in ends:
            break
    return tokens[len(prompt) :]


FORMS = {
    "pruned": (magnitude.compress, saving.plain),
    "packed": (lambda model: rtn.compress(model, group_size=32), packed_integers.save),
    "int8": (int8.replace, int8.save),
    "quanto": (quanto.compress, quanto_form.save),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_keeps_its_generation_settings_and_none_follows_the_penalty(form, tmp_path):
    compress, write = FORMS[form]
    model, tokenizer = models.load(models.TINY, on="cpu")
    own = model.generation_config
    own.eos_token_id, own.repetition_penalty, own.temperature = [0, 5], 1.05, 0.7  # a temperature without sampling
    saving.save(compress(model), tokenizer, tmp_path, write=write)
    again, _ = models.load(str(tmp_path), on="cpu")
    kept = again.generation_config
    assert (kept.eos_token_id, kept.repetition_penalty, kept.temperature) == ([0, 5], 1.05, 0.7)
    lm = packed_lm.PackedLM(pretrained=again, tokenizer=tokenizer, batch_size=1, max_length=512)
    texts = lm.generate_until(requests(PROMPTS, until=["@@@"], max_gen_toks=24), True)
    for prompt, text in zip(PROMPTS, texts, strict=True):
        written = by_hand(again, tokenizer(prompt).input_ids, 24)
        assert text == tokenizer.decode(written, skip_special_tokens=True)
        assert lm.endings[prompt].truncated == (written[-1] not in (0, 5))
        assert lm.endings[prompt].tokens == len(written)


@pytest.mark.parametrize("family", families.FAMILIES)
@pytest.mark.parametrize("start", ["", SHOTS[:120]], ids=["alone", "after a shared prefix"])
def test_batches_of_every_family_answer_as_one_prompt_does(family, start):
    model, tokenizer = families.build(family), models.load_tokenizer(models.TINY)
    lm = packed_lm.PackedLM(pretrained=model, tokenizer=tokenizer, batch_size=4, max_length=512)
    settings = {"until": ["@@@"], "max_gen_toks": 12}
    given = requests([start + prompt for prompt in PROMPTS], **settings)
    for request, text in zip(given, lm.generate_until(given, True), strict=True):
        written = by_hand(model, tokenizer.encode(request.args[0]), 12, ends=(0,))
        assert text == tokenizer.decode(written, skip_special_tokens=True)
        assert lm.endings[request.args[0]].finite


def test_logits_that_are_not_finite_end_an_answer(tiny):
    model, tokenizer = tiny
    lm = packed_lm.PackedLM(pretrained=model, tokenizer=tokenizer, batch_size=2, max_length=512)
    model.model.layers[0].mlp.up_proj.weight.data[3, 3] = float("nan")
    lm.generate_until(requests(PROMPTS[:1]), True)
    ending = lm.endings[PROMPTS[0]]
    assert (ending.finite, ending.tokens) == (False, 1)


def test_answers_join_others_that_are_being_written(tiny, monkeypatch):
    model, tokenizer = tiny
    lm = packed_lm.PackedLM(pretrained=model, tokenizer=tokenizer, batch_size=4, max_length=512)
    prompts = ["word " * count for count in (2, 9, 4, 30, 6, 1, 12, 5, 3, 20, 8)]
    limits = {prompt: 3 + 7 * (index % 4) for index, prompt in enumerate(prompts)}
    given = [one for prompt in prompts for one in requests([prompt], until=["@@@"], max_gen_toks=limits[prompt])]
    rows = []
    step = greedy.Decoding.step
    monkeypatch.setattr(greedy.Decoding, "step", lambda self: rows.append(len(self.rows)) or step(self))
    texts = lm.generate_until(given, True)
    for prompt, text in zip(prompts, texts, strict=True):
        written = by_hand(model, tokenizer.encode(prompt), limits[prompt], ends=(lm.eot_token_id,))
        assert text == tokenizer.decode(written, skip_special_tokens=True)
        assert lm.endings[prompt].tokens == len(written)
    assert max(rows) <= 4
    tokens = sum(ending.tokens for ending in lm.endings.values())
    assert len(rows) < 0.6 * tokens  # more than one row is written at a time, nearly to the end
