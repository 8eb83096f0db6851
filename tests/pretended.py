"""A pretended accelerator, to test what runs on one where there is none: see ``pretended.cpp``."""

import hashlib
import os
import shutil
import subprocess
import sys
import types
from functools import cache
from pathlib import Path

import pytest
import torch
from torch.utils import cpp_extension

from unicomp_lib import paths

NAME = "pretended"
MEMORY = 5_000_000  # bytes that it says were held at most


@cache
def device() -> torch.device:
    """The device, which torch knows from then on until the process ends. Skips the test where it cannot be built."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None or sys.platform != "linux":
        pytest.skip("a pretended accelerator needs Linux and g++, or the compiler that CXX names")
    library = _compiled(compiler, Path(__file__).with_suffix(".cpp"))
    torch.utils.rename_privateuse1_backend(NAME)
    torch._register_device_module(NAME, Module(NAME))
    torch.ops.load_library(library)
    return torch.device(NAME)


def _compiled(compiler: str, source: Path) -> Path:
    """The library, compiled once for this source and this torch."""
    digest = hashlib.sha256(source.read_bytes() + torch.__version__.encode()).hexdigest()[:16]
    library = paths.home() / "tests" / f"{NAME}-{digest}.so"
    if not library.is_file():
        library.parent.mkdir(parents=True, exist_ok=True)
        made = library.with_suffix(f".{os.getpid()}")
        folders = [f"-I{folder}" for folder in cpp_extension.include_paths()]
        folders += [f"-L{folder}" for folder in cpp_extension.library_paths()]
        options = ("-O0", "-std=c++20", "-shared", "-fPIC", *folders)
        subprocess.run([compiler, *options, source, "-ltorch_cpu", "-lc10", "-o", made], check=True)
        made.rename(library)
    return library


class Module(types.ModuleType):
    """What is asked of the device, as ``torch.cuda`` answers it."""

    state = torch.zeros(1, dtype=torch.uint8)  # of its generator

    def is_available(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def synchronize(self) -> None:
        pass

    def max_memory_allocated(self) -> int:
        return MEMORY

    def get_rng_state(self) -> torch.Tensor:
        return self.state

    def set_rng_state(self, state: torch.Tensor) -> None:
        Module.state = state

    def manual_seed_all(self, seed: int) -> None:
        pass

    def _is_in_bad_fork(self) -> bool:
        return False

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]
