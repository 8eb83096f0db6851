"""The study's commands: ``nox -l`` lists them, ``nox -s NAME -- --help`` explains one."""

import hashlib
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["tests"]
nox.options.error_on_missing_interpreters = True

ENVIRONMENT = ".nox/unicomp"  # one for all sessions: the packages are large


def prepare(session: nox.Session) -> None:
    """Install the lock, unless this very lock is installed already."""
    wanted = hashlib.sha256(Path("requirements.lock").read_bytes() + Path("pyproject.toml").read_bytes()).hexdigest()
    stamp = Path(ENVIRONMENT) / "installed.txt"
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    session.log("installing requirements.lock; this takes some minutes, once")
    session.install("-r", "requirements.lock")
    session.install("--no-deps", "-e", ".")
    stamp.write_text(wanted)


def command(session: nox.Session, name: str) -> None:
    """Run one command of the library with what follows ``--``."""
    prepare(session)
    session.run("python", "-m", "unicomp_lib", name, *session.posargs)


@nox.session(venv_location=ENVIRONMENT, reuse_venv=True)
def reproduce(session: nox.Session) -> None:
    """Run the study: nox -s reproduce [-- --profile tiny|embedded|paper] [--only GLOB] [--dry-run] ..."""
    command(session, "reproduce")


@nox.session(venv_location=ENVIRONMENT, reuse_venv=True)
def status(session: nox.Session) -> None:
    """List which steps of a profile are done, stale, failed or missing."""
    command(session, "status")


@nox.session(venv_location=ENVIRONMENT, reuse_venv=True)
def prefetch(session: nox.Session) -> None:
    """Download all that a profile reads, so that its jobs need no network."""
    command(session, "prefetch")


@nox.session(venv_location=ENVIRONMENT, reuse_venv=True)
def lab(session: nox.Session) -> None:
    """Open the notebooks in JupyterLab, with the study's packages behind the default kernel."""
    prepare(session)
    session.run("jupyter", "lab", "--notebook-dir", "notebooks", *session.posargs)


@nox.session(venv_location=ENVIRONMENT, reuse_venv=True)
def tests(session: nox.Session) -> None:
    """Run the tests, two at a time."""
    prepare(session)
    # Each test is one thread wide: two processes of two threads would take turns on the cores.
    session.env.update({"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"})
    session.run("pytest", "-n", "2", "--dist", "loadgroup", *session.posargs)


@nox.session(venv_location=ENVIRONMENT, reuse_venv=True)
def lint(session: nox.Session) -> None:
    """Check style and types."""
    prepare(session)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
