"""``nox -s export``: a GGUF file holds the very codes, scales and numbers of a checkpoint, or is refused in a sentence.

The oracles are transformers' own reader of GGUF, which undoes what llama.cpp's converter does, and ``gguf``'s own
expansion of its blocks.
"""

import json
import re

import families
import gguf
import numpy as np
import pytest
import tokenizers_made
import torch
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFReader
from optimum.quanto import QTensor
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers import models as kinds_of_tokenizers
from transformers import AutoModelForCausalLM, GgufConfig, PreTrainedTokenizerFast

from unicomp_lib.__main__ import main
from unicomp_lib.checkpoints import float4, float8, float_zeros, int8, models, packed_integers, quanto_form, saving
from unicomp_lib.compress import fp8, hqq, mxfp4, nvfp4, quanto, rtn, smoothquant
from unicomp_lib.exchange import gguf as exchange
from unicomp_lib.exchange import gguf_blocks, gguf_families
from unicomp_lib.exchange.gguf_blocks import Coded

TOKENS = 320  # more than the tokenizers have, as models are padded
FULL_ATTENTION = {"qwen2": {"use_sliding_window": False}}
LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 1e4, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip


def built(family="llama", **extra):
    settings = {"vocab_size": TOKENS, "tie_word_embeddings": True} | FULL_ATTENTION.get(family, {}) | extra
    return families.build(family, layers=2, **settings).bfloat16()


def dense(model):
    return model, saving.plain


def packed(**settings):
    return lambda model: (rtn.compress(model, **settings), packed_integers.save)


FORMS = {
    "dense": (dense, Kind.BF16),
    "4 bits": (packed(bits=4, group_size=32, symmetric=True), Kind.Q4_0),
    "4 bits, zero points": (packed(bits=4, group_size=32, symmetric=False), Kind.Q4_1),
    "8 bits": (packed(bits=8, group_size=32, symmetric=True), Kind.Q8_0),
    "4 bits, groups of 64": (packed(bits=4, group_size=64, symmetric=True), Kind.Q4_0),
    "8 bits of quanto": (lambda model: (quanto.compress(model, weights="int8"), quanto_form.save), Kind.Q8_0),
}


def saved(folder, form="dense", model=None, tokenizer=None):
    return written(folder, *FORMS[form][0](model or built()), tokenizer)


def written(folder, model, write, tokenizer=None):
    folder.mkdir()
    write(model, folder)
    (tokenizer or tokenizers_made.made()).save_pretrained(folder)
    return folder


def read(file):
    return {name: field.contents() for name, field in GGUFReader(file).fields.items()}


def refused(folder, file=None):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        exchange.export(folder, file or folder.with_suffix(".gguf"))
    assert not list(folder.parent.glob("*.gguf"))
    return str(caught.value)


@pytest.mark.parametrize(
    ("family", "form"),
    [
        *[("llama", form) for form in FORMS],
        ("qwen2", "dense"), ("qwen2", "4 bits"), ("qwen3", "dense"), ("qwen3", "4 bits, zero points"),
    ],
)  # fmt: skip
def test_another_reader_finds_the_same_model(family, form, tmp_path):
    folder = saved(tmp_path / "given", form, built(family))
    done = exchange.export(folder, tmp_path / "model.gguf")
    ours, _ = models.load(str(folder), precision="float32", on="cpu")
    theirs = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="model.gguf", quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    found = dict(theirs.named_parameters())
    scales = ("_scale", "_zero_point", "_shape")  # that stay beside expanded weights
    assert set(found) == {name for name, _ in ours.named_parameters() if not name.endswith(scales)}
    for name, tensor in found.items():
        owner, _, leaf = name.rpartition(".")
        weight = getattr(ours.get_submodule(owner), leaf)
        assert torch.equal(tensor, weight.dequantize() if isinstance(weight, QTensor) else weight), name
    kind = FORMS[form][1].name
    assert done.kinds[kind] == (15 if form == "dense" else 14)
    assert done.bytes_on_disk == (tmp_path / "model.gguf").stat().st_size
    types = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(tmp_path / "model.gguf").tensors}
    assert types["token_embd.weight"] == "BF16"
    assert {types[name] for name in types if "norm" in name or name.endswith(".bias")} == {"F32"}
    assert types["blk.1.ffn_down.weight"] == kind


def test_a_head_of_its_own_and_biases_are_there(tmp_path):
    model = built(tie_word_embeddings=False, attention_bias=True, mlp_bias=True)
    exchange.export(saved(tmp_path / "given", model=model), tmp_path / "model.gguf")
    found = {tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type) for tensor in GGUFReader(
        tmp_path / "model.gguf"
    ).tensors}  # fmt: skip
    state = {name: tensor.float().numpy() for name, tensor in model.state_dict().items()}
    assert np.array_equal(found["output.weight"], state["lm_head.weight"])
    assert np.array_equal(found["blk.0.attn_v.bias"], state["model.layers.0.self_attn.v_proj.bias"])
    assert np.array_equal(found["blk.1.ffn_up.bias"], state["model.layers.1.mlp.up_proj.bias"])
    # Row i of a head and row i + half become neighbours.
    bias = state["model.layers.0.self_attn.k_proj.bias"].reshape(families.GROUPS, 2, -1)
    assert np.array_equal(found["blk.0.attn_k.bias"].reshape(families.GROUPS, -1, 2), bias.swapaxes(1, 2))


def test_the_header_says_what_the_configuration_says(tmp_path):
    model = built(num_attention_heads=2, head_dim=16, rms_norm_eps=3e-5, rope_parameters={"rope_theta": 5e4})
    exchange.export(saved(tmp_path / "given", "4 bits", model), tmp_path / "model.gguf", name="a name")
    header = read(tmp_path / "model.gguf")
    said = {name.partition(".")[2]: value for name, value in header.items() if name.startswith("llama.")}
    floats = {"rope.freq_base": 5e4, "attention.layer_norm_rms_epsilon": 3e-5}
    assert said == pytest.approx(floats | {
        "vocab_size": TOKENS, "context_length": 512, "embedding_length": 64, "block_count": 2,
        "feed_forward_length": 128, "attention.head_count": 2, "attention.head_count_kv": 2,
        "attention.key_length": 16, "attention.value_length": 16, "rope.dimension_count": 16,
    })  # fmt: skip
    assert header["general.architecture"] == "llama"
    assert header["general.name"] == "a name"
    assert header["general.file_type"] == gguf.LlamaFileType.MOSTLY_Q4_0
    assert header["general.quantization_version"] == 2


def test_frequencies_of_llama_3_are_divided_as_its_authors_say(tmp_path):
    """Wavelengths up to a quarter of the original context stay, those above it are 4 times as long."""
    model = built(rope_parameters=LLAMA3_ROPE)
    exchange.export(saved(tmp_path / "given", model=model), tmp_path / "model.gguf")
    (found,) = [tensor for tensor in GGUFReader(tmp_path / "model.gguf").tensors if tensor.name == "rope_freqs.weight"]
    waves = 2 * np.pi * 1e4 ** (np.arange(0, 16, 2) / 16)
    smooth = np.clip((64 / waves - 1) / (4 - 1), 0, 1)
    np.testing.assert_allclose(found.data, 1 / ((1 - smooth) / 4 + smooth), rtol=1e-6)


def expanded(coded, kind):
    return torch.from_numpy(gguf.dequantize(gguf_blocks.pack(coded, kind), kind))


def test_blocks_lie_as_ggml_defines_them():
    codes = torch.arange(32, dtype=torch.int8)[None] % 16 - 8
    coded = Coded(codes, torch.tensor([[0.5]]))
    (row,) = gguf_blocks.pack(coded, Kind.Q4_0)
    assert bytes(row[:2]) == np.float16(0.5).tobytes()
    assert list(row[2:]) == [code | code << 4 for code in range(16)]
    (row,) = gguf_blocks.pack(Coded(codes, torch.tensor([[0.5]]), torch.tensor([[-3]])), Kind.Q4_1)
    assert bytes(row[:4]) == np.array([0.5, -2.5], np.float16).tobytes()
    assert list(row[4:]) == [code | code << 4 for code in range(16)]
    (row,) = gguf_blocks.pack(coded, Kind.Q8_0)
    assert list(row[2:].view(np.int8)) == codes[0].tolist()


def test_every_bfloat16_scale_and_every_zero_point_is_exact():
    """All 128 mantissas at several exponents, with all 16 zero points and all 16 codes."""
    mantissas = (1 + torch.arange(128) / 128) * 2.0 ** torch.tensor([-13, -5, 0, 7])[:, None]
    scale = mantissas.flatten().repeat_interleave(16)[:, None]
    zero = (torch.arange(16) - 8).repeat(len(scale) // 16)[:, None]
    codes = (torch.arange(32, dtype=torch.int8) % 16 - 8).repeat(len(scale), 1)
    assert torch.equal(scale, scale.bfloat16().float())
    for coded, kind in ((Coded(codes, scale, zero), Kind.Q4_1), (Coded(codes, scale), Kind.Q4_0)):
        assert torch.equal(expanded(coded, kind), coded.values())
    codes = torch.arange(-128, 128, dtype=torch.int8).repeat(len(scale), 1)
    assert torch.equal(expanded(Coded(codes, scale), Kind.Q8_0), Coded(codes, scale).values())


@pytest.mark.parametrize("kind", [Kind.Q4_0, Kind.Q4_1, Kind.Q8_0])
def test_random_codes_in_groups_of_several_blocks_are_exact(kind):
    generator = torch.Generator().manual_seed(0)
    low, high = (-128, 128) if kind == Kind.Q8_0 else (-8, 8)
    codes = torch.randint(low, high, (24, 192), generator=generator, dtype=torch.int8)
    scale = (torch.rand(24, 2, generator=generator) + 0.01).bfloat16()
    zero = torch.randint(-8, 8, (24, 2), generator=generator) if kind == Kind.Q4_1 else None
    coded = Coded(codes, scale, zero)
    assert torch.equal(expanded(coded, kind), coded.values())


def test_a_group_of_zeros_needs_no_scale():
    codes, scale = torch.full((2, 64), 3, dtype=torch.int8), torch.full((2, 2), 1e-9)
    coded = Coded(codes, scale, torch.full((2, 2), 3))
    assert torch.equal(expanded(coded, Kind.Q4_1), torch.zeros(2, 64))
    assert torch.equal(expanded(Coded(0 * codes, scale), Kind.Q4_0), torch.zeros(2, 64))


@pytest.mark.parametrize(
    ("scale", "zero", "says"),
    [
        (1.0 + 2**-11, None, "4.9e-04 of itself; compress with scales in bfloat16 or float16"),  # a bit too many
        (2.0**-24 * 1.5, None, "3.3e-01 of itself; its range is too small: choose another form"),
        (1e5, None, "inf of itself; its range is too small"),
        (
            1.0 + 2**-10,
            -3,
            "2.0e-04 of itself; compress with scales in bfloat16",
        ),  # a float16, but five times it and ten times it are none
    ],
)
def test_a_scale_that_float16_does_not_hold_is_refused_with_its_error(scale, zero, says):
    codes, numbers = torch.ones(2, 64, dtype=torch.int8), torch.full((2, 2), 0.5)
    numbers[1, 0] = scale
    coded = Coded(codes, numbers, None if zero is None else torch.full((2, 2), zero))
    with pytest.raises(ValueError, match=r"^1 of 4 blocks have a scale .* off by up to ") as caught:
        gguf_blocks.pack(coded, Kind.Q4_0 if zero is None else Kind.Q4_1)
    assert says in str(caught.value)


def test_a_checkpoint_with_such_a_scale_is_named_and_leaves_no_file(tmp_path):
    model = rtn.compress(built(), bits=4, group_size=32, symmetric=True, scales="float32")
    written(tmp_path / "given", model, packed_integers.save)
    sentence = refused(tmp_path / "given")
    assert re.search(r"q_proj.weight of \S+given cannot be exported without loss: \d+ of 128 blocks", sentence)
    assert sentence.endswith("compress with scales in bfloat16 or float16")
    assert [path.name for path in tmp_path.iterdir()] == ["given"]


def calibrated(compress, write):
    return lambda model: (compress(model, families.tokens()), write)


@pytest.mark.parametrize(
    ("form", "says"),
    [
        (packed(bits=2, group_size=32, symmetric=True), "no type for codes of 2 bits without zero points"),
        (packed(bits=3, group_size=32, symmetric=False), "no type for codes of 3 bits with zero points"),
        (packed(bits=8, group_size=32, symmetric=False), "no type for codes of 8 bits with zero points"),
        (packed(bits=4, group_size=16, symmetric=True), "64 inputs in groups of 16 are no multiples of it"),
        (calibrated(smoothquant.compress, int8.save), "round their inputs to 8 bits too"),
        (lambda model: (fp8.compress(model), float8.save), "round their inputs to FP8 too"),
        (lambda model: (nvfp4.compress(model), float4.save), "floats of 4 bits"),
        (lambda model: (mxfp4.compress(model), float4.save), "floats of 4 bits"),
        (lambda model: (hqq.compress(model, bits=4, group_size=32), float_zeros.save), "zero points are fractions"),
        (lambda model: (quanto.compress(model, weights="int4"), quanto_form.save), "not quanto's integers of 8 bits"),
        (
            lambda model: (quanto.compress(model, families.tokens(), activations="int8"), quanto_form.save),
            "or its inputs are rounded too",
        ),
    ],
)  # fmt: skip
def test_a_form_that_gguf_does_not_have_is_refused(form, says, tmp_path):
    assert says in refused(written(tmp_path / "given", *form(built())))


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ("awq", "it is in the layout of AutoAWQ or AutoGPTQ"),
        ("gptq", "it is in the layout of AutoAWQ or AutoGPTQ"),
        (models.W4A4, "round their inputs to 4 bits too"),
    ],
)
def test_a_form_that_is_read_by_name_is_refused_too(method, says, tmp_path):
    config = built().config.to_dict() | {"quantization_config": {"quant_method": method, "bits": 4, "group_size": 32}}
    folder = saved(tmp_path / "given")
    (folder / "config.json").write_text(json.dumps(config))
    assert says in refused(folder)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": "int-quantized"}, "its form is 'int-quantized'"),
        ({"config_groups": {}}, "it has 0 groups of settings"),
        ({"kv_cache_scheme": {"num_bits": 8}}, "it quantizes its cache too"),
        ({"weights": {"actorder": "group"}}, "its groups are not of consecutive inputs"),
        ({"weights": {"type": "float"}}, "its codes are of type 'float'"),
        ({"input_activations": {"num_bits": 8, "type": "int"}}, "it quantizes inputs or outputs of linear maps too"),
    ],
)
def test_settings_of_other_tools_that_would_be_lost_are_refused(changes, says, tmp_path):
    folder = saved(tmp_path / "given", "4 bits")
    config = json.loads((folder / "config.json").read_text())
    quantization = config["quantization_config"]
    group = quantization["config_groups"]["group_0"]
    group["weights"] |= changes.pop("weights", {})
    group["input_activations"] = changes.pop("input_activations", None)
    quantization |= changes
    (folder / "config.json").write_text(json.dumps(config))
    assert says in refused(folder)


def changed(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))
    return folder


@pytest.mark.parametrize(
    ("family", "extra", "says"),
    [
        ("mistral", {}, "models of type 'mistral' are not exported to GGUF; allowed are llama, qwen2, qwen3"),
        ("gemma3_text", {}, "models of type 'gemma3_text' are not"),
        ("gpt2", {}, "models of type 'gpt2' are not"),
        ("qwen2", {"use_sliding_window": True, "max_window_layers": 0}, "a qwen2 with a sliding window is not"),
        ("llama", {"hidden_act": "gelu"}, "a llama with hidden_act 'gelu' is not exported"),
        ("qwen3", {"rope_parameters": LLAMA3_ROPE}, "a qwen3 with rope_type 'llama3' is not"),
        (
            "llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
            "rope_type 'linear' is not exported to GGUF; allowed are silu, rotary embeddings of type default or llama3",
        ),
    ],
)  # fmt: skip
def test_what_llama_cpp_would_compute_otherwise_is_refused(family, extra, says, tmp_path):
    assert says in refused(saved(tmp_path / "given", model=built(family, **extra)))


def test_a_folder_that_is_not_whole_is_refused(tmp_path):
    folder = saved(tmp_path / "given")
    assert "it lacks lm_head.weight, which its model needs" in refused(changed(folder, tie_word_embeddings=False))
    changed(folder, tie_word_embeddings=True, intermediate_size=96)
    assert "is (128, 64) and must be (96, 64)" in refused(folder)
    changed(folder, intermediate_size=128, num_hidden_layers=1)
    assert "which its model has no place for" in refused(folder)
    for shard in folder.glob("*.safetensors"):
        shard.unlink()
    assert "holds no weights as .safetensors" in refused(folder)


@pytest.mark.parametrize("pre", tokenizers_made.CUTS)
def test_the_tokenizer_is_named_by_how_it_cuts_texts(pre, tmp_path):
    tokenizer = tokenizers_made.made(pre)
    tokenizer.add_tokens(["<added>"])
    tokenizer.chat_template = "{{ messages }}"
    done = exchange.export(saved(tmp_path / "given", tokenizer=tokenizer), tmp_path / "model.gguf")
    header = read(tmp_path / "model.gguf")
    said = {name.removeprefix("tokenizer.ggml."): header[name] for name in header if name.startswith("tokenizer.ggml")}
    vocabulary = tokenizer.get_vocab()
    assert (said["model"], said["pre"]) == ("gpt2", pre)
    assert len(said["tokens"]) == len(said["token_type"]) == TOKENS > len(vocabulary)
    assert {token: said["tokens"].index(token) for token in vocabulary} == vocabulary
    kinds = dict(zip(said["tokens"], said["token_type"], strict=True))
    types = gguf.TokenType
    special = {tokenizers_made.FIRST: types.CONTROL, tokenizers_made.END: types.CONTROL, "<added>": types.USER_DEFINED}
    assert {token: kind for token, kind in kinds.items() if kind not in (types.NORMAL, types.UNUSED)} == special
    assert sum(kind == types.UNUSED for kind in kinds.values()) == TOKENS - len(vocabulary)
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    assert said["merges"] == [" ".join(pair) for pair in merges]
    assert (said["bos_token_id"], said["eos_token_id"]) == (0, 1)
    assert (said["add_bos_token"], said["add_eos_token"]) == (pre == "llama-bpe", False)
    assert header["tokenizer.chat_template"] == "{{ messages }}"
    assert any("NFC" in note for note in done.notes) == (pre == "qwen2")


def plain(model, **parts):
    tokenizer = Tokenizer(model)
    for name, value in parts.items():
        setattr(tokenizer, name, value)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="<end>")


@pytest.mark.parametrize(
    ("tokenizer", "says"),
    [
        (lambda: tokenizers_made.made(pre_tokenizer=pre_tokenizers.Metaspace()), "with the pre-tokenizer {.*Metaspace"),
        (lambda: tokenizers_made.made(pre_tokenizer=pre_tokenizers.ByteLevel(True)), "the pre-tokenizer {.*ByteLevel"),
        (lambda: tokenizers_made.made(normalizer=normalizers.NFKC()), "with the normalizer NFKC"),
        (lambda: tokenizers_made.made(merges=0), "with no merges"),
        (
            lambda: tokenizers_made.made("qwen2", pre_tokenizer=tokenizers_made.CUTS["llama-bpe"]()),
            "ignore_merges=False with the pre-tokenizer llama-bpe",
        ),
        (
            lambda: tokenizers_made.made(
                post_processor=processors.TemplateProcessing(
                    single="$A <|first|>", pair="$A $B", special_tokens=[("<|first|>", 0)]
                )
            ),
            "other tokens around a text",
        ),
        (lambda: plain(kinds_of_tokenizers.Unigram([("<end>", 0.0), ("a", -1.0)], 0)), "a tokenizer of type Unigram"),
        (lambda: plain(kinds_of_tokenizers.WordLevel({"<end>": 0, "a": 1}, "<end>")), "a tokenizer of type WordLevel"),
        (lambda: tokenizers_made.made(merges=TOKENS), r"\d{3} tokens for a model of 320"),
    ],
)
def test_a_tokenizer_that_llama_cpp_does_not_have_is_refused(tokenizer, says, tmp_path):
    sentence = refused(saved(tmp_path / "given", tokenizer=tokenizer()))
    assert re.search(says, sentence)
    assert sentence.endswith("pre-tokenizers gpt-2, smollm, llama-bpe, qwen2")


def test_a_token_that_takes_the_spaces_around_it_is_refused(tmp_path):
    from tokenizers import AddedToken

    tokenizer = tokenizers_made.made()
    tokenizer.add_tokens([AddedToken("<sep>", lstrip=True)])
    assert "a token '<sep>' that takes the spaces around it" in refused(saved(tmp_path / "given", tokenizer=tokenizer))


def test_bytes_without_a_token_are_said(tmp_path):
    tokenizer = tokenizers_made.made()
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    del content["model"]["vocab"]["ô"]  # the letter of byte 0xF4, of characters beyond U+100000
    folder = saved(tmp_path / "given", tokenizer=tokenizer)
    (folder / "tokenizer.json").write_text(json.dumps(content))
    assert not exchange.export(folder, tmp_path / "one.gguf").notes  # left out here too
    content["model"]["unk_token"] = tokenizers_made.END
    (folder / "tokenizer.json").write_text(json.dumps(content))
    (note,) = exchange.export(folder, tmp_path / "other.gguf").notes
    assert "has no token for 1 of the bytes of UTF-8" in note


def test_the_command_says_what_it_wrote_and_replaces_no_file_unasked(tmp_path, capsys):
    folder, file = saved(tmp_path / "given", "4 bits, zero points"), tmp_path / "here" / "model.gguf"
    assert main(["export", str(folder), str(file)]) == 0
    said = capsys.readouterr().out
    assert "1 tensor BF16, 14 tensors Q4_1, 5 tensors F32" in said
    assert "every code, scale and number is that of the checkpoint" in said
    first = file.read_bytes()
    assert main(["export", str(folder), str(file)]) == 2
    assert "is there already; give another name, or --overwrite" in capsys.readouterr().err
    file.write_bytes(b"")
    assert main(["export", str(folder), str(file), "--overwrite"]) == 0
    assert file.read_bytes() == first
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["tiny-random-llama", "model.bin"], "model.bin does not end in .gguf"),
        ([".", "model.gguf"], "holds no checkpoint, for it has no config.json"),
        (["tiny-random-llama", "model.gguf"], "a tokenizer with no merges"),
        (["smollm2-135m/gptq-int", "model.gguf"], "is no folder, and no cell of profile embedded; did you mean"),
        (["nothing/at-all", "model.gguf", "--profile", "tiny"], "no cell of profile tiny; its cells are tiny/dense"),
        (["smollm2-135m/rtn-int2-not-there", "model.gguf", "--profile", "nowhere"], "profile 'nowhere' is not there"),
    ],
)
def test_a_wrong_argument_is_one_sentence(arguments, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export", *arguments]) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert says in sentence
    assert not list(tmp_path.iterdir())


def test_a_cell_is_its_checkpoint_or_the_command_that_makes_it(tmp_path, monkeypatch, capsys):
    from unicomp_lib.exchange import gguf_command
    from unicomp_lib.study import records

    monkeypatch.setattr(records, "runs", lambda: tmp_path)
    monkeypatch.setattr(records, "finished", lambda run: None)
    assert main(["export", "smollm2-135m/gptq-int4", str(tmp_path / "model.gguf")]) == 2
    command = "nox -s reproduce -- --only compress/smollm2-135m/gptq-int4/seed-0"
    assert capsys.readouterr().err.endswith(f"has not been made yet; make it first: {command}\n")
    monkeypatch.setattr(records, "finished", lambda run: {"key": run.name})
    folder, name = gguf_command._folder("compress/smollm2-135m/gptq-int4/seed-1", "embedded")
    assert folder.parent.parent == tmp_path
    assert folder.parent.name.startswith("compress.smollm2-135m.gptq-int4.seed-1-")
    assert (folder.name, name) == ("checkpoint", "smollm2-135m-gptq-int4-seed-1")


def test_families_are_those_whose_tensors_all_have_a_name():
    for family, known in gguf_families.FAMILIES.items():
        model = built(family)
        tensors = list(dict(model.named_parameters()))
        assert len(set(gguf_families.names(model.config, known, tensors).values())) == len(tensors)
    with pytest.raises(ValueError, match=r"no place for model.layers.0.self_attn.nothing in a llama"):
        gguf_families.names(built().config, gguf_families.FAMILIES["llama"], ["model.layers.0.self_attn.nothing"])
