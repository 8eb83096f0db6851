import torch

from unicomp_lib.checkpoints import decoder
from unicomp_lib.compress import magnitude


def test_the_smallest_of_each_matrix_go_and_the_rest_stay_as_they_were(tiny):
    model, _ = tiny
    before = {name: part.weight.detach().clone() for name, part in decoder.linears(model).items()}
    magnitude.compress(model, sparsity=0.25)
    inside = decoder.linears(decoder.layers(model))
    assert len(inside) == 14  # 2 layers of 7 linear maps
    for name, part in inside.items():
        old = before[f"model.layers.{name}"].flatten()
        gone = round(0.25 * old.numel())
        expected = old.clone()
        expected[old.abs().argsort(stable=True)[:gone]] = 0
        assert torch.equal(part.weight.flatten(), expected)


def test_embeddings_and_head_are_not_touched(tiny):
    model, _ = tiny
    before = model.lm_head.weight.detach().clone()
    magnitude.compress(model, sparsity=0.5)
    assert torch.equal(model.lm_head.weight, before)
    assert model.lm_head.weight is model.model.embed_tokens.weight
