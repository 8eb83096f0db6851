"""What is exact and what is refused, by model family: computed on tiny random models, written to docs/families.md.

``python tests/family_table.py`` writes the page; a test holds it to the code.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import families
import torch
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from unicomp_lib import files, paths
from unicomp_lib.checkpoints import (
    decoder,
    float4,
    float8,
    float_zeros,
    int4_inputs,
    models,
    packed_integers,
    quantized_cache,
    quanto_form,
    saving,
)
from unicomp_lib.checkpoints import int8 as int8_form
from unicomp_lib.compress import (
    awq,
    cache,
    fp8,
    gptq,
    hqq,
    layers,
    lrc,
    magnitude,
    minitron,
    mxfp4,
    nvfp4,
    quanto,
    quarot,
    rotate,
    rtn,
    sinq,
    smoothquant,
    sparsegpt,
    students,
    wanda,
)
from unicomp_lib.evaluate.packed_lm import PackedLM

PAGE = paths.project() / "docs" / "families.md"
EXACT, REFUSED = "exact", "refused"
TOKENS = families.tokens(rows=4)
PLAIN = PreTrainedModel.save_pretrained

# Each method on a tiny model, and the form in which it is saved.
METHODS: dict[str, tuple[Callable[[PreTrainedModel], PreTrainedModel], Callable[[PreTrainedModel, Path], None]]] = {
    "magnitude": (lambda model: magnitude.compress(model), PLAIN),
    "Wanda": (lambda model: wanda.compress(model, TOKENS), PLAIN),
    "SparseGPT": (lambda model: sparsegpt.compress(model, TOKENS), PLAIN),
    "RTN": (lambda model: rtn.compress(model, group_size=32), packed_integers.save),
    "GPTQ": (lambda model: gptq.compress(model, TOKENS, group_size=32), packed_integers.save),
    "AWQ": (lambda model: awq.compress(model, TOKENS, group_size=32), packed_integers.save),
    "SmoothQuant": (lambda model: smoothquant.compress(model, TOKENS), int8_form.save),
    "FP8": (lambda model: fp8.compress(model), float8.save),
    "NVFP4": (lambda model: nvfp4.compress(model), float4.save),
    "MXFP4": (lambda model: mxfp4.compress(model), float4.save),
    "HQQ": (lambda model: hqq.compress(model, group_size=32), float_zeros.save),
    "SINQ": (lambda model: sinq.compress(model, group_size=32), packed_integers.save),
    "quanto int8": (lambda model: quanto.compress(model, weights="int8"), quanto_form.save),
    "depth": (lambda model: minitron.depth(model, TOKENS, keep=3), PLAIN),
    "width": (lambda model: minitron.width(model, TOKENS, neurons=96), PLAIN),
    "Low-Rank Clone": (
        lambda model: students.cast(lrc.Clone(model, TOKENS, hidden=48).plain(), torch.bfloat16),
        PLAIN,
    ),
    "rotation": (lambda model: rotate.compress(model), PLAIN),
    "QuaRot": (lambda model: quarot.compress(model, TOKENS, group_size=32), int4_inputs.save),
}

# Forms of a quantized cache, each with groups of several to a head, or to a text; a family must have all of a column.
CACHES: dict[str, list[dict[str, Any]]] = {
    "cache": [{"group_size": 8}, {"keys": "int4", "values": "int4", "group_size": 8, "hadamard": True}],
    "cache, keys by channel": [{"keys": "int4", "values": "int4", "group_size": 8, "per_channel": True}],
}


def rows() -> list[dict[str, str]]:
    """A row a family: "exact", or why not, in each column."""
    _, tokenizer = models.load(models.TINY, precision="float32", on="cpu")
    return [_row(family, tokenizer) for family in families.FAMILIES]


def _row(family: str, tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    checks: dict[str, Callable[[], bool]] = {
        "layer by layer": lambda: _walks(families.build(family)),
        "ranked": lambda: _ranks(families.build(family), tokenizer),
        "generated": lambda: _generates(families.build(family), tokenizer),
    } | {name: lambda way=way: _survives(families.build(family), tokenizer, *way) for name, way in METHODS.items()}
    survives = checks["rotation"]
    checks["rotation"] = lambda: survives() and _stays(families.build(family))
    checks |= {
        name: lambda forms=forms: _is_cached(families.build(family), tokenizer, forms) for name, forms in CACHES.items()
    }
    return {"family": family} | {name: _outcome(check) for name, check in checks.items()}


def _outcome(check: Callable[[], bool]) -> str:
    try:
        return EXACT if check() else "WRONG"
    except ValueError as error:
        return f"{REFUSED}: {error}"


@torch.no_grad()
def _walks(model: PreTrainedModel) -> bool:
    """An unchanged walk gives the model's own hidden states to 1e-4."""
    states: dict[int, torch.Tensor] = {}
    handles = [
        layer.register_forward_hook(
            lambda _, __, out, index=index: states.__setitem__(index, out[0] if isinstance(out, tuple) else out)
        )
        for index, layer in enumerate(decoder.layers(model))
    ]
    model(input_ids=TOKENS, use_cache=False)
    own = {index: state.clone() for index, state in states.items()}
    for handle in handles:
        handle.remove()
    given = {index: feed(layers.nothing) for index, _, feed in layers.walk(model, TOKENS)}
    return all(float((given[index] - own[index]).abs().max() / own[index].abs().max()) < 1e-4 for index in own)


def _ranks(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Log-likelihoods equal plain lm-eval's to 1e-3 nats."""
    pairs = [("Which one was meant? Answer:", " this"), ("Which one was meant? Answer:", " that one"), ("Q:", " b")]
    given = [(("", ""), tokenizer.encode(prompt), tokenizer.encode(option)) for prompt, option in pairs]
    options = {"pretrained": model, "tokenizer": tokenizer, "max_length": 400}
    plain = HFLM(**options, batch_size=1)._loglikelihood_tokens(given, disable_tqdm=True)
    ours = PackedLM(**options, batch_size=4)._loglikelihood_tokens(given, disable_tqdm=True)
    return all(abs(one - other) < 1e-3 for (one, _), (other, _) in zip(plain, ours, strict=True))


def _generates(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Greedy answers equal those of plain lm-eval, asked one at a time."""
    settings = {"until": ["\n"], "max_gen_toks": 12, "do_sample": False}
    given = [SimpleNamespace(args=(prompt, settings)) for prompt in ("A long prompt, with many words in it:", "Q:")]
    options = {"pretrained": model, "tokenizer": tokenizer, "max_length": 400}
    plain = [HFLM(**options, batch_size=1).generate_until([one], disable_tqdm=True)[0] for one in given]
    return PackedLM(**options, batch_size=2).generate_until(given, disable_tqdm=True) == plain


@torch.no_grad()
def _survives(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase,
    compress: Callable[[PreTrainedModel], PreTrainedModel], write: Callable[[PreTrainedModel, Path], None],
) -> bool:  # fmt: skip
    """Compressed, saved and read back, a model has the outputs it had in memory, to the last bit."""
    model = compress(students.cast(model, torch.bfloat16))
    with tempfile.TemporaryDirectory() as folder:
        saving.save(model, tokenizer, Path(folder), write=write)
        again, _ = models.load(folder, on="cpu")
    return torch.equal(_logits(again), _logits(model))


@torch.no_grad()
def _stays(model: PreTrainedModel) -> bool:
    """Rotated in float32, a model has the logits it had before to 1e-3; to the last bit it has others."""
    before = _logits(model)
    return 0 < float((_logits(rotate.compress(model)) - before).abs().max()) < 1e-3


@torch.no_grad()
def _is_cached(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, forms: list[dict[str, Any]]) -> bool:
    """With each form of cache, saved and read back, a model has the outputs it had in memory, and not dense ones."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "dense"
        saving.plain(students.cast(model, torch.bfloat16), source)
        tokenizer.save_pretrained(source)
        dense = _logits(model)
        for number, form in enumerate(forms):
            quantized, _ = models.load(str(source), on="cpu")
            saved = Path(folder) / str(number)
            write = partial(quantized_cache.save, source=str(source))
            saving.save(cache.compress(quantized, **form), tokenizer, saved, write=write)
            again, _ = models.load(str(saved), on="cpu")
            logits = _logits(again)
            if torch.equal(logits, dense) or not torch.equal(logits, _logits(quantized)):
                return False
    return True


def _logits(model: PreTrainedModel) -> torch.Tensor:
    logits: torch.Tensor = model(TOKENS, use_cache=False).logits
    return logits.float()


def page(table: list[dict[str, str]]) -> str:
    """The table as a page; what is refused has a number, and its sentence stands below."""
    reasons: dict[str, int] = {}

    def cell(outcome: str) -> str:
        if outcome == EXACT:
            return EXACT
        number = reasons.setdefault(outcome.partition(": ")[2], len(reasons) + 1)
        return f"{outcome.partition(':')[0]} [{number}]"

    columns = list(table[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in table:
        lines.append("| " + " | ".join([row["family"], *(cell(row[name]) for name in columns[1:])]) + " |")
    notes = [f"{number}. {reason}" for reason, number in reasons.items()]
    return "\n".join([INTRODUCTION, *lines, "", "What is refused is refused in one sentence:", "", *notes]) + "\n"


INTRODUCTION = """# Which model families are covered?

What each part of the study does with a family that it has not been written for: the exact thing, or it says in one
sentence that it cannot. This page is written by `python tests/family_table.py`, from tiny random models that
`transformers` builds from each family's configuration, with windows, experts and several kinds of layers where the
family has them; a test holds it to the code.

- *layer by layer*: unchanged, the layers that every calibrated method walks through give the model's own hidden states
  (to 1e-4);
- *ranked*: log-likelihoods are those of plain lm-eval (to 1e-3 nats);
- *generated*: greedy answers are those of plain lm-eval;
- each method: compressed in bfloat16, saved and read back, the model gives the same outputs as in memory, to the last
  bit;
- *rotation*: this too, and the logits in float32 are those before the rotation (to 1e-3);
- *cache*: this too, with keys and values in 8 bits and, rotated, in 4 bits, and the outputs are not those of a cache in
  full precision; *cache, keys by channel*: the same with keys in 4 bits that share scales between tokens, as in KIVI.
"""

if __name__ == "__main__":
    files.write_text(PAGE, page(rows()))
