"""What is exact and what is refused, by model family: computed on tiny random models, written to docs/families.md.

``python tests/family_table.py`` writes the page; a test holds it to the code.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import families
import torch
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from unicomp_lib import files, paths
from unicomp_lib.checkpoints import decoder, float4, float8, float_zeros, models, packed_integers, quanto_form, saving
from unicomp_lib.checkpoints import int8 as int8_form
from unicomp_lib.compress import (
    awq,
    fp8,
    gptq,
    hqq,
    layers,
    lrc,
    magnitude,
    minitron,
    nvfp4,
    quanto,
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
    "HQQ": (lambda model: hqq.compress(model, group_size=32), float_zeros.save),
    "SINQ": (lambda model: sinq.compress(model, group_size=32), packed_integers.save),
    "quanto int8": (lambda model: quanto.compress(model, weights="int8"), quanto_form.save),
    "depth": (lambda model: minitron.depth(model, TOKENS, keep=3), PLAIN),
    "width": (lambda model: minitron.width(model, TOKENS, neurons=96), PLAIN),
    "Low-Rank Clone": (
        lambda model: students.cast(lrc.Clone(model, TOKENS, hidden=48).plain(), torch.bfloat16),
        PLAIN,
    ),
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
    """Compressed, saved and read back, a model has the outputs it had in memory."""
    model = compress(students.cast(model, torch.bfloat16))
    with tempfile.TemporaryDirectory() as folder:
        saving.save(model, tokenizer, Path(folder), write=write)
        again, _ = models.load(folder, on="cpu")
    expected, logits = (one(TOKENS, use_cache=False).logits.float() for one in (model, again))
    return bool((logits - expected).abs().max() <= 1e-2 * expected.abs().max())


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
- each method: compressed in bfloat16, saved and read back, the model gives the same outputs as in memory.
"""

if __name__ == "__main__":
    files.write_text(PAGE, page(rows()))
