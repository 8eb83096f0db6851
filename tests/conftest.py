import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from unicomp_lib import models, paths

torch.set_num_threads(1)

# What a checkout holds that the study reads.
PARTS = ("notebooks", "params", "unicomp_lib")


@pytest.fixture
def tiny():
    """The tiny random Llama in float32, and its tokenizer."""
    return models.load(models.TINY, precision="float32")


@pytest.fixture(scope="session")
def dense():
    """The real model of the default profile in float32, and its tokenizer."""
    return models.load("smollm2-135m-instruct", precision="float32")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("UNICOMP_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def copy(tmp_path):
    """A copy of the checkout, in which a test may edit and run."""
    return copied(tmp_path / "study")


def copied(target: Path) -> Path:
    for part in PARTS:
        shutil.copytree(paths.project() / part, target / part, ignore=shutil.ignore_patterns("__pycache__"))
    return target


def environment(checkout: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(checkout)}


def unicomp(checkout: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m unicomp_lib`` of a copied checkout."""
    command = [sys.executable, "-m", "unicomp_lib", *arguments]
    env = environment(checkout) | extra
    return subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True, timeout=600)
