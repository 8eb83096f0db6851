"""Time and read a file of GGUF in llama.cpp: run by an interpreter that has the package xllamacpp but not this library.

``python llama_cpp_process.py FILE VOCABULARY CONTEXT BATCH``: tokens that it may be asked to read, the most that it
holds at once, and answers that it generates at once. One thread computes. Every line of standard input asks for
``[batch, prompt, generate]`` and is answered by a line of JSON; ``null`` is answered by the process's memory, and
``{"rows": ..., "top": ...}`` by the log-likelihoods of ``read``.
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

ERRORS = 1  # alone: otherwise each request is several lines in a notebook
EVERY = 2**30  # more tokens than any vocabulary has: the server then tells of all


def main() -> None:
    """Load the model and answer until standard input ends."""
    if sys.platform == "linux":  # elsewhere this process ends with its standard input
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    file, vocabulary, context, batch = sys.argv[1:]
    # Whatever llama.cpp prints goes to standard error: standard output carries the answers alone.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # Not from this file's folder, whose statistics.py is not Python's.
    sys.path = [folder for folder in sys.path if folder != os.path.dirname(__file__)]
    server = load(file, int(context), int(batch))
    generator = random.Random(0)
    loaded = peak_memory()
    for line in sys.stdin:
        request = json.loads(line)
        answer: Any
        if isinstance(request, dict):
            answer = read(server, **request)
        elif request:
            answer = measure(server, generator, int(vocabulary), *request)
        else:
            answer = {"load_memory": loaded, "peak_memory": peak_memory()} if loaded else {}
        print(json.dumps(answer), file=answers, flush=True)


def load(file: str, context: int, batch: int) -> Any:
    """llama.cpp's server in this process, without its caches of earlier prompts."""
    import xllamacpp  # type: ignore[import-not-found]

    settings = xllamacpp.CommonParams()
    settings.model.path, settings.warmup = file, False
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
    settings.n_ctx, settings.n_parallel, settings.kv_unified = context, batch, True
    settings.cache_ram_mib, settings.n_ctx_checkpoints = 0, 0
    settings.verbosity = ERRORS
    return xllamacpp.Server(settings)


def measure(server: Any, generator: random.Random, vocabulary: int, batch: int, prompt: int, generate: int) -> Any:
    """Rates of one repeat; a step has ended when the last of the answers has its token."""
    prompts = [[generator.randrange(vocabulary) for _ in range(prompt)] for _ in range(batch)]
    ends: list[list[float]] = [[] for _ in prompts]

    def note(part: dict[str, Any] | None) -> None:  # None: nothing yet
        now = time.perf_counter()
        for choice in (part or {}).get("choices", []):
            if choice["finish_reason"] is None:
                ends[choice["index"]].append(now)

    # It is made to write a letter, for it reports no token that is half a character.
    asked = {
        "prompt": prompts if batch > 1 else prompts[0], "n_predict": 1 + generate, "temperature": 0, "stream": True,
        "cache_prompt": False, "ignore_eos": True, "logit_bias": [["a", 1000.0]],
    }  # fmt: skip
    start = time.perf_counter()
    server.handle_completions(asked, note)
    if any(len(each) != 1 + generate for each in ends):
        raise RuntimeError(f"llama.cpp gave {[len(each) for each in ends]} tokens and not {1 + generate} each")
    steps = [max(step) for step in zip(*ends, strict=True)]
    return {
        "prefill": batch * prompt / (steps[0] - start),
        "decode": batch * generate / (steps[-1] - steps[0]),
        "first_token": steps[0] - start,
        "token": [after - before for before, after in itertools.pairwise(steps)],
    }


def read(server: Any, rows: list[list[int]], top: int) -> dict[str, list[Any]]:
    """What the model says of each token but the first of each of ``rows``, after those before it.

    ``right``: its log-likelihood; ``ids`` and ``likely``: the ``top`` likeliest tokens in its place and their
    log-probabilities, likeliest first.
    """
    answer: dict[str, list[Any]] = {"right": [], "ids": [], "likely": []}
    for row in rows:
        for place, token in enumerate(row[1:], 1):
            # The server scores no prompt, but it tells the log-likelihood of what it writes as it was before the bias:
            # so it is made to write the token that is there.
            told = written(server, row[:place], token, top)
            if told:
                right, found = told["logprob"], told["top_logprobs"]
            else:  # half a character, or the end of a text: it is looked for among all tokens
                found = written(server, row[:place], "a", EVERY)["top_logprobs"]
                right = next(each["logprob"] for each in found if each["id"] == token)
            answer["right"].append(right)
            answer["ids"].append([each["id"] for each in found[:top]])
            answer["likely"].append([each["logprob"] for each in found[:top]])
    return answer


def written(server: Any, prompt: list[int], token: int | str, top: int) -> dict[str, Any]:
    """What the server tells of the one token that it is made to write after a prompt; empty where it tells nothing."""
    asked = {
        "prompt": prompt, "n_predict": 1, "n_probs": top, "temperature": 0, "logit_bias": [[token, 1000.0]],
        "cache_prompt": True, "post_sampling_probs": False,
    }  # fmt: skip
    (choice,) = server.handle_completions(asked)["choices"]
    told = (choice.get("logprobs") or {}).get("content") or [{}]
    return dict(told[0])


def peak_memory() -> float:
    """Highest resident bytes of this process so far, where Linux says so; else 0."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((float(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0.0)


if __name__ == "__main__":
    main()
