import gc
from pathlib import Path

import numpy as np
import pretended
import pytest
import torch
from checkout import copied
from PIL import Image

from unicomp_lib import hardware
from unicomp_lib.checkpoints import models

torch.set_num_threads(1)

# Fixtures that load the real model, or copy the checkout for processes to run in.
SLOW = {"checkout", "copy", "dense", "network", "small", "study"}

# Files that take minutes, the longest first: `nox -s tests` hands files out in this order, and one begun last would
# leave the other process without work.
LONG = (
    "study/test_study.py", "study/test_notebooks.py", "study/test_paper_profile.py", "study/test_kills.py",
    "test_contributing.py", "study/test_slurm.py", "report/test_site.py", "test_lint.py",
)  # fmt: skip

COLOURS = {"blue": (30, 60, 220), "green": (40, 200, 60), "red": (220, 40, 30)}


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """No garbage is looked for while the tests are imported, nor later in what is there by then."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config, items):
    """Mark what uses a slow fixture as slow; ``nox -s check`` leaves it out. Long files come first, then slow ones.

    A process keeps the pretended accelerator once it has it, and must have it before torch computes a gradient. So
    what uses it runs alone, in a process that ``test_accelerator`` starts.
    """
    pretended = [item for item in items if "accelerator" in item.fixturenames]
    if len(pretended) < len(items):
        config.hook.pytest_deselected(items=pretended)
        items[:] = [item for item in items if item not in pretended]
    for item in items:
        if SLOW & set(item.fixturenames):
            item.add_marker("slow")
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    long = {Path(__file__).parent / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: (long.get(item.path, len(LONG)), item.path not in slow))


@pytest.fixture
def tiny():
    """The tiny random Llama in float32, and its tokenizer."""
    return models.load(models.TINY, precision="float32")


@pytest.fixture(scope="session")
def dense():
    """The real model of the default profile in float32, and its tokenizer."""
    return models.load("smollm2-135m-instruct", precision="float32")


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory):
    """Squares of three noisy colours, a folder a class: 20 images of each to train on, 8 held out."""
    root, chance = tmp_path_factory.mktemp("squares"), np.random.default_rng(0)
    for split, count in (("train", 20), ("val", 8)):
        for name, colour in COLOURS.items():
            (root / split / name).mkdir(parents=True)
            for place in range(count):
                pixels = np.clip(np.array(colour) + chance.normal(0, 40, (40, 32, 3)), 0, 255).astype("uint8")
                Image.fromarray(pixels).save(root / split / name / f"{place}.png")
    return root


@pytest.fixture
def accelerator(monkeypatch):
    """The machine's accelerator; where it has none, a pretended one, which the study takes for the machine's."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    device = pretended.device()
    monkeypatch.setattr(hardware, "device", lambda: device)
    return device


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("UNICOMP_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def copy(tmp_path):
    """A copy of the checkout, in which a test may edit and run."""
    return copied(tmp_path / "study")
