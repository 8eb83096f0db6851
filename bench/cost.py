"""What both sides of the compression benchmark measure, with the same few lines. Needs only torch."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def measured(compress: Callable[[], Any], evaluation: torch.Tensor, report: Path) -> None:
    """Run ``compress``, which returns the model, and write its cost and the model's perplexity as JSON.

    Wall and CPU seconds cover only the compression; ``peak`` is the process's highest resident memory
    until then in bytes, the loaded model included; perplexity is on ``evaluation`` (blocks, length).
    """
    wall, cpu = time.perf_counter(), time.process_time()
    model = compress()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    costs = {"wall": wall, "cpu": cpu, "peak": peak_memory(), "perplexity": perplexity(model, evaluation)}
    report.write_text(json.dumps(costs))


def peak_memory() -> int:
    """Highest resident memory of this process so far, in bytes; only on Linux."""
    # Not getrusage: a new process inherits the peak of the one that started it.
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


@torch.no_grad()
def perplexity(model: Any, evaluation: torch.Tensor) -> float:
    """exp of the mean negative log-likelihood of the next token over blocks (blocks, length)."""
    losses = []
    for block in evaluation:
        logits = model(input_ids=block[None], use_cache=False).logits[0, :-1].float()
        losses.append(torch.nn.functional.cross_entropy(logits, block[1:]))
    return float(torch.stack(losses).mean().exp())
