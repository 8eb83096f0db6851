"""One method of llm-compressor, measured: ``python llm_compressor_side.py METHOD MODEL TOKENS REPORT``."""

import sys
from pathlib import Path

import torch
from cost import measured
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.pruning import SparseGPTModifier, WandaPruningModifier
from llmcompressor.modifiers.quantization import GPTQModifier, QuantizationModifier
from llmcompressor.modifiers.transform.awq import AWQModifier
from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier
from llmcompressor.pipelines.cache import IntermediatesCache
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

# Without this its pruning includes the head, which in tied models is the embeddings.
DENSE = ["re:.*lm_head.*"]


def int4(symmetric: bool) -> dict:
    """Its scheme of 4-bit weights in groups of 64: the model's widths are not multiples of 128."""
    weights = {"num_bits": 4, "type": "int", "symmetric": symmetric, "strategy": "group", "group_size": 64}
    return {"group_0": {"targets": ["Linear"], "weights": weights}}


METHODS = {
    "dense": [],
    "wanda-50": [WandaPruningModifier(sparsity=0.5, mask_structure="0:0", ignore=DENSE)],
    "wanda-2-4": [WandaPruningModifier(sparsity=0.5, mask_structure="2:4", ignore=DENSE)],
    "sparsegpt-50": [SparseGPTModifier(sparsity=0.5, mask_structure="0:0", ignore=DENSE)],
    "sparsegpt-2-4": [SparseGPTModifier(sparsity=0.5, mask_structure="2:4", ignore=DENSE)],
    "gptq-int4": [GPTQModifier(config_groups=int4(True), ignore=DENSE)],
    "awq-int4": [AWQModifier(), QuantizationModifier(config_groups=int4(False), ignore=DENSE)],
    "smoothquant-w8a8": [
        SmoothQuantModifier(smoothing_strength=0.5),
        QuantizationModifier(scheme="W8A8", targets="Linear", ignore=DENSE),
    ],
    "w8a8": [QuantizationModifier(scheme="W8A8", targets="Linear", ignore=DENSE)],
}

if __name__ == "__main__":
    method, source, tokens, report = sys.argv[1:]
    torch.set_num_threads(1)
    # Its AWQ pins memory, which a machine without an accelerator cannot.
    if not torch.accelerator.is_available():
        IntermediatesCache.pin_memory = lambda *_, **__: None
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
    text = load_file(tokens)
    rows = text["calibration"].tolist()
    data = Dataset.from_dict({"input_ids": rows, "attention_mask": [[1] * len(row) for row in rows]})

    def compress() -> torch.nn.Module:
        if METHODS[method]:
            oneshot(
                model=model, dataset=data, recipe=METHODS[method], num_calibration_samples=len(rows),
                max_seq_length=len(rows[0]), shuffle_calibration_samples=False,
            )  # fmt: skip
        return model

    measured(compress, text["evaluation"], Path(report))
