import pytest
import torch

from unicomp_lib.checkpoints import int4, models, packed_integers, saving
from unicomp_lib.compress import rtn


@pytest.mark.parametrize("symmetric", [True, False])
def test_outputs_are_those_of_the_expanded_weights(tmp_path, symmetric):
    model, tokenizer = models.load(models.TINY, precision="float32", on="cpu")
    saving.save(
        rtn.compress(model, bits=4, group_size=32, symmetric=symmetric), tokenizer, tmp_path, write=packed_integers.save
    )
    assert int4.fits(tmp_path, torch.float32)
    expanded, _ = models.load(str(tmp_path), precision="float32", on="cpu")
    packed = int4.load(tmp_path, torch.float32)
    linear = packed.model.layers[0].mlp.up_proj
    assert isinstance(linear, int4.Int4Linear)
    assert linear.packed.nbytes == linear.in_features * linear.out_features // 2
    tokens = torch.arange(40).view(2, 20)
    with torch.no_grad():
        expected, logits = expanded(tokens).logits, packed(tokens).logits
    assert torch.allclose(logits, expected, atol=2e-2 * expected.abs().max().item())
    assert (logits.argmax(-1) == expected.argmax(-1)).float().mean() > 0.9


def test_what_the_kernel_does_not_support_is_recognized(tmp_path):
    model, tokenizer = models.load(models.TINY, precision="float32", on="cpu")
    saving.save(rtn.compress(model, bits=8, group_size=32), tokenizer, tmp_path / "eight", write=packed_integers.save)
    assert not int4.fits(tmp_path / "eight", torch.float32)
    with pytest.raises(ValueError, match="eight holds no packed 4-bit weights in groups of 32, 64, 128, 256"):
        int4.load(tmp_path / "eight", torch.float32)
    model, _ = models.load(models.TINY, precision="float32", on="cpu")
    saving.save(rtn.compress(model, bits=4, group_size=16), tokenizer, tmp_path / "sixteen", write=packed_integers.save)
    assert not int4.fits(tmp_path / "sixteen", torch.float32)
    assert not int4.fits(tmp_path, torch.float32)


@pytest.mark.parametrize(
    ("scales", "types"),
    [
        ("bfloat16", (torch.bfloat16, torch.float32)),
        ("float16", (torch.float16, torch.float32)),
        ("float32", (torch.float32,)),
    ],
)
def test_scales_that_the_kernel_would_round_are_refused(tmp_path, scales, types):
    model, tokenizer = models.load(models.TINY, on="cpu")
    rtn.compress(model, group_size=32, scales=scales)
    saving.save(model, tokenizer, tmp_path, write=packed_integers.save)
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        assert int4.fits(tmp_path, dtype) == (dtype in types)
    if torch.bfloat16 not in types:
        with pytest.raises(
            ValueError, match="scales that bfloat16 holds, which torch's kernel needs; load it expanded"
        ):
            int4.load(tmp_path, torch.bfloat16)
