"""Models that are not whole are refused where they are loaded, saved and scored, by the name of the tensor."""

import json

import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

from unicomp_lib.checkpoints import (
    decoder,
    float4,
    float8,
    float_zeros,
    int8,
    models,
    packed_integers,
    quanto_form,
    saving,
)
from unicomp_lib.compress import fp8, hqq, nvfp4, quanto, rtn
from unicomp_lib.evaluate import fidelity, harness

FORMS = {
    "plain": (lambda model: model, saving.plain),
    "packed": (lambda model: rtn.compress(model, group_size=32), packed_integers.save),
    "int8": (int8.replace, int8.save),
    "fp8": (fp8.compress, float8.save),
    "nvfp4": (nvfp4.compress, float4.save),
    "float zeros": (lambda model: hqq.compress(model, group_size=32), float_zeros.save),
    "quanto": (quanto.compress, quanto_form.save),
}
NAN, INFINITE = float("nan"), float("inf")


@pytest.fixture(params=FORMS)
def folder(request, tmp_path):
    """A whole checkpoint of each form, with an untied head."""
    compress, write = FORMS[request.param]
    model, tokenizer = models.load(models.TINY, on="cpu")
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight + 0.1)
    saving.save(compress(model), tokenizer, tmp_path, write=write)
    return tmp_path


def edit(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("name", ["model.norm.weight", "lm_head.weight", "model.layers.1.mlp.up_proj.weight"])
def test_a_missing_tensor_is_named(folder, name):
    edit(folder, lambda tensors: [tensors.pop(key) for key in list(tensors) if key.startswith(name)])
    with pytest.raises(ValueError, match=rf"does not fit its configuration: it lacks {name}"):
        models.load(str(folder), on="cpu")


def test_a_tensor_without_a_place_is_named(folder):
    edit(folder, lambda tensors: tensors.update({"model.layers.9.mlp.up_proj.bias": torch.zeros(3)}))
    with pytest.raises(ValueError, match=r"it holds model.layers.9.mlp.up_proj.bias, which its model has no place for"):
        models.load(str(folder), on="cpu")


def test_a_tensor_of_another_shape_is_named(folder):
    edit(folder, lambda tensors: tensors.update({"model.norm.weight": torch.ones(63)}))
    with pytest.raises(ValueError, match=r"model.norm.weight is \(63,\) and must be \(64,\)"):
        models.load(str(folder), on="cpu")


@pytest.mark.parametrize("value", [NAN, INFINITE, -INFINITE])
@pytest.mark.parametrize("name", ["model.norm.weight", "model.embed_tokens.weight"])
def test_a_tensor_that_is_not_finite_is_named_on_loading(folder, name, value):
    def change(tensors):
        tensors[name].view(-1)[7] = value

    edit(folder, change)
    with pytest.raises(ValueError, match=rf"{name} holds NaN or infinite values"):
        models.load(str(folder), on="cpu")


def test_scales_that_are_not_finite_are_named_on_loading(folder):
    def change(tensors):
        name = next((key for key in tensors if "mlp.up_proj" in key and "scale" in key), "model.norm.weight")
        tensors[name].view(-1)[0] = NAN

    edit(folder, change)
    with pytest.raises(ValueError, match=r"(mlp.up_proj.*|model.norm.weight) holds NaN or infinite values"):
        models.load(str(folder), on="cpu")


def test_a_tensor_that_is_not_finite_is_named_on_saving(tiny, tmp_path):
    model, tokenizer = tiny
    for form, (compress, write) in FORMS.items():
        model, tokenizer = models.load(models.TINY, on="cpu")
        compress(model)
        model.model.layers[1].input_layernorm.weight.data[3] = NAN
        with pytest.raises(ValueError, match=r"model.layers.1.input_layernorm.weight holds NaN or infinite values"):
            saving.save(model, tokenizer, tmp_path / form, write=write)
        assert not (tmp_path / form).exists()


def test_a_head_tied_to_the_embeddings_is_no_missing_tensor(tmp_path):
    for form, (compress, write) in FORMS.items():
        model, tokenizer = models.load(models.TINY, on="cpu")
        saving.save(compress(model), tokenizer, tmp_path / form, write=write)
        assert "lm_head.weight" not in load_file(tmp_path / form / "model.safetensors")
        again, _ = models.load(str(tmp_path / form), on="cpu")
        assert again.lm_head.weight is again.model.embed_tokens.weight


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn])
def test_what_is_not_finite_is_found_in_every_type(dtype):
    whole = torch.linspace(-3, 3, 99).to(dtype)
    decoder.check_finite([("a", whole), ("b", torch.arange(3)), ("c", torch.zeros(0))], "x")
    for value in (NAN, INFINITE, -INFINITE):
        if value == value or dtype.itemsize > 1:  # e4m3 has no infinity
            broken = whole.float().clone()
            broken[50] = NAN if dtype.itemsize == 1 else value
            with pytest.raises(ValueError, match="x is not whole: b holds NaN or infinite values"):
                decoder.check_finite([("a", whole), ("b", broken.to(dtype))], "x")


@pytest.mark.parametrize("name", ["openbookqa_cloze", "nq_open_generate"])
def test_a_model_without_finite_logits_is_given_no_score(tiny, name):
    model, tokenizer = tiny
    assert harness.run(model, tokenizer, {name: 2}).filter(pl.col("value").is_finite().not_()).is_empty()
    model.model.layers[0].mlp.up_proj.weight.data[3, 3] = NAN
    with pytest.raises(ValueError, match=rf"the model gives NaN or infinite values on item \d+ of {name}"):
        harness.run(model, tokenizer, {name: 2})


def test_fidelity_names_the_block_and_the_model_that_is_broken(tiny):
    dense, _ = tiny
    broken, _ = models.load(models.TINY, precision="float32")
    tokens = torch.randint(6, 257, (3, 20))
    tokens[1, 4] = 5
    broken.model.embed_tokens.weight.data[5, 0] = INFINITE  # the head is tied: all logits of block 1
    with pytest.raises(ValueError, match=r"nll of the model is (nan|inf) on block \d"):
        fidelity.compare(broken, dense, tokens)
    with pytest.raises(ValueError, match=r"nll_dense of the dense model is (nan|inf) on block \d"):
        fidelity.compare(dense, broken, tokens)
    with pytest.raises(ValueError, match=r"nll of the model is (nan|inf) on block \d"):
        fidelity.losses(broken, tokens)


def test_the_head_that_stays_dense_is_named_as_the_model_names_it(tmp_path):
    model, _ = models.load(models.TINY, on="cpu")
    rtn.compress(model, group_size=32)
    model.embed_out = model.lm_head
    del model.lm_head
    packed_integers.save(model, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["quantization_config"]["ignore"] == ["embed_out"]
