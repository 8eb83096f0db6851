import copy
import math

import pytest
import torch

from unicomp_lib.compress import distill, lrc, minitron
from unicomp_lib.inputs import calibration


@pytest.fixture
def teacher(tiny):
    """The tiny model with larger weights: as it comes, its distribution is nearly uniform."""
    model, _ = tiny
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.data *= 4
    return model


@pytest.fixture
def text(tiny):
    return calibration.blocks(tiny[1], samples=48, length=32)


def test_the_divergence_is_its_closed_form():
    student, teacher = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([[0.0, 0.5, 2.0]])
    p, q = (torch.softmax(logits.double() / 2, -1) for logits in (teacher, student))
    forward, reverse = (p * (p / q).log()).sum(), (q * (q / p).log()).sum()
    assert distill.divergence(student, teacher, temperature=2).item() == pytest.approx(4 * forward.item(), rel=1e-5)
    reversed_ = distill.divergence(student, teacher, temperature=2, direction="reverse")
    assert reversed_.item() == pytest.approx(4 * reverse.item(), rel=1e-5)


def test_bad_settings_are_one_clear_sentence():
    with pytest.raises(ValueError, match="divergence 'sideways' is not allowed; give forward or reverse"):
        distill.divergence(torch.zeros(1, 2), torch.zeros(1, 2), direction="sideways")
    with pytest.raises(ValueError, match="temperature=0 is not allowed"):
        distill.divergence(torch.zeros(1, 2), torch.zeros(1, 2), temperature=0)


def student_of(teacher, text):
    student = minitron.width(teacher, text[:8], hidden=48)
    return student, dict(student.named_parameters())


def test_training_brings_the_student_nearer_to_the_teacher(teacher, text, tmp_path):
    student, parameters = student_of(teacher, text)
    loss = distill.logits_loss(student, teacher)
    before = loss(text[:8])["loss"].item()
    history = distill.train(parameters, loss, text, tmp_path / "state", learning_rate=1e-3)
    assert loss(text[:8])["loss"].item() < 0.8 * before
    assert [row["tokens"] for row in history] == [4 * 32 * step for step in range(1, 13)]
    assert not (tmp_path / "state").exists()


def test_accumulated_batches_are_one_large_batch(teacher, text, tmp_path):
    updates = []
    for size, times in ((4, 1), (2, 2)):
        student, parameters = student_of(teacher, text)
        start = parameters["model.layers.1.mlp.up_proj.weight"].detach().clone()
        loss = distill.logits_loss(student, teacher)
        distill.train(parameters, loss, text[:16], tmp_path / "state", batch_size=size, accumulate=times)
        updates.append(parameters["model.layers.1.mlp.up_proj.weight"].detach() - start)
    # Products in bfloat16 differ a little with the size of the batch.
    assert (updates[0] - updates[1]).norm() < 0.2 * updates[0].norm()


def test_an_interrupted_training_resumes_where_it_stopped(teacher, text, tmp_path):
    runs = []
    for stop in (False, True):
        student, parameters = student_of(teacher, text)
        plain = distill.logits_loss(student, teacher)
        calls = 0

        def breaking(batch, plain=plain, stop=stop):
            nonlocal calls
            calls += 1
            if stop and calls == 8:
                raise KeyboardInterrupt
            return plain(batch)

        if stop:
            with pytest.raises(KeyboardInterrupt):
                distill.train(parameters, breaking, text, tmp_path / "state", every=3)
            student, parameters = student_of(teacher, text)  # a new process has the student as it began
            calls, plain = 100, distill.logits_loss(student, teacher)
            history = distill.train(parameters, plain, text, tmp_path / "state", every=3)
        else:
            history = distill.train(parameters, breaking, text, tmp_path / "other", every=3)
        runs.append((history, parameters))
    assert [row["loss"] for row in runs[0][0]] == [row["loss"] for row in runs[1][0]]
    assert [row["step"] for row in runs[1][0]] == list(range(1, 13))
    assert all(torch.equal(value, runs[1][1][name]) for name, value in runs[0][1].items())


def adamw(start, gradients, *, learning_rate, steps):
    """Loshchilov and Hutter (2019, arXiv 1711.05101) without decay, in float64, as ``distill.train`` documents it."""
    values = [value.double() for value in start]
    moments = [(torch.zeros_like(value), torch.zeros_like(value)) for value in values]
    for step in range(steps):
        found = gradients(values, step)
        norm = sum(part.square().sum() for part in found).sqrt()
        rise = max(1, round(0.1 * steps))
        share = (step + 1) / rise if step < rise else 0.5 + 0.5 * math.cos(math.pi * (step - rise) / (steps - rise))
        for value, part, (first, second) in zip(values, found, moments, strict=True):
            part = part / max(1.0, norm)
            first.mul_(0.9).add_(part, alpha=0.1)
            second.mul_(0.95).addcmul_(part, part, value=0.05)
            mean, spread = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.95 ** (step + 1))
            value -= learning_rate * share * mean / (spread.sqrt() + 1e-8)
    return values


@pytest.mark.parametrize("size", [0.3, 30.0])  # gradients that are clipped in some steps, and in all
def test_a_step_is_that_of_adamw_with_clipped_gradients(tmp_path, size):
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(5, 3, generator=generator), torch.randn(4, generator=generator)]
    parameters = {str(index): torch.nn.Parameter(value.clone()) for index, value in enumerate(start)}
    text = torch.randint(1, 9, (24, 2), generator=generator)

    def loss(batch):
        total = sum(((value - size * batch.float().mean()) ** 2).sum() for value in parameters.values())
        return {"loss": total / 20}

    def gradients(values, step):
        of_batches = [size * part.double().mean() for part in text[4 * step : 4 * step + 4].split(2)]
        return [sum((value - target) / 10 for target in of_batches) / 2 for value in values]

    distill.train(parameters, loss, text, tmp_path / "state", batch_size=2, accumulate=2, learning_rate=0.05)
    for value, expected in zip(parameters.values(), adamw(start, gradients, learning_rate=0.05, steps=6), strict=True):
        torch.testing.assert_close(value.detach().double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("large", "pause", "saved"), [(10**9, 1e9, 5), (0, 1e9, 0), (0, 0.0, 5)])
def test_a_large_state_is_saved_only_after_a_pause(monkeypatch, tmp_path, large, pause, saved):
    monkeypatch.setattr(distill, "LARGE", large)
    monkeypatch.setattr(distill, "PAUSE", pause)
    parameters = {"one": torch.nn.Parameter(torch.ones(3))}
    states = []

    def loss(batch):
        found = tmp_path / "state" / distill.STATE
        states.append(found.read_bytes() if found.is_file() else b"")
        return {"loss": parameters["one"].sum()}

    distill.train(parameters, loss, torch.ones(6, 2), tmp_path / "state", batch_size=1, every=1)
    assert len(set(states) - {b""}) == saved
    assert all(len(state) >= distill.STATE_BYTES * 3 for state in set(states) - {b""})


@torch.no_grad()
def test_a_clone_of_full_width_is_the_teacher(teacher, text):
    expected = teacher(text[:4]).logits
    clone = lrc.Clone(copy.deepcopy(teacher), text[:8], hidden=64)
    assert torch.allclose(clone.plain()(text[:4]).logits, expected, atol=1e-5)
    parts = clone.loss(temperature=1.0)(text[:4])
    assert parts["clone"] < 1e-8
    assert parts["kl"] < 1e-6


@torch.no_grad()
def test_the_merged_student_is_what_was_trained_and_a_plain_llama(teacher, text):
    clone = lrc.Clone(copy.deepcopy(teacher), text[:8], hidden=48)
    generator = torch.Generator().manual_seed(0)
    for parameter in clone.trained().values():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    weights = clone.weights()
    expected = torch.func.functional_call(clone.student, weights, kwargs={"input_ids": text[:4]}, tie_weights=False)
    plain = clone.plain()
    assert type(plain) is type(teacher)
    assert plain.config.hidden_size == 48
    assert torch.allclose(plain(text[:4]).logits, expected.logits, atol=1e-6)
    # Section 3.1 on one map of either kind: W P for its inputs, P^T W where it gives hidden states.
    up, down = "model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.down_proj.weight"
    assert torch.allclose(weights[up], teacher.get_parameter(up) @ clone.projections[up.replace(".", "/")])
    assert torch.allclose(weights[down], clone.projections[down.replace(".", "/")].T @ teacher.get_parameter(down))


@torch.no_grad()
def outputs_of(model, tokens):
    """What every linear map of a model's layers gives, by name."""
    found = {}
    for name, part in model.model.layers.named_modules():
        if isinstance(part, torch.nn.Linear):
            part.register_forward_hook(lambda _, __, output, name=name: found.update({name: output.double()}))
    model(tokens)
    return found


@torch.no_grad()
def test_the_clone_term_adds_up_the_relative_errors_of_seven_maps_a_layer(teacher, text):
    clone = lrc.Clone(copy.deepcopy(teacher), text[:8], hidden=48)
    generator = torch.Generator().manual_seed(0)
    for parameter in clone.trained().values():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    parts = clone.loss(alpha=0.5)(text[:4])
    theirs, ours = outputs_of(teacher, text[:4]), outputs_of(clone.plain(), text[:4])
    assert len(theirs) == 7 * len(teacher.model.layers)
    expected = 0.0
    for name, output in theirs.items():
        if name.endswith(("o_proj", "down_proj")):
            output = output @ clone.projections[f"model/layers/{name}/weight".replace(".", "/")].double()
        expected += ((ours[name] - output).square().sum() / output.square().sum()).item()
    assert parts["clone"].item() == pytest.approx(expected, rel=1e-4)
    assert parts["loss"].item() == pytest.approx((parts["kl"] + parts["text"]).item() + 0.5 * expected, rel=1e-4)
    by_default = clone.loss()(text[:4])
    weighted = by_default["loss"] - by_default["kl"] - by_default["text"]
    assert weighted.item() == pytest.approx(0.2 * expected, rel=1e-4)  # the weight of the authors' script


def test_cloning_lowers_every_part_of_its_loss(teacher, text, tmp_path):
    clone = lrc.Clone(copy.deepcopy(teacher), text[:8], hidden=40)
    loss = clone.loss(temperature=1.0, alpha=1.0)
    before = {name: value.item() for name, value in loss(text[:8]).items()}
    distill.train(clone.trained(), loss, text, tmp_path / "state", learning_rate=3e-3)
    after = {name: value.item() for name, value in loss(text[:8]).items()}
    assert after["loss"] < before["loss"]
    assert after["clone"] < 0.9 * before["clone"]
    assert all(parameter.grad is None for parameter in clone.teacher.parameters())


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_losses_and_gradients_in_parts_are_those_of_the_whole(monkeypatch, temperature, direction):
    monkeypatch.setattr(distill, "CACHED", 44)  # four tokens of eleven values
    torch.manual_seed(0)
    student, teacher = (
        torch.randn(3, 7, 11, dtype=dtype).requires_grad_() for dtype in (torch.float32, torch.bfloat16)
    )
    batch = torch.randint(0, 11, (3, 7))
    p, q = (torch.softmax(logits.double() / temperature, -1) for logits in (teacher, student))
    p, q = (p, q) if direction == "forward" else (q, p)
    kl = (p * (p / q).log()).sum(-1).mean() * temperature**2
    text = -torch.log_softmax(student.double(), -1)[:, :-1].gather(-1, batch[:, 1:, None]).mean()
    expected = torch.autograd.grad(kl + 2 * text, (student, teacher))
    found = distill.divergence(student, teacher, temperature=temperature, direction=direction)
    language = distill.next_token(student, batch)
    assert found.item() == pytest.approx(kl.item(), rel=1e-5)
    assert language.item() == pytest.approx(text.item(), rel=1e-5)
    for ours, theirs in zip(torch.autograd.grad(found + 2 * language, (student, teacher)), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-2 if theirs.dtype == torch.bfloat16 else 1e-4, atol=1e-6)


@pytest.mark.parametrize("changed", ["text", "student", "learning_rate", "batch_size"])
def test_an_interrupted_training_of_something_else_is_not_gone_on_with(teacher, text, tmp_path, capsys, changed):
    def trained(folder, *, stop=0, other=False, **given):
        student, parameters = student_of(teacher, text)
        if other and changed == "student":
            next(iter(parameters.values())).data[..., 0] += 0.01
        read = text.flip(0) if other and changed == "text" else text
        plain, calls = distill.logits_loss(student, teacher), []

        def breaking(batch):
            calls.append(1)
            if len(calls) == stop:
                raise KeyboardInterrupt
            return plain(batch)

        return distill.train(parameters, breaking, read, tmp_path / folder, every=2, **given)

    with pytest.raises(KeyboardInterrupt):
        trained("state", stop=5)
    given = {"learning_rate": {"learning_rate": 1e-3}, "batch_size": {"batch_size": 2}}.get(changed, {})
    found = trained("state", other=True, **given)
    assert "is of another model, text or setting, and this one begins anew" in capsys.readouterr().out
    alone = trained("alone", other=True, **given)
    assert [row["loss"] for row in found] == [row["loss"] for row in alone]
