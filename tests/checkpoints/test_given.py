"""A checkpoint that others have compressed is taken as it is, or refused where nothing could be compared."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers import models as kinds
from transformers import PreTrainedTokenizerFast

from unicomp_lib import paths
from unicomp_lib.checkpoints import given, int4, models, packed_integers, saving
from unicomp_lib.compress import rtn


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The tiny model as it is, and packed to 4 bits, each in a folder."""
    root = tmp_path_factory.mktemp("given")
    model, tokenizer = models.load(models.TINY)
    saving.save(model, tokenizer, root / "dense")
    saving.save(rtn.compress(model, group_size=32), tokenizer, root / "packed", write=packed_integers.save)
    return root


@pytest.fixture
def copy(folders, tmp_path):
    """A copy of the dense model's folder, to be changed."""
    return shutil.copytree(folders / "dense", tmp_path / "copy")


def test_inputs_that_another_tool_quantizes_are_refused(folders, tmp_path):
    folder = shutil.copytree(folders / "packed", tmp_path / "w4a8")
    config = json.loads((folder / "config.json").read_text())
    for group in config["quantization_config"]["config_groups"].values():
        group["input_activations"] = {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="w4a8 quantizes the inputs of its linear maps too"):
        models.load(str(folder))
    assert int4.fits(folders / "packed", torch.bfloat16)
    assert not int4.fits(folder, torch.bfloat16)  # its kernel would leave them in full precision too


def test_a_cache_that_another_tool_quantizes_is_refused(folders, tmp_path):
    folder = shutil.copytree(folders / "packed", tmp_path / "kv8")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"]["kv_cache_scheme"] = {"num_bits": 8, "type": "float", "strategy": "tensor"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="kv8 quantizes its cache too, in a form of compressed-tensors"):
        models.load(str(folder))
    assert not int4.fits(folder, torch.bfloat16)


def test_the_files_stay_as_their_author_saved_them(folders, tmp_path):
    measures, notes = given.take(str(folders / "packed"), str(folders / "dense"), tmp_path / "taken")
    assert notes == []
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (tmp_path / "taken" / name).read_bytes() == (folders / "packed" / name).read_bytes()
    assert measures == saving.measure(folders / "packed")
    assert measures["bits_per_weight"] < 6
    models.load(str(tmp_path / "taken"))


def test_code_and_pickles_are_left_behind(folders, copy, tmp_path):
    for name in ("modeling_mine.py", "pytorch_model.bin", "training_args.bin"):
        (copy / name).write_text("x")
    given.take(str(copy), str(folders / "dense"), tmp_path / "taken")
    assert {path.suffix for path in (tmp_path / "taken").iterdir()} <= {".json", ".safetensors", ".jinja"}


def test_without_a_tokenizer_it_is_given_denses(folders, copy, tmp_path):
    for file in copy.glob("*token*"):
        file.unlink()
    _, notes = given.take(str(copy), str(folders / "dense"), tmp_path / "taken")
    assert notes == ["it has no tokenizer of its own, so it reads and writes with dense's"]
    _, tokenizer = models.load(str(tmp_path / "taken"))
    assert tokenizer("Hi!")["input_ids"] == models.load_tokenizer(models.TINY)("Hi!")["input_ids"]


@pytest.mark.parametrize(
    ("theirs", "ours", "says"),
    [
        ("", "{{ messages[0].content }}", "dense has no chat template and it has one"),
        ("{{ messages[0].content }}", "", "it has no chat template and dense has one"),
        ("{{ messages[0].content }}", "<user>{{ messages[0].content }}", "its chat template is not dense's"),
        ("{{ messages[0].content }}", "{{ messages[0]['content'] }}", None),
    ],
)
def test_another_chat_template_is_said(folders, copy, tmp_path, theirs, ours, says):
    dense = shutil.copytree(folders / "dense", tmp_path / "dense")
    for folder, template in ((dense, theirs), (copy, ours)):
        if template:
            (folder / "chat_template.jinja").write_text(template)
    notes = given.check_tokens(str(copy), str(dense))
    assert [note[: len(says)] for note in notes] == [says] if says else notes == []


def test_more_tokens_are_said(folders, copy):
    tokenizer = models.load_tokenizer(str(copy))
    tokenizer.add_tokens(["<tool>"], special_tokens=True)
    tokenizer.save_pretrained(copy)
    assert given.check_tokens(str(copy), str(folders / "dense")) == [
        "its tokenizer has 1 more tokens than dense's, such as '<tool>'"
    ]


@pytest.mark.parametrize("swapped", ["letters", "rare"])
def test_other_tokens_are_refused(folders, copy, swapped):
    """Two letters that the probes have, and two signs that they have not, exchange their numbers."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|endoftext|>": 0} | {byte: index for index, byte in enumerate(alphabet, start=1)}
    one, other = {"letters": ("e", "o"), "rare": ("~", "`")}[swapped]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    tokenizer = Tokenizer(kinds.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>").save_pretrained(copy)
    with pytest.raises(ValueError, match=r"has another tokenizer than .*; give a checkpoint of the same model"):
        given.check_tokens(str(copy), str(folders / "dense"))


def test_another_number_of_outputs_is_refused(folders, copy, tmp_path):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"vocab_size": 300}))
    with pytest.raises(ValueError, match=r"has 300 outputs and .* has 257, so .* cannot be compared"):
        given.take(str(copy), str(folders / "dense"), tmp_path / "taken")


@pytest.mark.parametrize("form", ["marlin", "aqlm", "bitsandbytes"])
def test_forms_that_the_study_does_not_read_are_refused(folders, copy, tmp_path, form):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": form, "bits": 4}}))
    with pytest.raises(ValueError, match=f"the form '{form}', which .*; allowed are .*compressed-tensors, awq, gptq:"):
        given.take(str(copy), str(folders / "dense"), tmp_path / "taken")
    assert not (tmp_path / "taken").exists()


def test_weights_that_are_no_safetensors_are_refused(folders, copy, tmp_path):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"holds no weights as \.safetensors; save them with"):
        given.take(str(copy), str(folders / "dense"), tmp_path / "taken")


def test_a_broken_checkpoint_is_refused_and_not_measured(folders, copy, tmp_path):
    from safetensors.torch import save_file

    tensors = load_file(copy / "model.safetensors")
    tensors.popitem()
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lack|missing"):
        given.take(str(copy), str(folders / "dense"), tmp_path / "taken")


@pytest.mark.parametrize(("spoil", "says"), [
    (lambda weight: weight.index_fill(1, torch.tensor([3]), torch.nan), "copy is not whole: model.layers.0.*NaN"),
    (lambda weight: weight[:, 1:].contiguous(), "copy does not fit its configuration: model.layers.0"),
])  # fmt: skip
def test_what_is_wrong_with_the_weights_is_said_of_what_was_given(folders, copy, tmp_path, spoil, says):
    weights = load_file(copy / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    save_file(weights | {name: spoil(weights[name])}, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=says) as refused:
        given.take(str(copy), str(folders / "dense"), tmp_path / "taken")
    assert "taken" not in str(refused.value)


def test_weights_beside_the_models_own_are_neither_read_nor_counted(folders, copy, tmp_path):
    """Such as Mistral's consolidated.safetensors, or shards of an earlier save with their index."""
    shutil.copyfile(folders / "packed" / "model.safetensors", copy / "consolidated.safetensors")
    shutil.copyfile(folders / "packed" / "model.safetensors", copy / "model-00001-of-00001.safetensors")
    listed = {"weight_map": {"a": "model-00001-of-00001.safetensors"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(listed))
    measures, notes = given.take(str(copy), str(folders / "dense"), tmp_path / "taken")
    assert measures == saving.measure(folders / "dense") == saving.measure(copy)
    said = "left out, since they are no part of the model: consolidated.safetensors, model-00001-of-00001.safetensors"
    assert notes == [said]
    assert [file.name for file in (tmp_path / "taken").glob("*.safetensors")] == ["model.safetensors"]


def test_shards_are_those_of_the_index(folders, tmp_path):
    model, tokenizer = models.load(str(folders / "dense"))
    model.save_pretrained(tmp_path / "shards", max_shard_size="50KB")
    tokenizer.save_pretrained(tmp_path / "shards")
    whole = saving.measure(folders / "dense")
    assert len(paths.shards(tmp_path / "shards")) > 1
    shutil.copyfile(folders / "packed" / "model.safetensors", tmp_path / "shards" / "model-9.safetensors")
    measures, notes = given.take(str(tmp_path / "shards"), str(folders / "dense"), tmp_path / "taken")
    assert measures["bits_per_weight"] == whole["bits_per_weight"]
    assert notes == ["left out, since they are no part of the model: model-9.safetensors"]
    paths.shards(tmp_path / "shards")[0].unlink()
    with pytest.raises(ValueError, match="is listed in the index beside it, but it is not there"):
        given.check_weights(tmp_path / "shards")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("adapter_config.json", b"{}", "adapter_config.json is of a LoRA adapter, which would be left out; merge it"),
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS and not the"),
        ("model.safetensors", b"", r"model\.safetensors is no whole file of safetensors"),
        ("model.safetensors", None, r"model\.safetensors is no whole file of safetensors"),  # the first half
        ("config.json", b"[]", r"config\.json is not of the form that transformers writes"),
        ("config.json", b'{"quantization_config": "awq"}', r"config\.json is not of the form that transformers writes"),
        ("tokenizer.json", b"<html>", r"tokenizer\.json is no valid JSON"),
        ("model.safetensors.index.json", b'{"weight_map": [1]}', r"index\.json is not of the form"),
    ],
)
def test_files_that_are_not_what_they_should_be_are_named(copy, name, content, says):
    whole = (copy / "model.safetensors").read_bytes()
    (copy / name).write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(ValueError, match=says):
        given.check_weights(copy)
