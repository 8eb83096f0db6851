"""Speed and memory of a checkpoint against dense, each in its own process, measured alternately."""

import copy
import hashlib
import itertools
import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import polars as pl
import psutil

from unicomp_lib import hardware, paths

VERSION = "5"
# Counts in the keys of engines' cells alone: raised when what is measured there changes, and nothing else.
ENGINES_VERSION = "2"
PATIENCE = 60.0  # seconds until a killed process has given its memory back
WARM = 2  # tokens generated to warm up: the first makes all that the later ones use
# transformers imports it, for which it takes a second, to generate with a second model, which nothing here does.
UNUSED = "sklearn"
# And the package that an interpreter must have.
ENGINES = {"vllm": "vLLM", "llama.cpp": "xllamacpp", "openvino": "openvino-genai"}
# By a session of nox: its folder in .nox, and its lock.
MADE = {
    "llama.cpp": ("llama-cpp", "bench/llama-cpp.txt"),
    "openvino": ("openvino", "bench/openvino.txt"),
    "vllm": ("vllm", "bench/vllm.txt"),
}
INSTALL = {
    "llama.cpp": "nox -s engine",
    "openvino": "nox -s engine -- openvino",
    "vllm": "nox -s engine -- vllm",
}
# The file that names the version of torch that nox installs before a lock: locks leave it out. It is looked up and not
# written out where it is read, since it counts in the keys of vLLM's cells alone.
TORCH = {"vllm": "pyproject.toml"}
EXPORTED = ("llama.cpp", "openvino")  # read a file of GGUF
# Bits of weights in the formats of compressed-tensors that vLLM was seen to read on a CPU; others have no kernel there.
READ_BY_VLLM = {"pack-quantized": 4, "int-quantized": 8, "float-quantized": 8}
# What OpenVINO GenAI is given: it refused BF16. Factors of rotary frequencies (Llama 3) were not tried, and its library
# does not name them, so that it may pass over them.
CODED, EMBEDDINGS, PASSED_OVER = ("Q4_0", "Q4_1", "Q8_0"), "token_embd.weight", "rope_freqs.weight"
SCHEMA = {"doc_id": pl.Int64, "metric": pl.String, "value": pl.Float64}


def compare(
    checkpoint: str,
    dense: str,
    *,
    precision: str,
    prompt: int = 256,
    generate: int = 32,
    batch: int = 8,
    repeats: int = 6,
    kernels: bool = True,
    engine: str = "",
    interpreter: str = "",
    export: Callable[[Path, Path], object] | None = None,
) -> pl.DataFrame:
    """Measure ``checkpoint`` and ``dense`` alternately: rows of doc_id (the repeat), metric, value; and ``footprint``.

    Each model runs in a process of its own with one thread, is warmed up once and then measured
    in turn, so that a change of the machine's speed affects both. Per repeat: ``prefill`` (prompt
    tokens per second, batch 1), ``decode`` (tokens per second after the first, batch 1) and
    ``first_token`` (seconds until the first token); ``token`` (seconds of each later token, which
    doc_id numbers across the repeats); ``decode_batch`` and ``token_batch``, the same for ``batch``
    answers of half as many tokens generated at once, behind prompts of the same total length that are read
    only once. Once per process: ``load_memory`` and ``peak_memory`` (highest resident bytes until the model
    is loaded, and until the end), ``device_memory`` (the highest on an accelerator), ``read`` (bytes of weights
    read to decode a token; in an engine, as the file that it is given holds them) and ``bandwidth`` (bytes per
    second that the process can move where the model is); and where the cache of one of the two is quantized,
    ``cache`` (bytes of keys and values held for a
    token). The dense model's metrics end in ``_dense``.
    With ``kernels``, packed 4-bit weights are multiplied in packed form where this machine can
    (``int4``); else they are expanded on load, as transformers does.

    ``engine`` names another engine, and ``interpreter`` the path of a Python that has it; on a CPU it may be empty,
    after ``nox -s engine``. There ``checkpoint`` alone is measured in the engine, on one thread, in turn with dense in
    transformers here, so that ratios hold for what is served against what was compressed. ``vllm`` reads the
    checkpoint as it is. For ``llama.cpp`` and ``openvino`` (OpenVINO GenAI) ``export`` writes a folder's checkpoint to
    a file of GGUF, and is a ``ValueError`` where that is not exact; the file is removed in the end. OpenVINO is given
    codes of 4 or 8 bits alone: dense weights are refused.
    On an accelerator ``vllm`` alone is measured, and both models are there, without the times of single tokens and
    without memory. They are measured one after the other, since each takes nearly all memory of an accelerator.
    """
    from unicomp_lib.checkpoints import configs, models

    interpreter = python_of(engine, interpreter)
    # A wrong name is reported here rather than in a child process.
    folders = [models.checkpoint(name)[0] for name in (checkpoint, dense)]
    named = {"": checkpoint, "_dense": dense}
    turns: list[dict[str, AbstractContextManager[Pipe]]]
    turns = [{role: _process(name, precision, kernels) for role, name in named.items()}]
    longest = prompt + 1 + generate
    context = max(longest, prompt + batch * (2 + generate))
    for name in named.values():
        if 0 < (room := configs.positions(*models.checkpoint(name))) < longest:
            raise ValueError(
                f"prompt={prompt} and generate={generate} need {longest} tokens, and {name} reads {room}; give fewer"
            )
    if engine in EXPORTED:
        _check_on_cpu(engine)
        turns[0][""] = exported_process(engine, interpreter, checkpoint, export, context, batch)
    elif engine == "vllm" and hardware.device().type == "cpu":
        turns[0][""] = vllm_process(interpreter, checkpoint, precision, context, batch)
    elif engine == "vllm":
        turns = [{role: vllm_process(interpreter, name, precision, longest)} for role, name in named.items()]
    rows: list[dict[str, object]] = []
    for turn in turns:
        with ExitStack() as stack:
            roles = {role: stack.enter_context(process) for role, process in turn.items()}
            if not rows:
                rows = footprint(*folders, prompt=prompt).to_dicts()  # while the processes import and load
            rows += _measurements(roles, prompt, generate, batch, repeats)
    if not any(map(configs.quantizes_cache, folders)):
        rows = [row for row in rows if row["metric"] not in ("cache", "cache_dense")]
    return pl.DataFrame(rows, schema=SCHEMA)


def python_of(engine: str, given: str) -> str:
    """The Python that has an ``engine``: the one ``given``, or that of ``nox -s engine``; empty for transformers."""
    *first, last = map(repr, ENGINES)
    allowed = f"{', '.join(first)} and {last}"
    if engine and engine not in ENGINES:
        raise ValueError(f"engine {engine!r} is not known; allowed are {allowed}, or nothing for transformers here")
    if given and not engine:
        raise ValueError(f"interpreter {given!r} is given but no engine; allowed are {allowed}, or leave it empty")
    if engine == "vllm" and not given and hardware.device().type != "cpu":
        raise ValueError(
            f"engine 'vllm': {INSTALL[engine]} installs vLLM for a CPU; give interpreter, the path of a Python that "
            f"has vLLM for this accelerator, or hide it: {hardware.visible()}=''"
        )
    if engine in MADE and not given:
        folder, lock = MADE[engine]
        made = paths.project() / ".nox" / folder
        if (made / "bin" / "python").is_file():
            stamp = made / "installed.txt"
            if (stamp.read_text(encoding="utf-8") if stamp.is_file() else "") != locked(engine):
                raise ValueError(
                    f"engine {engine!r}: {lock} pins other versions than are installed; run {INSTALL[engine]}"
                )
            return str(made / "bin" / "python")
    if engine and not given:
        raise ValueError(
            f"engine {engine!r}: run {INSTALL[engine]}, or give interpreter, the path of a Python that has "
            f"{ENGINES[engine]}"
        )
    return given


def locked(engine: str) -> str:
    """Digest of the versions that the lock of an ``engine`` pins, as nox notes it; empty where it has no lock."""
    lock = paths.project() / MADE[engine][1] if engine in MADE else None
    if lock is None or not lock.is_file():
        return ""
    pins = [line for line in lock.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    return hashlib.sha256("\n".join([*_torch(engine), *pins]).encode()).hexdigest()


def _torch(engine: str) -> list[str]:
    """The version of torch that nox installs for an engine before its lock."""
    project = paths.project() / TORCH.get(engine, "")
    if not project.is_file():
        return []
    wanted = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    return [name for name in wanted if name.startswith("torch==")]


def _measurements(
    roles: "dict[str, Pipe]", prompt: int, generate: int, batch: int, repeats: int
) -> list[dict[str, object]]:
    """Rows of processes that are measured in turn."""
    alone, together = (1, prompt), (batch, max(prompt // batch, 1))
    tokens, half = generate, max(generate // 2, 1)
    for request in ((*alone, min(WARM, tokens)), (*together, min(WARM, half))):  # to warm up, all at the same time
        for pipe in roles.values():
            _send(pipe, request)
        for pipe in roles.values():
            _receive(pipe)
    rows: list[dict[str, object]] = []
    for repeat in range(repeats):
        for role, pipe in roles.items():
            rows += _rows(ask(pipe, (*alone, tokens)), repeat, role)
            batched = ask(pipe, (*together, half))
            of_batch = {f"{name}_batch": batched[name] for name in ("decode", "token") if name in batched}
            rows += _rows(of_batch, repeat, role)
    for role, pipe in roles.items():
        once = ask(pipe, None)
        if isinstance(pipe, _Lines) and pipe.read:
            once["read"] = float(pipe.read)
        rows += [{"doc_id": 0, "metric": metric + role, "value": value} for metric, value in once.items()]
    return rows


def _rows(measured: dict[str, Any], repeat: int, role: str) -> list[dict[str, object]]:
    """Rows of one repeat; a list, the seconds of each token, gives a row per token, numbered across the repeats."""
    rows: list[dict[str, object]] = []
    for metric, measurement in measured.items():
        values = measurement if isinstance(measurement, list) else [measurement]
        first = repeat * len(values) if isinstance(measurement, list) else repeat
        rows += [{"doc_id": first + n, "metric": metric + role, "value": value} for n, value in enumerate(values)]
    return rows


def footprint(checkpoint: str, dense: str, *, prompt: int = 256) -> pl.DataFrame:
    """Sizes of both models' files (``saving.measure``), and ``flops`` per token when ``prompt`` tokens are read."""
    from unicomp_lib.checkpoints.saving import measure
    from unicomp_lib.evaluate.arithmetic import flops

    folders = {"": Path(checkpoint), "_dense": Path(dense)}
    measured = {role: measure(folder) | {"flops": flops(folder, prompt)} for role, folder in folders.items()}
    rows = [
        {"doc_id": 0, "metric": f"{name}{role}", "value": value}
        for role, values in measured.items()
        for name, value in values.items()
    ]
    return pl.DataFrame(rows, schema=SCHEMA)


def cost(checkpoint: str) -> pl.DataFrame:
    """Cost of making a checkpoint, from the records of its steps back to dense; no rows where there are no records.

    Nor are there any where a record is damaged, since a part of the cost would be taken for all of it.
    ``cost_seconds`` and ``cost_cpu_seconds`` are sums over those steps, including everything a step
    does: importing the libraries, loading the model, drawing the notebook's figures, saving. Where a step was
    forked from a process that had imported them, what that took is added. ``cost_tokens`` counts the tokens of
    text they read, ``cost_peak_memory`` is the highest of their peaks, in bytes, ``cost_device_memory`` that on
    an accelerator, where a step used one, and ``cost_joules`` the energy that the whole CPU used meanwhile,
    where every step's machine reports it.
    """
    from unicomp_lib.checkpoints import saving

    records: list[dict[str, Any]] = []
    on_device: list[float] = []
    folder = Path(checkpoint)
    while (record := folder.parent / "record.json").is_file():
        if (step := _record(record)) is None:
            return pl.DataFrame(schema=SCHEMA)
        if "checkpoint" not in step["parameters"]:
            break  # dense, which is not compressed
        records.append(step)
        on_device.append(saving.device_memory(folder))
        folder = Path(step["parameters"]["checkpoint"])
    if not records:
        return pl.DataFrame(schema=SCHEMA)
    values = {
        **{
            f"cost_{name}": sum(step[name] + step.get("preloaded", {}).get(name, 0) for step in records)
            for name in ("seconds", "cpu_seconds")
        },
        "cost_tokens": float(sum(map(_tokens, records))),
        "cost_peak_memory": float(max(step["peak_memory"] for step in records)),
    }
    if used := max(on_device):
        values["cost_device_memory"] = used
    energy = [step.get("joules") for step in records]
    if None not in energy:
        values["cost_joules"] = sum(energy)
    rows = [{"doc_id": 0, "metric": metric, "value": value} for metric, value in values.items()]
    return pl.DataFrame(rows, schema=SCHEMA)


def _record(path: Path) -> dict[str, Any] | None:
    """The record of a step, or None where it does not hold what its cost is made of."""
    try:
        step = json.loads(path.read_text(encoding="utf-8"))
        numbers = [step[name] for name in ("seconds", "cpu_seconds", "peak_memory")]
        numbers += [step.get("joules") or 0, _tokens(step), *step.get("preloaded", {}).values()]
        named = step["parameters"].get("checkpoint", "")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return step if isinstance(named, str) and all(isinstance(number, int | float) for number in numbers) else None


def _tokens(record: dict[str, Any]) -> int:
    """Tokens of calibration and training text that a compression read."""
    parameters = record["parameters"]
    samples = sum(parameters.get(name, 0) for name in ("samples", "training_samples", "correction_samples"))
    return int(samples * parameters.get("length", 0))


class Pipe(Protocol):
    """The connection to a measuring process."""

    def send(self, request: Any) -> None:
        """Send a request."""

    def recv(self) -> Any:
        """Wait for the answer; ``EOFError`` if the process has ended."""


@dataclass(frozen=True)
class _Lines:
    """A connection by JSON lines to a process of another interpreter; and what that ``read``s to decode a token."""

    process: "subprocess.Popen[str]"
    read: int

    def send(self, request: Any) -> None:
        assert self.process.stdin is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)

    def recv(self) -> Any:
        assert self.process.stdout is not None
        if not (line := self.process.stdout.readline()):
            raise EOFError
        return json.loads(line)


@contextmanager
def vllm_process(interpreter: str, checkpoint: str, precision: str, length: int, batch: int = 0) -> Iterator[Pipe]:
    """vLLM for prompts and answers of up to ``length`` tokens; with ``batch`` so many at once, on a thread of the CPU.

    A ``ValueError`` where vLLM would compute another model, or was seen to have no kernel.
    """
    from unicomp_lib.checkpoints import configs, models
    from unicomp_lib.evaluate import arithmetic

    source, revision = models.checkpoint(checkpoint)
    if configs.quantizes_cache(source, revision):
        raise ValueError(
            f"the cache of {checkpoint} is quantized in a form that vLLM does not read: it would serve it in full "
            "precision; leave engine empty, or measure the checkpoint that it was made from"
        )
    if batch:
        _check_read_by_vllm(checkpoint, configs.quantization(Path(source)))
    given = (source, revision or "", precision, length, *([batch] if batch else []))
    read = arithmetic.stored_bytes(Path(source)) if Path(source).is_dir() else 0
    with engine_process("vllm", interpreter, *given, read=read) as pipe:
        yield pipe


def _check_read_by_vllm(checkpoint: str, quantization: dict[str, Any]) -> None:
    if quantization.get("quant_method") != "compressed-tensors":
        return
    form = quantization.get("format")
    for group in quantization.get("config_groups", {}).values():
        bits = group["weights"]["num_bits"]
        if bits != READ_BY_VLLM.get(str(form)):
            allowed = ", ".join(f"{name} with {number}" for name, number in READ_BY_VLLM.items())
            raise ValueError(
                f"engine 'vllm' has no kernel on a CPU for {checkpoint}: its form is {form} with {bits} bits, and vLLM "
                f"reads {allowed}; leave engine empty, or measure it on an accelerator"
            )


def _check_on_cpu(engine: str) -> None:
    if hardware.device().type != "cpu":
        raise ValueError(
            f"engine {engine!r} is measured on a thread of the CPU, and dense would be on the accelerator; "
            f"hide it: {hardware.visible()}=''"
        )


@contextmanager
def exported_process(
    engine: str,
    interpreter: str,
    checkpoint: str,
    export: Callable[[Path, Path], object] | None,
    context: int,
    batch: int,
) -> Iterator[Pipe]:
    """An engine with a checkpoint that is exported for it to a file of GGUF, which is removed in the end.

    ``context`` tokens are the most that it holds at once, and ``batch`` answers. A ``ValueError`` where it would not
    serve the checkpoint as it is.
    """
    from unicomp_lib.checkpoints import models
    from unicomp_lib.evaluate import arithmetic

    if export is None:
        raise ValueError(f"engine {engine!r} needs export, a function that writes a checkpoint to a file of GGUF")
    vocabulary = len(models.load_tokenizer(checkpoint))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.gguf"
        export(Path(models.checkpoint(checkpoint)[0]), file)
        if engine == "openvino":
            _check_read_by_openvino(checkpoint, file)
        read = arithmetic.exported_bytes(file)
        with engine_process(engine, interpreter, file, vocabulary, context, batch, read=read) as pipe:
            yield pipe


def _check_read_by_openvino(checkpoint: str, file: Path) -> None:
    from gguf import GGUFReader

    for tensor in GGUFReader(file).tensors:
        kind = tensor.tensor_type.name
        if tensor.name == PASSED_OVER:
            reason = "its rotary frequencies have factors, which OpenVINO GenAI may leave out; give"
        elif len(tensor.shape) > 1 and kind not in CODED and tensor.name != EMBEDDINGS:
            reason = (
                f"its {tensor.name} is exported as {kind}, and OpenVINO GenAI reads {', '.join(CODED)}; give a "
                "checkpoint whose matrices have 4 or 8 bits, or"
            )
        else:
            continue
        raise ValueError(f"engine 'openvino' does not serve {checkpoint}: {reason} engine 'llama.cpp'")


def script(engine: str) -> str:
    """Name of the module beside this one that the interpreter of an engine runs."""
    return f"{engine.replace('.', '_')}_process"


@contextmanager
def engine_process(engine: str, interpreter: str, *arguments: object, read: int = 0) -> Iterator[Pipe]:
    """A process of another interpreter that runs the script of its engine beside this file.

    ``read`` is how many bytes of weights its file holds that are read to decode a token.
    """
    command = [interpreter, str(Path(__file__).with_name(f"{script(engine)}.py")), *map(str, arguments)]
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    except OSError as error:
        raise ValueError(
            f"interpreter {interpreter!r} does not start ({error.strerror}); give the path of a Python that has "
            f"{ENGINES[engine]}, or leave engine and interpreter empty"
        ) from error
    try:
        yield _Lines(process, read)
    finally:
        _end(process)


def _end(process: "subprocess.Popen[str]") -> None:
    """End a process with all that it has started, and wait until their memory is free: vLLM's engine is a child."""
    children: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    process.wait()
    latest = time.monotonic() + PATIENCE
    while any(map(_is_alive, children)) and time.monotonic() < latest:
        time.sleep(0.1)


def _is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


@contextmanager
def _process(checkpoint: str, precision: str, kernels: bool) -> Iterator[Pipe]:
    # spawn: a forked child would inherit the parent's memory and threads, and count them.
    context = multiprocessing.get_context("spawn")
    parent, child = context.Pipe()
    process = context.Process(target=_serve, args=(child, checkpoint, precision, kernels), daemon=True)
    process.start()
    child.close()
    try:
        yield parent
    finally:
        process.terminate()
        process.join()


def ask(pipe: Pipe, request: Any) -> dict[str, Any]:
    """The answer of a measuring process to a request; a ``RuntimeError`` where the process has ended."""
    _send(pipe, request)
    return _receive(pipe)


def _send(pipe: Pipe, request: Any) -> None:
    with _ended():
        pipe.send(request)


def _receive(pipe: Pipe) -> dict[str, Any]:
    with _ended():
        answer: dict[str, Any] = pipe.recv()
    return answer


@contextmanager
def _ended() -> Iterator[None]:
    """Say where the process at the other end is gone."""
    try:
        yield
    except (EOFError, ConnectionResetError, BrokenPipeError):
        raise RuntimeError("the measuring process ended early; see its message further up in the log") from None


def _serve(pipe: Connection, checkpoint: str, precision: str, kernels: bool) -> None:
    sys.modules.setdefault(UNUSED, None)  # type: ignore[arg-type]  # it is said not to be there
    import torch

    from unicomp_lib.checkpoints import int4, models
    from unicomp_lib.evaluate import arithmetic

    starter = multiprocessing.parent_process()
    if starter and starter.pid:
        hardware.end_with_parent(starter.pid)
    torch.set_num_threads(1)
    if kernels and hardware.device().type == "cpu" and int4.fits(Path(checkpoint), hardware.dtype(precision)):
        model = models.with_cache(int4.load(Path(checkpoint), hardware.dtype(precision)).eval())
        tokenizer = models.load_tokenizer(checkpoint)
    else:
        model, tokenizer = models.load(checkpoint, precision=precision)
    generator = torch.Generator().manual_seed(0)
    loaded = float(peak_memory())
    begun: dict[tuple[int, int], Any] = {}  # prompts of a batch, read once
    while True:
        request = pipe.recv()
        if request is None:
            # The peak first: measuring the bandwidth takes memory of its own.
            measured = {"load_memory": loaded, "peak_memory": float(peak_memory())}
            measured |= {"read": float(arithmetic.read_bytes(model)), "cache": arithmetic.cache_bytes(model)}
            if model.device.type != "cpu":
                measured["device_memory"] = hardware.device_memory()
            pipe.send({**measured, "bandwidth": arithmetic.bandwidth(model.device)})
            continue
        batch, prompt, generate = request
        tokens = torch.randint(len(tokenizer), (batch, prompt), generator=generator).to(model.device)
        if batch == 1:
            pipe.send(_measure(model, tokens, generate))
            continue
        if (batch, prompt) not in begun:
            begun[batch, prompt] = _read(model, tokens)
        token, cache = begun[batch, prompt]
        pipe.send(_decoded(model, token, copy.deepcopy(cache), generate))


def _measure(model, tokens, generate: int) -> dict[str, Any]:  # type: ignore[no-untyped-def]
    """Read a prompt (1, length), then generate."""
    start = _now(model)
    token, cache = _read(model, tokens)
    seconds = _now(model) - start
    return {"prefill": tokens.numel() / seconds, "first_token": seconds} | _decoded(model, token, cache, generate)


def _decoded(model, token, cache, generate: int) -> dict[str, Any]:  # type: ignore[no-untyped-def]
    """Generate after a first ``token`` (batch, 1)."""
    ends = [_now(model)]
    for _ in range(generate):
        token, cache = _read(model, token, cache)
        ends.append(_now(model))
    return {
        "decode": len(token) * generate / (ends[-1] - ends[0]),
        "token": [after - before for before, after in itertools.pairwise(ends)],
    }


def _read(model, tokens, cache=None):  # type: ignore[no-untyped-def]
    """The likeliest next token (batch, 1) after ``tokens`` (batch, length), and the cache."""
    import torch

    with torch.no_grad():
        out = model(tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return out.logits[:, -1:].argmax(-1), out.past_key_values


def _now(model) -> float:  # type: ignore[no-untyped-def]
    """Seconds, once the model's device has done all that it was asked."""
    import torch

    torch.get_device_module(model.device).synchronize()
    return time.perf_counter()


def peak_memory() -> int:
    """Highest resident memory of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: on Linux, a new process inherits the peak of its parent.
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
