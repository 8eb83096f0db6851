import copy

import pytest
import torch

from unicomp_lib.checkpoints import decoder
from unicomp_lib.compress import wanda
from unicomp_lib.inputs import calibration


def inputs_of(parts, model, tokens):
    seen = {}
    keep = lambda part, inputs, _: seen.__setitem__(part, inputs[0].double())  # noqa: E731
    handles = [part.register_forward_hook(keep) for part in parts]
    model(tokens)
    for handle in handles:
        handle.remove()
    return seen


def closed_form(model, tokens, share):
    """Wanda as in its authors' code, in float64: whole forward passes, one layer pruned after another."""
    for layer in decoder.layers(model):
        seen = inputs_of(decoder.linears(layer).values(), model, tokens)
        for part in decoder.linears(layer).values():
            norm = seen[part].flatten(0, 1).norm(dim=0)
            score = part.weight.double().abs() * norm
            lowest = score.topk(round(share * score.shape[1]), dim=1, largest=False).indices
            part.weight.data.scatter_(1, lowest, 0)
    return model


@torch.no_grad()
def test_masks_equal_the_closed_form(tiny):
    model, tokenizer = tiny
    tokens = calibration.blocks(tokenizer, samples=12, length=32)  # more than one batch of the walk
    expected = closed_form(copy.deepcopy(model), tokens, 0.5)
    wanda.compress(model, tokens, sparsity=0.5, true_sequential=False)
    for name, part in decoder.linears(model).items():
        assert torch.equal(part.weight, decoder.linears(expected)[name].weight), name


def test_pattern_holds_in_every_group(tiny):
    model, tokenizer = tiny
    wanda.compress(model, calibration.blocks(tokenizer, samples=2, length=16), sparsity=0.5, pattern="2:4")
    for part in decoder.linears(decoder.layers(model)).values():
        assert ((part.weight.view(part.weight.shape[0], -1, 4) != 0).sum(-1) == 2).all()


def test_calibration_text_decides_the_mask(tiny):
    model, tokenizer = tiny
    other = copy.deepcopy(model)
    wanda.compress(model, calibration.blocks(tokenizer, samples=2, length=32, seed=0))
    wanda.compress(other, calibration.blocks(tokenizer, samples=2, length=32, seed=1))
    last = [list(decoder.linears(pruned.model.layers[-1]).values())[-1].weight for pruned in (model, other)]
    assert not torch.equal(*last)


def test_a_model_without_decoder_layers_is_named():
    with pytest.raises(ValueError, match="Linear has no ModuleList of equal decoder layers"):
        decoder.layers(torch.nn.Linear(2, 2))
