"""Checkpoints of AutoAWQ and AutoGPTQ: every weight against a writer and a reader after the formats' definition."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import load_file
from words import AWQ_ORDER, packed

from unicomp_lib.checkpoints import given, models, saving

GROUP = 32


def drawn(inputs, outputs, *, bits, group, low, high, rng, index=None):
    """Codes (inputs, outputs), scales and zero points (groups, outputs), and the weights that they stand for."""
    groups = 1 if group == -1 else inputs // group
    index = np.arange(inputs) // (inputs // groups) if index is None else index
    codes = rng.integers(0, 2**bits, (inputs, outputs))
    zeros = rng.integers(low, high + 1, (groups, outputs))
    scales = (0.01 + rng.random((groups, outputs)) / 50).astype(np.float16)
    weights = np.empty((outputs, inputs))
    for i in range(inputs):
        for o in range(outputs):
            weights[o, i] = float(scales[index[i], o]) * (int(codes[i, o]) - int(zeros[index[i], o]))
    return codes, scales, zeros, index, weights.astype(np.float32)


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dense") / "model"
    model, tokenizer = models.load(models.TINY)
    saving.save(model, tokenizer, folder)
    return folder


def written(dense, folder, *, method, bits=4, group=GROUP, config=None, shuffled=False, shards=1, edit=None):
    """A checkpoint in one of the forms, and its weights by name."""
    rng = np.random.default_rng(0)
    shutil.copytree(dense, folder)
    tensors, expected = {}, {}
    config = {"quant_method": method, "bits": bits, "group_size": group, **(config or {})}
    second = config.get("checkpoint_format") == "gptq_v2"
    middle = 2 ** (bits - 1)
    least = 0 if method == "awq" or second else 1  # the first layout of GPTQ cannot hold the zero point 0
    low, high = (middle, middle) if config.get("sym") else (least, 2**bits - 1)
    for name, tensor in load_file(folder / "model.safetensors").items():
        if not name.endswith("_proj.weight"):
            tensors[name] = tensor.half().numpy()
            expected[name] = tensor.half().float()
            continue
        outputs, inputs = tensor.shape
        index = rng.permutation(np.arange(inputs) // group) if shuffled else None
        codes, scales, zeros, index, weights = drawn(
            inputs, outputs, bits=bits, group=group, low=low, high=high, rng=rng, index=index
        )
        own = name.removesuffix(".weight")
        stored = zeros if method == "awq" or second else zeros - 1
        order = AWQ_ORDER if method == "awq" else None
        tensors[f"{own}.qweight"] = packed(codes, bits, 1 if method == "awq" else 0, order)
        tensors[f"{own}.qzeros"] = packed(stored, bits, 1, order)
        tensors[f"{own}.scales"] = scales
        if method == "gptq":
            tensors[f"{own}.g_idx"] = index.astype(np.int32)
            tensors[f"{own}.bias"] = np.zeros(outputs, np.float16)  # as AutoGPTQ saves it where there is none
        expected[name] = torch.from_numpy(weights)
    if edit:
        edit(tensors)
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    for shard in range(shards):
        part = {name: np.ascontiguousarray(tensors[name]) for name in names[shard::shards]}
        save_file(part, folder / f"model-{shard}.safetensors", metadata={"format": "pt"})
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"quantization_config": config}))
    return expected


FORMS = {
    "awq": {"method": "awq", "config": {"version": "gemm", "zero_point": True, "modules_to_not_convert": None}},
    "awq in capitals": {"method": "awq", "config": {"version": "GEMM", "zero_point": True}, "shards": 3},
    "awq, one group": {"method": "awq", "group": -1},
    "gptq": {"method": "gptq", "config": {"desc_act": False, "sym": True}},
    "gptq with zero points": {"method": "gptq", "config": {"sym": False, "checkpoint_format": "gptq"}},
    "gptq in another order": {"method": "gptq", "config": {"desc_act": True, "sym": False}, "shuffled": True},
    "gptq, one group": {"method": "gptq", "group": -1, "config": {"sym": True}},
    "gptq_v2": {"method": "gptq", "config": {"checkpoint_format": "gptq_v2", "sym": False}},
    "gptq of 8 bits": {"method": "gptq", "bits": 8, "config": {"sym": False}},
    "gptq of 2 bits": {"method": "gptq", "bits": 2, "config": {"sym": False}},
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_every_weight_is_the_one_that_was_written(dense, tmp_path, name):
    expected = written(dense, tmp_path / "theirs", **FORMS[name])
    for precision, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        network, _ = models.load(str(tmp_path / "theirs"), precision=precision, on="cpu")
        state = network.state_dict()
        for weight, values in expected.items():
            assert torch.equal(state[weight], values.to(dtype)), weight
    assert network(torch.tensor([[1, 2, 3]])).logits.isfinite().all()


def test_it_is_taken_as_its_author_saved_it(dense, tmp_path):
    written(dense, tmp_path / "theirs", **FORMS["awq in capitals"])
    measures, notes = given.take(str(tmp_path / "theirs"), str(dense), tmp_path / "taken")
    assert notes == []
    for file in (tmp_path / "theirs").glob("*.safetensors"):
        assert (tmp_path / "taken" / file.name).read_bytes() == file.read_bytes()
    # 4 bits, and for each group of 32 inputs a scale of 16 bits and a zero point of 4.
    assert measures["bits_per_weight"] == pytest.approx(4 + (16 + 4) / GROUP)
    assert measures["parameters"] == saving.measure(dense)["parameters"]


@pytest.mark.parametrize(
    ("method", "config", "says"),
    [
        ("awq", {"version": "gemv"}, "saved with version: gemv, .* of awq gemm are read"),
        ("awq", {"version": "gemv_fast"}, "saved with version: gemv_fast"),
        ("awq", {"version": "marlin"}, "saved with version: marlin"),
        ("awq", {"bits": 8}, "saved with bits: 8, .* of awq 4 are read"),
        ("awq", {"zero_point": False}, "saved with zero_point: false"),
        ("gptq", {"checkpoint_format": "marlin"}, "saved with checkpoint_format: marlin, .* gptq and gptq_v2 are read"),
        ("gptq", {"is_marlin_format": True}, "saved with checkpoint_format: marlin"),
        ("gptq", {"bits": 3}, "saved with bits: 3, .* of gptq 2, 4, 8 are read"),
        ("gptq", {"group_size": 0}, "saved with group_size: 0"),
        ("gptq", {"dynamic": {"+:.*down.*": {"bits": 8}}}, "saved with settings of their own for"),
    ],
)
def test_a_setting_that_is_not_read_is_one_sentence(dense, tmp_path, method, config, says):
    written(dense, tmp_path / "theirs", method=method, config=config | {"bits": 4}, edit=None)
    path = tmp_path / "theirs" / "config.json"
    settings = json.loads(path.read_text())
    settings["quantization_config"] |= config
    path.write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=says):
        given.take(str(tmp_path / "theirs"), str(dense), tmp_path / "taken")
    assert not (tmp_path / "taken").exists()


def changed(part, change):
    def edit(tensors):
        name = next(name for name in sorted(tensors) if name.endswith(f".{part}"))
        change(tensors, name)

    return edit


@pytest.mark.parametrize(
    ("config", "edit", "says"),
    [
        ({}, changed("qzeros", lambda t, n: t.pop(n)), r"lacks model\.layers\.0\..*\.qzeros, which its model needs"),
        ({}, changed("scales", lambda t, n: t.update({n: t[n][:1]})), "does not fit its configuration: scales of"),
        ({}, changed("qweight", lambda t, n: t.update({n: t[n].astype(np.int64)})), "packed into int64 and not into"),
        ({"desc_act": True}, changed("g_idx", lambda t, n: t.pop(n)), "lacks g_idx, which desc_act: true needs"),
        ({}, changed("g_idx", lambda t, n: t[n].__setitem__(3, 99)), "g_idx that does not name one of"),
        ({}, changed("qzeros", lambda t, n: t[n].fill(-1)), "has the zero point 16, as AutoGPTQ reads it, or 0"),
        ({"sym": True}, changed("qzeros", lambda t, n: t[n].fill(0)), "sym is true, and a zero point is not 8"),
        ({}, changed("bias", lambda t, n: t[n].fill(1)), r"holds .*\.bias, which its model has no place for"),
        ({}, changed("qweight", lambda t, n: t.pop(n)), r"lacks .*\.weight, which its model needs"),
    ],
)  # fmt: skip
def test_tensors_that_contradict_the_settings_are_one_sentence(dense, tmp_path, config, edit, says):
    written(dense, tmp_path / "theirs", method="gptq", config={"sym": False} | config, edit=edit)
    with pytest.raises(ValueError, match=says):
        models.load(str(tmp_path / "theirs"), on="cpu")


def test_matrices_that_were_left_alone_stay_as_they_are(dense, tmp_path):
    plain = load_file(dense / "model.safetensors")
    own = "model.layers.1.mlp.down_proj"

    def edit(tensors):
        for part in ("qweight", "qzeros", "scales"):
            tensors.pop(f"{own}.{part}")
        tensors[f"{own}.weight"] = plain[f"{own}.weight"].half().numpy()

    config = {"modules_to_not_convert": [own], "version": "gemm"}
    expected = written(dense, tmp_path / "theirs", method="awq", config=config, edit=edit)
    network, _ = models.load(str(tmp_path / "theirs"), precision="float32", on="cpu")
    assert torch.equal(network.get_parameter(f"{own}.weight"), plain[f"{own}.weight"].half().float())
    other = "model.layers.0.mlp.down_proj.weight"
    assert torch.equal(network.get_parameter(other), expected[other])
