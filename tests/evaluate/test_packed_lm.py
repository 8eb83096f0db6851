import itertools
import random

import families
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from unicomp_lib.checkpoints import models
from unicomp_lib.evaluate import attention, packed_lm


def requests(tokenizer, rows):
    return [
        (("", ""), tokenizer.encode(prompt), tokenizer.encode(option)) for prompt, options in rows for option in options
    ]


ROWS = [
    ("Question: a long one, with many words, so that padding is needed. Answer:", [" yes", " no, not at all", " b"]),
    ("Question: short? Answer:", [" x", " a longer option"]),
    ("Q", [" only one"]),
]


@pytest.mark.parametrize("batch", [1, 2, 16])
def test_log_likelihoods_equal_plain_lm_eval(tiny, batch):
    model, tokenizer = tiny
    given = requests(tokenizer, ROWS)
    plain = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4, max_length=512)
    fast = packed_lm.PackedLM(pretrained=model, tokenizer=tokenizer, batch_size=batch, max_length=512)
    expected = plain._loglikelihood_tokens(given, disable_tqdm=True)
    answers = fast._loglikelihood_tokens(given, disable_tqdm=True)
    assert [greedy for _, greedy in answers] == [greedy for _, greedy in expected]
    assert torch.allclose(torch.tensor([a for a, _ in answers]), torch.tensor([a for a, _ in expected]), atol=1e-4)


def test_a_prompt_too_long_loses_its_beginning_as_in_plain_lm_eval(tiny):
    model, tokenizer = tiny
    given = requests(tokenizer, [("x y z " * 20, [" one", " three of them"])])
    plain = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=40)
    fast = packed_lm.PackedLM(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=40)
    expected = plain._loglikelihood_tokens(given, disable_tqdm=True)
    answers = fast._loglikelihood_tokens(given, disable_tqdm=True)
    assert torch.allclose(torch.tensor([a for a, _ in answers]), torch.tensor([a for a, _ in expected]), atol=1e-4)


SHOTS = "Question: two and two? Answer: four. " * 12


def test_prompts_with_a_common_prefix_give_the_log_likelihoods_of_plain_lm_eval(tiny, monkeypatch):
    model, tokenizer = tiny
    rows = [(SHOTS + prompt, options) for prompt, options in ROWS] + ROWS
    given = requests(tokenizer, rows)
    fast = packed_lm.PackedLM(pretrained=model, tokenizer=tokenizer, batch_size=2, max_length=512)
    read = []
    monkeypatch.setattr(
        packed_lm.prefix, "read", lambda *args, keep=packed_lm.prefix.read: read.append(args) or keep(*args)
    )
    answers = fast._loglikelihood_tokens(given, disable_tqdm=True)
    plain = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4, max_length=512)
    expected = plain._loglikelihood_tokens(given, disable_tqdm=True)
    assert len(read) == 1  # the prefix was computed once
    assert torch.allclose(torch.tensor([a for a, _ in answers]), torch.tensor([a for a, _ in expected]), atol=1e-4)


def everything(shots):
    """Of some questions: three letters, a reference and an answer; of one a second, shorter answer; and more."""
    asked = []
    for question in ("which of these is meant?", "a long question, longer than the others, to be padded to", "x?"):
        prompt = f"{shots}{question} Answer:"
        asked += [Instance("loglikelihood", {}, (prompt, f" {letter}"), 0) for letter in "ABC"]
        asked.append(Instance("loglikelihood", {}, (prompt, " the reference of it"), -1))
        asked.append(Instance("generate_until", {}, (prompt, {"until": ["@@@"], "max_gen_toks": 8}), 0))
    asked.append(Instance("generate_until", {}, (prompt, {"until": ["e"], "max_gen_toks": 3}), 0))
    asked.append(Instance("generate_until", {}, (f"{shots}alone", {"until": ["@@@"], "max_gen_toks": 5}), 0))
    asked += [Instance("loglikelihood", {}, (f"{shots}ranked", option), 0) for option in (" one thing", " another")]
    return asked


def of(asked, kind):
    return [one for one in asked if one.request_type == kind]


@torch.no_grad()
def by_hand(model, tokenizer, request):
    """A greedy answer, each of its tokens from the whole text before it."""
    prompt, settings = request.args
    tokens = tokenizer.encode(prompt)
    start = len(tokens)
    for _ in range(settings["max_gen_toks"]):
        tokens.append(int(model(torch.tensor([tokens]), use_cache=False).logits[0, -1].argmax()))
        if tokens[-1] == model.config.eos_token_id or settings["until"][0] in tokenizer.decode(tokens[start:]):
            break
    return tokenizer.decode(tokens[start:], skip_special_tokens=True).split(settings["until"][0])[0]


@pytest.mark.parametrize("family", families.FAMILIES)
@pytest.mark.parametrize(("shots", "batch"), [("", 3), ("Question: two and two? Answer: four. " * 2, 16)])
def test_what_is_read_once_is_answered_as_each_question_alone(family, shots, batch):
    model, tokenizer = families.build(family), models.load_tokenizer(models.TINY)
    asked = everything(shots)
    ranked, generated = of(asked, "loglikelihood"), of(asked, "generate_until")
    plain = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=500)
    expected = torch.tensor([value for value, _ in plain.loglikelihood(ranked, disable_tqdm=True)])
    answers = [by_hand(model, tokenizer, one) for one in generated]
    attention.use(model)
    lm = packed_lm.PackedLM(pretrained=model, tokenizer=tokenizer, batch_size=batch, max_length=500)
    lm.read(asked)
    likelihoods = torch.tensor([value for value, _ in lm.loglikelihood(ranked)])
    assert torch.allclose(likelihoods, expected, atol=1e-4)
    assert lm.generate_until(generated) == answers
    # Answers of one prompt under two settings end each in their own way.
    lm.generate_until([generated[-2]])
    assert lm.endings[generated[-2].args[0]].tokens <= 3


def test_each_prompt_is_read_once_and_its_answers_are_not_read_again(tiny):
    model, tokenizer = tiny
    lm = packed_lm.PackedLM(pretrained=model, tokenizer=tokenizer, batch_size=16, max_length=500)
    examples = SHOTS[:200]
    asked, calls = everything(examples), []
    lm._keeps_all(), lm._longest()
    hook = model.register_forward_pre_hook(lambda _, args, given: calls.append(given["input_ids"]), with_kwargs=True)
    lm.read(asked)
    read = sum(call.ne(0).sum().item() for call in calls if call.shape[1] > 1)
    calls.clear()
    lm.loglikelihood(of(asked, "loglikelihood"))
    lm.generate_until(of(asked, "generate_until"))
    assert calls == []
    lm.loglikelihood([Instance("loglikelihood", {}, ("something", " else"), 0)])
    assert calls  # what was not asked ahead is read when lm-eval asks
    hook.remove()
    shared = len(tokenizer.encode(examples)) - 1  # the last token may join the next
    rest = sum(len(tokenizer.encode(prompt)) - shared for prompt in {one.args[0] for one in asked})
    behind = sum(len(tokenizer.encode(one.args[1])) for one in of(asked, "loglikelihood"))
    assert shared < read <= shared + rest + behind


def test_many_options_of_one_prompt_are_cut_into_rows(tiny):
    model, tokenizer = tiny
    given = requests(tokenizer, [("Which is true?", [f" number {number} is, and not another" for number in range(40)])])
    lm = packed_lm.PackedLM(pretrained=model, tokenizer=tokenizer, batch_size=16, max_length=500)
    widths = []
    lm._keeps_all(), lm._longest()
    hook = model.register_forward_pre_hook(
        lambda _, args, kw: widths.append(kw["input_ids"].shape[1]), with_kwargs=True
    )
    answers = lm._loglikelihood_tokens(given, disable_tqdm=True)
    hook.remove()
    assert max(widths) <= packed_lm.ROW + len(given[0][1])
    plain = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4, max_length=512)
    expected = plain._loglikelihood_tokens(given, disable_tqdm=True)
    assert torch.allclose(torch.tensor([a for a, _ in answers]), torch.tensor([a for a, _ in expected]), atol=1e-4)


def test_batches_respect_both_limits_and_lose_nothing():
    lengths = [3000, 900, 800, 20, 10, 5]
    batches = list(packed_lm._batches(lengths, size=2, tokens=2048, call=0))
    assert [length for batch in batches for length in lengths[batch]] == lengths
    for batch in batches:
        rows = lengths[batch]
        assert len(rows) <= 2
        assert len(rows) == 1 or len(rows) * rows[0] <= 2048


@pytest.mark.parametrize("seed", range(6))
def test_batches_cost_as_little_as_any(seed):
    chance = random.Random(seed)
    lengths = sorted((chance.randint(1, 60) for _ in range(8)), reverse=True)
    size, tokens, call = chance.randint(1, 8), chance.randint(40, 300), chance.randint(0, 50)

    def cost(cuts):
        ends = [*cuts, len(lengths)]
        parts = [lengths[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        if any(len(part) > size or (len(part) > 1 and len(part) * part[0] > tokens) for part in parts):
            return float("inf")
        return sum(call + len(part) * part[0] for part in parts)

    every = [cuts for count in range(8) for cuts in itertools.combinations(range(1, 8), count)]
    found = [batch.start for batch in packed_lm._batches(lengths, size, tokens, call)][1:]
    assert cost(found) == min(map(cost, every))
