"""Pictures shown inside the method and evaluation notebooks."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import torch
from matplotlib.figure import Figure
from torch import nn
from transformers import DynamicCache, PreTrainedModel

from unicomp_lib.checkpoints import decoder
from unicomp_lib.evaluate import statistics
from unicomp_lib.evaluate.judges import measured
from unicomp_lib.figures import panels, style
from unicomp_lib.figures.palette import BLUE, GREEN, GREY, ORANGE

CORNER = 48  # weights per side; individual weights are still visible


def pruned(dense: torch.Tensor, sparse: torch.Tensor) -> Figure:
    """A corner of a matrix before and after pruning, and the share of weights kept for each input.

    ``dense`` and ``sparse`` have shape (outputs, inputs).
    """
    figure, axes = plt.subplots(1, 3, figsize=(style.PAGE, 2.4))
    top = dense.float().abs().quantile(0.99).item()
    for panel, title, weight in ((axes[0], "Dense", dense), (axes[1], "Pruned", sparse)):
        corner = weight[:CORNER, :CORNER].float().abs().numpy()
        panel.imshow(np.where(corner == 0, np.nan, corner), vmin=0, vmax=top, cmap="viridis", interpolation="nearest")
        panel.set(title=f"{title}: |W|, blank = 0", xlabel="input", ylabel="output")
        panel.grid(visible=False)
    density = (sparse != 0).float().mean(dim=0).numpy()
    axes[2].hist(density, bins=np.linspace(0, 1, 26), color=BLUE)
    axes[2].set(title="Weights kept per input", xlabel="share of its weights kept", ylabel="inputs", xlim=(0, 1))
    return figure


def rounded(dense: torch.Tensor, quantized: torch.Tensor) -> Figure:
    """Weights before and after rounding, and the rounding error against the weight."""
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE, 2.4))
    before, after = dense.float().flatten().numpy(), quantized.float().flatten().numpy()
    edge = float(np.quantile(np.abs(before), 0.999))
    bins = np.linspace(-edge, edge, 121).tolist()
    axes[0].hist(before, bins=bins, color=GREY, label="dense")
    axes[0].hist(after, bins=bins, histtype="step", color=BLUE, label="quantized")
    axes[0].set(title="Weights of one matrix", xlabel="weight", ylabel="count")
    axes[0].legend()
    axes[1].hexbin(
        before, after - before, gridsize=60, mincnt=1, bins="log", cmap="viridis", extent=_extent(before, after)
    )
    axes[1].set(title="Rounding error", xlabel="dense weight", ylabel="quantized − dense")
    return figure


def _extent(before: np.ndarray, after: np.ndarray) -> tuple[float, float, float, float]:
    edge, error = float(np.quantile(np.abs(before), 0.999)), float(np.abs(after - before).max()) or 1e-6
    return -edge, edge, -error, error


def weights(matrices: dict[str, torch.Tensor]) -> Figure:
    """Median and 99th percentile of |W| for each linear map, in order of depth."""
    figure, axes = plt.subplots(figsize=(style.PAGE, 2.4))
    for share, colour, label in ((0.5, BLUE, "median"), (0.99, ORANGE, "99th percentile")):
        values = [matrix.float().abs().flatten()[:100_000].quantile(share).item() for matrix in matrices.values()]
        axes.plot(values, ".", color=colour, label=label, markersize=4)
    axes.set(title="Size of the weights", xlabel="linear map, in order of depth", ylabel="|W|", yscale="log")
    axes.legend()
    return figure


def tasks(items: pl.DataFrame) -> Figure:
    """Primary metric of every task with its 95 % interval, and its chance level as a tick.

    Beside a judged task stands the kappa of its judge on labelled answers, and in place of a number that the judge may
    not give, that there is none.
    """
    frames = list(items.filter(pl.col("primary")).group_by(["task"], maintain_order=True))
    figure, axes = plt.subplots(figsize=(style.COLUMN + 1, 0.28 * len(frames) + 0.8))
    if not frames:
        axes.text(0.5, 0.5, "no task was scored", ha="center", va="center", transform=axes.transAxes)
    for height, (_, frame) in enumerate(frames):
        score = statistics.mean(frame["value"].to_numpy(), frame["cluster"].to_numpy())
        spread = [[score.value - score.low], [score.high - score.value]]
        axes.errorbar([score.value], [height], xerr=spread, fmt="o", color=BLUE, capsize=2, markersize=4)
        if np.isnan(score.value):
            judge = str(frame.row(0, named=True).get("judge") or "")
            why = measured.NOT_JUDGED if judge.startswith(measured.NOT_JUDGED) else score.reason
            axes.text(0.5, height, why, ha="center", va="center", fontsize=6, color="#555555")
        if frame["chance"][0] is not None:
            axes.plot([frame["chance"][0]], [height], "|", color="black", markersize=9)
    labels = [f"{name} (n = {len(frame)}{_trust(frame)})" for _, frame in frames for name in frame["task"][:1]]
    axes.set_yticks(range(len(frames)), labels)
    axes.set(xlim=(-0.02, 1.02), xlabel="score (bar: 95 % interval, tick: chance)", title="Score by task")
    axes.invert_yaxis()
    return figure


def _trust(frame: pl.DataFrame) -> str:
    """The kappa of the judge of one task's rows, in words; empty where nobody judged or it was not measured."""
    about = {"judge": None, "metric": None} | frame.row(0, named=True)
    if not about["judge"] or not about["metric"]:
        return ""
    found = measured.agreement(about["task"], about["judge"], about["metric"])
    return f", kappa {found['kappa']:.2f}" if found and found["kappa"] is not None else ""


def blocks(rows: pl.DataFrame) -> Figure:
    """Loss of each held-out block under both models, and the distance between their distributions."""
    wide = rows.pivot(on="metric", index="doc_id", values="value")
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE, 2.6))
    axes[0].plot(wide["nll_dense"], wide["nll"], "o", color=BLUE, markersize=4)
    ends = [min(wide["nll_dense"].min(), wide["nll"].min()), max(wide["nll_dense"].max(), wide["nll"].max())]  # type: ignore[type-var]
    axes[0].plot(ends, ends, color=GREY, linewidth=1)
    axes[0].set(title="Loss per block", xlabel="dense, nats per token", ylabel="this model, nats per token")
    axes[1].plot(wide["kl"], wide["agreement"], "o", color=BLUE, markersize=4)
    axes[1].set(title="Distance from dense", xlabel="KL(dense || this), nats per token", ylabel="top-1 agreement")
    axes[1].set_ylim(0, 1.02)
    return figure


def repeats(rows: pl.DataFrame) -> Figure:
    """Every repeat of the speed measurement, for this model and for dense."""
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE, 2.4))
    for panel, metric in zip(axes, ("prefill", "decode"), strict=True):
        for suffix, colour, label in (("", BLUE, "this model"), ("_dense", "black", "dense")):
            speeds = rows.filter(pl.col("metric") == metric + suffix).sort("doc_id")
            panel.plot(speeds["doc_id"], speeds["value"], "o-", color=colour, label=label, markersize=4)
        panel.set(title=metric.capitalize(), xlabel="repeat", ylabel="tokens per second")
        panel.set_ylim(bottom=0)
    axes[0].legend()
    return figure


def moved(dense: torch.Tensor, sparse: torch.Tensor) -> Figure:
    """Remaining weights after pruning against before: on the diagonal where a method leaves them unchanged."""
    before, after = (weight.float().flatten().numpy() for weight in (dense, sparse))
    stays = after != 0
    figure, axes = plt.subplots(figsize=(style.COLUMN, 3))
    edge = float(np.quantile(np.abs(before), 0.999))
    axes.hexbin(
        before[stays],
        after[stays],
        gridsize=60,
        mincnt=1,
        bins="log",
        cmap="viridis",
        extent=(-edge, edge, -edge, edge),
    )
    axes.plot([-edge, edge], [-edge, edge], color=ORANGE, linewidth=1)
    axes.set(title="Remaining weights", xlabel="before", ylabel="after")
    return figure


def scaled(dense: torch.Tensor, quantized: torch.Tensor) -> Figure:
    """Scale of each input's weights before rounding, largest first, and the distribution of the weights."""
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE, 2.4))
    # Rounding errors average out over the outputs: the slope through the origin is the scale.
    ratio = (quantized.float() * dense.float()).sum(0) / dense.float().square().sum(0).clamp(min=1e-12)
    axes[0].plot(ratio.sort(descending=True).values.numpy(), color=BLUE)
    axes[0].set(title="Scale of each input", xlabel="input, by rank", ylabel="scale s", yscale="log")
    axes[0].axhline(1, color=GREY, linewidth=1)
    edge = float(np.quantile(np.abs(quantized.float().numpy()), 0.99))
    bins = np.linspace(-edge, edge, 61).tolist()
    axes[1].hist(dense.float().flatten().numpy(), bins=bins, color=GREY, label="dense")
    axes[1].hist(
        quantized.float().flatten().numpy(), bins=bins, histtype="step", color=BLUE, label="scaled and rounded"
    )
    axes[1].set(title="Weights of one matrix", xlabel="weight", ylabel="count")
    axes[1].legend()
    return figure


@torch.no_grad()
def peaks(model: PreTrainedModel, tokens: torch.Tensor, index: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Largest absolute input and weight of every column of the first linear map of one decoder layer."""
    linear = next(iter(decoder.linears(decoder.layers(model)[index]).values()))
    seen: list[torch.Tensor] = []
    handle = linear.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].float().abs().amax(dim=(0, 1))))
    model(input_ids=tokens.to(model.device), use_cache=False)
    handle.remove()
    return seen[0].cpu(), linear.weight.float().abs().amax(0).cpu()


def smoothed(before: tuple[torch.Tensor, torch.Tensor], after: tuple[torch.Tensor, torch.Tensor]) -> Figure:
    """Largest inputs and weights of every column (``peaks``), before and after smoothing."""
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE, 2.4), sharey="row")
    for panel, title, (inputs, weights) in zip(axes, ("Before", "After"), (before, after), strict=True):
        panel.plot(inputs.numpy(), color=ORANGE, linewidth=0.7, label="inputs")
        panel.plot(weights.numpy(), color=BLUE, linewidth=0.7, label="weights")
        panel.set(title=title, xlabel="input", yscale="log")
    axes[0].set_ylabel("largest absolute value")
    axes[0].legend()
    return figure


@torch.no_grad()
def inputs(model: PreTrainedModel, tokens: torch.Tensor, linear: nn.Linear) -> torch.Tensor:
    """What a linear map of a model is given for the first of ``tokens`` (samples, length): (length, inputs)."""
    seen: list[torch.Tensor] = []
    handle = linear.register_forward_pre_hook(lambda _, args: seen.append(args[0][0].float().cpu()))
    model(input_ids=tokens[:1].to(model.device), use_cache=False)
    handle.remove()
    return seen[0]


@torch.no_grad()
def held(model: PreTrainedModel, tokens: torch.Tensor, index: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values (tokens, channels) of the first head of one decoder layer, as a later token reads them."""
    cache = DynamicCache(config=model.config)
    read: list[tuple[torch.Tensor, torch.Tensor]] = []
    update = cache.update

    def noted(*args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        read.append(update(*args, **kwargs))
        return read[-1]

    cache.update = noted  # type: ignore[method-assign]
    model(input_ids=tokens[:1].to(model.device), past_key_values=cache)
    keys, values = (part[0, 0, : tokens.shape[1]].float().cpu() for part in read[index])
    return keys, values


def cached(before: tuple[torch.Tensor, torch.Tensor], after: tuple[torch.Tensor, torch.Tensor]) -> Figure:
    """Keys and values (``held``) of a head by channel: their range over the tokens, and how far they moved."""
    figure, axes = plt.subplots(
        2, 2, figsize=(style.PAGE, 3.2), sharex="col", sharey="row", gridspec_kw={"height_ratios": (3, 2)}
    )
    for panel, below, title, exact, rounded in zip(*axes, ("Keys", "Values"), before, after, strict=True):
        channels, error = range(exact.shape[1]), (rounded - exact).square().mean(0).sqrt()
        panel.fill_between(channels, exact.amin(0), exact.amax(0), step="mid", color=GREY, alpha=0.5, label="range")
        panel.plot(channels, exact.median(0).values, color=BLUE, linewidth=1, label="median")
        panel.set(title=title)
        below.bar(channels, error, width=1, color=ORANGE)
        below.set(xlabel="channel of the head")
    axes[0, 0].set_ylabel("value")
    axes[1, 0].set_ylabel("change,\nroot mean square")
    axes[0, 0].legend(fontsize=6)
    return figure


def activity(influence: torch.Tensor, hidden: torch.Tensor) -> Figure:
    """Block influence of every layer, and the activation magnitude of the hidden channels, by rank."""
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE, 2.4))
    axes[0].bar(range(len(influence)), influence.numpy(), color=BLUE)
    axes[0].set(title="Influence of each layer", xlabel="layer", ylabel="block influence", yscale="log")
    axes[1].plot(hidden.sort(descending=True).values.numpy(), color=BLUE)
    axes[1].set(title="Activation of the hidden channels", xlabel="channel, by rank", yscale="log")
    axes[1].set_ylabel("|norm output|, summed")
    panels.plain_log(axes[1].yaxis)
    return figure


def training(history: list[dict[str, float]]) -> Figure:
    """Loss and its parts against tokens read; the title states the tokens and the speed."""
    figure, axes = plt.subplots(figsize=(style.COLUMN + 1, 2.6))
    read = [row["tokens"] for row in history]
    parts = [name for name in history[0] if name not in ("step", "tokens", "seconds")]
    for name, colour in zip(parts, (BLUE, ORANGE, GREEN, GREY), strict=False):
        axes.plot(read, [row[name] for row in history], color=colour, label=name, linewidth=1)
    speed = history[-1]["tokens"] / history[-1]["seconds"]
    axes.set(title=f"{read[-1]:,.0f} tokens at {speed:.0f} per second", xlabel="tokens read", ylabel="nats per token")
    axes.set_ylim(0, 1.2 * axes.get_ylim()[1])
    axes.legend(ncols=len(parts), loc="upper right")
    return figure


def gain(before: np.ndarray, after: np.ndarray) -> Figure:
    """Held-out loss of every block before and after training; the title states the paired perplexity ratio.

    ``before`` and ``after`` have shape (blocks,), in nats per token, for the same blocks.
    """
    blocks = np.arange(len(before)).astype(str)
    ratio = statistics.bootstrap(after - before, blocks)
    figure, axes = plt.subplots(figsize=(style.COLUMN + 0.5, 3))
    axes.plot(before, after, "o", color=BLUE, markersize=4)
    ends = [min(before.min(), after.min()), max(before.max(), after.max())]
    axes.plot(ends, ends, color=GREY, linewidth=1)
    low, value, high = (np.exp(part) for part in (ratio.low, ratio.value, ratio.high))
    interval = f"95 % interval {low:.2f} to {high:.2f}" if np.isfinite(low) else f"no interval: {ratio.reason}"
    axes.set_title(
        f"Perplexity {np.exp(before.mean()):.1f} to {np.exp(after.mean()):.1f}\nratio {value:.2f}, {interval}"
    )
    axes.set(xlabel="before training, nats per token", ylabel="after training, nats per token")
    return figure
