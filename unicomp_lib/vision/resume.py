"""Training that goes on where it was interrupted: one file with all that the next batch depends on."""

import hashlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from unicomp_lib import files, paths
from unicomp_lib.vision import googlenet, pictures
from unicomp_lib.vision.images import Images

VERSION = "1"

EVERY = 60.0  # seconds of training that an interruption may cost
Row = dict[str, float]


@dataclass
class Run:
    """A training at the end of a batch."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    generator: torch.Generator
    masks: dict[str, torch.Tensor]
    history: list[Row] = field(default_factory=list)  # of the epochs that are complete
    order: torch.Tensor | None = None  # of the images in the epoch that has begun
    batches: int = 0  # of that epoch that are done
    loss: float = 0.0  # sum over its images
    right: int = 0


class State:
    """The file of one training, or of the stages of one pruning; used as a context, at whose good end it is removed.

    The file lies in the cache and is named by what is trained, on which images and how: whoever starts the same
    training again, in whatever folder, finds it. It is replaced as a whole, so that it is always of one batch.
    """

    def __init__(self) -> None:
        self.path: Path | None = None
        self.stage = 1
        self.earlier: list[Row] = []  # history of the stages before
        self.stored: tuple[dict[str, torch.Tensor], dict[str, Any]] | None = None  # what the file held at the beginning
        self._written = time.monotonic()

    def __enter__(self) -> "State":
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is None and self.path:
            self.path.unlink(missing_ok=True)

    def begin(self, model: nn.Module, images: Images, settings: dict[str, Any]) -> None:
        """Name the file, unless that is done: by the network, the images, their classes and ``settings``."""
        if self.path:
            return
        versions = [VERSION, pictures.VERSION, googlenet.VERSION, torch.__version__]
        known = [*versions, images.digests, images.labels.tolist(), images.size]
        kind = next(model.parameters()).device.type
        if kind != "cpu":  # another kind of device gives other numbers, and begins anew
            known.append(kind)
        total = hashlib.sha256(json.dumps([*known, settings], sort_keys=True).encode())
        for name, value in model.state_dict().items():
            total.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        self.path = paths.home() / "training" / f"{total.hexdigest()[:16]}.safetensors"
        self.stored = _read(self.path)  # once, since another process with the same training may replace it

    def keep(self, run: Run) -> None:
        """Write the file where the last time is longer ago than ``EVERY``."""
        assert self.path is not None
        if time.monotonic() - self._written < EVERY:
            return
        group = run.optimizer.param_groups[0]
        about = {
            "stage": self.stage, "earlier": self.earlier, "history": run.history, "batches": run.batches,
            "loss": run.loss, "right": run.right, "steps": run.schedule.last_epoch, "rate": group["lr"],
            "momentum": group["momentum"],
        }  # fmt: skip
        tensors = {f"model.{name}": value for name, value in run.model.state_dict().items()}
        for name, weight in run.model.named_parameters():
            tensors[f"momentum.{name}"] = run.optimizer.state[weight]["momentum_buffer"]
        tensors |= {f"mask.{name}": mask for name, mask in run.masks.items()} | _random(run)
        assert run.order is not None
        whole = {name: value.detach().cpu().contiguous() for name, value in {**tensors, "order": run.order}.items()}
        metadata = {"about": json.dumps(about)}
        files.write_whole(self.path, lambda file: save_file(whole, file, metadata))
        self._written = time.monotonic()

    def restore(self, run: Run) -> None:
        """Bring a training to where the file of the same stage left it; without one it begins."""
        if self.stored is None or self.stored[1]["stage"] != self.stage:
            return
        tensors, about = self.stored
        run.model.load_state_dict(part(tensors, "model."))
        for name, weight in run.model.named_parameters():
            buffer = torch.empty_like(weight).copy_(tensors[f"momentum.{name}"])
            run.optimizer.state[weight]["momentum_buffer"] = buffer
        run.optimizer.param_groups[0].update(lr=about["rate"], momentum=about["momentum"])
        run.schedule.last_epoch = about["steps"]
        run.history, run.batches = about["history"], about["batches"]
        run.loss, run.right, run.order = about["loss"], about["right"], tensors["order"]
        run.generator.set_state(tensors["random.order"])
        torch.set_rng_state(tensors["random.torch"])
        if "random.device" in tensors:
            _generator(run).set_rng_state(tensors["random.device"])
        print(f"goes on after {len(run.history)} epochs and {run.batches} batches of the next, from {self.path}")


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """What a file holds; None where there is none or it is damaged."""
    try:
        with safe_open(path, "pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118, it is no mapping
            return tensors, json.loads(opened.metadata()["about"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Those whose name begins with ``prefix``, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _random(run: Run) -> dict[str, torch.Tensor]:
    states = {"random.order": run.generator.get_state(), "random.torch": torch.get_rng_state()}
    if next(run.model.parameters()).device.type != "cpu":
        states["random.device"] = _generator(run).get_rng_state()
    return states


def _generator(run: Run) -> Any:
    """The module of the accelerator that a training runs on, such as ``torch.cuda``."""
    return torch.get_device_module(next(run.model.parameters()).device)
