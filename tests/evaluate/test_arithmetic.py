import pytest
import torch

from unicomp_lib.checkpoints import int4, models, packed_integers, saving
from unicomp_lib.compress import quanto, rtn
from unicomp_lib.evaluate import arithmetic


@pytest.mark.parametrize("model", [models.TINY, "smollm2-135m-instruct"])
@pytest.mark.parametrize("tokens", [1, 64])
def test_counted_operations_equal_the_closed_form(model, tokens):
    folder = models.checkpoint(model)[0]
    expected = arithmetic.closed_form(arithmetic.skeleton(folder), tokens)
    assert arithmetic.flops(folder, tokens) == pytest.approx(expected, rel=0.01)


def test_a_token_reads_every_weight_once(tmp_path):
    model, tokenizer = models.load(models.TINY, precision="bfloat16", on="cpu")
    weights = sum(parameter.numel() for parameter in model.parameters())
    extra = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    assert arithmetic.read_bytes(model) == 2 * weights + extra  # the embedding is the output layer too
    linear = sum(part.weight.numel() for part in model.model.layers.modules() if isinstance(part, torch.nn.Linear))
    saving.save(rtn.compress(model, group_size=32), tokenizer, tmp_path, write=packed_integers.save)
    packed = int4.load(tmp_path, torch.bfloat16)
    scales = 4 * linear // 32
    assert arithmetic.read_bytes(packed) == 2 * (weights - linear) + linear // 2 + scales + extra
    shapes = 8 * 2 * 7 * model.config.num_hidden_layers  # of each matrix, two integers of 64 bits
    half = scales // 2  # they are stored in 16 bits, and multiplied in 32
    assert arithmetic.stored_bytes(tmp_path) == 2 * (weights - linear) + linear // 2 + half + shapes


def test_a_token_reads_no_embedding_that_is_no_output_layer_and_all_of_a_quantized_weight(tmp_path):
    model, tokenizer = models.load(models.TINY, precision="bfloat16", on="cpu")
    before = arithmetic.read_bytes(model)
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    assert arithmetic.read_bytes(model) == before
    model.config.tie_word_embeddings = False
    saving.save(model, tokenizer, tmp_path)
    buffers = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    assert arithmetic.stored_bytes(tmp_path) == before - buffers
    linear = sum(part.weight.numel() for part in model.model.layers.modules() if isinstance(part, torch.nn.Linear))
    after = arithmetic.read_bytes(quanto.compress(model, weights="int8"))
    assert before - linear <= after < before - 0.9 * linear  # one byte per weight, and scales


def test_bandwidth_is_that_of_a_memory():
    assert 1e8 < arithmetic.bandwidth() < 1e13
