"""The process that steps are forked from: ``python -m unicomp_lib.study.preloaded FD PARENT``, see ``preload``.

It imports what nearly every step does, which takes seconds, and then only forks. A step's process and its kernel
are forked together, the kernel from the step's process, so that they are parent and child as they would be if
each were started anew.
"""

import gc
import importlib
import json
import os
import signal
import sys
import time
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from unicomp_lib import hardware
from unicomp_lib.study import surroundings

# What kernels import, then what their runners do, as far as it starts no thread: pyarrow and polars do, and so does
# what imports these, such as pyplot's companions and transformers' models. This library is left out too, since its
# files may change from step to step, and so are pyplot and ``kernelapp``, which look at the kernel they are in.
KERNEL = (
    "torch", "scipy.stats", "transformers.modeling_utils", "ipykernel.ipkernel", "ipykernel.zmqshell",
    "matplotlib.figure",
)  # fmt: skip
BARS = ("tqdm.auto", "tqdm.autonotebook")
RUNNER = ("nbformat", "nbclient", "requests")
# Has ``torch.cuda.is_available`` ask NVML, as libraries may when they are imported, and not the driver: a process that
# is forked from one that has called it cannot. See "Poison fork in multiprocessing" in torch's notes.
NVML = "PYTORCH_NVML_BASED_CUDA_CHECK"
PROBE = 60  # seconds in which a driver has begun


def main() -> None:
    """Import, say whether steps can be forked, and fork one for each request until there are no more.

    What is said: the number of threads, and whether a forked process can use an accelerator.
    """
    connection, own = Connection(int(sys.argv[1])), os.getpid()
    hardware.end_with_parent(int(sys.argv[2]))
    surroundings.raise_limits()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.environ[NVML] = "1"
    spent = _imported(KERNEL)
    sys.modules[surroundings.UNUSED] = None  # type: ignore[assignment]  # it is said not to be there
    _imported(RUNNER)
    del sys.modules[surroundings.UNUSED]  # which a kernel may import
    del os.environ[NVML]  # a step asks the driver
    sys.stdout.flush()  # else every child would write what is left
    gc.freeze()  # what is here stays: a collection in a child need not look at it, and so copy its pages
    usable = _usable()
    connection.send_bytes(json.dumps([_threads(), usable]).encode())
    request = _forked(connection)
    hardware.end_with_parent(own)
    _as_new()
    _step(request, spent)


def _imported(names: tuple[str, ...]) -> dict[str, float]:
    """Import modules; what that took."""
    clock, processor = time.perf_counter(), time.process_time()
    for name in names:
        importlib.import_module(name)
    return {
        "seconds": round(time.perf_counter() - clock, 2), "cpu_seconds": round(time.process_time() - processor, 2)
    }  # fmt: skip


def _usable() -> bool:
    """Whether a process that is forked from this one can use an accelerator as ``torch.cuda``: one is, and tries.

    It cannot where torch, or any other library, has called the driver here.
    """
    if pid := os.fork():
        return os.waitpid(pid, 0)[1] == 0
    signal.alarm(PROBE)  # ends it, should the driver wait for what the fork has not brought along
    usable = False
    try:
        cuda = sys.modules["torch"].cuda
        usable = not cuda._is_in_bad_fork() and cuda.is_available()
    finally:
        os._exit(0 if usable else 1)


def _threads() -> int:
    """How many threads this process has, once it has forked.

    OpenBLAS, which starts one a core beside an accelerator, ends them before a fork and starts them again when they
    are needed. Linux may list them for a moment longer.
    """
    for _ in range(50):
        if (number := len(os.listdir("/proc/self/task"))) == 1:
            break
        time.sleep(0.01)
    return number


def _forked(connection: Connection) -> dict[str, Any]:
    """Fork a process for each request, answer with its exit code, and return the request in each of them."""
    while True:
        try:
            request: dict[str, Any] = json.loads(connection.recv_bytes())
        except EOFError:
            sys.exit()
        if not (pid := os.fork()):
            connection.close()
            return request
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        connection.send_bytes(json.dumps(code).encode())


def _as_new() -> None:
    """Make a forked process what one would be that has been started and has imported the same."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Generators are seeded from the system when they are imported: else all would draw the same without a seed.
    sys.modules["numpy"].random.seed()
    sys.modules["torch"].default_generator.seed()
    # tqdm chooses between bars of text and widgets when it is imported, by whether it is in a kernel.
    for name in [name for name in sys.modules if name.partition(".")[0] == "unicomp_lib" or name in BARS]:
        del sys.modules[name]
    importlib.invalidate_caches()


def _step(request: dict[str, Any], spent: dict[str, float]) -> None:
    """Be the process of a step, as ``study.worker`` is; its kernel waits to be told its connection."""
    run = Path(request["run"])
    os.chdir(run)
    sys.path[0] = str(run)
    log = os.open(request["log"], os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    listener, teller = Pipe(duplex=False)
    if not (kernel := os.fork()):
        teller.close()
        _kernel(listener, spent)
        return
    listener.close()

    from unicomp_lib.study import provisioner, worker

    provisioner.Forked.waiting = provisioner.Child(kernel, teller)
    sys.exit(worker.main(run, forced=request["forced"]))


def _kernel(listener: Connection, spent: dict[str, float]) -> None:
    """Wait for what ``jupyter_client`` would start a process with, and be its kernel."""
    os.setsid()
    try:
        given = json.loads(listener.recv_bytes())
    except EOFError:  # the step has ended without one
        return
    listener.close()
    os.environ.clear()
    os.environ.update(given["env"])
    os.chdir(given["cwd"])

    from unicomp_lib.study import launch

    sys.argv = [launch.__file__, *given["arguments"]]
    launch.main(given["arguments"], preloaded=spent)


if __name__ == "__main__":
    main()
