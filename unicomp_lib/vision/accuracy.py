"""Accuracy and cost of a network, as item rows."""

import copy
import hashlib

import polars as pl
import torch
from torch import nn

from unicomp_lib import tables
from unicomp_lib.vision import finite, masks, removal, training
from unicomp_lib.vision.googlenet import GoogLeNet
from unicomp_lib.vision.images import Images

VERSION = "4"


METRICS = ("acc", "log_likelihood")


def rows(model: GoogLeNet, dense: GoogLeNet, images: Images, *, task: str, repeats: int = 6) -> pl.DataFrame:
    """Item rows (``tables.ITEMS``): ``acc`` and ``log_likelihood`` of every image, sizes, latency and epochs.

    MACs, parameters and latency are those after the pruned weights have been removed; the latency of a batch
    of 16, on the CPU, is measured in turn with that of dense. A network whose scores are not finite has no accuracy:
    the values of its images are null, ``output`` says why, and so does a line.
    """
    values, reason = _values(model, images)
    chance = torch.bincount(images.labels).max().item() / len(images)
    named = zip(images.labels.tolist(), images.digests, strict=True)
    codes = [hashlib.sha256(f"{images.classes[label]}/{digest}".encode()).hexdigest()[:16] for label, digest in named]
    per_image = [
        {"doc_id": index, "doc_hash": codes[index], "cluster": images.groups[index], "metric": metric,
         "primary": metric == "acc", "value": value, "output": reason}
        for metric, of_metric in values.items()
        for index, value in enumerate(of_metric)
    ]  # fmt: skip
    labelled = pl.DataFrame(per_image, schema_overrides={"value": pl.Float64, "output": pl.String}).with_columns(
        pl.lit("vision").alias("dimension"), pl.lit("accuracy").alias("capability"), pl.lit(task).alias("task"),
        pl.lit("top-1").alias("format"), pl.lit(chance).alias("chance"),
    )  # fmt: skip
    missing = [
        pl.lit(None, dtype=kind).alias(name) for name, kind in tables.ITEMS.items() if name not in labelled.columns
    ]
    of_images = labelled.with_columns(missing).select(pl.col(name).cast(kind) for name, kind in tables.ITEMS.items())
    return pl.concat(
        [of_images, tables.measurements(_sizes(model, dense, images.size, repeats), dimension="vision", task=task)]
    )


def _values(model: nn.Module, images: Images) -> tuple[dict[str, list[float | None]], str | None]:
    """Values of every image by metric, and the reason where there are none."""
    try:
        right, likelihood = training.correct(model, images)
    except finite.NotFinite as error:
        print(error)
        return dict.fromkeys(METRICS, [None] * len(images)), str(error)
    return dict(zip(METRICS, (right.double().tolist(), likelihood.double().tolist()), strict=True)), None


def _sizes(model: GoogLeNet, dense: GoogLeNet, size: int, repeats: int) -> pl.DataFrame:
    model, dense = copy.deepcopy(model).cpu(), copy.deepcopy(dense).cpu()
    small = removal.removed(model)
    once = {
        "macs": removal.macs(small, size=size),
        "parameters": removal.parameters(small),
        "sparsity": masks.sparsity(model),
        "epochs": model.epochs,
    }
    times = removal.latency({"latency": small, "latency_dense": dense}, size=size, repeats=repeats)
    rows = [{"doc_id": 0, "metric": metric, "value": float(value)} for metric, value in once.items()]
    rows += [
        {"doc_id": repeat, "metric": metric, "value": value}
        for metric, values in times.items()
        for repeat, value in enumerate(values)
    ]
    return pl.DataFrame(rows)
