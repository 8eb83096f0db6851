"""Distillation: train a student to match the teacher's distribution of the next token."""

import hashlib
import importlib.metadata
import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy, kl_div, log_softmax
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from unicomp_lib import files
from unicomp_lib.checkpoints import decoder

VERSION = "2"

Loss = Callable[[torch.Tensor], dict[str, torch.Tensor]]
Total = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # of two tensors (tokens, values)
WARM_UP = 0.1  # share of the steps in which the learning rate rises
CLIP = 1.0  # largest norm of the gradient
STATE_BYTES = 12  # of a trained parameter's state: itself and two moments, in float32
STATE, HISTORY, MADE = "state.safetensors", "history", "made_from"
SAMPLED = 4096  # values of a parameter by which it is known again
NONE = -1  # in place of a token
CACHED = 2**19  # values of which a loss is computed at once, few enough to stay in a processor's cache
AT_ONCE = 2**26  # the same on an accelerator: many, since every operation takes time to start, but no gigabytes
LARGE, PAUSE = 2e9, 600.0  # bytes of a state that is saved at most once in so many seconds


def divergence(
    student: torch.Tensor, teacher: torch.Tensor, *, temperature: float = 1.0, direction: str = "forward"
) -> torch.Tensor:
    """Mean KL divergence of logits (..., vocabulary) at a temperature, in nats per token, times its square.

    ``forward`` is KL(teacher || student), ``reverse`` KL(student || teacher). The square keeps the
    gradient's magnitude as the temperature changes (Hinton et al., 2015, arXiv 1503.02531).
    """
    if direction not in ("forward", "reverse"):
        raise ValueError(f"divergence {direction!r} is not allowed; give forward or reverse")
    if temperature <= 0:
        raise ValueError(f"temperature={temperature} is not allowed; give a number above 0")

    def total(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        ours, theirs = (log_softmax(_over(logits.float(), temperature), dim=-1) for logits in (student, teacher))
        pair = (ours, theirs) if direction == "forward" else (theirs, ours)
        return kl_div(*pair, log_target=True, reduction="sum") * temperature**2

    return mean(total, student, teacher)


def _over(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    return logits if temperature == 1 else logits / temperature


def mean(total: Total, ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """Mean over tokens of a loss, whose sum is ``total``, of two tensors (..., values), computed some tokens at a time.

    The gradient is computed along with it. Of all tokens at once, every step of the loss would write
    all values to memory and read them again.
    """
    rows = [values.reshape(-1, values.shape[-1]) for values in (ours, theirs)]
    loss: torch.Tensor = _Mean.apply(total, *rows)
    return loss


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, total: Total, *rows: torch.Tensor) -> torch.Tensor:
        tokens, width = rows[0].shape
        sums, gradients = [], []
        wanted = ctx.needs_input_grad[1:]
        count = max(1, (CACHED if rows[0].device.type == "cpu" else AT_ONCE) // width)
        for some in zip(*(values.split(count) for values in rows), strict=True):
            with torch.enable_grad():
                parts = [part.detach().requires_grad_(want) for part, want in zip(some, wanted, strict=True)]
                value = total(*parts) / tokens
            sums.append(value.detach())
            if any(wanted):
                gradients.append(torch.autograd.grad(value, [part for part in parts if part.requires_grad]))
        found = iter([torch.cat(parts) for parts in zip(*gradients, strict=True)])
        ctx.gradients = [next(found) if want else None for want in wanted]
        return torch.stack(sums).sum()

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return None, *(None if gradient is None else gradient * upstream[0] for gradient in ctx.gradients)


def logits_loss(
    student: PreTrainedModel, teacher: PreTrainedModel, *, temperature: float = 1.0, direction: str = "forward"
) -> Loss:
    """The loss of Minitron: only the divergence of the logits. Raises as ``decoder.check_cache`` for the student."""
    decoder.check_cache(student)

    def loss(batch: torch.Tensor) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            theirs = teacher(input_ids=batch, use_cache=False).logits
        ours = student(input_ids=batch, use_cache=False).logits
        return {"loss": divergence(ours, theirs, temperature=temperature, direction=direction)}

    return loss


def language_loss(model: PreTrainedModel) -> Loss:
    """Cross-entropy of the text itself, for teacher correction. Raises as ``decoder.check_cache``."""
    decoder.check_cache(model)

    def loss(batch: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": next_token(model(input_ids=batch, use_cache=False).logits, batch)}

    return loss


def next_token(logits: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the next token in nats, for logits (samples, length, vocabulary)."""

    def total(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return cross_entropy(logits.float(), targets[:, 0], reduction="sum", ignore_index=NONE)

    targets = torch.nn.functional.pad(batch[:, 1:], (0, 1), value=NONE)  # the last token has no next one
    length = batch.shape[1]
    return mean(total, logits, targets[..., None]) * (length / (length - 1))


def train(
    parameters: dict[str, torch.nn.Parameter], loss: Loss, tokens: torch.Tensor, folder: Path, *,
    batch_size: int = 4, accumulate: int = 1, learning_rate: float = 3e-4, every: int = 10,
) -> list[dict[str, float]]:  # fmt: skip
    """Train ``parameters`` in place, one pass over ``tokens`` (samples, length); return the history.

    AdamW on float32 parameters with products in bfloat16; the learning rate rises over the first
    tenth of the steps and decays to zero as a cosine. A step takes ``batch_size`` samples
    ``accumulate`` times, so that memory follows from ``batch_size`` alone. Every ``every`` steps the
    parameters and the optimizer, 12 bytes a parameter, are saved to ``folder``, from which the same call
    resumes after an interruption, and no other (``_made_from``); the folder is removed at the end. A state of more
    than ``LARGE`` bytes is saved at most once in ``PAUSE`` seconds. The history has ``step``, ``tokens`` read,
    ``seconds``, and the parts of the loss; ``loss`` is their sum.
    """
    optimizer = torch.optim.AdamW(
        list(parameters.values()), lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True
    )
    steps = len(tokens) // (batch_size * accumulate)
    made = _made_from(parameters, tokens, [batch_size, accumulate, learning_rate])
    history = _load_state(parameters, optimizer, folder, made)
    start = time.perf_counter() - (history[-1]["seconds"] if history else 0)
    device = next(iter(parameters.values())).device
    pause = PAUSE if STATE_BYTES * sum(parameter.numel() for parameter in parameters.values()) > LARGE else 0.0
    saved = time.perf_counter()
    with tqdm(total=steps, initial=len(history), desc="distilling", unit="step") as bar:
        for step in range(len(history), steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * _schedule(step, steps)
            size = batch_size * accumulate
            losses: dict[str, float] = {}
            for batch in tokens[step * size : (step + 1) * size].to(device).split(batch_size):
                with torch.autocast(device.type, dtype=torch.bfloat16):
                    parts = loss(batch)
                (parts["loss"] / accumulate).backward()
                for name, value in parts.items():
                    losses[name] = losses.get(name, 0.0) + value.item() / accumulate
            torch.nn.utils.clip_grad_norm_(list(parameters.values()), CLIP)
            optimizer.step()
            optimizer.zero_grad()
            read = (step + 1) * size * tokens.shape[1]
            history.append({"step": step + 1.0, "tokens": read, "seconds": time.perf_counter() - start, **losses})
            bar.set_postfix(loss=f"{losses['loss']:.3f}", tokens_per_second=f"{read / history[-1]['seconds']:.0f}")
            bar.update()
            if (step + 1) % every == 0 and step + 1 < steps and time.perf_counter() - saved >= pause:
                _save_state(parameters, optimizer, history, folder, made)
                saved = time.perf_counter()
    shutil.rmtree(folder, ignore_errors=True)
    return history


def _schedule(step: int, steps: int) -> float:
    rise = max(1, round(WARM_UP * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def _save_state(
    parameters: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer, history: list[dict[str, float]],
    folder: Path, made: str,
) -> None:  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"value.{name}": parameter.detach() for name, parameter in parameters.items()}
    for name, parameter in parameters.items():
        for key, value in optimizer.state[parameter].items():
            tensors[f"{key}.{name}"] = value
    # One file, written atomically: values, moments and history always belong to the same step.
    metadata = {HISTORY: json.dumps(history), MADE: made}
    files.write_whole(folder / STATE, lambda part: save_file(tensors, part, metadata=metadata))


def _made_from(parameters: dict[str, torch.nn.Parameter], tokens: torch.Tensor, settings: list[float]) -> str:
    """SHA-256 of what a training follows from, of each parameter a sample of ``SAMPLED`` values."""
    known = [VERSION, torch.__version__, importlib.metadata.version("transformers"), settings, list(tokens.shape)]
    total = hashlib.sha256(json.dumps(known).encode() + tokens.cpu().contiguous().numpy().tobytes())
    for name, parameter in parameters.items():
        values = parameter.detach().flatten()
        total.update(name.encode() + values[:: len(values) // SAMPLED + 1].float().cpu().numpy().tobytes())
    return total.hexdigest()


def _load_state(
    parameters: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer, folder: Path, made: str
) -> list[dict[str, float]]:
    """Bring a training to where it was interrupted; its history, empty where it begins."""
    if not (folder / STATE).is_file():
        return []
    with safe_open(folder / STATE, framework="pt") as file:
        if file.metadata().get(MADE) != made:
            print(f"the training in {folder} is of another model, text or setting, and this one begins anew")
            return []
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, safe_open is no mapping
        history: list[dict[str, float]] = json.loads(file.metadata()[HISTORY])
    for name, parameter in parameters.items():
        parameter.data.copy_(tensors[f"value.{name}"])
        optimizer.state[parameter] = {
            key: tensors[f"{key}.{name}"].to(parameter.device) for key in ("step", "exp_avg", "exp_avg_sq")
        }
    return history
