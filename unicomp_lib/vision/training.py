"""Train a network, or retrain a pruned one with its masks fixed."""

import math

import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from unicomp_lib import hardware
from unicomp_lib.vision import masks as masking
from unicomp_lib.vision.images import Images, scaled

VERSION = "3"


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
) -> list[dict[str, float]]:
    """Train ``model`` in place by SGD with a one-cycle schedule, and return loss and accuracy of each epoch.

    ``rate`` is the highest learning rate. ``masks`` are applied after every step, so that what was pruned
    stays exactly zero. Images are mirrored and shifted by up to a sixteenth at random. With the ``precision``
    ``bfloat16``, products are computed in it, and weights are stored and updated in float32. ``seed`` sets
    the order of the images, their augmentation and dropout, for which torch's own generator is seeded.
    """
    if not epochs:
        return []
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    device, dtype = next(model.parameters()).device, hardware.dtype(precision)
    steps = epochs * math.ceil(len(images) / batch)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps)
    history = []
    for epoch in range(epochs):
        model.train()
        loss_sum, right = 0.0, 0
        order = torch.randperm(len(images), generator=generator)
        for indices in tqdm(order.split(batch), desc=f"epoch {epoch + 1}/{epochs}", leave=False, mininterval=5):
            labels = images.labels[indices].to(device)
            shown = augmented(images.pixels(indices), generator).contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
                scores = model(shown.to(device))
            loss = functional.cross_entropy(scores.float(), labels, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if masks:
                masking.apply(model, masks)
            loss_sum += loss.item() * len(indices)
            right += int((scores.argmax(1) == labels).sum())
        history.append({"epoch": epoch + 1, "loss": loss_sum / len(images), "accuracy": right / len(images)})
    model.eval()
    return history


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
    """Estimate the BatchNorm statistics again, from ``number`` images, and change nothing else."""
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches
    model.train()
    device = next(model.parameters()).device
    indices = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:number]
    for part in indices.split(256):
        model(scaled(images.pixels(part)).contiguous(memory_format=torch.channels_last).to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


@torch.no_grad()
def correct(model: nn.Module, images: Images) -> tuple[torch.Tensor, torch.Tensor]:
    """Whether each image's class is ranked first, and its log-probability: (images,) each."""
    model.eval()
    device = next(model.parameters()).device
    scores = torch.cat([model(batch.to(device)).cpu() for _, batch in images.batches()])
    likelihood = scores.log_softmax(1)[torch.arange(len(images)), images.labels]
    return scores.argmax(1) == images.labels, likelihood
