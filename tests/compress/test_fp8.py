"""FP8 against the table of its values, and against compressed-tensors' own rounding and reader."""

import pytest
import torch
from compressed_tensors.quantization import preset_name_to_scheme
from compressed_tensors.quantization.lifecycle.forward import fake_quantize
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from unicomp_lib.checkpoints import float8, models, saving
from unicomp_lib.compress import fp8
from unicomp_lib.inputs import calibration

SCHEME = preset_name_to_scheme("FP8_DYNAMIC", ["Linear"])
# All finite values of E4M3, by its definition: (1 + m / 8) 2^(e - 7), and m / 8 2^-6 where e is 0.
VALUES = sorted(
    sign * ((1 + m / 8) * 2.0 ** (e - 7) if e else m / 8 * 2.0**-6)
    for sign in (-1, 1) for e in range(16) for m in range(8) if (e, m) != (15, 7)
)  # fmt: skip


def test_the_nearest_number_is_the_nearest_of_all():
    values = torch.tensor(VALUES, dtype=torch.float64)
    assert float8.nearest(values.float()).double().tolist() == VALUES
    assert float8.nearest(torch.tensor([449.0, -1e9, 460.0])).tolist() == [448, -448, 448]
    between = (torch.rand(20_000, generator=torch.Generator().manual_seed(0)) - 0.5) * 2.0 ** torch.linspace(
        -9, 9.7, 20_000
    )
    given = torch.cat([between, ((values[1:] + values[:-1]) / 2).float()])
    distance = (given.double()[:, None] - values).abs().amin(1)
    assert torch.equal((float8.nearest(given).double() - given.double()).abs(), distance)


@torch.no_grad()
def test_weights_and_outputs_are_those_of_compressed_tensors():
    torch.manual_seed(0)
    linear = torch.nn.Linear(48, 24)
    linear.weight.data[3] = 0
    holder = torch.nn.Module()
    holder.layers = torch.nn.ModuleList([torch.nn.Sequential(linear)])
    dense = linear.weight.clone()
    rounded = float8.replace(holder).layers[0][0]
    scale, zero = calculate_qparams(dense.amin(1, keepdim=True), dense.amax(1, keepdim=True), SCHEME.weights)
    weight = fake_quantize(dense, scale, zero, SCHEME.weights)
    assert torch.allclose(rounded.weight * rounded.weight_scale, weight, rtol=1e-6, atol=0)
    x = torch.randn(2, 5, 48) * torch.logspace(-3, 3, 5)[:, None]
    x[1, 2] = 0
    scale, zero = calculate_qparams(x.amin(-1, keepdim=True), x.amax(-1, keepdim=True), SCHEME.input_activations)
    inputs = fake_quantize(x, scale, zero, SCHEME.input_activations)
    expected = inputs.double() @ weight.double().T + linear.bias.double()
    assert torch.allclose(rounded(x).double(), expected, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_reload_equals_memory_and_compressed_tensors_reads_the_same_model(tmp_path):
    model, tokenizer = models.load(models.TINY, precision="float32", on="cpu")
    tokens = calibration.blocks(tokenizer, samples=4, length=32)
    dense = model(tokens).logits
    fp8.compress(model)
    saved = saving.save(model, tokenizer, tmp_path, write=float8.save)
    compressed = model(tokens).logits
    again, _ = models.load(str(tmp_path), precision="float32", on="cpu")
    assert isinstance(again.model.layers[0].mlp.up_proj, float8.Float8Linear)
    assert torch.equal(again(tokens).logits, compressed)
    peer = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)(tokens).logits
    assert (peer - compressed).norm() < 0.1 * (compressed - dense).norm()
    assert 8 <= saved["bits_per_weight"] <= 8.6
    stored = load_file(tmp_path / "model.safetensors")
    assert all(stored[f"model.layers.{index}.mlp.up_proj.weight"].dtype == torch.float8_e4m3fn for index in (0, 1))


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
@torch.no_grad()
def test_every_type_of_a_model_multiplies_the_same_numbers(tmp_path, precision):
    model, tokenizer = models.load(models.TINY, on="cpu")
    fp8.compress(model)
    saving.save(model, tokenizer, tmp_path, write=float8.save)
    again, _ = models.load(str(tmp_path), precision=precision, on="cpu")
    maps = {name: part for name, part in model.named_modules() if isinstance(part, float8.Float8Linear)}
    assert len(maps) == 14
    for name, part in maps.items():
        other = again.get_submodule(name)
        assert torch.equal(other.weight.float(), part.weight.float())
        assert torch.equal(other.weight_scale.float(), part.weight_scale.float())
