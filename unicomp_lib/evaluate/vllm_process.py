"""Time a checkpoint in vLLM: run by an interpreter that has vLLM but not this library.

``python vllm_process.py SOURCE REVISION PRECISION LENGTH``; LENGTH is the most tokens of a prompt with its
answer. Every line of standard input asks for ``[batch, prompt, generate]`` and is answered by a line of JSON;
``null`` is answered by ``{}``, since vLLM reserves the memory that it was told to, whatever the model.
"""

import ctypes
import json
import os
import random
import signal
import sys
import time
from typing import Any


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
    source, revision, precision, length = sys.argv[1:]
    # Whatever vLLM prints goes to standard error: standard output carries the answers alone.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # Not from this file's folder, whose statistics.py is not Python's.
    sys.path = [folder for folder in sys.path if folder != os.path.dirname(__file__)]
    from vllm import LLM

    # Without a length vLLM reserves memory for the longest that the model allows, and refuses where that does not fit.
    model = LLM(
        model=source, revision=revision or None, dtype=precision, enable_prefix_caching=False, max_model_len=int(length)
    )
    generator = random.Random(0)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(measure(model, generator, *request) if request else {}), file=answers, flush=True)


def measure(model: Any, generator: random.Random, batch: int, prompt: int, generate: int) -> dict[str, float]:
    """Rates of one repeat: once with one token, once with ``generate`` more."""
    from vllm import SamplingParams

    size = len(model.get_tokenizer())
    seconds = []
    for tokens in (1, 1 + generate):
        prompts = [{"prompt_token_ids": [generator.randrange(size) for _ in range(prompt)]} for _ in range(batch)]
        settings = SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True, detokenize=False)
        start = time.perf_counter()
        model.generate(prompts, settings, use_tqdm=False)
        seconds.append(time.perf_counter() - start)
    first, total = seconds
    decode = batch * generate / max(total - first, 1e-9)
    return {"prefill": batch * prompt / first, "decode": decode, "first_token": first}


if __name__ == "__main__":
    main()
