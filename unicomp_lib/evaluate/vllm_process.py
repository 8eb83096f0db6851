"""Time and read a checkpoint in vLLM: run by an interpreter that has vLLM but not this library.

``python vllm_process.py SOURCE REVISION PRECISION LENGTH [BATCH]``; LENGTH is the most tokens of a prompt with its
answer. With BATCH, the answers that it generates at once, one thread of the CPU computes, in this process; else vLLM
uses the machine as it does by itself. Every line of standard input asks for ``[batch, prompt, generate]`` and is
answered by a line of JSON; ``{"rows": ..., "top": ...}`` by the log-likelihoods of ``read``, and ``null`` by the
process's memory, or ``{}`` without BATCH, since vLLM then reserves the memory that it was told to, whatever the model.
"""

import ctypes
import itertools
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

# The engine in this process and not in two of its own, on one thread that no core is set aside for.
ALONE = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}
BLOCK = 128  # tokens of a block of keys and values
LIMIT = 2**30  # bytes for keys and values; without a limit nearly all of the machine's memory has to be free


def end_with_parent() -> None:
    """Have Linux end this process when the one that started it ends; elsewhere it ends with its standard input."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


if __name__ in ("__main__", "__mp_main__"):
    # vLLM's engine is a process of its own, forked from this one or spawned, which imports this file as __mp_main__.
    end_with_parent()
    os.register_at_fork(after_in_child=end_with_parent)


def main() -> None:
    """Load the model and answer until standard input ends."""
    source, revision, precision, length, *given = sys.argv[1:]
    alone = int(given[0]) if given else 0
    # Whatever vLLM prints goes to standard error: standard output carries the answers alone.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # Not from this file's folder, whose statistics.py is not Python's.
    sys.path = [folder for folder in sys.path if folder != os.path.dirname(__file__)]
    model = load(source, revision, precision, int(length), alone)
    generator = random.Random(0)
    loaded = peak_memory()
    for line in sys.stdin:
        request = json.loads(line)
        answer: Any
        if isinstance(request, dict):
            answer = read(model, **request)
        elif request:
            answer = (measure_steps if alone else measure)(model, generator, *request)
        else:
            answer = {"load_memory": loaded, "peak_memory": peak_memory()} if alone and loaded else {}
        print(json.dumps(answer), file=answers, flush=True)


def load(source: str, revision: str, precision: str, length: int, alone: int) -> Any:
    """vLLM, which keeps nothing of earlier prompts; ``alone``: the answers at once on one thread, or 0."""
    settings: dict[str, Any] = {}
    os.environ["VLLM_NO_USAGE_STATS"] = "1"  # it would tell its makers of each start
    if alone:
        os.environ |= ALONE
        # A prompt is read in a single step. vLLM fills the blocks that it is given, so it gets those that a request
        # needs (each answer may leave its last one half empty), the one that it sets aside, and one more.
        settings = {
            "max_num_seqs": alone, "max_num_batched_tokens": length, "kv_cache_memory_bytes": LIMIT,
            "block_size": BLOCK, "num_gpu_blocks_override": length // BLOCK + alone + 2,
        }  # fmt: skip
    from vllm import LLM

    # Without a length vLLM reserves memory for the longest that the model allows, and refuses where that does not fit.
    return LLM(
        model=source, revision=revision or None, dtype=precision, enable_prefix_caching=False,
        max_model_len=length, max_logprobs=-1, **settings,
    )  # fmt: skip


def measure(model: Any, generator: random.Random, batch: int, prompt: int, generate: int) -> dict[str, float]:
    """Rates of one repeat: once with one token, once with ``generate`` more."""
    from vllm import SamplingParams

    seconds = []
    for tokens in (1, 1 + generate):
        prompts = random_prompts(model, generator, batch, prompt)
        settings = SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True, detokenize=False)
        start = time.perf_counter()
        model.generate(prompts, settings, use_tqdm=False)
        seconds.append(time.perf_counter() - start)
    first, total = seconds
    decode = batch * generate / max(total - first, 1e-9)
    return {"prefill": batch * prompt / first, "decode": decode, "first_token": first}


def measure_steps(model: Any, generator: random.Random, batch: int, prompt: int, generate: int) -> dict[str, Any]:
    """Rates of one repeat: every step of the engine gives each answer its next token, the first after its prompt."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    settings = SamplingParams(
        temperature=0, max_tokens=1 + generate, ignore_eos=True, detokenize=False, output_kind=RequestOutputKind.DELTA
    )
    engine = model.llm_engine
    prompts = random_prompts(model, generator, batch, prompt)
    start = time.perf_counter()
    for number, each in enumerate(prompts):
        engine.add_request(str(number), each, settings)
    steps = []
    while engine.has_unfinished_requests():
        answers = engine.step()
        steps.append(time.perf_counter())
        given = [len(answer.outputs[0].token_ids) for answer in answers]
        if given != [1] * batch:
            raise RuntimeError(f"vLLM gave {given} tokens in a step and not 1 for each of {batch} answers")
    if len(steps) != 1 + generate:
        raise RuntimeError(f"vLLM gave {len(steps)} tokens and not {1 + generate} each")
    return {
        "prefill": batch * prompt / (steps[0] - start),
        "decode": batch * generate / (steps[-1] - steps[0]),
        "first_token": steps[0] - start,
        "token": [after - before for before, after in itertools.pairwise(steps)],
    }


def random_prompts(model: Any, generator: random.Random, batch: int, prompt: int) -> list[Any]:
    """Prompts of random tokens."""
    size = len(model.get_tokenizer())
    return [{"prompt_token_ids": [generator.randrange(size) for _ in range(prompt)]} for _ in range(batch)]


def read(model: Any, rows: list[list[int]], top: int) -> dict[str, list[Any]]:
    """What the model says of each token but the first of each of ``rows``, after those before it.

    ``right``: its log-likelihood; ``ids`` and ``likely``: the ``top`` likeliest tokens in its place and their
    log-probabilities, likeliest first.
    """
    from vllm import SamplingParams

    asked = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=top, detokenize=False)
    answer: dict[str, list[Any]] = {"right": [], "ids": [], "likely": []}
    for row in rows:
        (done,) = model.generate([{"prompt_token_ids": row}], asked, use_tqdm=False)
        for token, told in zip(row[1:], done.prompt_logprobs[1:], strict=True):
            # Beside the likeliest it tells of the token that is there, whatever its rank.
            found = sorted(told.items(), key=lambda each: -each[1].logprob)[:top]
            answer["right"].append(told[token].logprob)
            answer["ids"].append([each for each, _ in found])
            answer["likely"].append([each.logprob for _, each in found])
    return answer


def peak_memory() -> float:
    """Highest resident bytes of this process so far, where Linux says so; else 0."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((float(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0.0)


if __name__ == "__main__":
    main()
