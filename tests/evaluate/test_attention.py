import torch

from unicomp_lib.checkpoints import models
from unicomp_lib.evaluate import attention


def test_logits_are_those_of_the_fused_kernel():
    fused, _ = models.load(models.TINY, precision="float32", on="cpu")
    short, _ = models.load(models.TINY, precision="float32", on="cpu")
    attention.use(short)
    assert short.config._attn_implementation == attention.NAME
    tokens = torch.randint(0, 200, (3, 40), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(tokens)
    mask[0, :7] = 0
    inputs = {"input_ids": tokens, "attention_mask": mask}
    with torch.no_grad():
        expected, output = fused(**inputs, use_cache=True), short(**inputs, use_cache=True)
        assert torch.allclose(output.logits[mask == 1], expected.logits[mask == 1], atol=1e-5)
        more = {"input_ids": tokens[:, :1], "attention_mask": torch.cat([mask, torch.ones(3, 1)], dim=1)}
        after = [
            model(**more, past_key_values=out.past_key_values).logits
            for model, out in ((fused, expected), (short, output))
        ]
    assert torch.allclose(*after, atol=1e-5)


def test_long_sequences_take_the_fused_kernel(monkeypatch):
    model, _ = models.load(models.TINY, precision="float32", on="cpu")
    attention.use(model)
    monkeypatch.setattr(attention, "LARGEST", 10)
    called = []
    fused = attention.sdpa_attention_forward
    monkeypatch.setattr(
        attention, "sdpa_attention_forward", lambda *args, **kwargs: called.append(1) or fused(*args, **kwargs)
    )
    with torch.no_grad():
        model(input_ids=torch.ones(2, 20, dtype=torch.long), attention_mask=torch.ones(2, 20))
    assert called
