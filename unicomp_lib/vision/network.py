"""Networks on disk: safetensors and a small description."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from unicomp_lib import files, hardware, paths
from unicomp_lib.vision import finite
from unicomp_lib.vision.googlenet import GoogLeNet
from unicomp_lib.vision.images import Images

VERSION = "3"

WEIGHTS, ABOUT = "model.safetensors", "network.json"


def new(classes: int | Sequence[str], *, weights: str = "", seed: int = 0) -> GoogLeNet:
    """A GoogLeNet with random weights, or with those of a torchvision state dict in the file ``weights``.

    ``classes`` is their number, or their names: a network that knows them is given no images of others.
    """
    torch.manual_seed(seed)
    names = [] if isinstance(classes, int) else list(classes)
    model = GoogLeNet(classes if isinstance(classes, int) else len(names))
    model.classes = names
    if weights:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        state = {name: value for name, value in state.items() if not name.startswith("aux")}
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            first = str(error).splitlines()[1].strip()
            raise ValueError(
                f"{weights} is not a GoogLeNet of {model.fc.out_features} classes ({first}); give another file"
            ) from error
        finite.check_weights(model, weights)
    return _ready(model)


def check_classes(model: nn.Module, images: Images) -> None:
    """Raise a ``ValueError`` where the network gives scores of other classes than the images have."""
    head, known = getattr(model, "fc", None), getattr(model, "classes", [])
    if isinstance(head, nn.Linear) and head.out_features != len(images.classes):
        raise ValueError(
            f"the network has {head.out_features} classes and the images have {len(images.classes)}; give the data "
            "that it was trained on, or train a network on these"
        )
    if known and known != images.classes:
        one, other = next(pair for pair in zip(known, images.classes, strict=True) if pair[0] != pair[1])
        raise ValueError(
            f"the network's classes are not the images': {one!r} is {other!r} there; give the data that it was trained "
            "on, or train a network on these"
        )


def save(model: GoogLeNet, folder: Path) -> Path:
    """Write the network into ``folder``, its description last."""
    state = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    files.write_whole(folder / WEIGHTS, lambda part: save_file(state, part))
    about = {"classes": model.fc.out_features, "names": model.classes, "epochs": model.epochs}
    files.write_text(folder / ABOUT, json.dumps(about))
    return folder


def load(checkpoint: str) -> GoogLeNet:
    """The network in the folder ``checkpoint``; an empty name is what ``vision/train`` last saved when run by hand."""
    folder = Path(checkpoint) if checkpoint else _by_hand()
    if not (folder / ABOUT).is_file():
        raise ValueError(
            f"{folder} contains no network; run notebooks/vision/train.ipynb first, or give the checkpoint folder of "
            "a run"
        )
    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    model = GoogLeNet(about["classes"])
    model.classes, model.epochs = about.get("names", []), about.get("epochs", 0)
    model.load_state_dict(load_file(folder / WEIGHTS))
    return _ready(model)


def _ready(model: GoogLeNet) -> GoogLeNet:
    # CPUs convolve a quarter faster with the channels last.
    return model.to(hardware.device(), memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


def _by_hand() -> Path:
    """Where ``vision/train`` saved a network last, whatever its parameters were."""
    scratch = paths.home() / "scratch"
    saved = sorted(scratch.glob(f"vision-train*/checkpoint/{ABOUT}"), key=lambda file: file.stat().st_mtime)
    if saved:
        print(f"the network is that of {saved[-1].parent}")
    return saved[-1].parent if saved else scratch / "vision-train" / "checkpoint"
