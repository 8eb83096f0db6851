"""Every method on an accelerator: compressed layer by layer, saved, and read back onto it."""

import pytest
import torch

from unicomp_lib import hardware
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
from unicomp_lib.compress import (
    awq,
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
    rotate,
    rtn,
    sinq,
    smoothquant,
    sparsegpt,
    students,
    wanda,
)
from unicomp_lib.figures import diagnostics
from unicomp_lib.inputs.calibration import blocks

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
    "quanto int8": (lambda model, _: quanto.compress(model), quanto_form.save),
    "quanto int4": (lambda model, _: quanto.compress(model, weights="int4"), quanto_form.save),
    "quanto float8": (lambda model, _: quanto.compress(model, weights="float8"), quanto_form.save),
    "quanto w8a8": (lambda model, tokens: quanto.compress(model, tokens, activations="int8"), quanto_form.save),
    "minitron depth": (lambda model, tokens: minitron.depth(model, tokens, keep=1), saving.plain),
    "minitron width": (lambda model, tokens: minitron.width(model, tokens, neurons=64, groups=1), saving.plain),
}  # fmt: skip


@pytest.fixture(scope="module")
def tokens():
    return blocks(models.load_tokenizer(models.TINY), samples=9, length=32)


@torch.no_grad()
def logits(model, tokens):
    return model(tokens[:2].to(model.device)).logits.float().cpu()


def kinds(model):
    return {tensor.device.type for tensor in model.state_dict().values()}


@pytest.mark.parametrize("name", METHODS)
def test_a_checkpoint_made_on_it_is_that_of_the_cpu(name, tokens, accelerator, monkeypatch, tmp_path):
    compress, write = METHODS[name]
    with monkeypatch.context() as patched:
        patched.setattr(hardware, "device", lambda: torch.device("cpu"))
        expected = logits(compress(models.load(models.TINY, precision="float32")[0], tokens), tokens)
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
        print("REL", name, float(difference.norm() / expected.norm()))
        assert difference.norm() < 0.02 * expected.norm()
    assert saving.device_memory(tmp_path / "checkpoint") > 0


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


def test_losses_are_computed_some_tokens_at_a_time_on_it(accelerator, monkeypatch):
    monkeypatch.setattr(distill, "AT_ONCE", 3 * 11)
    ours, theirs = torch.randn(2, 5, 11), torch.randn(2, 5, 11)
    found = distill.divergence(ours.to(accelerator), theirs.to(accelerator), temperature=2.0)
    assert found.item() == pytest.approx(distill.divergence(ours, theirs, temperature=2.0).item(), rel=1e-5)


@pytest.mark.filterwarnings("ignore:An output with one or more elements was resized")  # by mse_loss, of such devices
def test_a_low_rank_clone_is_trained_on_it(tokens, accelerator, tmp_path):
    clone = lrc.Clone(models.load(models.TINY)[0], tokens, hidden=48)
    history = distill.train(clone.trained(), clone.loss(), tokens, tmp_path, batch_size=4)
    assert len(history) == 2
    assert kinds(clone.plain()) == {accelerator.type}


def test_notebooks_look_at_models_on_it(tokens, accelerator):
    model, _ = models.load(models.TINY)
    diagnostics.weights({name: part.weight for name, part in decoder.linears(decoder.layers(model)).items()})
    diagnostics.smoothed(diagnostics.peaks(model, tokens, 0), diagnostics.peaks(model, tokens, 0))
    influence = minitron.block_influence(model, tokens)
    diagnostics.activity(influence, minitron.activity(model, tokens)["hidden"][0])
    on_cpu, _ = models.load(models.TINY, on="cpu")
    assert torch.allclose(influence.cpu(), minitron.block_influence(on_cpu, tokens), atol=1e-2)
