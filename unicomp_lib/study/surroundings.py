"""What a step sees of the user's machine: its variables, and what must hold of the machine for one to run.

Steps run with this Python, on this checkout. A variable of the user's shell that would change what is imported or
computed is not handed on; those that change only the pace are, and a record lists them.
"""

import errno
import importlib.metadata
import importlib.util
import multiprocessing
import os
import re
import resource
import shutil
import site
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from unicomp_lib import locks, paths
from unicomp_lib.study import records
from unicomp_lib.study.hints import one_line

# Variables by how their names begin. Python's own, since they change what is imported, warned of or left out.
# IPython's and Jupyter's, since a step has a kernel and a profile of its own; pytest's, under which ipykernel shows
# less. Matplotlib's, since they change figures. The numeric libraries', since they choose other kernels, precisions
# or formats.
DROPPED = (
    "PYTHON", "PYTEST_", "IPYTHON", "JUPYTER", "JPY_", "MPLBACKEND", "MATPLOTLIBRC", "POLARS_", "TORCH", "PYTORCH_",
    "ATEN_", "AOTI_", "TRITON_", "NVIDIA_TF32_OVERRIDE", "CUBLAS", "CUDNN_", "MKL_", "ONEDNN_", "DNNL_", "OPENBLAS_",
    "BLIS_", "NPY_", "TRANSFORMERS_", "ACCELERATE_", "LMEVAL_", "LM_HARNESS_", "HF_ALLOW_CODE_EVAL",
)  # fmt: skip
# Some of these change the pace, the memory or the place of a cache, and no number.
KEPT = (
    "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "PYTHONUNBUFFERED", "PYTHONFAULTHANDLER", "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS", "BLIS_NUM_THREADS", "POLARS_MAX_THREADS", "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF",
    "TORCH_HOME", "TORCH_EXTENSIONS_DIR", "TRITON_CACHE_DIR",
)  # fmt: skip
# What a record lists: what is left of them, threads, accelerators, and libraries put before others.
RECORDED = (*DROPPED, "OMP_", "KMP_", "GOMP_", "CUDA_", "NVIDIA_", "LD_PRELOAD", "MALLOC_", "HF_HUB_OFFLINE")
# nbformat's jsonschema imports it, for which it takes a second, to check addresses, which notebooks are not asked for.
UNUSED = "rfc3987_syntax"
FILES = 256  # open files that a step may need: those of its kernel, of its threads and of a checkpoint
ADDRESSES = 4 * 2**30  # bytes of address space below which polars waits for memory without end


def of_step(given: Mapping[str, str]) -> dict[str, str]:
    """The variables of a step, made of those of the process that starts it; made of themselves, they stay."""
    own = {
        # This checkout and nothing else of the user's: not another one that is installed, no sitecustomize.
        "PYTHONPATH": str(paths.project()), "PYTHONNOUSERSITE": "1", "PYTHONHASHSEED": "0", "PYTHONUTF8": "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }  # fmt: skip
    kept = {name: value for name, value in given.items() if name in KEPT or not name.startswith(DROPPED)}
    return kept | own


def notes(given: Mapping[str, str]) -> list[str]:
    """A sentence on the variables that steps do not see as they are set; none for Jupyter's and pytest's."""
    seen = of_step(given)
    others = [name for name, value in given.items() if seen.get(name) != value]
    names = sorted(name for name in others if not name.startswith(("PYTEST_", "IPYTHON", "JUPYTER", "JPY_")))
    return [f"steps do not see {', '.join(names)}, which could change what they import or compute"] if names else []


def recorded(given: Mapping[str, str]) -> dict[str, str]:
    """The variables that a record lists."""
    listed = sorted(name for name in given if name.startswith(RECORDED) and not name.startswith("JPY_"))
    return {name: given[name] for name in listed}


def matplotlibrc() -> str:
    """Matplotlib's own settings, to be used in place of the user's, for a process that sees no other Matplotlib."""
    spec = importlib.util.find_spec("matplotlib")
    assert spec is not None  # it is among the study's packages
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "mpl-data" / "matplotlibrc")


def check(*folders: Path) -> None:
    """Raise a ``RuntimeError`` or an ``OSError`` where no step could run, or none could write to these folders."""
    raise_limits()
    _check_packages()
    _check_processes()
    for folder in folders:
        _check_folder(folder)


def raise_limits() -> None:
    """Allow this process, and those that it starts, what a step needs, as far as the system lets it.

    An ``OSError`` with ``EMFILE`` or ``ENOMEM`` where that is too little: what then fails, or waits without end, is
    some library that does not say why.
    """
    for kind, needed, wanted, number in (
        (resource.RLIMIT_NOFILE, FILES, 16 * FILES, errno.EMFILE),  # a runner has some for each of its workers
        (resource.RLIMIT_AS, ADDRESSES, sys.maxsize, errno.ENOMEM),
    ):
        allowed, most = (sys.maxsize if each == resource.RLIM_INFINITY else each for each in resource.getrlimit(kind))
        if most < needed:
            raise OSError(number, f"{most} are too few")
        if allowed < min(wanted, most):
            hard = resource.getrlimit(kind)[1]
            resource.setrlimit(kind, (hard if wanted >= most else wanted, hard))


def explained(error: BaseException, text: str, folder: Path) -> str:
    """What is wrong with the machine and what to do, by the number of the system's error; empty for other errors.

    ``text`` is the error's, which a kernel may have handed on, and ``folder`` where it was at work.
    """
    told = re.search(r"\[Errno (\d+)\]|\(os error (\d+)\)|\bcode: (\d+), kind:", text)  # Python's, and Rust's two
    number = getattr(error, "errno", None) or int(next(filter(None, told.groups())) if told else 0)
    place = str(getattr(error, "filename", None) or folder)
    if number == errno.ENOSPC or "No space left on device" in text:
        free = shutil.disk_usage(folder).free / 1e6
        return (
            f"the disk that holds {folder} is full ({free:.0f} MB left); free some space and run the same command again"
        )
    if number == errno.EDQUOT:
        return (
            f"your quota on the disk that holds {folder} is used up; remove files there and run the same command again"
        )
    if number == errno.ENOLCK:
        return (
            f"the file system that holds {place} has no locks ({text.strip()}), and without them two runs could write "
            "the same files; put the checkout and UNICOMP_HOME on one that has, such as a local disk"
        )
    if number in (errno.EMFILE, errno.ENFILE):
        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return (
            f"a process may have {allowed} files open here, and that is too few: a step takes up to "
            f"{FILES}; allow more with ulimit -n {max(1024, 4 * allowed)}, or ask the administrator to"
        )
    if number == errno.ENOMEM:
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        limited = f" (ulimit -v is {limit / 2**30:.1f} GiB: allow more)" if 0 < limit < sys.maxsize else ""
        return f"a process was stopped for want of memory{limited}; run fewer steps at once with --workers"
    if re.search(r"\b(CUDA|HIP) out of memory\b", text):
        first = text.strip().splitlines()[0].partition(". GPU")[0].rstrip(".")
        return f"{first}; where steps share an accelerator, run fewer on each with --per-device"
    if number == errno.EROFS:
        return f"{place} is on a file system that cannot be written; put the checkout and UNICOMP_HOME on one that can"
    return ""


def _check_packages() -> None:
    """Steps import from the environment alone: what is taken from elsewhere here would be another there."""
    away = {Path(part).resolve(): "PYTHONPATH" for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part}
    if site.ENABLE_USER_SITE:
        away[Path(site.getusersitepackages()).resolve()] = "the user's own site-packages"
    away.pop(paths.project(), None)
    for name in records.PACKAGES:
        try:
            where = Path(str(importlib.metadata.distribution(name).locate_file(""))).resolve()
        except importlib.metadata.PackageNotFoundError as error:
            raise RuntimeError(
                f"the package {name} is not installed for {sys.executable}; install what requirements.lock lists, or "
                "use the commands of nox, which do"
            ) from error
        if where in away and not where.is_relative_to(sys.prefix):
            raise RuntimeError(
                f"the package {name} would come from {where}, by {away[where]}, which steps do not read; install it "
                f"for {sys.executable}, or take it out there"
            )


def _check_processes() -> None:
    """Dask's processes need semaphores, which Linux keeps in /dev/shm."""
    try:
        multiprocessing.get_context("spawn").Lock()
    except (OSError, ImportError) as error:
        raise RuntimeError(
            f"this machine has no semaphores for several processes ({one_line(error)}); on Linux they need a folder "
            "/dev/shm that you may write to: mount one (mount -t tmpfs tmpfs /dev/shm), or start the container with one"
        ) from error


def _check_folder(folder: Path) -> None:
    """Write a file and take a lock where the folder is, or will be."""
    there = next(place for place in (folder, *folder.parents) if place.is_dir())
    try:
        with tempfile.NamedTemporaryFile(dir=there, prefix=".check-") as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            with locks.held(Path(file.name), wait=False) as mine:
                if not mine:
                    raise OSError(errno.ENOLCK, "a lock that nobody holds is not given")
    except OSError as error:
        reason = error.strerror or str(error)
        said = explained(OSError(error.errno, reason), reason, there)
        raise RuntimeError(said or f"files cannot be written to {there} ({reason}); choose another place") from error
