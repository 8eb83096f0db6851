import families
import pytest
import torch

from unicomp_lib.evaluate import prefix


def all_of(node):
    return sorted([*node.prompts, *(index for part in node.parts for index in all_of(part))])


def test_prompts_are_told_apart_by_the_beginnings_that_they_share():
    examples, passage = tuple(range(100)), tuple(range(200, 260))
    prompts = [
        (*examples, *passage, 1, 2), (*examples, *passage, 3), (*examples, *passage, 4), (*examples, 5),
        (*examples, 6, 7), (8, 9), (8, 10),
    ]  # fmt: skip
    whole = prefix.tree(prompts)
    assert (whole.beginning, whole.prompts) == ((), [5, 6])  # the last two share one token, which is not worth it
    (shared,) = whole.parts
    assert (shared.beginning, shared.prompts) == (examples, [3, 4])
    (inner,) = shared.parts
    assert (inner.beginning, inner.prompts, inner.parts) == (examples + passage, [0, 1, 2], [])


@pytest.mark.parametrize(
    "prompts",
    [
        [],
        [(1,)],
        [tuple(range(300))] * 3,  # the same prompt: each keeps its last token
        [tuple(range(300)), tuple(range(200)), tuple(range(120))],  # one is the beginning of another
        [tuple(range(length)) for length in range(1, 900, 3)],  # each goes on where another ends
    ],
)
def test_no_prompt_is_lost_and_each_keeps_a_token_of_its_own(prompts):
    def check(node, depth):
        assert all(prompts[index][: len(node.beginning)] == node.beginning for index in node.prompts)
        assert all(len(prompts[index]) > len(node.beginning) for index in node.prompts)
        return max([depth, *(check(part, depth + 1) for part in node.parts)])

    whole = prefix.tree(prompts)
    assert all_of(whole) == list(range(len(prompts)))
    assert check(whole, 0) <= prefix.DEPTH


# Whose layers all hold the keys and values of every token.
KEEPING = {
    "llama", "qwen3", "gemma", "phi3", "smollm3", "olmo2", "falcon", "opt", "gpt2", "gpt_neox", "mixtral",
    "qwen2_moe", "olmoe", "deepseek_v3",
}  # fmt: skip


@pytest.mark.parametrize("family", families.FAMILIES)
def test_families_that_discard_what_they_have_read_are_told_from_those_that_keep_it(family):
    assert prefix.keeps(families.build(family)) == (family in KEEPING)


@pytest.mark.parametrize("family", sorted(KEEPING))
@torch.no_grad()
def test_what_is_read_behind_a_beginning_gets_the_logits_of_the_whole(family):
    model, tokens = families.build(family), families.tokens(rows=2, length=40)
    tokens[1, :30] = tokens[0, :30]
    first = prefix.read(model, tokens[0, :18].tolist())
    cache = prefix.read(model, tokens[0, 18:30].tolist(), first)
    logits = model(
        input_ids=tokens[:, 30:], attention_mask=torch.ones(2, 40), position_ids=torch.arange(30, 40).repeat(2, 1),
        past_key_values=prefix.repeated(cache, 2),
    ).logits  # fmt: skip
    assert (first.get_seq_length(), cache.get_seq_length()) == (18, 30)  # as they were: the next batch needs them
    assert torch.allclose(logits, model(input_ids=tokens).logits[:, 30:], atol=1e-4)
