"""Speed and memory of a checkpoint against dense, each in its own process, in turn."""

import itertools
import json
import multiprocessing
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from unicomp_lib import hardware

VERSION = "3"
SCHEMA = {"doc_id": pl.Int64, "metric": pl.String, "value": pl.Float64}


def compare(
    checkpoint: str,
    dense: str,
    *,
    precision: str,
    prompt: int = 256,
    generate: int = 32,
    batch: int = 8,
    repeats: int = 5,
    kernels: bool = True,
    interpreter: str = "",
) -> pl.DataFrame:
    """Measure ``checkpoint`` and ``dense`` alternately: rows of doc_id (the repeat), metric, value.

    Each model lives in a process of its own with one thread, is warmed up once and then asked
    in turn, so that a change of the machine's speed meets both. Per repeat: ``prefill`` (prompt
    tokens a second, batch 1), ``decode`` (tokens a second after the first, batch 1) and
    ``first_token`` (seconds until the first token); ``token`` (seconds of each later one, doc_id
    counting them through); ``decode_batch`` and ``token_batch``, the same of ``batch`` answers
    written at once, behind prompts that are together as long. Once per process: ``load_memory`` and
    ``peak_memory`` (bytes resident at the highest, until the model is loaded and until the end),
    ``device_memory`` (the same on an accelerator), ``read`` (bytes of weights that a token of decode
    reads) and ``bandwidth`` (bytes a second that the process can move). The dense model's rows end
    in ``_dense``.
    With ``kernels``, packed 4-bit weights are multiplied as they are where this machine can
    (``int4``); else they are expanded on load, as transformers does it. ``interpreter`` is the path of
    a Python that has vLLM, whose pins clash with this study's: both are then measured there, where
    single tokens and memory are not seen, and ``kernels`` is vLLM's matter.
    """
    from unicomp_lib.checkpoints import models

    for name in (checkpoint, dense):
        models.checkpoint(name)  # a wrong name is said here, not in a process of its own
    rows: list[dict[str, object]] = []
    with ExitStack() as stack:
        roles: dict[str, Pipe] = {
            role: stack.enter_context(
                _elsewhere(interpreter, name, precision) if interpreter else _process(name, precision, kernels)
            )
            for role, name in {"": checkpoint, "_dense": dense}.items()
        }
        for repeat in range(-1, repeats):  # -1 warms up
            for role, pipe in roles.items():
                alone = _ask(pipe, (1, prompt, generate))
                together = _ask(pipe, (batch, max(prompt // batch, 1), generate))
                if repeat >= 0:
                    rows += _rows(alone, repeat, generate, role)
                    kept = {f"{name}_batch": together[name] for name in ("decode", "token") if name in together}
                    rows += _rows(kept, repeat, generate, role)
        for role, pipe in roles.items():
            once = _ask(pipe, None).items()
            rows += [{"doc_id": 0, "metric": metric + role, "value": value} for metric, value in once]
    return pl.DataFrame(rows, schema=SCHEMA)


def _rows(measured: dict[str, Any], repeat: int, generate: int, role: str) -> list[dict[str, object]]:
    """Rows of one repeat; a list, the seconds of each token, is counted through."""
    found: list[dict[str, object]] = []
    for metric, value in measured.items():
        several = value if isinstance(value, list) else [value]
        first = repeat * generate if isinstance(value, list) else repeat
        found += [{"doc_id": first + n, "metric": metric + role, "value": each} for n, each in enumerate(several)]
    return found


def footprint(checkpoint: str, dense: str, *, prompt: int = 256) -> pl.DataFrame:
    """What the saved files of both hold (``checkpoint.measure``), and ``flops`` a token of reading ``prompt``."""
    from unicomp_lib.checkpoints.saving import measure
    from unicomp_lib.evaluate.arithmetic import flops

    folders = {"": Path(checkpoint), "_dense": Path(dense)}
    found = {role: measure(folder) | {"flops": flops(folder, prompt)} for role, folder in folders.items()}
    rows = [
        {"doc_id": 0, "metric": f"{name}{role}", "value": value}
        for role, values in found.items()
        for name, value in values.items()
    ]
    return pl.DataFrame(rows, schema=SCHEMA)


def cost(checkpoint: str) -> pl.DataFrame:
    """What it took to make a checkpoint, from the records of its steps back to dense; no rows if it has none.

    ``cost_seconds`` and ``cost_cpu_seconds`` are sums over those steps, with everything a step
    does: reading the model, its notebook's pictures, saving. ``cost_tokens`` are the tokens of text they
    read, ``cost_peak_memory`` is the highest, in bytes, and ``cost_joules`` the energy that the whole
    processor took meanwhile, where every step's machine told.
    """
    found: list[dict[str, Any]] = []
    folder = Path(checkpoint)
    while (record := folder.parent / "record.json").is_file():
        found.append(json.loads(record.read_text(encoding="utf-8")))
        if "checkpoint" not in found[-1]["parameters"]:
            found.pop()  # dense, which is not compressed
            break
        folder = Path(found[-1]["parameters"]["checkpoint"])
    if not found:
        return pl.DataFrame(schema=SCHEMA)
    values = {
        "cost_seconds": sum(step["seconds"] for step in found),
        "cost_cpu_seconds": sum(step["cpu_seconds"] for step in found),
        "cost_tokens": float(sum(map(_tokens, found))),
        "cost_peak_memory": float(max(step["peak_memory"] for step in found)),
    }
    energy = [step.get("joules") for step in found]
    if None not in energy:
        values["cost_joules"] = sum(energy)
    rows = [{"doc_id": 0, "metric": metric, "value": value} for metric, value in values.items()]
    return pl.DataFrame(rows, schema=SCHEMA)


def _tokens(record: dict[str, Any]) -> int:
    """Tokens of calibration and training text that a compression read."""
    given = record["parameters"]
    samples = sum(given.get(name, 0) for name in ("samples", "training_samples", "correction_samples"))
    return int(samples * given.get("length", 0))


class Pipe(Protocol):
    """What a measuring process is asked through."""

    def send(self, request: Any) -> None:
        """Ask."""

    def recv(self) -> Any:
        """Wait for the answer; ``EOFError`` where the process has ended."""


@dataclass(frozen=True)
class _Lines:
    """A pipe of JSON lines to a process of another interpreter."""

    process: "subprocess.Popen[str]"

    def send(self, request: Any) -> None:
        assert self.process.stdin is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)

    def recv(self) -> Any:
        assert self.process.stdout is not None
        if not (line := self.process.stdout.readline()):
            raise EOFError
        return json.loads(line)


@contextmanager
def _elsewhere(interpreter: str, checkpoint: str, precision: str) -> Iterator[Pipe]:
    from unicomp_lib.checkpoints import models

    source, revision = models.checkpoint(checkpoint)
    script = Path(__file__).with_name("vllm_process.py")
    command = [interpreter, str(script), source, revision or "", precision]
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    except OSError as error:
        raise ValueError(
            f"interpreter {interpreter!r} does not start ({error.strerror}); give the path of a Python that has vLLM, "
            "or leave it empty"
        ) from error
    try:
        yield _Lines(process)
    finally:
        process.kill()
        process.wait()


@contextmanager
def _process(checkpoint: str, precision: str, kernels: bool) -> Iterator[Pipe]:
    # spawn: a forked child would inherit the parent's memory and threads, and count them.
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, checkpoint, precision, kernels), daemon=True)
    process.start()
    there.close()
    try:
        yield here
    finally:
        process.terminate()
        process.join()


def _ask(pipe: Pipe, request: tuple[int, int, int] | None) -> dict[str, Any]:
    try:
        pipe.send(request)
        answer: dict[str, Any] = pipe.recv()
    except (EOFError, ConnectionResetError, BrokenPipeError):
        raise RuntimeError("the measuring process ended early; its message stands above, in the log") from None
    return answer


def _serve(pipe: Connection, checkpoint: str, precision: str, kernels: bool) -> None:
    import torch

    from unicomp_lib.checkpoints import int4, models
    from unicomp_lib.evaluate import arithmetic

    torch.set_num_threads(1)
    if kernels and hardware.device().type == "cpu" and int4.fits(Path(checkpoint)):
        model = int4.load(Path(checkpoint), hardware.dtype(precision)).eval()
        tokenizer = models.load_tokenizer(checkpoint)
    else:
        model, tokenizer = models.load(checkpoint, precision=precision)
    generator = torch.Generator().manual_seed(0)
    loaded = float(peak_memory())
    while True:
        request = pipe.recv()
        if request is None:
            # The peak first: measuring the bandwidth takes memory of its own.
            found = {"load_memory": loaded, "peak_memory": float(peak_memory())}
            found["read"] = float(arithmetic.read_bytes(model))
            if model.device.type == "cuda":
                found["device_memory"] = float(torch.cuda.max_memory_allocated())
            pipe.send({**found, "bandwidth": arithmetic.bandwidth()})
            continue
        batch, prompt, generate = request
        tokens = torch.randint(len(tokenizer), (batch, prompt), generator=generator).to(model.device)
        pipe.send(_measure(model, tokens, generate))


def _measure(model, tokens, generate: int) -> dict[str, Any]:  # type: ignore[no-untyped-def]
    import torch

    def now() -> float:
        if model.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    with torch.no_grad():
        start = now()
        out = model(tokens, use_cache=True, logits_to_keep=1)
        token, cache = out.logits[:, -1:].argmax(-1), out.past_key_values
        ends = [now()]
        for _ in range(generate):
            out = model(token, past_key_values=cache, use_cache=True)
            token, cache = out.logits[:, -1:].argmax(-1), out.past_key_values
            ends.append(now())
    return {
        "prefill": tokens.numel() / (ends[0] - start),
        "decode": len(tokens) * generate / (ends[-1] - ends[0]),
        "first_token": ends[0] - start,
        "token": [after - before for before, after in itertools.pairwise(ends)],
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
