"""The machine this runs on, as far as results depend on it."""

import ctypes
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil

if TYPE_CHECKING:
    import torch

VERSION = "1"

# Files of NVIDIA's driver, on Linux and in WSL, and of AMD's.
SIGNS = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/usr/lib/wsl/lib/libcuda.so.1", "/dev/kfd")
LARGE = 2e9  # bytes of a billion weights in bfloat16
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


class Accelerators(NamedTuple):
    """What torch says of a machine's accelerators: their number, whether all have bfloat16, why it can use none.

    ``memory``: bytes of the one that has the least.
    """

    number: int
    bfloat16: bool
    reason: str
    memory: float = 0.0


@cache
def accelerators() -> Accelerators:
    """What torch says, asked where there are signs of an accelerator; ``reason`` is empty where there are none.

    It is asked in a process of its own, since it takes seconds to import, and since a process that has asked for a
    device's abilities may hold some of its memory.
    """
    if not _signs():
        return Accelerators(0, False, "")
    library = str(Path(__file__).parents[1])
    code = f"import sys; sys.path.insert(0, {library!r}); from unicomp_lib import hardware; hardware.tell()"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    try:
        return Accelerators(*json.loads(asked.stdout.splitlines()[-1]))
    except (IndexError, TypeError, ValueError):  # it did not come to its end
        last = (asked.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        return Accelerators(0, False, f"torch does not start ({last})")


def tell() -> None:
    """Print ``accelerators`` as this process sees them, as JSON on the last line."""
    import torch

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        number = torch.cuda.device_count() if torch.cuda.is_available() else 0
    # Before 8.0, bfloat16 is emulated, and slower than float32.
    capable = bool(torch.version.hip) or all(torch.cuda.get_device_capability(n) >= (8, 0) for n in range(number))
    reason = ""
    if not number and not torch.backends.cuda.is_built():
        reason = f"torch {torch.__version__} is built without support for it; install the build of torch for this GPU"
    elif not number:
        lines = str(said[0].message).splitlines() if said else []
        reason = f"torch cannot use it ({lines[0] if lines else 'it finds none'})"
    memory = min((torch.cuda.get_device_properties(n).total_memory for n in range(number)), default=0)
    print(json.dumps([number, bool(number) and capable, reason, memory]))


def unused() -> str:
    """Why an accelerator that seems to be here is not used, in a sentence; empty where none is, or it is used."""
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return "Apple's GPU is not used, since MPS has no float64, in which some methods compute; the CPU computes"
    reason = accelerators().reason
    return f"a GPU seems to be here, but {reason}; the CPU computes" if reason else ""


def notes(weights: float) -> list[str]:
    """Sentences on what is slow here, for a study whose largest model has so many bytes of weights."""
    found = [unused()] if unused() else []
    if weights > LARGE and not devices():
        found.append(
            f"a model with {weights / 1e9:.0f} GB of weights would be computed by one thread of the CPU, very slowly; "
            "take a machine with an accelerator that torch can use"
        )
    return found


def _signs() -> bool:
    """Whether files of a driver are here, and its devices are not hidden on purpose."""
    hidden = os.environ.get(visible(), "0").strip() in ("", "-1")
    return not hidden and any(Path(sign).exists() for sign in SIGNS)


def visible() -> str:
    """The variable that names the accelerators to use: AMD's where it is set, since it goes before NVIDIA's."""
    return "HIP_VISIBLE_DEVICES" if "HIP_VISIBLE_DEVICES" in os.environ else "CUDA_VISIBLE_DEVICES"


def accelerator() -> str:
    """The kind of device that this process computes on, ``cuda`` (AMD's too) or ``cpu``, for records."""
    return device().type if _signs() else "cpu"


def devices() -> list[str]:
    """The accelerators this process may use, as the variable ``visible()`` names them."""
    number = accelerators().number
    named = [name for name in os.environ.get(visible(), "").split(",") if name.strip()]
    return (named or [str(index) for index in range(number)])[:number]


def threads(per_device: int = 1) -> dict[str, str]:
    """Variables that give a step beside an accelerator its share of the cores; empty without one.

    ``per_device`` steps share an accelerator. Without one there are as many steps at once as cores, and each has one
    thread.
    """
    if not devices():
        return {}
    share = str(max(1, cores() // (per_device * len(devices()))))
    return dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), share)


def workers(per_device: int = 1) -> int:
    """Steps to run at once: ``per_device`` on each accelerator, else one per core as far as memory allows."""
    if devices():
        return per_device * len(devices())
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

    The machine's accelerators count where there are any. Which is faster differs. With AVX-512 BF16 or AMX a 135M
    model processed up to 3.5 times as many tokens per second in bfloat16. On an Intel processor whose AMX the virtual
    machine hides, a cell of performance took 1.46 times the CPU time of float32; it stays bfloat16, so that scores are
    comparable. Without these instructions bfloat16 is emulated, and slower still.
    """
    if devices():
        return "bfloat16" if accelerators().bfloat16 else "float32"
    info = Path("/proc/cpuinfo")
    flags = info.read_text(errors="replace") if info.exists() else ""
    return "bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"


def device() -> "torch.device":
    """The accelerator torch sees, else the CPU.

    Convolutions on it are those of float32, by the same algorithm in every run: left to itself, cuDNN rounds what
    they multiply to 10 bits (TF32), and their gradients differ from run to run.
    """
    import torch  # here, so that the command line answers before torch has loaded

    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    torch.backends.cudnn.deterministic = True
    return torch.device("cuda")


def device_memory() -> float:
    """The most bytes that this process has held on the accelerator; 0 without one."""
    import torch

    kind = device()
    return 0.0 if kind.type == "cpu" else float(torch.get_device_module(kind).max_memory_allocated())


def dtype(precision: str) -> "torch.dtype":
    """The torch type of a precision's name."""
    import torch

    known = {"bfloat16": torch.bfloat16, "float32": torch.float32}
    if precision not in known:
        raise ValueError(f"precision {precision!r} is not known; allowed are {' and '.join(known)}")
    return known[precision]
