"""Networks on disk: safetensors and a small description."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from unicomp_lib import files, hardware, paths
from unicomp_lib.vision.googlenet import GoogLeNet

VERSION = "1"

WEIGHTS, ABOUT = "model.safetensors", "network.json"


def new(classes: int, *, weights: str = "", seed: int = 0) -> GoogLeNet:
    """A GoogLeNet with random weights, or with those of a torchvision state dict in the file ``weights``."""
    torch.manual_seed(seed)
    model = GoogLeNet(classes)
    if weights:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        state = {name: value for name, value in state.items() if not name.startswith("aux")}
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            first = str(error).splitlines()[1].strip()
            raise ValueError(
                f"{weights} is not a GoogLeNet of {classes} classes ({first}); give another file"
            ) from error
    return _ready(model)


def save(model: GoogLeNet, folder: Path) -> Path:
    """Write the network into ``folder``, its description last."""
    state = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    files.write_whole(folder / WEIGHTS, lambda part: save_file(state, part))
    files.write_text(folder / ABOUT, json.dumps({"classes": model.fc.out_features}))
    return folder


def load(checkpoint: str) -> GoogLeNet:
    """The network in the folder ``checkpoint``; an empty name is what ``vision/train`` saved when run by hand."""
    folder = Path(checkpoint) if checkpoint else paths.home() / "scratch" / "vision-train" / "checkpoint"
    if not (folder / ABOUT).is_file():
        raise ValueError(
            f"{folder} contains no network; run notebooks/vision/train.ipynb first, or give the checkpoint folder of "
            "a run"
        )
    model = GoogLeNet(json.loads((folder / ABOUT).read_text(encoding="utf-8"))["classes"])
    model.load_state_dict(load_file(folder / WEIGHTS))
    return _ready(model)


def _ready(model: GoogLeNet) -> GoogLeNet:
    # CPUs convolve a quarter faster with the channels last.
    return model.to(hardware.device(), memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
