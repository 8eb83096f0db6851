"""The machine this runs on, as far as results depend on it."""

import ctypes
import os
import platform
import signal
import sys
import threading
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    import torch

VERSION = "1"

STEP_MEMORY = 7.5e9  # bytes that a step of the default profile may need at its peak, a distillation


def cores() -> int:
    """Cores this process may use (a container's or a batch job's share, where the system reports it)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def end_with_parent(parent: int) -> None:
    """End this process when the one that started it, of process id ``parent``, has ended, however it ended.

    Linux sees to that itself, so that not even a process stays that waits in foreign code and holds Python's global
    lock. macOS has nothing like it: there a thread looks twice a second, which such a process keeps from looking.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it had ended before
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


@cache
def processor() -> str:
    """The processor's name, for records."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@cache
def accelerator() -> str:
    """``cuda`` where an NVIDIA driver is loaded, else ``cpu``; determined without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return "cpu"
    return "cuda" if Path("/proc/driver/nvidia/version").exists() else "cpu"


@cache
def devices() -> list[str]:
    """The accelerators this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    if accelerator() == "cpu":
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible:
        return visible.split(",")
    return [str(index) for index, _ in enumerate(Path("/proc/driver/nvidia/gpus").iterdir())]


def workers() -> int:
    """Steps to run at once: one per accelerator, else one per core as far as memory allows."""
    if devices():
        return len(devices())
    return max(1, min(cores(), int(psutil.virtual_memory().total // STEP_MEMORY)))


def joules(root: Path = Path("/sys/class/powercap")) -> float | None:
    """Energy that the processor's packages have used since some fixed time; None where it cannot be read.

    Intel's and AMD's counters (RAPL), which Linux shows only to the administrator. They count the
    whole machine, with everything else that runs on it.
    """
    packages = [folder for folder in root.glob("intel-rapl:*") if folder.name.count(":") == 1]
    try:
        microjoules = [int((folder / "energy_uj").read_text()) for folder in packages]
    except (OSError, ValueError):
        return None
    return sum(microjoules) / 1e6 if microjoules else None


@cache
def native_precision() -> str:
    """``bfloat16`` where the machine multiplies it in hardware, else ``float32``.

    On a processor with AVX-512 BF16 or AMX a 135M model processed 3.5 times as many tokens
    per second in bfloat16; without these instructions bfloat16 is emulated and slower than float32.
    """
    if accelerator() == "cuda":
        return "bfloat16"
    info = Path("/proc/cpuinfo")
    flags = info.read_text(errors="replace") if info.exists() else ""
    return "bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"


def device() -> "torch.device":
    """The accelerator torch sees, else the CPU."""
    import torch  # here, so that the command line answers before torch has loaded

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def dtype(precision: str) -> "torch.dtype":
    """The torch type of a precision's name."""
    import torch

    known = {"bfloat16": torch.bfloat16, "float32": torch.float32}
    if precision not in known:
        raise ValueError(f"precision {precision!r} is not known; allowed are {' and '.join(known)}")
    return known[precision]
