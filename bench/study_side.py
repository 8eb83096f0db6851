"""One method of this study, measured: ``python study_side.py METHOD MODEL TOKENS REPORT``."""

import sys
from pathlib import Path

import torch
from cost import measured
from safetensors.torch import load_file

from unicomp_lib.checkpoints import int8, models
from unicomp_lib.compress import awq, gptq, smoothquant, sparsegpt, wanda

METHODS = {
    "dense": lambda model, tokens: model,
    "wanda-50": wanda.compress,
    "wanda-2-4": lambda model, tokens: wanda.compress(model, tokens, pattern="2:4"),
    "sparsegpt-50": sparsegpt.compress,
    "sparsegpt-2-4": lambda model, tokens: sparsegpt.compress(model, tokens, pattern="2:4"),
    "gptq-int4": lambda model, tokens: gptq.compress(model, tokens, bits=4, group_size=64),
    "awq-int4": lambda model, tokens: awq.compress(model, tokens, bits=4, group_size=64),
    "smoothquant-w8a8": smoothquant.compress,
    "w8a8": lambda model, tokens: int8.replace(model),
}

if __name__ == "__main__":
    method, source, tokens, report = sys.argv[1:]
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    model, _ = models.load(source, on="cpu")
    text = load_file(tokens)
    measured(lambda: METHODS[method](model, text["calibration"]), text["evaluation"], Path(report))
