"""Low-Rank Clone with several weights of its clone term, trained on the same tokens from the same start.

A weight of 0 is distillation without the term. 1/210 averages the errors of a model with 30 layers of
seven maps instead of adding them up.
"""

import argparse
import copy
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import polars as pl
import torch

from unicomp_lib import files, paths
from unicomp_lib.checkpoints import models
from unicomp_lib.compress import distill, lrc
from unicomp_lib.evaluate import fidelity, statistics
from unicomp_lib.inputs.calibration import blocks

LENGTH = 256  # tokens per sample, of calibration, training and held-out text
BATCH = 4  # samples per step


def main() -> None:
    """Parse the command line, train every student, and print and save the tables."""
    parser = argparse.ArgumentParser(prog="nox -s bench -- clone", description=__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct", help="as in a profile (%(default)s)")
    parser.add_argument("--hidden", type=int, default=450, help="hidden channels of the student (%(default)s)")
    parser.add_argument("--alphas", nargs="+", default=["0", "1/210", "0.2"], help="weights of the term (%(default)s)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of calibration; +1: training (%(default)s)")
    parser.add_argument("--samples", type=int, default=80, help=f"training samples of {LENGTH} tokens (%(default)s)")
    parser.add_argument("--rate", type=float, default=1e-4, help="peak of the learning rate (%(default)s)")
    parser.add_argument("--blocks", type=int, default=24, help=f"held-out blocks of {LENGTH} tokens (%(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, tokenizer = models.load(options.model, on="cpu")
    held_out = blocks(tokenizer, "held-out", samples=options.blocks, length=LENGTH)
    tables = []
    for seed in options.seeds:
        tokens = blocks(tokenizer, samples=32, length=LENGTH, seed=seed)
        text = blocks(tokenizer, samples=options.samples, length=LENGTH, seed=seed + 1)
        start = lrc.Clone(copy.deepcopy(model), tokens, hidden=options.hidden)
        print(f"seed {seed}: perplexity untrained {np.exp(fidelity.losses(start.plain(), held_out).mean()):.1f}")
        print(f"seed {seed}: gradient norms, first step: {norms(start, text[:BATCH])}", flush=True)
        for alpha in options.alphas:
            found = trained(copy.deepcopy(start), text, held_out, float(Fraction(alpha)), options.rate)
            tables.append(found.with_columns(pl.lit(seed).alias("seed"), pl.lit(alpha).alias("alpha")))
    table = pl.concat(tables)
    target = paths.project() / "results" / "bench" / "clone.csv"
    target.parent.mkdir(parents=True, exist_ok=True)
    files.write_whole(target, table.write_csv)
    report(table, options.alphas)


def norms(clone: lrc.Clone, batch: torch.Tensor) -> dict[str, float]:
    """Norm of the gradient of each term of the loss, with a weight of 1."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        parts = clone.loss()(batch)
    found = {}
    for name in ("kl", "text", "clone"):
        # The last norm is behind all the activations that are compared: zero, not missing.
        gradients = torch.autograd.grad(
            parts[name], list(clone.trained().values()), retain_graph=True, materialize_grads=True
        )
        found[name] = round(float(torch.stack([gradient.norm() for gradient in gradients]).norm()), 2)
        found[f"{name} itself"] = round(parts[name].item(), 3)
    return found


def trained(
    clone: lrc.Clone, text: torch.Tensor, held_out: torch.Tensor, alpha: float, learning_rate: float
) -> pl.DataFrame:
    """What ``fidelity.compare`` finds between a clone trained on ``text`` and its teacher, on held-out text."""
    begin = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        history = distill.train(
            clone.trained(), clone.loss(alpha=alpha), text, Path(folder) / "training",
            batch_size=BATCH, learning_rate=learning_rate,
        )  # fmt: skip
    found = fidelity.compare(clone.plain(), clone.teacher, held_out)
    last = {name: f"{np.mean([row[name] for row in history[-5:]]):.3f}" for name in ("kl", "text", "clone")}
    print(
        f"alpha {alpha:.4f}: perplexity {np.exp(values(found, 'nll').mean()):.2f}, last five steps {last}, "
        f"{time.process_time() - begin:.0f} CPU s", flush=True,
    )  # fmt: skip
    return found


def values(table: pl.DataFrame, metric: str) -> np.ndarray:
    """A metric of each block, in their order."""
    return table.filter(pl.col("metric") == metric).sort("doc_id")["value"].to_numpy()


def report(table: pl.DataFrame, alphas: list[str]) -> None:
    """Perplexity and KL with each weight, and the last one's change to them; intervals are paired over blocks."""
    for (seed,), part in table.group_by("seed", maintain_order=True):
        by_alpha = {alpha: part.filter(pl.col("alpha") == alpha) for alpha in alphas}
        for alpha, found in by_alpha.items():
            nll, kl = (values(found, metric) for metric in ("nll", "kl"))
            names = np.arange(len(nll)).astype(str)
            change = statistics.difference(values(by_alpha[alphas[-1]], "nll"), nll, names)
            ratio = np.exp([change.value, change.low, change.high])
            apart = statistics.difference(values(by_alpha[alphas[-1]], "kl"), kl, names)
            print(f"seed {seed}, alpha {alpha}: perplexity {np.exp(nll.mean()):.2f}, KL {kl.mean():.3f}; with "
                  f"{alphas[-1]} perplexity is {ratio[0]:.3f} times that [{ratio[1]:.3f}, {ratio[2]:.3f}] and KL "
                  f"{apart.value:+.3f} [{apart.low:+.3f}, {apart.high:+.3f}]")  # fmt: skip


if __name__ == "__main__":
    main()
