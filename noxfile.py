"""The study's commands: ``nox -l`` lists them, ``nox -s NAME -- --help`` explains one.

All sessions share one environment, since its packages take gigabytes; nox makes one a session,
so this file makes it itself and runs with the backend ``none``.
"""

import hashlib
import os
import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["tests"]
nox.options.default_venv_backend = "none"

ENVIRONMENT = Path(__file__).parent / ".nox" / "unicomp"
BENCHES = ("compression", "evaluation", "vision", "engine")
BIN = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")


def prepare(session: nox.Session) -> None:
    """Make the study's environment, unless this very lock is installed in it already."""
    if sys.version_info < (3, 11):  # noqa: UP036, nox itself may run on an older one
        session.error(f"Python {sys.version.split()[0]} runs nox; the study needs 3.11 or later: use that one's pip")
    install(session, ENVIRONMENT, Path("requirements.lock"), own=True)


def install(session: nox.Session, folder: Path, lock: Path, *, own: bool = False) -> Path:
    """Make an environment with the packages of ``lock``, and with the study's ``own``; return its programs' folder."""
    programs = folder / BIN.name
    content = lock.read_bytes() + (Path("pyproject.toml").read_bytes() if own else b"")
    wanted = hashlib.sha256(content).hexdigest()
    stamp = folder / "installed.txt"
    if stamp.is_file() and stamp.read_text() == wanted:
        return programs
    session.log(f"installing {lock} into {folder.relative_to(Path(__file__).parent)}; this takes some minutes, once")
    session.run(sys.executable, "-m", "venv", "--clear", str(folder))
    pip = (str(programs / "python"), "-m", "pip", "install", "--quiet")
    session.run(*pip, "-r", str(lock))
    if own:
        session.run(*pip, "--no-deps", "-e", ".")
    stamp.write_text(wanted)
    return programs


def run(session: nox.Session, program: str, *arguments: str, **options: dict[str, str]) -> None:
    """Run a program of the environment."""
    session.run(str(BIN / program), *arguments, **options)


def command(session: nox.Session, name: str) -> None:
    """Run one command of the library with what follows ``--``."""
    prepare(session)
    run(session, "python", "-m", "unicomp_lib", name, *session.posargs)


def browser(session: nox.Session) -> None:
    """Install the browser that tests look at the report with, where that can be done unasked: root on Debian."""
    root = getattr(os, "geteuid", lambda: 1)() == 0 and shutil.which("apt-get")
    if root and not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        quiet = {"external": True, "success_codes": [0, 100], "silent": True}  # without it, its tests are skipped
        session.run("apt-get", "update", **quiet)
        session.run("apt-get", "install", "--yes", "--no-install-recommends", "chromium", **quiet)


@nox.session
def reproduce(session: nox.Session) -> None:
    """Run the study: nox -s reproduce [-- --profile tiny|embedded|paper] [--only GLOB] [--dry-run] ..."""
    command(session, "reproduce")


@nox.session
def status(session: nox.Session) -> None:
    """List which steps of a profile are done, stale, failed or missing."""
    command(session, "status")


@nox.session
def report(session: nox.Session) -> None:
    """Build the study as static pages, in report/: nox -s report [-- --profile tiny|embedded|paper]."""
    command(session, "report")


@nox.session
def prefetch(session: nox.Session) -> None:
    """Download all that a profile reads, so that its jobs need no network."""
    command(session, "prefetch")


@nox.session
def label(session: nox.Session) -> None:
    """Draw judged answers for people to label, or score their labels: nox -s label -- draw|score FILE [--help]."""
    command(session, "label")


@nox.session
def lab(session: nox.Session) -> None:
    """Open the notebooks in JupyterLab, with the study's packages behind the default kernel."""
    prepare(session)
    run(session, "jupyter", "lab", "--notebook-dir", "notebooks", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests, two at a time."""
    prepare(session)
    browser(session)
    # Each test is one thread wide: two processes of two threads would take turns on the cores. A file
    # stays in one process, since its tests share what is dear to make.
    threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
    run(session, "python", "-m", "pytest", "-n", "2", "--dist", "loadfile", *session.posargs, env=threads)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure beside named baselines: nox -s bench -- compression|evaluation|vision|engine [--help]."""
    name, *rest = session.posargs or [""]
    if name not in BENCHES:
        session.error(f"cannot measure {name or 'nothing'!r}; name one: nox -s bench -- {'|'.join(BENCHES)}")
    prepare(session)
    if name == "compression":  # the peer needs an environment of its own
        peer = install(session, ENVIRONMENT.with_name("llm-compressor"), Path("bench", "llm-compressor.txt"))
        rest = ["--peer", str(peer / "python"), *rest]
    run(session, "python", f"bench/{name}.py", *rest)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and types."""
    prepare(session)
    run(session, "ruff", "check", ".")
    run(session, "ruff", "format", "--check", ".")
    run(session, "mypy")
