"""Checkpoints in vLLM: it reads them, and gives every token the log-likelihood that this study gives it.

vLLM's pins conflict with this environment's, so it runs in a Python of its own, which UNICOMP_VLLM_PYTHON names.
"""

import json
import os
import re
import subprocess

import pytest
import torch

from unicomp_lib.checkpoints import float4, float8, int8, models, packed_integers, saving
from unicomp_lib.compress import fp8, mxfp4, nvfp4, rtn, sinq, smoothquant
from unicomp_lib.inputs import calibration

INTERPRETER = os.environ.get("UNICOMP_VLLM_PYTHON", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not INTERPRETER, reason="UNICOMP_VLLM_PYTHON names no Python interpreter that has vLLM"),
]

# Standard input: rows of tokens. The second argument: the file that gets the log-likelihood of each but a row's first.
SCORE = """
import json, sys

if __name__ == "__main__":
    from vllm import LLM, SamplingParams

    rows = json.load(sys.stdin)
    model = LLM(model=sys.argv[1], dtype="bfloat16", enforce_eager=True, max_model_len=256, max_num_seqs=4)
    asked = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0, detokenize=False)
    found = model.generate([{"prompt_token_ids": row} for row in rows], asked, use_tqdm=False)
    chosen = [zip(row[1:], done.prompt_logprobs[1:]) for row, done in zip(rows, found)]
    with open(sys.argv[2], "w") as file:
        json.dump([[place[token].logprob for token, place in row] for row in chosen], file)
"""


def in_vllm(folder, tokens):
    """The finished process that scored ``tokens`` (rows, length) with vLLM, into a file beside ``folder``."""
    script = folder.with_suffix(".py")
    script.write_text(SCORE)
    # A small cache and one core: the model is small, and vLLM would take half of the machine's memory.
    settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "0", "HF_HUB_OFFLINE": "1"}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | settings
    command = [INTERPRETER, str(script), str(folder), str(folder.with_suffix(".json"))]
    return subprocess.run(command, input=json.dumps(tokens.tolist()), text=True, capture_output=True, env=environment)


@torch.no_grad()
def log_likelihoods(model, tokens):
    """Log-likelihood of each token but the first of each row of ``tokens``, in nats."""
    logits = model(tokens).logits[:, :-1].float().log_softmax(-1)
    return logits.gather(-1, tokens[:, 1:, None])[..., 0]


def packed(bits, symmetric):
    def compress(model, _):
        return rtn.compress(model, bits=bits, group_size=64, symmetric=symmetric), packed_integers.save

    return compress


def rounded_too(model, tokens):
    return smoothquant.compress(model, tokens), int8.save


FORMS = {
    "W4A16": packed(4, symmetric=True),
    "W4A16 with zero points": packed(4, symmetric=False),
    "W8A8": rounded_too,
    "FP8": lambda model, _: (fp8.compress(model), float8.save),
    "SINQ": lambda model, _: (sinq.compress(model), packed_integers.save),
}
REFUSED = {
    "W2A16": packed(2, symmetric=True),
    "W3A16": packed(3, symmetric=True),
    "W3A16 with zero points": packed(3, symmetric=False),
    "W8A16": packed(8, symmetric=True),
    "W8A16 with zero points": packed(8, symmetric=False),
    "NVFP4": lambda model, _: (nvfp4.compress(model), float4.save),
    "MXFP4": lambda model, _: (mxfp4.compress(model), float4.save),
}
NO_KERNEL = "Failed to find a kernel|Marlin FP4 not available"


def saved(form, folder):
    """The real model in ``form``, saved to ``folder``, and the tokens to score."""
    model, tokenizer = models.load("smollm2-135m-instruct", precision="bfloat16", on="cpu")
    model, write = form(model, calibration.blocks(tokenizer, samples=8, length=128))
    saving.save(model, tokenizer, folder, write=write)
    return calibration.blocks(tokenizer, "held-out", samples=4, length=128)


@pytest.mark.parametrize("name", FORMS)
def test_vllm_gives_the_log_likelihoods_of_this_study(name, tmp_path):
    tokens = saved(FORMS[name], tmp_path / "checkpoint")
    done = in_vllm(tmp_path / "checkpoint", tokens)
    assert done.returncode == 0, done.stderr[-3000:]
    theirs = torch.tensor(json.loads((tmp_path / "checkpoint.json").read_text()))
    here = {
        precision: log_likelihoods(models.load(str(tmp_path / "checkpoint"), precision=precision, on="cpu")[0], tokens)
        for precision in ("bfloat16", "float32")
    }
    # Two orders of summation in bfloat16 differ as one of them differs from float32: by 0.05 nats with 4 bits, and
    # by 0.15 to 0.2 where inputs are rounded too, since that turns small differences into whole steps.
    rounding = (here["bfloat16"] - here["float32"]).abs().mean()
    assert (theirs - here["float32"]).abs().mean() < 2 * rounding
    assert (theirs - here["float32"]).mean().abs() < rounding
    assert rounding < 0.3


@pytest.mark.skipif(torch.cuda.is_available(), reason="vLLM has other kernels for GPUs")
@pytest.mark.parametrize("name", REFUSED)
def test_vllm_on_a_cpu_has_no_kernel_for_other_forms(name, tmp_path):
    tokens = saved(REFUSED[name], tmp_path / "checkpoint")
    done = in_vllm(tmp_path / "checkpoint", tokens)
    assert done.returncode != 0
    assert re.search(NO_KERNEL, done.stderr + done.stdout)
