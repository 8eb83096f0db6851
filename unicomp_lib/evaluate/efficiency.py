"""Speed and memory of a checkpoint against dense, each in its own process, in turn."""

import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import polars as pl

VERSION = "1"
SCHEMA = {"doc_id": pl.Int64, "metric": pl.String, "value": pl.Float64}


def compare(
    checkpoint: str, dense: str, *, precision: str, prompt: int = 256, generate: int = 32, repeats: int = 5
) -> pl.DataFrame:
    """Measure ``checkpoint`` and ``dense`` alternately: rows of doc_id (the repeat), metric, value.

    Each model lives in a process of its own with one thread, is warmed up once and then asked
    in turn, so that a change of the machine's speed meets both. Per repeat: ``prefill`` (prompt
    tokens a second, batch 1), ``decode`` (tokens a second after the first, batch 1) and
    ``first_token`` (seconds until the first token). Once per process: ``peak_memory`` (bytes
    resident at the highest, model load included). The dense model's rows end in ``_dense``.
    """
    from unicomp_lib import models

    for name in (checkpoint, dense):
        models.checkpoint(name)  # a wrong name is said here, not in a process of its own
    rows: list[dict[str, object]] = []
    with _process(checkpoint, precision) as compressed, _process(dense, precision) as reference:
        roles = {"": compressed, "_dense": reference}
        for repeat in range(-1, repeats):  # -1 warms up
            for role, pipe in roles.items():
                measured = _ask(pipe, (prompt, generate))
                rows += [
                    {"doc_id": repeat, "metric": metric + role, "value": value}
                    for metric, value in measured.items()
                    if repeat >= 0
                ]
        for role, pipe in roles.items():
            rows.append({"doc_id": 0, "metric": f"peak_memory{role}", "value": _ask(pipe, None)["peak"]})
    return pl.DataFrame(rows, schema=SCHEMA)


def footprint(checkpoint: str, dense: str) -> pl.DataFrame:
    """What the saved files of both hold, in the same columns; see ``checkpoint.measure``."""
    from unicomp_lib.compress.checkpoint import measure

    found = {"": measure(Path(checkpoint)), "_dense": measure(Path(dense))}
    rows = [
        {"doc_id": 0, "metric": f"{name}{role}", "value": value}
        for role, values in found.items()
        for name, value in values.items()
    ]
    return pl.DataFrame(rows, schema=SCHEMA)


@contextmanager
def _process(checkpoint: str, precision: str) -> Iterator[Connection]:
    # spawn: a forked child would inherit the parent's memory and threads, and count them.
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, checkpoint, precision), daemon=True)
    process.start()
    there.close()
    try:
        yield here
    finally:
        process.terminate()
        process.join()


def _ask(pipe: Connection, request: tuple[int, int] | None) -> dict[str, float]:
    pipe.send(request)
    try:
        answer: dict[str, float] = pipe.recv()
    except (EOFError, ConnectionResetError):
        raise RuntimeError("the measuring process ended early; its message stands above, in the log") from None
    return answer


def _serve(pipe: Connection, checkpoint: str, precision: str) -> None:
    import torch

    from unicomp_lib import models

    torch.set_num_threads(1)
    model, tokenizer = models.load(checkpoint, precision=precision)
    generator = torch.Generator().manual_seed(0)
    while True:
        request = pipe.recv()
        if request is None:
            pipe.send({"peak": float(peak_memory())})
            continue
        prompt, generate = request
        tokens = torch.randint(len(tokenizer), (1, prompt), generator=generator).to(model.device)
        pipe.send(_measure(model, tokens, generate))


def _measure(model, tokens, generate: int) -> dict[str, float]:  # type: ignore[no-untyped-def]
    import torch

    def now() -> float:
        if model.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    with torch.no_grad():
        start = now()
        out = model(tokens, use_cache=True, logits_to_keep=1)
        token, cache = out.logits[:, -1:].argmax(-1), out.past_key_values
        first = now()
        for _ in range(generate):
            out = model(token, past_key_values=cache, use_cache=True)
            token, cache = out.logits[:, -1:].argmax(-1), out.past_key_values
        end = now()
    return {
        "prefill": tokens.shape[1] / (first - start),
        "decode": generate / (end - first),
        "first_token": first - start,
    }


def peak_memory() -> int:
    """Highest resident memory of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: on Linux a new process inherits the peak of the one that started it.
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
