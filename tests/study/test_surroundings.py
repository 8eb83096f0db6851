"""Nothing of the user's machine reaches a step unseen, and what a step lacks is said before it runs."""

import argparse
import errno
import fcntl
import json
import multiprocessing
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import PARTS, environment

from unicomp_lib import paths
from unicomp_lib.study import commands, params, records, surroundings
from unicomp_lib.study.plan import plan
from unicomp_lib.study.steps import keys

OTHERS = {
    "PYTHONPATH": "/elsewhere", "PYTHONSTARTUP": "/s.py", "PYTHONWARNINGS": "error", "PYTHONOPTIMIZE": "2",
    "PYTHONHOME": "/nowhere", "IPYTHONDIR": "/i", "JUPYTER_PATH": "/j", "MPLBACKEND": "Qt5Agg", "POLARS_VERBOSE": "1",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1", "ONEDNN_DEFAULT_FPMATH_MODE": "BF16", "TRANSFORMERS_VERBOSITY": "debug",
    "MKL_CBWR": "SSE2", "NVIDIA_TF32_OVERRIDE": "1", "LM_HARNESS_CACHE_PATH": "/c",
    "PYTEST_CURRENT_TEST": "a",
}  # fmt: skip
HARMLESS = {
    "PATH": "/bin", "HOME": "/h", "HF_HOME": "/hf", "HF_TOKEN": "secret", "CUDA_VISIBLE_DEVICES": "1",
    "OMP_NUM_THREADS": "4", "MKL_NUM_THREADS": "4", "PYTORCH_ALLOC_CONF": "x:1", "PYTHONDONTWRITEBYTECODE": "1",
    "UNICOMP_HOME": "/u", "LD_LIBRARY_PATH": "/l", "CONDA_PREFIX": "/c",
}  # fmt: skip


def test_a_step_sees_no_variable_that_changes_what_is_computed():
    seen = surroundings.of_step(OTHERS | HARMLESS)
    assert HARMLESS.items() <= seen.items()
    assert not any(seen.get(name) == value for name, value in OTHERS.items())
    assert seen["PYTHONPATH"] == str(paths.project())
    assert surroundings.of_step(seen) == seen
    assert Path(surroundings.matplotlibrc()).is_file()


def test_the_user_is_told_which_and_a_record_lists_what_is_left():
    (note,) = surroundings.notes(OTHERS | HARMLESS)
    for name in OTHERS:
        assert (f" {name}" in note) == (not name.startswith(("IPYTHON", "JUPYTER", "PYTEST")))
    assert surroundings.notes(surroundings.of_step(HARMLESS)) == []
    listed = surroundings.recorded(surroundings.of_step(OTHERS | HARMLESS))
    assert {"OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "PYTORCH_ALLOC_CONF"} <= set(listed)
    assert not {"HF_TOKEN", "PATH", "HOME"} & set(listed)


def run(job, **variables):
    """Run a step as the scheduler does, in an environment of our own; why it failed, or nothing."""
    folder = Path(job["run"])
    folder.mkdir(exist_ok=True)
    (folder / records.STEP).write_text(json.dumps(job))
    command = [sys.executable, "-m", "unicomp_lib.study.worker", str(folder)]
    env = environment(paths.project()) | variables
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=120)
    failed = records.failure(folder)
    assert (done.returncode == 0) == (failed is None), done.stderr
    return failed or ""


LOOK = """
import json, os, sys, warnings
import matplotlib
from pathlib import Path
from IPython import get_ipython
facts = {
    "python": sys.executable, "flags": [sys.flags.optimize, sys.flags.no_user_site, sys.flags.hash_randomization],
    "errors": ("error", None, Warning, None, 0) in warnings.filters, "dpi": matplotlib.rcParams["savefig.dpi"],
    "backend": matplotlib.get_backend(), "library": __import__("unicomp_lib").__file__, "path": sys.path,
    "started": [name for name in ("FROM_PROFILE", "FROM_STARTUP") if name in globals()],
    "greedy": get_ipython().autoawait,
}
Path(output, "facts.json").write_text(json.dumps(facts))
"""


@pytest.mark.slow
def test_a_step_runs_in_this_python_whatever_the_user_has_set_up(steps, tmp_path):
    mark = tmp_path / "other-ran"
    other = tmp_path / "other"
    other.write_text(f'#!/bin/sh\ntouch {mark}\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)
    spec = tmp_path / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    argv = [str(other), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "mine", "language": "python"}))
    profile = tmp_path / "ipython" / "profile_default"
    (profile / "startup").mkdir(parents=True)
    (profile / "startup" / "00.py").write_text("FROM_PROFILE = True")
    (profile / "ipython_config.py").write_text("get_config().InteractiveShell.autoawait = False")
    (tmp_path / "startup.py").write_text("FROM_STARTUP = True")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import warnings; warnings.simplefilter('error')")
    (tmp_path / "site" / "matplotlib.py").write_text("raise ImportError('the wrong one')")
    (tmp_path / "mpl").mkdir()
    (tmp_path / "mpl" / "matplotlibrc").write_text("savefig.dpi: 17")
    job = steps("look", LOOK)
    assert not run(
        job, JUPYTER_PATH=str(tmp_path / "jupyter"), JUPYTER_DATA_DIR=str(tmp_path / "jupyter"),
        JUPYTER_DEFAULT_PROVISIONER_NAME="none", IPYTHONDIR=str(tmp_path / "ipython"),
        PYTHONSTARTUP=str(tmp_path / "startup.py"), PYTHONOPTIMIZE="1", MPLBACKEND="Qt5Agg",
        MPLCONFIGDIR=str(tmp_path / "mpl"), MATPLOTLIBRC=str(tmp_path / "mpl"), JUPYTER_RUNTIME_DIR="/dev/null/x",
        PYTHONPATH=os.pathsep.join([str(paths.project()), str(tmp_path / "site")]),
    )  # fmt: skip
    assert not mark.exists()
    facts = json.loads((Path(job["run"]) / "facts.json").read_text())
    assert facts["python"] == sys.executable
    assert facts["flags"] == [0, 1, 0]
    assert (facts["errors"], facts["started"], facts["greedy"]) == (False, [], True)
    assert facts["dpi"] == "figure"
    assert "inline" in facts["backend"]
    assert Path(facts["library"]).parent.parent == paths.project()
    assert str(tmp_path / "site") not in facts["path"]
    # The record is of the process that computed.
    record = records.finished(Path(job["run"]))
    assert record["interpreter"] == sys.executable
    assert record["packages"] == records.packages()
    assert record["variables"]["PYTHONHASHSEED"] == "0"


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables",
    [
        {"HOME": "/dev/null"}, {"HOME": "/nowhere/at/all"}, {"TMPDIR": "/nowhere"}, {"PYTHONWARNINGS": "error"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"},
    ],
)  # fmt: skip
def test_a_step_runs_in_odd_surroundings(steps, variables):
    assert not run(steps("a b", "print('ü')\nopen(output + '/ü.txt', 'w').write('ü')"), **variables)


def test_a_record_of_other_packages_is_refused(tmp_path):
    other = {"packages": records.packages() | {"torch": "0.1"}}
    with pytest.raises(ValueError, match=r"the step ran with torch 0\.1, and its runner has"):
        records.write(tmp_path, other)
    assert not (tmp_path / records.RECORD).exists()


FLOCK = """
import errno, fcntl, os
def flock(*_):
    raise OSError(errno.{0}, os.strerror(errno.{0}))
fcntl.flock = flock
"""


@pytest.mark.parametrize("name", ["ENOLCK", "ENOTSUP", "EACCES"])
def test_a_step_where_there_are_no_locks_says_so(steps, tmp_path, name):
    (tmp_path / "sitecustomize.py").write_text(FLOCK.format(name))
    place = os.pathsep.join([str(paths.project()), str(tmp_path)])
    job = steps("a", "1")
    assert run(job, PYTHONPATH=place).startswith(f"the file system that holds {job['run']}/.lock has no locks (")


@pytest.fixture
def limits():
    """Limits of this process, which a test may lower: softly, since nothing raises the hard ones again."""
    before = {kind: resource.getrlimit(kind) for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_AS)}
    yield
    for kind, pair in before.items():
        resource.setrlimit(kind, pair)


def test_limits_are_raised_as_far_as_the_system_lets(limits, monkeypatch):
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (80, most))
    surroundings.raise_limits()
    raised, same = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert same == most
    assert raised >= surroundings.FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (raised + 1 if raised < most else raised, most))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    surroundings.raise_limits()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        ("ulimit -n 64", "a process may have 64 files open here, and that is too few: a step takes up to 256; allow "
         "more with ulimit -n 1024, or ask the administrator to"),
        ("ulimit -v 2000000", "a process was stopped for want of memory (ulimit -v is 1.9 GiB: allow more); run fewer "
         "steps at once with --workers"),
    ],
)  # fmt: skip
def test_limits_that_are_too_low_are_said_before_anything_starts(steps, limit, says):
    job = steps("a", "1")
    folder = Path(job["run"])
    folder.mkdir()
    (folder / records.STEP).write_text(json.dumps(job))
    shell = f"{limit} && exec {sys.executable} -m unicomp_lib.study.worker {folder}"
    done = subprocess.run(["bash", "-c", shell], env=environment(paths.project()), capture_output=True, timeout=30)
    assert (done.returncode, records.failure(folder)) == (1, says)
    assert not (folder / records.NOTEBOOK).exists()


def test_folders_are_tried_before_anything_starts(tmp_path, monkeypatch):
    surroundings.check(tmp_path / "not" / "there" / "yet")
    assert list(tmp_path.iterdir()) == []

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RuntimeError, match=f"the disk that holds {tmp_path} is full "):
        surroundings.check(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["ENOLCK", "ENOSYS", "EACCES"])
def test_folders_without_locks_are_said_before_anything_starts(tmp_path, monkeypatch, name):
    def flock(*_):
        raise OSError(getattr(errno, name), os.strerror(getattr(errno, name)))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(RuntimeError, match=f"the file system that holds {tmp_path} has no locks "):
        surroundings.check(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no such folder")
def test_a_folder_in_which_nothing_can_be_written_is_named():
    with pytest.raises(RuntimeError, match=r"files cannot be written to /proc \(.*\); choose another place"):
        surroundings.check(Path("/proc/x"))


def test_a_machine_without_semaphores_is_named(monkeypatch):
    class Context:
        def Lock(self):  # noqa: N802, multiprocessing's own name
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    monkeypatch.setattr(multiprocessing, "get_context", lambda _: Context())
    with pytest.raises(RuntimeError, match=r"no semaphores for several processes .*No such file.*/dev/shm"):
        surroundings.check()


def test_packages_that_steps_would_not_see_are_named(tmp_path, monkeypatch):
    about = tmp_path / "torch-0.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 0.1\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=f"the package torch would come from {tmp_path}, by PYTHONPATH, which steps"):
        surroundings.check()
    monkeypatch.setattr(records, "PACKAGES", ("no-such-package",))
    with pytest.raises(RuntimeError, match="the package no-such-package is not installed for"):
        surroundings.check()


def git(folder, *arguments):
    person = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *person, "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def outer(tmp_path, monkeypatch):
    """A repository with one commit, and in it a checkout that is none of its own."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    root = tmp_path / "outer"
    for part in PARTS:
        (root / "study ü" / part).mkdir(parents=True)
        (root / "study ü" / part / "a.txt").write_text("a")
    git(root, "init")
    git(root, "add", ".")
    git(root, "commit", "-m", "outer")
    monkeypatch.setattr(paths, "project", lambda: root / "study ü")
    yield root
    records.commit.cache_clear()


def commit():
    records.commit.cache_clear()
    return records.commit()


def test_a_folder_in_another_repository_has_no_commit(outer):
    assert commit() == {"commit": None, "dirty": None}


def test_the_commit_is_the_checkouts_own_whatever_git_is_told(outer, monkeypatch, tmp_path):
    study = paths.project()
    git(study, "init")
    assert commit()["commit"] is None  # nothing is committed
    git(study, "add", ".")
    git(study, "commit", "-m", "study")
    own = {"commit": git(study, "rev-parse", "HEAD"), "dirty": False}
    assert commit() == own
    monkeypatch.setenv("GIT_DIR", str(outer / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(outer))
    assert commit() == own
    monkeypatch.delenv("GIT_DIR")
    monkeypatch.delenv("GIT_WORK_TREE")
    (study / "params" / "a.txt").write_text("b")
    assert commit() == own | {"dirty": True}
    # A working tree of the same repository elsewhere.
    git(study, "worktree", "add", str(tmp_path / "tree"))
    monkeypatch.setattr(paths, "project", lambda: tmp_path / "tree")
    assert commit() == own
    monkeypatch.setenv("PATH", str(tmp_path))  # no git
    assert commit() == {"commit": None, "dirty": None}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
def test_a_checkout_of_another_user_has_its_commit(outer):
    study = paths.project()
    git(study, "init")
    git(study, "add", ".")
    git(study, "commit", "-m", "study")
    head = git(study, "rev-parse", "HEAD")
    for path in (study, *study.rglob("*")):
        os.chown(path, 12345, 12345)
    assert commit() == {"commit": head, "dirty": False}


def test_the_runner_checks_before_the_first_step(monkeypatch):
    class Reached(Exception):
        pass

    def check(*folders):
        assert {paths.project() / "runs", paths.home()} <= set(folders)
        raise Reached

    monkeypatch.setattr(surroundings, "check", check)
    profile = params.load("tiny")
    every = plan(profile)
    with pytest.raises(Reached):
        commands.run(profile, every, every, keys(every), set(), argparse.Namespace(workers=1, per_device=1))
