"""A step whose kernel is forked is the step that it would be in a process of its own."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from unicomp_lib import hardware, paths
from unicomp_lib.study import preload, records, scheduler

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="steps are forked on Linux alone")

# A small study of its own: a model is pruned, saved and compared, and something is drawn.
WORK = """
import json, os, signal, sys
from pathlib import Path
import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import torch
from unicomp_lib.checkpoints import models, saving
from unicomp_lib.compress import magnitude
from unicomp_lib.evaluate import fidelity

model, tokenizer = models.load(models.TINY, precision="float32")
dense, _ = models.load(models.TINY, precision="float32")
tokens = torch.randint(len(tokenizer), (3, 48), generator=torch.Generator().manual_seed(0))
magnitude.compress(model, sparsity=0.5)
saving.save(model, tokenizer, Path(output, "checkpoint"))
table = fidelity.compare(model, dense, tokens)
table.group_by("metric", maintain_order=True).agg(pl.col("value").sum()).write_parquet(Path(output, "a.parquet"))
table.write_parquet(Path(output, "b.parquet"))
figure, axes = plt.subplots()
axes.plot(table["value"])
figure.savefig(Path(output, "a.png"))
held = np.ones(40_000_000)
peak = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
# The last is set by torch where it is not.
around = {name: os.environ[name] for name in {*os.environ} - {"JPY_PARENT_PID", "TORCHINDUCTOR_CACHE_DIR"}}
seen = {
    "environment": around, "path": sys.path, "flags": str(sys.flags), "folder": os.getcwd(), "hash": hash("a"),
    "argv": [Path(sys.argv[0]).name, *[word for word in sys.argv[1:] if word.startswith("--") and "=" not in word]],
    "signals": [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
    "leads": os.getsid(0) == os.getpid(), "parent": int(os.environ["JPY_PARENT_PID"]) == os.getppid(),
    "threads": [torch.get_num_threads(), torch.get_num_interop_threads(), pl.thread_pool_size()],
    "backend": plt.get_backend(), "stdin": sys.stdin.read() if not sys.stdin.isatty() else "",
    "settings": {name: str(value) for name, value in plt.rcParams.items()},
}
Path(output, "seen.json").write_text(json.dumps(seen, sort_keys=True).replace(output, ""))
Path(output, "own.json").write_text(json.dumps({"peak": peak}))
display(figure)
"""


def run(job):
    done = scheduler.run_job(job)
    assert done.state == scheduler.DONE, done.reason
    return Path(job["run"])


@LINUX
@pytest.mark.slow
def test_a_forked_step_sees_and_writes_what_one_in_a_process_of_its_own_does(steps, monkeypatch):
    forked = run(steps("forked", WORK))
    with monkeypatch.context() as patched:
        patched.setattr(preload, "step", lambda *_, **__: None)
        fresh = run(steps("fresh", WORK))
    for file in (path.relative_to(fresh) for path in fresh.rglob("*") if path.is_file()):
        if file.name not in (records.RECORD, records.STEP, records.LOG, records.NOTEBOOK, records.LOCK, "own.json"):
            assert (forked / file).read_bytes() == (fresh / file).read_bytes(), file
    pictures = [json.loads((run / records.NOTEBOOK).read_text())["cells"][-1]["outputs"] for run in (forked, fresh)]
    assert {"image/png" in output["data"] for output in pictures[0]} == {True}
    assert pictures[0] == pictures[1]
    # Time and memory are measured, and mean the same with what was imported before.
    new, old = records.finished(forked), records.finished(fresh)
    assert "preloaded" not in old
    assert {name: new[name] for name in ("packages", "hardware", "variables", "interpreter")} == {
        name: old[name] for name in ("packages", "hardware", "variables", "interpreter")
    }
    assert 0 < new["cpu_seconds"] < old["cpu_seconds"]
    assert new["cpu_seconds"] + new["preloaded"]["cpu_seconds"] == pytest.approx(old["cpu_seconds"], rel=0.5)
    assert new["peak_memory"] == pytest.approx(old["peak_memory"], rel=0.15)
    for folder, record in ((forked, new), (fresh, old)):
        assert json.loads((folder / "own.json").read_text())["peak"] == pytest.approx(record["peak_memory"], rel=0.05)


WRITE = """
import os, random, uuid
from pathlib import Path
import numpy, torch
from unicomp_lib import hardware
drawn = [random.random(), numpy.random.random(), torch.rand(()).item(), uuid.uuid4()]
Path(output, "out.txt").write_text(" ".join(map(str, [hardware.cores(), os.getpid(), *drawn])))
"""


def written(folder):
    return (folder / "out.txt").read_text().split()


@LINUX
@pytest.mark.slow
def test_the_process_is_kept_replaced_when_it_is_gone_and_holds_nothing_of_this_library(steps, copy, monkeypatch):
    monkeypatch.setattr(paths, "project", lambda: copy)
    first = steps("first", WRITE)
    preloaded = preload._own
    one = written(run(first))
    process = preloaded.process.process
    assert process.poll() is None
    # Another process and other random numbers, and the source as it is now.
    (copy / "unicomp_lib" / "hardware.py").open("a").write("\n\ndef cores() -> int:\n    return 12345\n")
    two = written(run(steps("second", WRITE)))
    assert preloaded.process.process is process
    assert (one[0], two[0]) == (str(hardware.cores()), "12345")
    assert not set(one) & set(two)
    process.kill()
    process.wait()
    run(steps("third", WRITE))
    assert preloaded.process.process is not process
    assert process.returncode == -signal.SIGKILL


@LINUX
@pytest.mark.slow
def test_a_step_runs_again_where_the_process_it_was_forked_from_is_killed(steps, tmp_path, capsys):
    mark = tmp_path / "mark"
    code = f"import os, psutil, time\nfrom pathlib import Path\nif not Path({str(mark)!r}).exists():\n"
    code += f"    Path({str(mark)!r}).write_text(str(os.getpid()))\n"
    code += "    psutil.Process().parent().parent().kill()\n    time.sleep(60)\n"
    assert run(steps("killed", code + "Path(output, 'out.txt').touch()"))
    assert "note: killed is tried once more: its process was killed" in capsys.readouterr().out
    assert not Path(f"/proc/{mark.read_text()}").exists()


def test_nothing_is_forked_but_on_linux(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert preload.step(tmp_path, forced=False, env={}) is None
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Empty packages in place of those that are imported before a fork: their folder, and the variables to use them."""
    monkeypatch.setattr(preload, "_own", preload._Own())
    for name in ("torch", "scipy", "transformers", "ipykernel", "matplotlib", "nbformat", "nbclient", "requests"):
        (tmp_path / name).mkdir()
        for module in ("__init__", "stats", "modeling_utils", "ipkernel", "zmqshell", "figure"):
            (tmp_path / name / f"{module}.py").touch()
    return tmp_path, {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(paths.project())])}


THREAD = "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"


@LINUX
@pytest.mark.parametrize("content", [THREAD, "raise ImportError('broken')", "import os; os.kill(os.getpid(), 9)"])
def test_a_process_that_has_threads_or_cannot_import_is_not_forked(packages, tmp_path, content, monkeypatch):
    folder, env = packages
    usable = preload._started(tmp_path, env)
    assert usable
    assert usable.ended() == 0
    (folder / "torch" / "__init__.py").write_text(content)
    assert preload.step(tmp_path, forced=False, env=env) is None
    assert preload._own.process is None
    monkeypatch.setattr(preload, "_started", None)  # nor is it tried again
    assert preload.step(tmp_path, forced=False, env=env) is None


# As torch does: the driver can be used in the process that has called it first, and not in one that is forked later.
# NVML can be asked without calling it. ``other`` is a library that calls the driver without torch.
CUDA = """
import os
torch = other = None

def _is_in_bad_fork():
    return torch not in (None, os.getpid())

def init():
    global torch
    torch = torch or os.getpid()

def is_available():
    if os.environ.get("PYTORCH_NVML_BASED_CUDA_CHECK") == "1":
        return True
    init()
    return os.getpid() == torch and other in (None, os.getpid())
"""
ASKS = "import torch.cuda\nassert torch.cuda.is_available()\n"


@LINUX
@pytest.mark.parametrize(
    ("content", "forks"),
    [
        ("import torch.cuda", True),
        (ASKS, True),
        ("import torch.cuda; torch.cuda.init()", False),
        ("import os, torch.cuda; torch.cuda.other = os.getpid()", False),
        (ASKS + "del torch.cuda._is_in_bad_fork", False),  # another torch
        (ASKS + "torch.cuda.is_available = lambda: False", False),  # an accelerator of another kind
        (ASKS + "import os; torch.cuda.is_available = lambda: os.kill(os.getpid(), 11)", False),
        (ASKS + THREAD, False),
    ],
)
def test_beside_an_accelerator_steps_are_forked_where_a_forked_process_can_use_it(
    packages, tmp_path, monkeypatch, content, forks
):
    folder, env = packages
    (folder / "torch" / "cuda.py").write_text(CUDA)
    (folder / "transformers" / "modeling_utils.py").write_text(content)
    monkeypatch.setattr(hardware, "devices", lambda: ["0"])
    process = preload._started(tmp_path, env)
    assert (process is not None) == forks
    assert process is None or process.ended() == 0


@LINUX
def test_a_driver_that_waits_without_end_is_not_waited_for(packages, tmp_path, monkeypatch):
    folder, env = packages
    # Were no alarm set, this would set none.
    waits = CUDA + "\ndef is_available():\n    return not signal.alarm(1) or signal.pause() is None\n"
    (folder / "torch" / "cuda.py").write_text("import signal\n" + waits)
    (folder / "torch" / "__init__.py").write_text("import torch.cuda")
    monkeypatch.setattr(hardware, "devices", lambda: ["0"])
    assert preload._started(tmp_path, env) is None


@LINUX
def test_threads_of_openblas_are_no_hindrance(packages, tmp_path):
    folder, env = packages
    (folder / "torch" / "__init__.py").write_text("import numpy")
    process = preload._started(tmp_path, env | {"OPENBLAS_NUM_THREADS": "2"})
    assert process
    assert process.ended() == 0
