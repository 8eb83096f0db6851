"""For the pretended hub: data sets of a few rows in the columns of those that ``params/hub.yaml`` pins, and models."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import families
import hub
import numpy as np
import torch
from safetensors.numpy import save_file
from safetensors.torch import load_file
from words import AWQ_ORDER, packed

from unicomp_lib.inputs.hub import catalogue

SUBJECTS = ("abstract_algebra", "anatomy", "world_religions")
COUNT = 8  # rows of each split

Rows = list[dict[str, Any]]


def stocked(folder: Path, *, leave_out: set[str] = frozenset()) -> Path:
    """Publish all data sets of ``params/hub.yaml`` but those left out, with every config and split."""
    for name, wanted in catalogue().items():
        if name in leave_out:
            continue
        if wanted.file:
            path = folder / "datasets" / wanted.repository / wanted.file
            path.parent.mkdir(parents=True)
            path.write_bytes(gzip.compress("\n".join(json.dumps(row) for row in ROWS[name]("", "")).encode()))
        else:
            configs = {
                config: {split: ROWS[name](config, split) for split in wanted.splits} for config in wanted.configs
            }
            hub.publish(folder, wanted.repository, configs)
    return folder


def _mmlu(config: str, split: str) -> Rows:
    return [
        {
            "question": f"In subject {index % 3}, which number is {index}? ",
            "subject": SUBJECTS[index % 3],
            "choices": [str(index + step) for step in range(4)],
            "answer": 0,
        }
        for index in range(COUNT)
    ]


def _global_mmlu(config: str, split: str) -> Rows:
    return [
        {
            "sample_id": f"{SUBJECTS[index % 3]}/test/{index}",
            "subject": SUBJECTS[index % 3],
            "question": f"({config}) {index} + 1 = ?",
            **{f"option_{letter}": str(index + step) for step, letter in enumerate("abcd")},
            "answer": "B",
        }
        for index in range(COUNT)
    ]


def _arc(config: str, split: str) -> Rows:
    """Options with letters or with numbers, three to five of them, as in the real set."""
    rows = []
    for index in range(COUNT):
        labels = [list("ABCD"), list("1234"), list("ABC"), list("ABCDE")][index % 4]
        choices = {"text": [f"thing {index}-{label}" for label in labels], "label": labels}
        rows.append({"id": str(index), "question": f"What is {index}?", "choices": choices, "answerKey": labels[1]})
    return rows


def _hellaswag(config: str, split: str) -> Rows:
    return [
        {
            "activity_label": "Roof repair",
            "ctx_a": f"[header] Man number {index} is on a roof.",
            "ctx_b": "he",
            "endings": [f"starts to work [title] part {index}.", "sings.", "sleeps.", "eats."],
            "label": "0",
        }
        for index in range(COUNT)
    ]


def _piqa(config: str, split: str) -> Rows:
    return [
        {"goal": f"How do I boil {index} eggs?", "sol1": "In water.", "sol2": "In a freezer.", "label": 0}
        for index in range(COUNT)
    ]


def _winogrande(config: str, split: str) -> Rows:
    return [
        {
            "sentence": f"Sarah was better than Maria, so _ got the {index} easier cases.",
            "option1": "Sarah",
            "option2": "Maria",
            "answer": "2",
        }
        for index in range(COUNT)
    ]


def _truthfulqa(config: str, split: str) -> Rows:
    """Each question with a number of answers of its own."""
    rows = []
    for index in range(COUNT):
        answers = [
            f"Nothing happens {index}.",
            *(f"You turn into a frog {index}-{step}." for step in range(1 + index % 4)),
        ]
        targets = {"choices": answers, "labels": [1] + [0] * (len(answers) - 1)}
        rows.append({"question": f"What happens if you eat {index} seeds?", "mc1_targets": targets})
    return rows


def _gsm8k(config: str, split: str) -> Rows:
    return [
        {"question": f"Ann has {index} apples and buys {index} more. How many has she?",
         "answer": f"She has {index}+{index}=<<{index}+{index}={1000 + index}>>{1000 + index}.\n#### 1,{index:03}"}
        for index in range(COUNT)
    ]  # fmt: skip


def _math_500(config: str, split: str) -> Rows:
    return [
        {
            "problem": f"What is $\\frac{{{index}}}{{7}} + 1$?",
            "solution": f"It is $\\boxed{{\\frac{{{index + 7}}}{{7}}}}$.",
            "answer": f"\\frac{{{index + 7}}}{{7}}",
            "subject": "Algebra",
            "level": 1,
            "unique_id": f"test/algebra/{index}.json",
        }
        for index in range(COUNT)
    ]


def _math(config: str, split: str) -> Rows:
    """One of the test's problems is among them, and one drawing: neither may become an example."""
    rows = [
        {"problem": f"In {config}, what is {index}+1?", "solution": f"$\\boxed{{{index + 1}}}$."}
        for index in range(COUNT)
    ]
    asked = {"problem": _math_500("", "")[0]["problem"], "solution": "It is asked."}
    drawn = {"problem": f"[asy] {config} [/asy] What is drawn?", "solution": "$\\boxed{1}$."}
    return [{**row, "level": "Level 1", "type": config} for row in (*rows, asked, drawn)]


def _gpqa(config: str, split: str) -> Rows:
    """Diamond is the first part of main; one question of main has no explanation."""
    count = COUNT if config == "gpqa_diamond" else 2 * COUNT
    return [
        {
            "Question": f"Which particle is number {index}?",
            "Correct Answer": f"particle {index}",
            **{f"Incorrect Answer {step}": f"particle {index + step}" for step in (1, 2, 3)},
            "Explanation": None if index == COUNT else f"Particles are numbered; this is number {index}.",
            "Record ID": str(index),
        }
        for index in range(count)
    ]


def _c4(config: str, split: str) -> Rows:
    return [{"text": f"Page {index} tells of a town, its {index} houses and the people in them.", "url": "",
             "timestamp": ""} for index in range(40)]  # fmt: skip


def _wikitext2(config: str, split: str) -> Rows:
    return [{"text": text} for text in ("", " = Title = \n", "", " A paragraph of words about a town . \n") * COUNT]


ROWS = {
    "mmlu": _mmlu,
    "global-mmlu": _global_mmlu,
    "arc": _arc,
    "hellaswag": _hellaswag,
    "piqa": _piqa,
    "winogrande": _winogrande,
    "truthfulqa": _truthfulqa,
    "gsm8k": _gsm8k,
    "math-500": _math_500,
    "math": _math,
    "gpqa": _gpqa,
    "c4": _c4,
    "wikitext2": _wikitext2,
}


def publish_models(folder: Path, repositories: list[str], *, layers: int = 2, hidden: int = 128) -> None:
    """Small models under these names: byte tokenizer, chat template, and a generation file that would sample.

    The row of the end-of-text token is enlarged and a quarter of all tokens end an answer, so that greedy ones end,
    some of them late.
    """
    from transformers import AutoTokenizer

    from unicomp_lib.checkpoints import models

    source, _ = models.checkpoint(models.TINY)
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.chat_template = (
        "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    for repository in repositories:
        family = "qwen2" if "Qwen" in repository else "llama"
        plain = {"use_sliding_window": False} if family == "qwen2" else {}
        sizes = {"hidden_size": hidden, "intermediate_size": 2 * hidden}
        network = families.build(family, layers=layers, **sizes, max_position_embeddings=8192, **plain)
        with torch.no_grad():
            network.lm_head.weight[0] *= 8
        home = folder / "models" / repository
        network.to(torch.bfloat16).save_pretrained(home)
        tokenizer.save_pretrained(home)
        sampled = {"do_sample": True, "repetition_penalty": 1.05, "temperature": 0.7, "top_k": 20, "top_p": 0.8}
        ends = {"eos_token_id": [0, *range(1, len(tokenizer), 4)], "bos_token_id": 0}
        (home / "generation_config.json").write_text(json.dumps({**ends, **sampled}))
        (home / "modeling_custom.py").write_text("raise SystemExit('code of a repository was run')\n")
        (home / "pytorch_model.bin").write_bytes(b"no safe form of weights")


GROUP = 128  # inputs that share a scale, as in the published checkpoints
SAVED = {
    "awq": {"version": "gemm", "zero_point": True, "modules_to_not_convert": None},
    "gptq": {"desc_act": False, "sym": True, "damp_percent": 0.01, "static_groups": False, "true_sequential": True},
}


def publish_rounded(folder: Path, repository: str, *, of: str) -> None:
    """The published model ``of`` with weights of 4 bits, in the files of AutoAWQ or AutoGPTQ, as the name says."""
    home, method = folder / "models" / repository, "awq" if "AWQ" in repository else "gptq"
    shutil.copytree(folder / "models" / of, home)
    tensors = {}
    for name, tensor in load_file(home / "model.safetensors").items():
        if name.endswith("_proj.weight"):
            tensors |= _rounded(name.removesuffix(".weight"), tensor.float().numpy(), method)
        else:
            tensors[name] = tensor.half().numpy()
    save_file(tensors, home / "model.safetensors", metadata={"format": "pt"})
    settings = json.loads((home / "config.json").read_text())
    settings["quantization_config"] = {"quant_method": method, "bits": 4, "group_size": GROUP, **SAVED[method]}
    (home / "config.json").write_text(json.dumps(settings))


def _rounded(own: str, weight: np.ndarray, method: str) -> dict[str, np.ndarray]:
    """The tensors that stand for a matrix (outputs, inputs): codes around a zero point of 8, a scale a group."""
    outputs, inputs = weight.shape
    groups = weight.T.reshape(-1, GROUP, outputs)
    scales = (np.abs(groups).max(1) / 7).astype(np.float16)
    codes = np.clip(np.rint(groups / scales[:, None].astype(np.float32)) + 8, 0, 15).astype(int)
    axis, order = (1, AWQ_ORDER) if method == "awq" else (0, None)
    stored = np.full(scales.shape, 8 if method == "awq" else 7)  # AutoGPTQ saves one less
    tensors = {
        f"{own}.qweight": packed(codes.reshape(inputs, outputs), 4, axis, order),
        f"{own}.qzeros": packed(stored, 4, 1, order),
        f"{own}.scales": scales,
    }
    if method == "gptq":
        tensors[f"{own}.g_idx"] = (np.arange(inputs) // GROUP).astype(np.int32)
    return tensors
