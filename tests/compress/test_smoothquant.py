import pytest
import torch
from transformers import AutoModelForCausalLM

from unicomp_lib.checkpoints import int8, models, saving
from unicomp_lib.compress import layers, smoothquant
from unicomp_lib.inputs import calibration


def test_the_scale_is_the_papers_formula():
    largest = torch.tensor([16.0, 1.0])
    weights = [torch.tensor([[0.5, -4.0]]), torch.tensor([[1.0, 2.0]])]
    scale = smoothquant.scale(largest, weights, 0.5)
    assert torch.allclose(scale, torch.tensor([16**0.5 / 1**0.5, 1 / 4**0.5]))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@torch.no_grad()
def test_smoothing_leaves_the_outputs_and_moves_the_peaks(tiny, alpha):
    model, tokenizer = tiny
    tokens = calibration.blocks(tokenizer, samples=4, length=64)
    before = model(tokens).logits
    smoothquant.smooth(model, tokens, alpha=alpha)
    assert torch.allclose(model(tokens).logits, before, atol=1e-4)
    _, layer, feed = next(layers.walk(model, tokens))
    largest = smoothquant._largest_inputs(feed)["mlp.up_proj"]
    weight = torch.cat([layer.mlp.gate_proj.weight, layer.mlp.up_proj.weight]).abs().amax(0)
    if alpha == 1:
        assert torch.allclose(largest, torch.ones_like(largest), atol=1e-4)
    if alpha == 0:
        assert torch.allclose(weight, torch.ones_like(weight), atol=1e-4)
    if alpha == 0.5:
        assert torch.allclose(largest, weight, rtol=1e-3)


def test_alpha_out_of_range_is_one_clear_sentence(tiny):
    with pytest.raises(ValueError, match=r"alpha=1.5 is not allowed; give the share to move .* from 0 to 1"):
        smoothquant.compress(tiny[0], torch.zeros(1, 8, dtype=torch.long), alpha=1.5)


@torch.no_grad()
def test_the_integer_product_is_the_rounded_one_in_float64():
    generator = torch.Generator().manual_seed(0)
    linear = int8.Int8Linear(48, 24, True, torch.float32)
    linear.weight = torch.randint(-128, 128, (24, 48), generator=generator, dtype=torch.int8)
    linear.weight_scale = torch.rand(24, 1, generator=generator)
    linear.bias.data = torch.randn(24, generator=generator)
    x = torch.randn(2, 5, 48, generator=generator)
    scale = 2 * x.double().abs().amax(-1, keepdim=True) / 255
    inputs = (x / scale.float()).round().clamp(-128, 127).double() * scale
    expected = inputs @ (linear.weight.double() * linear.weight_scale.double()).T + linear.bias.double()
    assert torch.allclose(linear(x).double(), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_reload_equals_memory_and_compressed_tensors_reads_the_same_model(tmp_path):
    model, tokenizer = models.load(models.TINY, precision="float32")
    tokens = calibration.blocks(tokenizer, samples=4, length=32)
    dense = model(tokens).logits
    smoothquant.compress(model, tokens)
    smooth = smoothquant.smooth(models.load(models.TINY, precision="float32")[0], tokens)
    rounded = [name for name, part in model.named_modules() if isinstance(part, int8.Int8Linear)]
    saved = saving.save(model, tokenizer, tmp_path, write=int8.save)
    compressed = model(tokens).logits
    again, _ = models.load(str(tmp_path), precision="float32")
    assert isinstance(again.model.layers[0].mlp.up_proj, int8.Int8Linear)
    assert torch.equal(again(tokens).logits, compressed)
    # The format's own reader, which simulates the rounding in floating point: map by map, since an input halfway
    # between two codes may get one here and the other there, on some processors more often, and that spreads.
    peer = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    seen = {}
    for name in rounded:
        peer.get_submodule(name).register_forward_hook(
            lambda _, given, out, name=name: seen.update({name: (*given, out)})
        )
    apart = (peer(tokens).logits - compressed).norm(dim=-1) / (compressed - dense).norm(dim=-1)
    assert apart.median() < 0.01
    assert [*seen] == rounded
    for name, (given, theirs) in seen.items():
        ours, exact = again.get_submodule(name)(given), smooth.get_submodule(name)(given)
        assert (theirs - ours).norm() < 0.001 * (ours - exact).norm()
    assert 8 <= saved["bits_per_weight"] <= 8.6
