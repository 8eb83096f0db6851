import pytest
import torch
from transformers import AutoModelForCausalLM

from unicomp_lib.checkpoints import saving
from unicomp_lib.compress import magnitude


def test_what_is_measured_is_what_the_file_holds(tiny, tmp_path):
    model, tokenizer = tiny
    magnitude.compress(model, sparsity=0.5)
    saved = saving.save(model.bfloat16(), tokenizer, tmp_path)
    assert saved["sparsity"] == pytest.approx(0.5, abs=1e-3)
    assert saved["bits_per_weight"] == 16
    assert saved["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert saved["bytes_on_disk"] == sum(file.stat().st_size for file in tmp_path.glob("*.safetensors"))


@torch.no_grad()
def test_plain_transformers_loads_it(tiny, tmp_path):
    model, tokenizer = tiny
    saving.save(magnitude.compress(model), tokenizer, tmp_path)
    tokens = torch.randint(len(tokenizer), (1, 20))
    again = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert torch.equal(again(tokens).logits, model(tokens).logits)
