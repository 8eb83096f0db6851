"""Train a network, or retrain a pruned one with its masks fixed."""

import math

import torch
from torch import nn
from torch.nn import functional
from tqdm.auto import tqdm

from unicomp_lib import hardware
from unicomp_lib.vision import finite, network, resume
from unicomp_lib.vision import masks as masking
from unicomp_lib.vision.images import Images, scaled

VERSION = "5"


def train(
    model: nn.Module,
    images: Images,
    *,
    epochs: int,
    rate: float,
    batch: int = 64,
    masks: masking.Masks | None = None,
    precision: str = "float32",
    seed: int = 0,
    state: resume.State | None = None,
) -> list[dict[str, float]]:
    """Train ``model`` in place by SGD with a one-cycle schedule, and return loss and accuracy of each epoch.

    ``rate`` is the highest learning rate. ``masks`` are applied after every step, so that what was pruned
    stays exactly zero. Images are mirrored and shifted by up to a sixteenth at random. With the ``precision``
    ``bfloat16``, products are computed in it, and weights are stored and updated in float32. ``seed`` sets
    the order of the images, their augmentation and dropout, for which torch's own generator is seeded. With a
    ``state``, an interrupted training goes on and gives the same weights as one that was not.

    Raises a ``ValueError`` for less than two images, which BatchNorm needs, for classes that are not the network's,
    and ``finite.NotFinite``, which names epoch, batch and layer, where a number is no longer finite.
    """
    if not epochs:
        return []
    network.check_classes(model, images)
    if batch < 2:
        raise ValueError(f"batch {batch} is not allowed; BatchNorm needs at least 2 images in each")
    count = len(batches(torch.arange(len(images)), batch))
    finite.check_weights(model, "before training")
    torch.manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True)
    # In a cycle of one step, torch's rate would be the lowest.
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=max(2, epochs * count))
    device = next(model.parameters()).device
    fixed = {name: mask.to(device) for name, mask in (masks or {}).items()}
    run = resume.Run(model, optimizer, schedule, torch.Generator().manual_seed(seed), fixed)
    if state:
        kept = {"epochs": epochs, "rate": rate, "batch": batch, "precision": precision, "seed": seed}
        state.begin(model, images, {"training": VERSION, "masks": masking.VERSION, **kept, "pruned": sorted(run.masks)})
        state.restore(run)
    with masking.skipping(model, run.masks):
        while len(run.history) < epochs:
            _epoch(run, images, batch=batch, precision=precision, epochs=epochs, state=state)
    model.eval()
    return run.history


def _epoch(
    run: resume.Run, images: Images, *, batch: int, precision: str, epochs: int, state: resume.State | None
) -> None:
    """Train on each image once, or on those that are left of the epoch."""
    run.model.train()
    if run.order is None:
        run.order = torch.randperm(len(images), generator=run.generator)
    parts, epoch = batches(run.order, batch), len(run.history) + 1
    about = {"desc": f"epoch {epoch}/{epochs}", "leave": False, "mininterval": 5}
    for number in tqdm(range(run.batches, len(parts)), **about):
        where = f"epoch {epoch}, batch {number + 1} of {len(parts)}"
        loss, right = _step(run, images, parts[number], hardware.dtype(precision), where)
        run.loss += loss * len(parts[number])
        run.right += right
        run.batches = number + 1
        if state:
            state.keep(run)
    run.history.append({"epoch": epoch, "loss": run.loss / len(images), "accuracy": run.right / len(images)})
    run.order, run.batches, run.loss, run.right = None, 0, 0.0, 0


def _step(run: resume.Run, images: Images, indices: torch.Tensor, dtype: torch.dtype, where: str) -> tuple[float, int]:
    """Take one step; mean loss of the batch, and how many of its images were classified correctly."""
    model, device = run.model, next(run.model.parameters()).device
    labels = images.labels[indices].to(device)
    shown = augmented(images.pixels(indices), run.generator).contiguous(memory_format=torch.channels_last).to(device)
    with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
        scores = model(shown)
    loss = functional.cross_entropy(scores.float(), labels, label_smoothing=0.1)
    value = loss.item()
    if not math.isfinite(value):
        raise finite.not_finite(model, shown, where, "loss")
    run.optimizer.zero_grad()
    loss.backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    finite.check(gradients, "gradient", where)
    run.optimizer.step()
    run.schedule.step()
    if run.masks:
        masking.apply(model, run.masks)
    finite.check_weights(model, where)
    return value, int((scores.argmax(1) == labels).sum())


def batches(order: torch.Tensor, size: int) -> list[torch.Tensor]:
    """Indices in batches of ``size``, the last one smaller, or larger by one that would be left over.

    BatchNorm has no variance over one image. A ``ValueError`` where there is only one in all.
    """
    parts = list(order.split(size))
    if len(order) < 2:
        raise ValueError(f"{len(order)} image is too few; BatchNorm needs at least 2, give more images")
    if len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def augmented(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Images scaled to -1 to 1, half of them mirrored, all shifted by up to a sixteenth of their size."""
    images, edge = scaled(pixels), pixels.shape[-1] // 16
    mirror = torch.rand(len(images), generator=generator) < 0.5
    images[mirror] = images[mirror].flip(-1)
    if not edge:
        return images
    padded = functional.pad(images, (edge,) * 4, value=1.0)
    shifts = torch.randint(0, 2 * edge + 1, (len(images), 2), generator=generator).tolist()
    size = pixels.shape[-1]
    moved = [image[:, top : top + size, left : left + size] for image, (top, left) in zip(padded, shifts, strict=True)]
    return torch.stack(moved)


@torch.no_grad()
def recalibrate(model: nn.Module, images: Images, *, number: int = 2048, seed: int = 0) -> None:
    """Estimate the BatchNorm statistics again, from ``number`` images, and change nothing else.

    They are means over batches, weighted by images.
    """
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
    model.train()
    device, seen = next(model.parameters()).device, 0
    indices = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:number]
    for part in batches(indices, 256):
        seen += len(part)
        for norm in norms:
            norm.momentum = len(part) / seen
        model(scaled(images.pixels(part)).contiguous(memory_format=torch.channels_last).to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
    finite.check_weights(model, "after BatchNorm's statistics were estimated again")


@torch.no_grad()
def correct(model: nn.Module, images: Images) -> tuple[torch.Tensor, torch.Tensor]:
    """Whether each image's class is ranked first, and its log-probability: (images,) each.

    ``finite.NotFinite`` names a weight that is not finite, or the layer from which a score is not; a ``ValueError``
    says that the classes are not the network's.
    """
    network.check_classes(model, images)
    finite.check_weights(model, "before scoring")
    model.eval()
    device, found = next(model.parameters()).device, []
    for indices, batch in images.batches():
        scores = model(batch.to(device)).cpu()
        if not scores.isfinite().all():
            raise finite.not_finite(model, batch.to(device), f"images {int(indices[0])} and more", "score")
        found.append(scores)
    scores = torch.cat(found)
    likelihood = scores.log_softmax(1)[torch.arange(len(images)), images.labels]
    return scores.argmax(1) == images.labels, likelihood
