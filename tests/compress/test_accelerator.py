"""Every method on an accelerator: compressed layer by layer, saved, read back onto it, asked and timed there."""

import copy
import json
import tempfile
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from unicomp_lib import hardware
from unicomp_lib.checkpoints import (
    decoder,
    float4,
    float8,
    float_zeros,
    given,
    int4_inputs,
    int8,
    models,
    packed_integers,
    quantized_cache,
    quanto_form,
    saving,
)
from unicomp_lib.compress import (
    awq,
    cache,
    distill,
    fp8,
    gptq,
    hqq,
    lrc,
    magnitude,
    minitron,
    mxfp4,
    nvfp4,
    quanto,
    quarot,
    rotate,
    rtn,
    sinq,
    smoothquant,
    sparsegpt,
    students,
    wanda,
)
from unicomp_lib.evaluate import arithmetic, efficiency, harness
from unicomp_lib.figures import diagnostics
from unicomp_lib.inputs.calibration import blocks

TASKS = {"openbookqa_cloze": 2, "openbookqa_generate": 2}
CACHED = partial(quantized_cache.save, source=models.TINY)


def finetuned(model, tokens):
    """A model trained once more on text, as the notebook ``finetune`` does."""
    students.cast(model, torch.float32)
    with tempfile.TemporaryDirectory() as folder:
        distill.train(dict(model.named_parameters()), distill.language_loss(model), tokens, Path(folder) / "state")
    return students.cast(model, torch.bfloat16)


METHODS = {
    "magnitude": (lambda model, _: magnitude.compress(model), saving.plain),
    "wanda": (wanda.compress, saving.plain),
    "wanda 2:4": (lambda model, tokens: wanda.compress(model, tokens, pattern="2:4"), saving.plain),
    "sparsegpt": (sparsegpt.compress, saving.plain),
    "sparsegpt 2:4": (lambda model, tokens: sparsegpt.compress(model, tokens, pattern="2:4"), saving.plain),
    "rtn": (lambda model, _: rtn.compress(model), packed_integers.save),
    "gptq": (gptq.compress, packed_integers.save),
    "gptq plain": (
        lambda model, tokens: gptq.compress(model, tokens, act_order=False, symmetric=False), packed_integers.save
    ),
    "awq": (awq.compress, packed_integers.save),
    "sinq": (lambda model, _: sinq.compress(model), packed_integers.save),
    "hqq": (lambda model, _: hqq.compress(model), float_zeros.save),
    "smoothquant": (smoothquant.compress, int8.save),
    "fp8": (lambda model, _: fp8.compress(model), float8.save),
    "nvfp4": (lambda model, _: nvfp4.compress(model, four_over_six=True), float4.save),
    "mxfp4": (lambda model, _: mxfp4.compress(model), float4.save),
    "rotate": (lambda model, _: rotate.compress(model), saving.plain),
    "quarot": (quarot.compress, int4_inputs.save),
    "cache int8": (lambda model, _: cache.compress(model, group_size=16), CACHED),
    "cache int4, rotated": (
        lambda model, _: cache.compress(model, keys="int4", values="int4", group_size=16, hadamard=True), CACHED
    ),
    "cache int4, keys by channel": (
        lambda model, _: cache.compress(model, keys="int4", values="int4", group_size=8, per_channel=True), CACHED
    ),
    "quanto int8": (lambda model, _: quanto.compress(model), quanto_form.save),
    "quanto int4": (lambda model, _: quanto.compress(model, weights="int4"), quanto_form.save),
    "quanto int2": (lambda model, _: quanto.compress(model, weights="int2"), quanto_form.save),
    "quanto float8": (lambda model, _: quanto.compress(model, weights="float8"), quanto_form.save),
    "quanto w8a8": (lambda model, tokens: quanto.compress(model, tokens, activations="int8"), quanto_form.save),
    "minitron depth": (lambda model, tokens: minitron.depth(model, tokens, keep=1), saving.plain),
    "minitron width": (lambda model, tokens: minitron.width(model, tokens, neurons=64, groups=1), saving.plain),
    "minitron width, hidden": (lambda model, tokens: minitron.width(model, tokens, hidden=48), saving.plain),
    "finetune": (finetuned, saving.plain),
}  # fmt: skip
FEW_BITS = ("quarot", "quanto int2")  # a number that a card rounds otherwise weighs most here


@pytest.fixture(scope="module")
def tokens():
    return blocks(models.load_tokenizer(models.TINY), samples=9, length=32)


@torch.no_grad()
def logits(model, tokens):
    return model(tokens[:2].to(model.device)).logits.float().cpu()


def kinds(model):
    return {tensor.device.type for tensor in model.state_dict().values()}


def check_answers(folder, accelerator):
    """A checkpoint ranks and generates there as on the CPU; it reads and decodes a batch there, as it is timed."""
    there, here = (
        harness.run(*models.load(str(folder), precision="float32", on=on), TASKS, batch_size=2) for on in ("", "cpu")
    )
    both = there.join(here, on=["task", "doc_id", "metric"], suffix="_cpu", nulls_equal=True)
    assert len(both) == len(there) == len(here)
    tolerance = 1e-3
    if accelerator.type == "cuda":
        # It sums in another order. Where inputs are rounded to codes, a few come out otherwise: likelihoods are close
        # then, and which of two close answers comes first is open.
        both, tolerance = both.filter(metric="bits_per_byte"), 0.05
    else:
        generated = both.filter(task="openbookqa_generate").select("output", "output_cpu")
        assert all(json.loads(ours)["answers"] == json.loads(theirs)["answers"] for ours, theirs in generated.rows())
    assert set(both["task"]) == set(TASKS)
    for value, reference in both.select("value", "value_cpu").iter_rows():
        assert value == pytest.approx(reference, abs=tolerance, nan_ok=True)
    model, _ = models.load(str(folder))
    tokens = torch.arange(60, device=accelerator).view(2, 30)
    assert efficiency._measure(model, tokens[:1], 4)["decode"] > 0
    token, kept = efficiency._read(model, tokens)
    assert efficiency._decoded(model, token, copy.deepcopy(kept), 4)["decode"] > 0
    assert arithmetic.read_bytes(model) > 0
    assert arithmetic.cache_bytes(model) > 0


@pytest.mark.parametrize("name", METHODS)
def test_a_checkpoint_made_on_it_is_that_of_the_cpu(name, tokens, accelerator, monkeypatch, tmp_path):
    compress, write = METHODS[name]
    with monkeypatch.context() as patched:
        patched.setattr(hardware, "device", lambda: torch.device("cpu"))
        expected = logits(compress(models.load(models.TINY, precision="float32")[0], tokens), tokens)
    tolerance = 0.1 if name in FEW_BITS and accelerator.type == "cuda" else 0.02
    # From the CPU, as most notebooks do, so that one layer at a time is on it; and from the accelerator itself.
    model, tokenizer = models.load(models.TINY, precision="float32", on="cpu")
    model = compress(model, tokens)
    assert kinds(model) == {"cpu"}
    saving.save(model, tokenizer, tmp_path / "checkpoint", write=write)
    loaded, _ = models.load(str(tmp_path / "checkpoint"), precision="float32")
    whole = compress(models.load(models.TINY, precision="float32")[0], tokens)
    for found in (loaded, whole):
        assert kinds(found) == {accelerator.type}
        difference = logits(found, tokens) - expected
        assert difference.norm() < tolerance * expected.norm()
    assert saving.device_memory(tmp_path / "checkpoint") > 0
    check_answers(tmp_path / "checkpoint", accelerator)


FORMS = {
    "awq": {"version": "gemm", "zero_point": True},
    "gptq": {"checkpoint_format": "gptq_v2", "desc_act": True, "sym": False},
}


@pytest.mark.parametrize("method", FORMS)
def test_a_checkpoint_of_others_is_read_onto_it(method, tokens, accelerator, tmp_path):
    theirs = tmp_path / "theirs"
    saving.save(*models.load(models.TINY), theirs)
    packed(theirs, method, FORMS[method])
    given.take(str(theirs), models.TINY, tmp_path / "taken")
    there, here = (models.load(str(tmp_path / "taken"), precision="float32", on=on)[0] for on in ("", "cpu"))
    assert kinds(there) == {accelerator.type}
    assert all(torch.equal(part.cpu(), here.state_dict()[name]) for name, part in there.state_dict().items())
    assert torch.allclose(logits(there, tokens), logits(here, tokens), atol=1e-3)
    check_answers(tmp_path / "taken", accelerator)


def packed(folder, method, settings, group=32):
    """Random codes in place of a checkpoint's linear maps, as AutoAWQ or AutoGPTQ packs them eight to a word."""
    words = partial(torch.randint, -(2**31), 2**31, dtype=torch.int32, generator=torch.Generator().manual_seed(0))
    state = load_file(folder / "model.safetensors")
    for name in [name for name in state if name.endswith("_proj.weight")]:
        outputs, inputs = state.pop(name).shape
        own = name.removesuffix(".weight")
        state[f"{own}.qweight"] = words((inputs, outputs // 8) if method == "awq" else (inputs // 8, outputs))
        state[f"{own}.qzeros"] = words((inputs // group, outputs // 8))
        state[f"{own}.scales"] = torch.full((inputs // group, outputs), 0.01, dtype=torch.float16)
        if method == "gptq":
            state[f"{own}.g_idx"] = (torch.arange(inputs) // group).flip(0).int()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": method, "bits": 4, "group_size": group, **settings}
    (folder / "config.json").write_text(json.dumps(config))


def test_a_student_is_trained_on_it_and_goes_on_after_an_interruption(tokens, accelerator, tmp_path):
    teacher, tokenizer = models.load(models.TINY)

    def trained(folder, steps):
        student = students.cast(minitron.depth(teacher, tokens, keep=1), torch.float32)
        loss = distill.logits_loss(student, teacher)

        def counted(batch):
            if not steps:
                raise KeyboardInterrupt
            steps.pop()
            return loss(batch)

        history = distill.train(dict(student.named_parameters()), counted, tokens, folder, batch_size=2, every=1)
        return student, [row["loss"] for row in history]

    once, history = trained(tmp_path / "once", [1] * 4)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "state", [1] * 2)
    again, resumed = trained(tmp_path / "state", [1] * 2)
    assert resumed == history
    assert all(torch.equal(part, again.state_dict()[name]) for name, part in once.state_dict().items())
    saving.save(students.cast(once, torch.bfloat16), tokenizer, tmp_path / "checkpoint")
    assert kinds(models.load(str(tmp_path / "checkpoint"))[0]) == {accelerator.type}
    check_answers(tmp_path / "checkpoint", accelerator)


def test_losses_are_computed_some_tokens_at_a_time_on_it(accelerator, monkeypatch):
    monkeypatch.setattr(distill, "AT_ONCE", 3 * 11)
    ours, theirs = torch.randn(2, 5, 11), torch.randn(2, 5, 11)
    found = distill.divergence(ours.to(accelerator), theirs.to(accelerator), temperature=2.0)
    assert found.item() == pytest.approx(distill.divergence(ours, theirs, temperature=2.0).item(), rel=1e-5)


@pytest.mark.filterwarnings("ignore:An output with one or more elements was resized")  # by mse_loss, of such devices
def test_a_low_rank_clone_is_trained_on_it(tokens, accelerator, tmp_path):
    teacher, tokenizer = models.load(models.TINY)
    clone = lrc.Clone(teacher, tokens, hidden=48)
    history = distill.train(clone.trained(), clone.loss(), tokens, tmp_path / "training", batch_size=4)
    assert len(history) == 2
    assert kinds(clone.plain()) == {accelerator.type}
    saving.save(students.cast(clone.plain(), torch.bfloat16), tokenizer, tmp_path / "checkpoint")
    check_answers(tmp_path / "checkpoint", accelerator)


def test_notebooks_look_at_models_on_it(tokens, accelerator):
    model, _ = models.load(models.TINY)
    diagnostics.weights({name: part.weight for name, part in decoder.linears(decoder.layers(model)).items()})
    diagnostics.smoothed(diagnostics.peaks(model, tokens, 0), diagnostics.peaks(model, tokens, 0))
    influence = minitron.block_influence(model, tokens)
    diagnostics.activity(influence, minitron.activity(model, tokens)["hidden"][0])
    assert {part.device.type for part in diagnostics.held(cache.compress(model, group_size=16), tokens, 0)} == {"cpu"}
    on_cpu, _ = models.load(models.TINY, on="cpu")
    assert torch.allclose(influence.cpu(), minitron.block_influence(on_cpu, tokens), atol=1e-2)
