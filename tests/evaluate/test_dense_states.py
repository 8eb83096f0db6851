"""A dense model's logits from its kept hidden states are those of the whole model, or it is the whole model."""

import families
import pytest
import torch

from unicomp_lib.checkpoints import models, saving
from unicomp_lib.evaluate import dense_states, fidelity


def texts(blocks=3, length=40):
    return torch.randint(families.VOCABULARY, (blocks, length), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def saved(tmp_path, home):
    """Saves a family's tiny model with the tiny tokenizer; returns its folder's name."""

    def save(family, **settings):
        saving.save(families.build(family, **settings), models.load_tokenizer(models.TINY), tmp_path / family)
        return str(tmp_path / family)

    return save


def is_whole(network):
    return not isinstance(network.base_model, dense_states._Known)


# What their heads do apart: scaled or capped logits, a head tied to the embeddings or with a bias, another norm.
SETTINGS = {
    "llama": {"tie_word_embeddings": False}, "gemma2": {"final_logit_softcapping": 3.0},
    "cohere2": {"logit_scale": 0.5}, "qwen3": {"tie_word_embeddings": True},
}  # fmt: skip
WHOLE = ("opt", "gpt_neox")  # one's head reads a part of what it calls its base, the other's has another name on disk
FAMILIES = [family for family in families.FAMILIES if family != "gpt2"]  # which has no linear maps, and is not saved


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_of_the_head_are_those_of_the_whole_model(saved, family, monkeypatch):
    name, tokens = saved(family, **SETTINGS.get(family, {})), texts()
    first = dense_states.load(name, tokens, precision="float32")
    assert is_whole(first) == (family in WHOLE)
    with monkeypatch.context() as patched:
        if family not in WHOLE:
            patched.setattr(models, "load", None)  # the whole model is not needed again
        second = dense_states.load(name, tokens, precision="float32")
    whole = models.load(name, precision="float32")[0]
    if family not in WHOLE:
        assert sum(part.numel() for part in second.parameters()) <= families.VOCABULARY * (families.HIDDEN + 1)
    for block in tokens:
        expected = whole(block[None], use_cache=False).logits
        assert torch.equal(first(block[None], use_cache=False).logits, expected)
        assert torch.equal(second(block[None], use_cache=False).logits, expected)


def test_fidelity_is_the_same_to_the_last_bit(tiny, home):
    model, tokenizer = tiny
    tokens = torch.randint(len(tokenizer), (4, 32))
    headed = dense_states.load(models.TINY, tokens, precision="float32")
    assert not is_whole(headed)
    whole = models.load(models.TINY, precision="float32")[0]
    assert fidelity.compare(model, headed, tokens).equals(fidelity.compare(model, whole, tokens))


@pytest.fixture
def read(monkeypatch):
    """Names of the models that are read whole, as they are read."""
    names, load = [], models.load
    monkeypatch.setattr(models, "load", lambda name, **options: names.append(name) or load(name, **options))
    return names


def test_other_weights_text_or_precision_are_read_anew(saved, read):
    name, tokens = saved("llama"), texts()
    read.clear()  # what is saved is measured, and read for that
    for number, (text, precision) in enumerate([(tokens, "float32"), (texts(4), "float32"), (tokens, "bfloat16")]):
        for _ in range(2):
            dense_states.load(name, text, precision=precision)
        assert len(read) == number + 1
    saved("llama", hidden_act="relu")
    read.clear()
    dense_states.load(name, tokens, precision="float32")
    assert len(read) == 1


def test_what_does_not_follow_from_the_states_is_computed_by_the_whole_model(saved, home, read, monkeypatch):
    name, tokens = saved("llama"), texts()
    read.clear()
    dense_states.load(name, tokens, precision="float32")
    (file,) = (home / "states").glob("*.safetensors")
    # Logits that are not the recorded ones, as of a family whose head reads more.
    before = file.stat().st_mtime_ns
    with monkeypatch.context() as patched:
        patched.setattr(dense_states, "_digest", lambda _: "other")
        assert is_whole(dense_states.load(name, tokens, precision="float32"))
    assert file.stat().st_mtime_ns == before
    file.write_bytes(file.read_bytes()[:100])  # damaged: made anew
    assert not is_whole(dense_states.load(name, tokens, precision="float32"))
    assert len(read) == 3


def test_a_text_whose_states_are_not_known_is_refused(saved):
    name, tokens = saved("llama"), texts()
    headed = dense_states.load(name, tokens, precision="float32")
    for other in (tokens, tokens[:1] + 1, tokens[:1, :-1]):
        with pytest.raises(ValueError, match="only the blocks whose hidden states are known can be read here"):
            headed(other, use_cache=False)
