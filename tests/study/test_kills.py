"""Kill -9 at random moments and at the worst: nothing is lost, nothing stays, and the tables are the same bytes."""

import os
import random
import shutil
import subprocess
import sys
import textwrap
import time

import nbformat
import psutil
import pytest
from checkout import copied, environment, steps, unicomp, wait_for, worker_of

from unicomp_lib import paths

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process that can do nothing by itself")
KILLS = int(os.environ.get("UNICOMP_KILLS", "5"))  # the long form of the test: UNICOMP_KILLS=15
PROFILE = """
precision: float32
models: {tiny: tiny-random-llama}
calibration: {calibration: general, samples: 4, length: 64}
compressions:
  dense: {method: dense}
  magnitude-50: {method: magnitude, sparsity: 0.5}
evaluations:
  fidelity: {samples: 4, length: 64}
figures: []
"""


def alive(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def below(pid):
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def find(checkout, kind):
    """Processes of a kind: Dask's workers, the processes that steps are forked from, steps, kernels."""
    try:
        return [_of(step, kind) for step in steps(checkout)]
    except (psutil.Error, IndexError):  # it has just ended, or has no kernel yet
        return []


def _of(step, kind):
    if kind == "kernel":
        return step.children()[0]
    return {"step": step, "preloaded": step.parent(), "worker": worker_of(step)}[kind]


def start(checkout, *arguments):
    command = [sys.executable, "-m", "unicomp_lib", "reproduce", "--profile", str(checkout / "kills.yaml"), *arguments]
    with (checkout / "killed.log").open("w") as log:
        return subprocess.Popen(command, cwd=checkout, env=environment(checkout), stdout=log, stderr=log)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A copy of the checkout with a study of five short steps that has not been run."""
    checkout = copied(tmp_path_factory.mktemp("kills") / "study")
    (checkout / "kills.yaml").write_text(PROFILE)
    return checkout


def tables(checkout):
    """The bytes of all tables, those in the run folders and those that are published."""
    found = [*checkout.glob("results/**/*.parquet"), *checkout.glob("runs/*/*.parquet")]
    return {str(path.relative_to(checkout)): path.read_bytes() for path in found}


def run_to_the_end(checkout, workers):
    """A step that was killed twice has failed, and the same command goes on."""
    for _ in range(3):
        done = unicomp(checkout, "reproduce", "--profile", str(checkout / "kills.yaml"), "--workers", str(workers))
        if done.returncode == 0:
            return
    raise AssertionError(done.stdout + done.stderr)


@pytest.fixture(scope="module")
def undisturbed(study):
    run_to_the_end(study, 1)
    return tables(study)


def forget(checkout):
    for folder in ("runs", "results"):
        shutil.rmtree(checkout / folder)


def kill(checkout, process, kind, wait):
    """One kill at a random moment; whatever was below the killed process is gone soon after."""
    wait_for(lambda: process.poll() is not None or kind == "main" or find(checkout, kind))
    time.sleep(wait)
    victims = [psutil.Process(process.pid)] if kind == "main" else find(checkout, kind)
    if process.poll() is not None or not victims:
        return  # the run or the step was faster
    left = [] if kind == "kernel" else below(victims[0].pid)
    try:
        victims[0].kill()
    except psutil.NoSuchProcess:
        return
    if kind == "main":
        process.wait()
    wait_for(lambda: not any(map(alive, left)), 5)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_kills_at_random_moments_change_no_byte_of_the_tables(study, undisturbed, workers):
    chance = random.Random(workers)
    kinds = (["main", "worker", "preloaded", "step", "kernel"] * KILLS)[:KILLS]
    chance.shuffle(kinds)
    forget(study)
    process = start(study, "--workers", str(workers))
    for kind in kinds:
        if process.poll() is not None:
            process = start(study, "--workers", str(workers))
        kill(study, process, kind, chance.uniform(0, 3))
    if process.poll() is None:
        process.wait(timeout=300)
    run_to_the_end(study, workers)
    assert tables(study) == undisturbed
    assert len(undisturbed) == 2 * (2 + 1)  # items and scores, in the run folders and published


def asleep(checkout):
    """The kernel that is in the cell which holds Python's lock."""
    marks = {path.name for path in checkout.glob("runs/*/asleep-*")}
    return [kernel for kernel in find(checkout, "kernel") if f"asleep-{kernel.pid}" in marks]


@pytest.mark.slow
@LINUX
def test_a_kernel_that_holds_pythons_lock_ends_with_each_process_above_it(study):
    notebook = study / "notebooks" / "compress" / "dense.ipynb"
    content = nbformat.read(notebook, as_version=4)
    code = [cell for cell in content.cells if cell.cell_type == "code"]
    code[1].source = "import ctypes, os; open('asleep-' + str(os.getpid()), 'w').close(); ctypes.PyDLL(None).sleep(600)"
    before = notebook.read_text(encoding="utf-8")
    nbformat.write(content, notebook)
    process = start(study, "--only", "compress/tiny/dense", "--workers", "1")
    left = []
    try:
        for kind in ("step", "worker", "preloaded", "main"):  # a worker tries a step twice
            wait_for(lambda: asleep(study))
            (kernel,) = asleep(study)
            victim = psutil.Process(process.pid) if kind == "main" else find(study, kind)[0]
            left = below(victim.pid)
            assert kernel in left
            victim.kill()
            if kind == "main":
                process.wait()
            wait_for(lambda left=left: not any(map(alive, left)), 5)
    finally:
        process.kill()
        process.wait()
        end(left)
        notebook.write_text(before, encoding="utf-8")


def end(processes):
    """Leave nothing behind where a test fails."""
    for process in filter(alive, processes):
        process.kill()


def ends_with_what_started_it(command, **options):
    """Start a process and wait until it has children and says ``ready``; kill it, and they are gone soon after."""
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=paths.project(), **options)
    children = []
    try:
        assert parent.stdout.readline() == "ready\n"
        children = below(parent.pid)
        assert len(children) > 1
        parent.kill()
        parent.wait()
        wait_for(lambda: not any(map(alive, children)), 5)
    finally:
        end([psutil.Process(parent.pid)] if parent.poll() is None else [])
        end(children)


@pytest.mark.slow
@LINUX
def test_measuring_processes_end_with_the_kernel_that_started_them():
    code = (
        "import threading, time; from unicomp_lib.evaluate import efficiency; ask = efficiency.ask; seen = []\n"
        "def asked(pipe, request):\n"
        "    seen.append(request)\n"
        "    if len(seen) == 3: threading.Timer(1, lambda: print('ready', flush=True)).start()\n"
        "    return ask(pipe, request if len(seen) < 3 else (1, 4, 10**6))\n"
        "efficiency.ask = asked\n"
        "efficiency.compare('tiny-random-llama', 'tiny-random-llama', precision='float32', prompt=4, generate=1)"
    )
    ends_with_what_started_it([sys.executable, "-c", f"if __name__ == '__main__':\n{textwrap.indent(code, '    ')}"])


@pytest.mark.slow
@LINUX
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_an_engine_of_vllm_ends_with_the_kernel_too(tmp_path, method):
    """A stand-in for vLLM, whose engine is a process of its own that holds Python's lock and cannot look around."""
    (tmp_path / "vllm.py").write_text(
        "import ctypes, multiprocessing, sys\n"
        "def engine(pipe):\n"
        "    pipe.send(1)\n"
        "    ctypes.PyDLL(None).sleep(600)\n"
        "def LLM(**_):\n"
        f"    context = multiprocessing.get_context({method!r})\n"
        "    mine, its = context.Pipe()\n"
        "    context.Process(target=engine, args=(its,)).start()\n"
        "    mine.recv()\n"
        "    print('ready', file=sys.stderr, flush=True)\n"
        "    ctypes.PyDLL(None).sleep(600)\n"
    )
    script = paths.project() / "unicomp_lib" / "evaluate" / "vllm_process.py"
    # The kernel: it only waits. Its child's standard error is this one's output, where 'ready' is looked for.
    code = (
        "import subprocess, sys, time\n"
        f"given = [{str(script)!r}, 'm', '', 'float32', '8']\n"
        "subprocess.Popen([sys.executable, *given], stdin=subprocess.PIPE, stderr=1)\n"
        "time.sleep(600)"
    )
    around = os.environ | {"PYTHONPATH": str(tmp_path)}
    ends_with_what_started_it([sys.executable, "-c", code], env=around)
