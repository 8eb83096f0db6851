"""Accuracy and cost of a network, as item rows."""

import copy
import hashlib

import polars as pl
import torch
from torch import nn

from unicomp_lib import tables
from unicomp_lib.vision import masks, removal, training
from unicomp_lib.vision.images import Images

VERSION = "1"


def rows(model: nn.Module, dense: nn.Module, images: Images, *, task: str, repeats: int = 5) -> pl.DataFrame:
    """Item rows (``tables.ITEMS``): ``acc`` and ``log_likelihood`` of every image, and sizes and latency.

    MACs, parameters and latency are those after the pruned weights have been removed; the latency of a batch
    of 16, on the CPU, is measured in turn with that of dense.
    """
    right, likelihood = training.correct(model, images)
    chance = torch.bincount(images.labels).max().item() / len(images)
    codes = [hashlib.sha256(f"{file.parent.name}/{file.name}".encode()).hexdigest()[:16] for file in images.files]
    per_image = [
        {"doc_id": index, "doc_hash": codes[index], "cluster": images.groups[index], "metric": metric,
         "primary": metric == "acc", "value": float(values[index])}
        for metric, values in (("acc", right), ("log_likelihood", likelihood))
        for index in range(len(images))
    ]  # fmt: skip
    labelled = pl.DataFrame(per_image).with_columns(
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


def _sizes(model: nn.Module, dense: nn.Module, size: int, repeats: int) -> pl.DataFrame:
    model, dense = copy.deepcopy(model).cpu(), copy.deepcopy(dense).cpu()
    small = removal.removed(model, size=size)
    once = {
        "macs": removal.macs(small, size=size),
        "parameters": removal.parameters(small),
        "sparsity": masks.sparsity(model),
    }
    times = removal.latency({"latency": small, "latency_dense": dense}, size=size, repeats=repeats)
    rows = [{"doc_id": 0, "metric": metric, "value": float(value)} for metric, value in once.items()]
    rows += [
        {"doc_id": repeat, "metric": metric, "value": value}
        for metric, values in times.items()
        for repeat, value in enumerate(values)
    ]
    return pl.DataFrame(rows)
