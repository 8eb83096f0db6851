"""A quantized cache against the closed form, and the same model whether tokens come at once or one by one."""

import copy
import json

import families
import numpy as np
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from scipy import linalg
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache, StaticCache
from transformers.masking_utils import eager_mask
from transformers.models.llama.modeling_llama import eager_attention_forward

from unicomp_lib.checkpoints import (
    cache_codes,
    cached_channels,
    configs,
    decoder,
    float8,
    float_zeros,
    int4,
    int8,
    models,
    packed_integers,
    quantized_cache,
    quanto_form,
    saving,
)
from unicomp_lib.compress import cache, fp8, gptq, hqq, quanto, rtn, smoothquant
from unicomp_lib.evaluate import arithmetic, greedy, packed_lm, prefix

FULL = ("llama", "qwen3", "gemma", "phi3", "smollm3", "olmo2", "falcon", "opt", "gpt2", "gpt_neox", "mixtral")
WINDOWS = ("mistral", "gemma2", "gemma3_text", "cohere2", "exaone4", "lfm2")


def closed_form(states, bits, group_size):
    """s round((x - m) / s) + m for each group of the last axis, in float64, with s and m in float16."""
    groups = states.detach().numpy().astype(np.float64).reshape(-1, group_size)
    found = np.empty_like(groups)
    for row, group in enumerate(groups):
        lowest = float(np.float16(group.min()))
        scale = float(np.float16((np.float32(group.max()) - np.float32(lowest)) / np.float32(2**bits - 1)))
        codes = np.clip(np.round((group - lowest) / scale), 0, 2**bits - 1) if scale else np.zeros(group_size)
        found[row] = scale * codes + lowest
    return torch.from_numpy(found.reshape(states.shape))


def spread(*shape, seed=0):
    """States some channels of which stand out, with a token that is zero and one that is constant."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(*shape, generator=generator) * torch.logspace(-2, 2, shape[-1])
    states[..., 0, :], states[..., 1, :] = 0, -3.25
    return states


@pytest.mark.parametrize("group_size", [8, 16, 64])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_what_is_held_is_the_closed_form_and_takes_the_bytes_that_it_says(bits, group_size):
    states = spread(2, 3, 5, 64)
    held = cache_codes.pack(states, bits, group_size)
    assert held.dtype == torch.uint8
    assert held.shape == (2, 3, 5, 64 * bits // 8 + 4 * 64 // group_size)
    found = cache_codes.unpack(held, bits, group_size, states)
    assert found.dtype == states.dtype
    assert torch.allclose(found.double(), closed_form(states, bits, group_size), rtol=1e-5, atol=1e-6)
    ranges = states.unflatten(-1, (-1, group_size)).amax(-1) - states.unflatten(-1, (-1, group_size)).amin(-1)
    errors = (found - states).abs().unflatten(-1, (-1, group_size)).amax(-1)
    assert (errors <= 0.52 * ranges / (2**bits - 1) + 1e-3 * states.abs().max()).all()
    alone = cache_codes.pack(states[1:, 2:, 4:], bits, group_size)  # of each token by itself, whatever is beside it
    assert torch.equal(alone, held[1:, 2:, 4:])


def test_parts_of_what_is_held_are_read_wherever_they_lie_in_memory():
    states = spread(2, 1, 5, 12)
    held = cache_codes.pack(states, 2, 12)  # 7 bytes a token
    found = cache_codes.unpack(held, 2, 12, states)
    for token in range(5):
        part = cache_codes.unpack(held[1:, :, token : token + 1], 2, 12, states)
        assert torch.equal(part, found[1:, :, token : token + 1])


def one_by_one(model, tokens):
    logits, held = [], DynamicCache(config=model.config)
    for column in tokens.split(1, dim=1):
        output = model(column, past_key_values=held, use_cache=True)
        logits.append(output.logits)
        held = output.past_key_values
    return torch.cat(logits, dim=1), held


@pytest.mark.parametrize("width", [2, 16, 64, 96, 80])
def test_the_rotation_is_sylvesters_and_its_own_inverse(width):
    size = {96: 32, 80: 16}.get(width, width)
    group_size = max(size // 2, 2)
    matrix = torch.block_diag(
        *[torch.from_numpy(linalg.hadamard(size).astype("float64")) / size**0.5] * (width // size)
    )
    states = torch.randn(3, 5, width, dtype=torch.float64)
    assert torch.allclose(cache_codes.rotated(states), states @ matrix)
    assert torch.allclose(cache_codes.rotated(cache_codes.rotated(states)), states)
    turned = closed_form((states.float() @ matrix.float()), 4, group_size) @ matrix
    held = cache_codes.pack(states.float(), 4, group_size, hadamard=True)
    found = cache_codes.unpack(held, 4, group_size, states.float(), hadamard=True)
    close = torch.isclose(found.double(), turned, atol=1e-4)
    assert close.float().mean() > 0.98  # a code that lies between two may be rounded either way


@pytest.mark.parametrize("hadamard", [False, True])
@pytest.mark.parametrize("family", FULL)
@torch.no_grad()
def test_tokens_at_once_and_one_by_one_read_the_same_keys_and_values(family, hadamard):
    model, tokens = families.build(family), families.tokens(rows=2, length=20)
    exact = model(tokens).logits
    cache.compress(model, keys="int4", values="int4", group_size=8, hadamard=hadamard)
    whole = model(tokens, use_cache=False).logits
    steps, held = one_by_one(model, tokens)
    assert (whole - exact).abs().max() > 1e-2 * exact.abs().max()
    assert (whole - steps).abs().max() < 1e-3 * exact.abs().max()
    assert torch.equal(model(tokens).logits, whole)
    assert all(
        type(layer) is quantized_cache.QuantizedLayer and layer.keys.dtype == torch.uint8 for layer in held.layers
    )
    assert all(layer.get_seq_length() == 20 for layer in held.layers)


@pytest.fixture
def oracle():
    """An attention function that rounds the keys and values it is given; the model knows of no quantized cache."""
    settings = {}

    def attend(module, query, key, value, mask, **kwargs):
        key, value = (
            closed_form(part, settings[name], settings["group_size"]).to(part) if settings[name] else part
            for name, part in (("keys", key), ("values", value))
        )
        return eager_attention_forward(module, query, key, value, mask, **kwargs)

    AttentionInterface.register("rounded", attend)
    AttentionMaskInterface.register("rounded", eager_mask)
    return settings


@pytest.mark.parametrize(("keys", "values"), [("int8", "int8"), ("int4", "int4"), ("int4", ""), ("", "int2")])
@pytest.mark.parametrize("family", ["llama", "qwen3"])
@torch.no_grad()
def test_attention_reads_what_the_closed_form_says(family, keys, values, oracle):
    model, tokens = families.build(family), families.tokens(rows=2, length=20)
    oracle |= {"keys": int(keys[3:] or 0), "values": int(values[3:] or 0), "group_size": 16}
    model.set_attn_implementation("rounded")
    expected = model(tokens, use_cache=False).logits
    model.set_attn_implementation("eager")
    cache.compress(model, keys=keys, values=values, group_size=16)
    assert (model(tokens).logits - expected).abs().max() < 1e-3 * expected.abs().max()


def asked(kind, *args):
    return Instance(request_type=kind, doc={}, arguments=args, idx=0)


@pytest.mark.parametrize("batch", [1, 3])
def test_ranked_and_generated_answers_are_those_of_separate_sequences(tiny, batch):
    model, tokenizer = tiny
    cache.compress(model, keys="int4", values="int4", group_size=8)
    shots = "Question: two and two? Answer: four. " * 6
    prompts = [shots + "Question: a long one, with many words. Answer:", shots + "Question: short? Answer:", "Q:", "A"]
    ranked = [asked("loglikelihood", prompt, option) for prompt in prompts for option in (" yes", " no, not at all")]
    generated = [asked("generate_until", prompt, {"until": ["\n"], "max_gen_toks": 6}) for prompt in prompts]
    fast = packed_lm.PackedLM(pretrained=model, tokenizer=tokenizer, batch_size=batch, max_length=512)
    plain = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=512)
    assert prefix.keeps(model)
    fast.read([*ranked, *generated])
    found, expected = fast.loglikelihood(ranked), plain.loglikelihood(ranked, disable_tqdm=True)
    assert fast._longest() > 0  # rows are packed
    assert torch.allclose(torch.tensor([a for a, _ in found]), torch.tensor([a for a, _ in expected]), atol=1e-3)
    assert fast.generate_until(generated) == plain.generate_until(generated, disable_tqdm=True)
    alone = [greedy.answer(fast, {0: greedy.asked(fast, *one.args)})[0].text for one in generated]
    assert fast.generate_until(generated) == alone


# Keys that share scales between tokens. In float64, no code lies between two that rounding could choose from.


def keys_by_pairs(keys, bits, group_size):
    """For every token that reads (rows, heads, readers, tokens, channels): its own group exact, others closed form."""
    count = keys.shape[2]
    found = keys[:, :, None].repeat(1, 1, count, 1, 1)
    for start in range(0, count - group_size + 1, group_size):
        part = keys[:, :, start : start + group_size].transpose(-1, -2).contiguous()
        rounded = closed_form(part.float(), bits, group_size).transpose(-1, -2).to(keys)
        found[:, :, start + group_size :, start : start + group_size] = rounded[:, :, None]
    return found


@pytest.fixture
def pairs():
    """An attention function that rounds the keys by ``keys_by_pairs``."""
    settings = {}

    def attend(module, query, key, value, mask, scaling, **kwargs):
        repeats = query.shape[1] // key.shape[1]
        key = keys_by_pairs(key, settings["bits"], settings["group_size"])
        key = key.repeat_interleave(repeats, 1)
        value = value.repeat_interleave(repeats, 1)
        weights = torch.einsum("bhqc,bhqkc->bhqk", query, key) * scaling
        weights = (weights + mask if mask is not None else weights).softmax(-1)
        return (weights @ value).transpose(1, 2), weights

    AttentionInterface.register("pairs", attend)
    AttentionMaskInterface.register("pairs", eager_mask)
    return settings


@pytest.mark.parametrize("keys", ["int8", "int4", "int2"])
@pytest.mark.parametrize("family", ["llama", "qwen3", "opt", "gpt_neox"])
@torch.no_grad()
def test_keys_by_channel_are_those_of_the_closed_form_pair_by_pair(family, keys, pairs):
    model, tokens = families.build(family).double(), families.tokens(rows=2, length=21)
    exact = model(tokens).logits
    pairs |= {"bits": int(keys[3:]), "group_size": 8}
    model.set_attn_implementation("pairs")
    expected = model(tokens, use_cache=False).logits
    model.set_attn_implementation("sdpa")
    cache.compress(model, keys=keys, values="", group_size=8, per_channel=True)
    assert (model(tokens).logits - expected).abs().max() < 1e-5 * (expected - exact).abs().max()


@pytest.mark.parametrize("hadamard", [False, True])
@pytest.mark.parametrize("family", [name for name in FULL if name not in ("falcon", "mixtral")])
@torch.no_grad()
def test_however_a_text_is_cut_and_padded_it_reads_the_same_keys_by_channel(family, hadamard):
    model, tokens = families.build(family).double(), families.tokens(rows=2, length=21)
    exact = model(tokens).logits
    cache.compress(model, keys="int4", values="int4", group_size=8, hadamard=hadamard, per_channel=True)
    whole = model(tokens, use_cache=False).logits
    scale = (whole - exact).abs().max()
    assert scale > 1e-2 * exact.abs().max()
    for cuts in ([1] * 21, [8, 8, 5], [3, 13, 1, 4], [7, 1, 13]):
        held, parts = DynamicCache(config=model.config), []
        for part in tokens.split(cuts, dim=1):
            parts.append(model(part, past_key_values=held, use_cache=True).logits)
        assert (torch.cat(parts, dim=1) - whole).abs().max() < 1e-5 * scale
        assert all(layer.recent.shape[2] == 21 % 8 and layer.keys.dtype == torch.uint8 for layer in held.layers)
    alone = model(tokens[1:, :14]).logits
    rows = torch.cat([tokens[:1], torch.cat([torch.zeros_like(tokens[1:, :7]), tokens[1:, :14]], dim=1)])
    mask = torch.tensor([[1] * 21, [0] * 7 + [1] * 14])
    places = (mask.cumsum(-1) - 1).clamp(min=0)
    held, parts = DynamicCache(config=model.config), []
    for first, last in ((0, 12), (12, 13), (13, 21)):
        parts.append(
            model(
                rows[:, first:last], attention_mask=mask[:, :last], position_ids=places[:, first:last],
                past_key_values=held, use_cache=True,
            ).logits
        )  # fmt: skip
    padded = torch.cat(parts, dim=1)
    assert (padded[:1] - whole[:1]).abs().max() < 1e-5 * scale
    assert (padded[1:, 7:] - alone).abs().max() < 1e-5 * scale


@pytest.mark.parametrize("batch", [1, 3])
def test_answers_with_keys_by_channel_are_those_of_separate_sequences(tiny, batch, capsys):
    model, tokenizer = tiny[0].double(), tiny[1]
    cache.compress(model, keys="int4", values="int4", group_size=8, per_channel=True)
    prompts = ["Question: a long one, with many words. Answer:", "Question: short? Answer:", "Q:", "A"]
    ranked = [asked("loglikelihood", prompt, option) for prompt in prompts for option in (" yes", " no, not at all")]
    generated = [asked("generate_until", prompt, {"until": ["\n"], "max_gen_toks": 12}) for prompt in prompts]
    fast = packed_lm.PackedLM(pretrained=model, tokenizer=tokenizer, batch_size=batch, max_length=512)
    plain = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=512)
    assert not prefix.keeps(model)
    fast.read([*ranked, *generated])
    found, expected = fast.loglikelihood(ranked), plain.loglikelihood(ranked, disable_tqdm=True)
    assert "options are ranked one by one, since it takes no mask of a packed row" in capsys.readouterr().out
    assert torch.allclose(torch.tensor([a for a, _ in found]), torch.tensor([a for a, _ in expected]), atol=1e-6)
    assert fast.generate_until(generated) == plain.generate_until(generated, disable_tqdm=True)


@torch.no_grad()
def test_a_checkpoint_with_keys_by_channel_is_read_again_and_says_its_bytes(tiny, tmp_path):
    model, tokenizer = tiny
    saving.save(model, tokenizer, tmp_path / "base")
    cache.compress(model, keys="int4", values="int8", group_size=8, per_channel=True)
    tokens = families.tokens(rows=1, length=19)
    expected = model(tokens).logits
    saving.save(
        model, tokenizer, tmp_path / "cache",
        write=lambda model, folder: quantized_cache.save(model, folder, source=str(tmp_path / "base")),
    )  # fmt: skip
    again, _ = models.load(str(tmp_path / "cache"), precision="float32", on="cpu")
    assert torch.equal(again(tokens).logits, expected)
    assert again.config.cache_quantization["per_channel"] is True
    # 2 layers of 2 heads of 16 channels. Keys: 8 tokens are 4 bytes of codes and 4 of a group for each channel.
    assert arithmetic.cache_bytes(again) == 2 * 2 * (16 * (4 + 4) / 8 + 16 + 4 * 2)


@torch.no_grad()
def test_an_attention_that_cannot_choose_between_keys_is_refused(monkeypatch, tiny):
    falcon, tokens = families.build("falcon"), families.tokens(rows=1)
    before = falcon(tokens).logits
    with pytest.raises(ValueError, match=r"FalconForCausalLM \(sdpa\): its attention cannot choose between two forms"):
        cache.compress(falcon, group_size=8, per_channel=True)
    assert torch.equal(falcon(tokens).logits, before)
    eager = families.build("llama")
    eager.set_attn_implementation("eager")
    with pytest.raises(ValueError, match=r"LlamaForCausalLM \(eager\)"):
        cache.compress(eager, group_size=8, per_channel=True)
    assert eager.config._attn_implementation == "eager"
    # One that does not pass on what it reads from the cache as it is.
    model = tiny[0]
    monkeypatch.setattr(DynamicCache, "update", lambda *args, update=DynamicCache.update, **kwargs: tuple(
        part.clone() for part in update(*args, **kwargs)
    ))  # fmt: skip
    with pytest.raises(ValueError, match="cannot choose between two forms of the keys"):
        cache.compress(model, group_size=8, per_channel=True)


def compressed(kind, model):
    return cache.compress(model, keys="int4", values="int4", group_size=8, per_channel=kind == "channel")


@pytest.mark.parametrize("kind", ["token", "channel"])
@torch.no_grad()
def test_a_pass_that_is_to_return_no_cache_returns_none(kind):
    model, tokens = families.build("llama").double(), families.tokens(rows=2, length=13)
    compressed(kind, model)
    settings = {
        "max_new_tokens": 6,
        "do_sample": False,
        "eos_token_id": None,
        "attention_mask": torch.ones_like(tokens),
    }
    expected = model.generate(tokens, **settings)
    assert torch.equal(model.generate(tokens, use_cache=False, **settings), expected)
    assert model(tokens, use_cache=False).past_key_values is None
    assert model(tokens, use_cache=True).past_key_values.get_seq_length() == 13
    model.config.use_cache = False
    assert model(tokens).past_key_values is None


@pytest.mark.parametrize("kind", ["token", "channel"])
@torch.no_grad()
def test_several_texts_in_one_row_are_refused(kind):
    model, tokens = families.build("llama"), families.tokens(rows=1, length=10)
    compressed(kind, model)
    places = torch.tensor([[*range(6), *range(4)]])
    with pytest.raises(ValueError, match="several texts in one row have one cache, which is quantized"):
        model(tokens, position_ids=places)
    model(tokens, position_ids=torch.arange(10)[None])


@torch.no_grad()
def test_rows_are_selected_and_repeated_and_go_on_with_or_without_a_mask():
    model, tokens = families.build("llama").double(), families.tokens(rows=3, length=22)
    compressed("channel", model)
    expected = model(tokens).logits[:, 20:]
    for mask in (None, torch.ones(3, 20, dtype=torch.long)):
        held = model(tokens[:, :20], attention_mask=mask, use_cache=True).past_key_values
        picked = copy.deepcopy(held)
        picked.batch_select_indices(torch.tensor([2, 0]))
        found = model(tokens[[2, 0], 20:], past_key_values=picked).logits
        assert torch.allclose(found, expected[[2, 0]])
        held.batch_repeat_interleave(2)
        found = model(tokens[:, 20:].repeat_interleave(2, 0), past_key_values=held).logits
        assert torch.allclose(found, expected.repeat_interleave(2, 0))


@torch.no_grad()
def test_masks_are_made_for_some_queries_at_a_time(monkeypatch):
    model, tokens = families.build("qwen3").double(), families.tokens(rows=2, length=40)
    compressed("channel", model)
    expected = model(tokens).logits
    mask = torch.tensor([[1] * 40, [0] * 9 + [1] * 31])
    padded = model(tokens, attention_mask=mask).logits
    monkeypatch.setattr(cached_channels, "QUERIES", 7)
    assert torch.allclose(model(tokens).logits, expected)
    assert torch.allclose(model(tokens, attention_mask=mask).logits[:, 9:], padded[:, 9:])


@torch.no_grad()
def test_what_a_cache_by_channel_cannot_do_is_said():
    model, tokens = families.build("llama"), families.tokens(rows=1, length=20)
    compressed("channel", model)
    held = model(tokens, use_cache=True).past_key_values
    with pytest.raises(ValueError, match="tokens cannot be taken back out of a cache whose keys share scales"):
        held.crop(-3)
    broken = model.model.layers[1].register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model(tokens[:, :1], past_key_values=held)
    broken.remove()
    with pytest.raises(ValueError, match="do not hold the same tokens, as after a pass that was interrupted"):
        model(tokens[:, :1], past_key_values=held)
    model.set_attn_implementation("sdpa")
    with pytest.raises(
        ValueError, match="was set to 'sdpa', which cannot choose between two forms of the keys; set it"
    ):
        model(tokens)


def forms():
    tokens = families.tokens()
    return {
        "dense": (lambda model: model, saving.plain),
        "rtn": (lambda model: rtn.compress(model, group_size=32), packed_integers.save),
        "gptq, zero points": (
            lambda model: gptq.compress(model, tokens, group_size=32, symmetric=False), packed_integers.save,
        ),
        "quanto": (lambda model: quanto.compress(model, weights="int8"), quanto_form.save),
        "smoothquant": (lambda model: smoothquant.compress(model, tokens), int8.save),
        "fp8": (fp8.compress, float8.save),
        "hqq": (lambda model: hqq.compress(model, group_size=32), float_zeros.save),
    }  # fmt: skip


@pytest.mark.parametrize("form", forms())
@torch.no_grad()
def test_a_checkpoint_of_any_form_says_that_its_cache_is_quantized(form, tmp_path):
    compress, write = forms()[form]
    made, tokenizer = models.load(models.TINY, precision="float32", on="cpu")
    saving.save(compress(made), tokenizer, tmp_path / "base", write=write)
    base, _ = models.load(str(tmp_path / "base"), precision="float32", on="cpu")
    tokens = families.tokens(rows=1)
    before = base(tokens).logits
    cache.compress(base, keys="int4", values="int8", group_size=16)
    expected = base(tokens).logits
    saved = saving.save(
        base, tokenizer, tmp_path / "cache",
        write=lambda model, folder: quantized_cache.save(model, folder, source=str(tmp_path / "base")),
    )  # fmt: skip
    again, _ = models.load(str(tmp_path / "cache"), precision="float32", on="cpu")
    assert torch.equal(again(tokens).logits, expected)
    assert not torch.equal(expected, before)
    entry = {"keys": "int4", "values": "int8", "group_size": 16, "hadamard": False, "per_channel": False}
    assert again.config.cache_quantization == entry
    assert configs.quantizes_cache(tmp_path / "cache")
    assert not configs.quantizes_cache(tmp_path / "base")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("base", "cache")]
    assert weights[0] == weights[1]
    assert saved == saving.measure(tmp_path / "base")
    # 2 layers of 2 heads of 16 channels: 8 and 16 bytes of codes, and 4 of a group each
    assert arithmetic.cache_bytes(again) == 2 * 2 * (8 + 4 + 16 + 4)
    if form == "rtn":
        kernel = models.with_cache(int4.load(tmp_path / "cache", torch.float32).eval())
        assert arithmetic.cache_bytes(kernel) == 2 * 2 * (8 + 4 + 16 + 4)
        assert (kernel(tokens).logits - expected).abs().max() < 1e-2 * expected.abs().max()


@pytest.mark.parametrize("family", WINDOWS)
@torch.no_grad()
def test_families_that_discard_tokens_are_refused_and_left_as_they_were(family):
    model, tokens = families.build(family), families.tokens(rows=1)
    before = model(tokens).logits
    with pytest.raises(ValueError, match="does not hold the keys and values of all tokens in every layer"):
        cache.compress(model, group_size=16)
    assert not hasattr(model.config, decoder.CACHE)
    assert torch.equal(model(tokens).logits, before)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"keys": "int3"},
            "keys 'int3' and values 'int8' are no form of a quantized cache; allowed are 'int8', 'int4'",
        ),
        ({"values": "fp8"}, "values 'fp8' are no form"),
        ({"keys": "", "values": ""}, "and not '' for both"),
        ({"keys": 8}, "keys 8 and values 'int8' are no form"),
        ({"values": ["int8"]}, "are no form of a quantized cache"),
        ({"group_size": 0}, "group_size is 0; give the channels of a group"),
        ({"group_size": 16.0}, "group_size is 16.0"),
        ({"group_size": True}, "group_size is True"),
        ({"hadamard": 1}, "hadamard is 1; allowed are true and false"),
        ({"per_channel": 1}, "per_channel is 1; allowed are true and false"),
        ({"per_channel": True, "keys": ""}, "per_channel is for keys in groups that fill whole bytes, not for keys ''"),
        ({"per_channel": True, "keys": "int4", "group_size": 1}, "groups of 1; give keys of int8, int4, int2, and a"),
        ({"group_size": 12}, "group_size 12 does not divide the 16 channels of a head"),
        ({"group_size": 32}, "group_size 32 does not divide the 16 channels of a head"),
    ],
)
@torch.no_grad()
def test_settings_that_are_not_allowed_are_refused(tiny, settings, says):
    model, tokens = tiny[0], families.tokens(rows=1)
    before = model(tokens).logits
    with pytest.raises(ValueError, match=says):
        cache.compress(model, **{"group_size": 16} | settings)
    assert torch.equal(model(tokens).logits, before)
    cache.compress(model, group_size=16)


@pytest.mark.parametrize("entry", [{}, [], "int8", {"keys": "int8"}, {"keys": "int8", "values": "int8", "bits": 8}])
def test_an_entry_of_another_hand_is_refused_on_load(tiny, tmp_path, entry):
    saving.save(*tiny, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"cache_quantization": entry}))
    with pytest.raises(ValueError, match="it must have the keys keys, values, group_size, hadamard, per_channel"):
        models.load(str(tmp_path), on="cpu")


@torch.no_grad()
def test_a_cache_of_another_kind_or_in_full_precision_is_refused(tiny):
    model, _ = tiny
    full = model(families.tokens(rows=1), use_cache=True).past_key_values
    cache.compress(model, group_size=16)
    for other in (full, StaticCache(config=model.config, max_cache_len=8)):
        with pytest.raises(ValueError, match=f"it was given a {type(other).__name__} in full precision"):
            model(families.tokens(rows=1, length=1), past_key_values=other)


@torch.no_grad()
def test_a_family_that_does_not_use_the_cache_it_is_given_is_refused(monkeypatch):
    model = families.build("llama")
    first = model.model.layers[0].self_attn
    forward = first.forward
    monkeypatch.setattr(first, "forward", lambda *args, **kwargs: forward(*args, **kwargs | {"past_key_values": None}))
    with pytest.raises(ValueError, match="does not put its keys and values into the cache it is given"):
        cache.compress(model, group_size=16)


def test_what_generate_makes_is_quantized_too(tiny):
    model, _ = tiny
    cache.compress(model, keys="int4", values="int4", group_size=16)
    tokens = families.tokens(rows=2, length=12)
    found = model.generate(
        tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=6, do_sample=False, eos_token_id=None,
        return_dict_in_generate=True,
    )  # fmt: skip
    assert all(isinstance(layer, quantized_cache.QuantizedLayer) for layer in found.past_key_values.layers)
    logits, _ = one_by_one(model, found.sequences[:, :-1])
    assert torch.equal(logits[:, 11:].argmax(-1), found.sequences[:, 12:])
