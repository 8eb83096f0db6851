"""Time and read a file of GGUF in OpenVINO GenAI: run by an interpreter that has it but not this library.

``python openvino_process.py FILE VOCABULARY CONTEXT BATCH``: tokens that it may be asked to read, the most that it
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


def main() -> None:
    """Load the model and answer until standard input ends."""
    if sys.platform == "linux":  # elsewhere this process ends with its standard input
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    file, vocabulary, context, batch = sys.argv[1:]
    # Whatever OpenVINO prints goes to standard error: standard output carries the answers alone.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # Not from this file's folder, whose statistics.py is not Python's.
    sys.path = [folder for folder in sys.path if folder != os.path.dirname(__file__)]
    engine = load(file, int(context), int(batch))
    generator = random.Random(0)
    loaded = peak_memory()
    for line in sys.stdin:
        request = json.loads(line)
        answer: Any
        if isinstance(request, dict):
            answer = read(engine, request["rows"])
        elif request:
            answer = measure(engine, generator, int(vocabulary), *request)
        else:
            answer = {"load_memory": loaded, "peak_memory": peak_memory()} if loaded else {}
        print(json.dumps(answer), file=answers, flush=True)


def load(file: str, context: int, batch: int) -> Any:
    """OpenVINO's engine in this process, which keeps nothing of earlier prompts and reads one in a single step.

    It is told to hold keys and values in float16, so that none are rounded to fewer bits.
    """
    import openvino_genai  # type: ignore[import-not-found]

    plan = openvino_genai.SchedulerConfig()
    plan.enable_prefix_caching = False
    plan.max_num_batched_tokens, plan.max_num_seqs = context, batch
    settings = {"INFERENCE_NUM_THREADS": 1, "KV_CACHE_PRECISION": "f16"}
    return openvino_genai.ContinuousBatchingPipeline(file, plan, "CPU", settings)


def measure(engine: Any, generator: random.Random, vocabulary: int, batch: int, prompt: int, generate: int) -> Any:
    """Rates of one repeat: every step of the engine gives each answer its next token, the first after its prompt."""
    import numpy as np
    import openvino  # type: ignore[import-not-found]
    import openvino_genai

    greedy = openvino_genai.GenerationConfig()
    greedy.max_new_tokens, greedy.ignore_eos, greedy.do_sample = 1 + generate, True, False
    prompts = [np.array([[generator.randrange(vocabulary) for _ in range(prompt)]]) for _ in range(batch)]
    start = time.perf_counter()
    asked = [engine.add_request(number, openvino.Tensor(row), greedy) for number, row in enumerate(prompts)]
    steps = []
    while engine.has_non_finished_requests():
        engine.step()
        steps.append(time.perf_counter())
        given = [sum(len(output.generated_ids) for output in each.read().values()) for each in asked if each.can_read()]
        if given != [1] * batch:
            raise RuntimeError(f"OpenVINO gave {given} tokens in a step and not 1 for each of {batch} answers")
    if len(steps) != 1 + generate:
        raise RuntimeError(f"OpenVINO gave {len(steps)} tokens and not {1 + generate} each")
    return {
        "prefill": batch * prompt / (steps[0] - start),
        "decode": batch * generate / (steps[-1] - steps[0]),
        "first_token": steps[0] - start,
        "token": [after - before for before, after in itertools.pairwise(steps)],
    }


def read(engine: Any, rows: list[list[int]]) -> dict[str, list[Any]]:
    """What the model says of each token but the first of each of ``rows``, after those before it: its log-likelihood.

    The engine tells that of no other token, so the ``likely`` ones are these alone, however many are asked for.
    """
    import numpy as np
    import openvino
    import openvino_genai

    echo = openvino_genai.GenerationConfig()
    echo.max_new_tokens, echo.echo, echo.logprobs = 0, True, 1
    answer: dict[str, list[Any]] = {"right": [], "ids": [], "likely": []}
    for number, row in enumerate(rows):
        asked = engine.add_request(number, openvino.Tensor(np.array([row])), echo)
        while engine.has_non_finished_requests():
            engine.step()
        (told,) = asked.read_all()
        if list(told.generated_ids) != row or len(told.generated_log_probs) != len(row):
            raise RuntimeError(f"OpenVINO told of {len(told.generated_log_probs)} tokens and not of these {len(row)}")
        right = list(told.generated_log_probs)[1:]
        answer["right"] += right
        answer["ids"] += [[token] for token in row[1:]]
        answer["likely"] += [[value] for value in right]
    return answer


def peak_memory() -> float:
    """Highest resident bytes of this process so far, where Linux says so; else 0."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((float(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0.0)


if __name__ == "__main__":
    main()
