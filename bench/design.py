"""Whether the intervals of a design hold the truth: samples of it, drawn from three variants scored on many items.

Dense and three variants are scored once (an hour or so, kept, resumable). Their items are the population: a sample
draws so many for the variant, and so many more for dense, with replacement. Coverage is the share of samples whose
interval of a capability's retention holds that of the population; the bias is that of the estimates' mean.
"""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import polars as pl

from unicomp_lib import hardware, paths, tables
from unicomp_lib.checkpoints import models
from unicomp_lib.compress import awq, gptq, wanda
from unicomp_lib.evaluate import forms, harness, packed_lm, statistics
from unicomp_lib.evaluate.statistics import Part
from unicomp_lib.inputs import calibration

# Capability: sets, and how many items of each a variant is asked; dense is asked TIMES as many.
DESIGN = {
    "knowledge": {"openbookqa_cloze": 200, "nq_open_cloze": 200},
    "commonsense": {"piqa_cloze": 150, "siqa_cloze": 100, "commonsenseqa_cloze": 100},
    "reasoning": {"asdiv_cloze": 100},
}
TIMES = 3
VARIANTS = ("awq", "gptq", "wanda")


def scored(name: str, model: str, items: int, folder: Path) -> pl.DataFrame:
    """Item rows of dense or of a variant of ``model``, of at most ``items`` of each set; kept in ``folder``."""
    tasks = {task: items for sets in DESIGN.values() for task in sets}
    files = {task: folder / f"{name}.{task}.{items}.parquet" for task in tasks}
    if missing := {task: number for task, number in tasks.items() if not files[task].is_file()}:
        network, tokenizer = models.load(model, on="cpu")
        tokens = calibration.blocks(tokenizer, "general", samples=32, length=256, seed=0)
        if name == "awq":
            network = awq.compress(network, tokens, bits=4, group_size=64, symmetric=False)
        elif name == "gptq":
            network = gptq.compress(network, tokens, bits=4, group_size=64, symmetric=True)
        elif name == "wanda":
            network = wanda.compress(network, tokens, sparsity=0.5)
        network = network.to(hardware.dtype(hardware.native_precision()))
        for task, number in missing.items():
            tables.write(harness.run(network, tokenizer, {task: number}), files[task])
    return pl.concat(tables.read(file) for file in files.values())


def population(rows: pl.DataFrame, task: str) -> tuple[np.ndarray, float]:
    """Probabilities of a task's items, in order, and its chance."""
    of_task = rows.filter(task=task, metric=forms.PROBABILITY).sort("doc_id")
    return of_task["value"].to_numpy(), of_task["chance"][0]


def drawn(rng: np.random.Generator, ours: np.ndarray, dense: np.ndarray, chance: float, number: int) -> Part:
    """A sample: ``number`` items that both are asked, and the further ones of dense."""
    chosen = rng.integers(len(dense), size=TIMES * number)
    asked, rest = chosen[:number], chosen[number:]
    names = np.arange(len(chosen))
    return Part(ours[asked], dense[asked], names[:number], chance, dense[rest], names[number:])


def main() -> None:
    """Parse the command line and print a row for each variant and capability."""
    parser = argparse.ArgumentParser(prog="nox -s bench -- design", description=__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct", help="an asset or a folder (%(default)s)")
    parser.add_argument("--items", type=int, default=700, help="items of each set, the population (%(default)s)")
    parser.add_argument("--samples", type=int, default=1000, help="samples of the design (%(default)s)")
    options = parser.parse_args()
    made = [options.model, hardware.native_precision(), *(m.VERSION for m in (harness, packed_lm, awq, gptq, wanda))]
    folder = paths.home() / "bench" / "design" / hashlib.sha256(json.dumps(made).encode()).hexdigest()[:12]
    dense = scored("dense", options.model, options.items, folder)
    print("\n| variant | capability | retention | half-width | coverage | bias | its error |\n" + "|---" * 7 + "|")
    for variant in VARIANTS:
        rows = scored(variant, options.model, options.items, folder)
        for capability, sets in DESIGN.items():
            known = {task: (population(rows, task), population(dense, task)) for task in sets}
            left = sum((ours.mean() - chance) / (1 - chance) for (ours, chance), _ in known.values())
            truth = left / sum((whole.mean() - chance) / (1 - chance) for _, (whole, chance) in known.values())
            found = []
            for seed in range(options.samples):
                rng = np.random.default_rng(seed)
                parts = [drawn(rng, known[task][0][0], *known[task][1], number) for task, number in sets.items()]
                found.append(statistics.retention(parts))
            value, low, high = (np.array([getattr(one, name) for one in found]) for name in ("value", "low", "high"))
            defined = np.isfinite(low)
            covered = 100 * np.mean((low <= truth) & (truth <= high), where=defined)
            half, bias = 50 * np.mean(high - low, where=defined), 100 * (np.mean(value, where=defined) - truth)
            error = 100 * np.std(value, where=defined) / defined.sum() ** 0.5
            print(f"| {variant} | {capability} | {100 * truth:.0f}", end="")
            print(f" | {half:.1f} | {covered:.1f} | {bias:+.2f} | {error:.2f} |")


if __name__ == "__main__":
    main()
