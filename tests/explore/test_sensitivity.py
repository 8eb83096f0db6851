"""Damage by part equals the fidelity of models put together from their parameters."""

import copy

import families
import numpy as np
import polars as pl
import pytest
import torch

from unicomp_lib.checkpoints import decoder, int8
from unicomp_lib.compress import awq, cache, magnitude, minitron, rotate, rtn
from unicomp_lib.evaluate import fidelity, statistics
from unicomp_lib.explore import sensitivity

TOKENS = families.tokens(rows=2, length=24)


def pair(family="llama"):
    """A dense model of four layers and the same one rounded."""
    dense = families.build(family)
    return dense, rtn.compress(copy.deepcopy(dense), bits=3, group_size=32)


def put_together(dense, compressed, prefixes):
    """A copy of ``dense`` that has of ``compressed`` the parameters whose names in the layers begin so."""
    mixed = copy.deepcopy(dense)
    theirs = dict(decoder.layers(compressed).named_parameters())
    for name, parameter in decoder.layers(mixed).named_parameters():
        if name.startswith(tuple(f"{prefix}." for prefix in prefixes)):
            parameter.data = theirs[name].data.clone()
    return mixed


def divergence(model, dense):
    return fidelity.compare(model, dense, TOKENS).filter(metric="kl")["value"].to_list()


def values(rows, part):
    found = rows.filter(part=part)
    assert found["doc_id"].to_list() == list(range(len(TOKENS)))
    return found["value"].to_list()


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma2", "gemma3_text", "smollm3", "gpt_neox", "falcon", "lfm2"])
def test_a_layer_in_its_place_is_the_model_put_together(family):
    dense, compressed = pair(family)
    before = {name: tensor.clone() for name, tensor in dense.state_dict().items()}
    parts = sensitivity.layers(dense, compressed)
    assert list(parts) == ["0", "1", "2", "3"]
    joined = parts | {"none": [], "1 and 3": ["3", "1"], "all": [*parts]}
    rows = sensitivity.compare(dense, compressed, TOKENS, joined)
    for part, names in joined.items():
        expected = divergence(put_together(dense, compressed, names), dense)
        assert values(rows, part) == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert values(rows, "none") == [0, 0]
    assert values(rows, "all") == pytest.approx(divergence(compressed, dense), rel=1e-6)
    assert all(0 < value < max(values(rows, "all")) for value in rows.filter(part="2")["value"])
    assert all(torch.equal(tensor, before[name]) for name, tensor in dense.state_dict().items())


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_a_linear_map_in_its_place_is_the_model_put_together(family):
    dense, compressed = pair(family)
    parts = sensitivity.maps(dense, compressed)
    assert len(parts) == 4 * 7
    joined = {name: parts[name] for name in ("0.self_attn.q_proj", "2.mlp.down_proj")}
    joined |= {"all": [name for names in parts.values() for name in names]}
    rows = sensitivity.compare(dense, compressed, TOKENS, joined)
    for part, names in joined.items():
        expected = divergence(put_together(dense, compressed, names), dense)
        assert values(rows, part) == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert values(rows, "all") == pytest.approx(divergence(compressed, dense), rel=1e-6)


def test_the_summary_has_the_mean_of_every_part_and_its_interval_over_blocks():
    rows = pl.DataFrame(
        {"part": ["a"] * 4 + ["b"] * 4, "doc_id": [0, 1, 2, 3] * 2, "value": [1.0, 2.0, 3.0, 6.0] + [5.0] * 4}
    )
    summary = sensitivity.summary(rows)
    assert summary.select("part", "metric", "value").rows() == [("a", "kl", 3.0), ("b", "kl", 5.0)]
    expected = statistics.bootstrap(np.array([1.0, 2.0, 3.0, 6.0]), np.arange(4))
    assert summary.row(0)[3:] == (expected.low, expected.high)
    assert all(np.isnan(end) for end in summary.row(1)[3:])


def test_maps_that_round_their_inputs_are_replaced_too():
    dense = families.build("llama")
    compressed = int8.replace(copy.deepcopy(dense))
    parts = sensitivity.maps(dense, compressed)
    rows = sensitivity.compare(dense, compressed, TOKENS, {"all": [*parts], "some": ["1.mlp.up_proj", "3"]})
    assert values(rows, "all") == pytest.approx(divergence(compressed, dense), rel=1e-6)
    assert min(values(rows, "some")) > 0
    assert all(isinstance(part, torch.nn.Linear) for part in decoder.linears(decoder.layers(dense)).values())


def test_layers_that_share_more_than_their_outputs_are_all_computed():
    dense, compressed = pair()
    mixed = put_together(dense, compressed, ["3"])

    def share(model):
        # The last layer also reads what the first one returned.
        stack, kept = decoder.layers(model), {}
        stack[0].register_forward_hook(lambda _, __, output: kept.update(output=output))
        stack.register_module("3", Adding(stack[3], kept))

    class Adding(torch.nn.Module):
        def __init__(self, layer, kept):
            super().__init__()
            self.layer, self.kept = layer, kept

        def forward(self, states, **options):
            return self.layer(states + self.kept["output"], **options)

    for model in (dense, compressed, mixed):
        share(model)
    expected = divergence(mixed, dense)
    decoder.layers(compressed)[3].kept = decoder.layers(dense)[3].kept  # it stands in dense's place
    rows = sensitivity.compare(dense, compressed, TOKENS, {"3": ["3"]})
    assert values(rows, "3") == pytest.approx(expected, rel=1e-6)


def test_what_does_not_fit_between_dense_layers_is_refused():
    dense, compressed = pair()
    shorter = minitron.depth(copy.deepcopy(dense), TOKENS, keep=3)
    with pytest.raises(ValueError, match="has 3 layers and the dense one 4; give a model that keeps all layers"):
        sensitivity.layers(dense, shorter)
    rotated = rotate.compress(copy.deepcopy(dense))
    for ask in (sensitivity.layers, sensitivity.maps):
        with pytest.raises(ValueError, match=r"model.embed_tokens.weight of the compressed model is not that of"):
            ask(dense, rotated)
    with pytest.raises(ValueError, match="is not that of the dense one"):
        sensitivity.compare(dense, rotated, TOKENS, {"own": ["1"]})
    with pytest.raises(ValueError, match="loaded in the same precision"):
        sensitivity.layers(dense, copy.deepcopy(compressed).bfloat16())
    other = copy.deepcopy(compressed)
    other.model.rotary_emb.inv_freq *= 2
    with pytest.raises(ValueError, match=r"rotary_emb.inv_freq of the compressed model"):
        sensitivity.layers(dense, other)
    with pytest.raises(ValueError, match="cache of the compressed model is quantized, which is no part of any layer"):
        sensitivity.layers(dense, cache.compress(copy.deepcopy(compressed), keys="int2", values="int2", group_size=16))
    with pytest.raises(ValueError, match=r"the compressed GPT2LMHeadModel has no model.layers as the dense Llama"):
        sensitivity.maps(dense, families.build("gpt2"))


def test_scales_moved_into_a_norm_leave_only_whole_layers():
    dense = families.build("llama")
    scaled = awq.compress(copy.deepcopy(dense), TOKENS, bits=3, group_size=32)
    with pytest.raises(ValueError, match=r"input_layernorm.weight of layer 0 .* compare whole layers"):
        sensitivity.maps(dense, scaled)
    with pytest.raises(ValueError, match="compare whole layers"):
        sensitivity.compare(dense, scaled, TOKENS, {"own": ["0.mlp.up_proj"]})
    rows = sensitivity.compare(dense, scaled, TOKENS, {"all": ["0", "1", "2", "3"]})
    assert values(rows, "all") == pytest.approx(divergence(scaled, dense), rel=1e-6)
    narrower = minitron.width(copy.deepcopy(dense), TOKENS, neurons=64)
    with pytest.raises(ValueError, match="gate_proj of layer 0 does not fit"):
        sensitivity.maps(dense, narrower)
    rows = sensitivity.compare(dense, narrower, TOKENS, {"all": ["0", "1", "2", "3"]})
    assert values(rows, "all") == pytest.approx(divergence(narrower, dense), rel=1e-6)


def test_an_unknown_part_and_a_value_that_is_not_finite_are_said():
    dense, compressed = pair()
    for name in ("4", "0.mlp", "model.layers.0"):
        with pytest.raises(ValueError, match=f"'{name}' is no layer or linear map of this model; allowed are 0, 1,"):
            sensitivity.compare(dense, compressed, TOKENS, {"mine": [name]})
    magnitude.compress(compressed, sparsity=0.5)
    decoder.layers(compressed)[1].mlp.up_proj.weight.data[0] = float("inf")
    with pytest.raises(ValueError, match="KL with 1 replaced is nan on block 0; check both checkpoints"):
        sensitivity.compare(dense, compressed, TOKENS, {"0": ["0"], "1": ["1"]})
    assert dense.model.layers[1].mlp.up_proj.weight.isfinite().all()
