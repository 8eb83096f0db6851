"""The study's commands: ``nox -l`` lists them, ``nox -s NAME -- --help`` explains one.

All sessions share one environment, since its packages take gigabytes; nox makes one a session,
so this file makes it itself and runs with the backend ``none``.
"""

import hashlib
import os
import platform
import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["tests"]
nox.options.default_venv_backend = "none"

ENVIRONMENT = Path(__file__).parent / ".nox" / "unicomp"
BIN = ENVIRONMENT / "bin"
BENCHES = ("compression", "evaluation", "vision", "engine", "clone", "coverage", "design")
LAB = (
    "--notebook-dir=notebooks", "--LabApp.default_url=/lab/tree/learn",
    "--FileContentsManager.pre_save_hook=unicomp_lib.explore.lab.strip",
)  # fmt: skip
ENGINES = {"llama.cpp": "llama-cpp", "openvino": "openvino", "vllm": "vllm"}  # and the names of their locks
UV = "uv==0.13.9"  # compiles the locks, and nothing else: pip installs them
# What each lock holds, as uv is told. torch and what only one of its builds needs are left out (see install).
LOCKS = {
    "requirements.lock": ("pyproject.toml", "--group", "dev", "--group", "report", "--group", "build"),
    "bench/llm-compressor.txt": ("--group", "llm-compressor"),
    "bench/llama-cpp.txt": ("--group", "llama-cpp"),
    "bench/openvino.txt": ("--group", "openvino"),
    "bench/vllm.txt": ("--group", "vllm"),
}


def prepare(session: nox.Session) -> None:
    """Make the study's environment, unless this very lock is installed in it already."""
    if not (3, 11) <= sys.version_info < (3, 14):
        version = sys.version.split()[0]
        session.error(f"Python {version} runs nox; the study needs 3.11, 3.12 or 3.13: run nox with one of these")
    install(session, ENVIRONMENT, Path("requirements.lock"), own=True)


def install(session: nox.Session, folder: Path, lock: Path, *, own: bool = False, torch: bool = True) -> Path:
    """Make an environment with ``torch``, the packages of ``lock`` and the study's ``own``; return its programs.

    torch comes first and by version alone: its CPU and CUDA builds carry one number but differ in their hashes and in
    what they need, and the index decides which it is. Everything else is held to the hashes of the lock. Packages
    that come as source only are built with the setuptools of the environment, not with one fetched unseen.
    """
    import tomllib  # nox itself may run on a Python without it, which prepare refuses

    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    first = [name for name in project["dependencies"] if torch and name.startswith("torch==")]
    pins = [line for line in lock.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    wanted = hashlib.sha256("\n".join([*first, *pins]).encode()).hexdigest()
    programs, stamp = folder / "bin", folder / "installed.txt"
    if stamp.is_file() and stamp.read_text() == wanted:
        return programs
    shown = folder.relative_to(Path(__file__).parent)
    session.log(f"installing {lock} into {shown}; this takes some minutes, once")
    session.run(sys.executable, "-m", "venv", "--clear", str(folder))
    pip = (str(programs / "python"), "-m", "pip", "install", "--quiet")
    if first:
        session.run(*pip, *first)
    session.run(*pip, "--no-build-isolation", "--no-deps", "--require-hashes", "-r", str(lock))
    if own:
        session.run(*pip, "--no-build-isolation", "--no-deps", "-e", ".")
        # A kernel says at each start that it runs over TCP, and at each end that it was interrupted.
        (folder / "etc" / "ipython").mkdir(parents=True, exist_ok=True)
        quiet = "get_config().IPKernelApp.log_level = 50\n"
        (folder / "etc" / "ipython" / "ipython_kernel_config.py").write_text(quiet)
        session.log(f"to work in this environment yourself: source {shown}/bin/activate")
    stamp.write_text(wanted)
    return programs


def call(session: nox.Session, program: str, *arguments: str, **options: dict[str, str]) -> None:
    """Run a program of the environment."""
    session.run(str(BIN / program), *arguments, **options)


def command(session: nox.Session, name: str) -> None:
    """Run one command of the library with what follows ``--``."""
    prepare(session)
    call(session, "python", "-m", "unicomp_lib", name, *session.posargs)


def browser(session: nox.Session) -> None:
    """Install the browser that tests look at the report with, where that can be done unasked: root on Debian."""
    root = is_root() and shutil.which("apt-get")
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
def clean(session: nox.Session) -> None:
    """Remove stale runs, scratch and left-over results: nox -s clean [-- --dry-run] [--profile NAME]."""
    command(session, "clean")


@nox.session
def report(session: nox.Session) -> None:
    """Build the study as static pages, in report/: nox -s report [-- --profile tiny|embedded|paper]."""
    command(session, "report")


@nox.session
def prefetch(session: nox.Session) -> None:
    """Download all that a profile reads, so that its jobs need no network."""
    command(session, "prefetch")


@nox.session
def compare(session: nox.Session) -> None:
    """Say whether model B is worse than A, where, and how sure that is: nox -s compare -- A B [--help]."""
    command(session, "compare")


@nox.session
def publish(session: nox.Session) -> None:
    """Write a profile's results in the forms that others read, uploading nothing: nox -s publish -- FOLDER."""
    command(session, "publish")


@nox.session
def export(session: nox.Session) -> None:
    """Write a checkpoint as one GGUF file, which llama.cpp serves: nox -s export -- CELL_OR_FOLDER FILE.gguf."""
    command(session, "export")


@nox.session
def engine(session: nox.Session) -> None:
    """Install an engine in which speed is measured, llama.cpp where none is named: nox -s engine [-- openvino|vllm]."""
    name, *rest = session.posargs or ["llama.cpp"]
    if rest or name not in ENGINES:
        given = " ".join([name, *rest])
        session.error(f"cannot install {given!r}; name one engine: nox -s engine -- {'|'.join(ENGINES)}")
    if name == "vllm" and (sys.platform, platform.machine()) != ("linux", "x86_64"):
        given = f"{sys.platform} on {platform.machine()}"
        session.error(f"the lock of vLLM is for Linux on x86_64 and not for {given}; install vLLM yourself")
    lock = Path("bench", f"{ENGINES[name]}.txt")
    install(session, ENVIRONMENT.with_name(ENGINES[name]), lock, torch=name == "vllm")


@nox.session
def claims(session: nox.Session) -> None:
    """Judge params/claims.yaml on the committed scores, and write the README's findings."""
    prepare(session)
    call(session, "python", "-m", "unicomp_lib.report.readme", *session.posargs)


@nox.session
def label(session: nox.Session) -> None:
    """Draw judged answers for people to label, or score their labels: nox -s label -- draw|score FILE [--help]."""
    command(session, "label")


@nox.session
def design(session: nox.Session) -> None:
    """Say how many items of which task give the narrowest intervals: nox -s design -- --minutes 30."""
    command(session, "design")


@nox.session
def lab(session: nox.Session) -> None:
    """Open the notebooks in JupyterLab, at the chapters; outputs are shown, not saved: nox -s lab [-- --no-browser]."""
    prepare(session)
    call(session, "jupyter", "lab", *LAB, *(["--allow-root"] if is_root() else []), *session.posargs)


def is_root() -> bool:
    """Whether this is the administrator, as in most containers; JupyterLab wants to be told that this is meant."""
    return getattr(os, "geteuid", lambda: 1)() == 0


@nox.session
def run(session: nox.Session) -> None:
    """Run any program of the environment: nox -s run -- papermill NOTEBOOK OUTPUT ..., nox -s run -- python ..."""
    prepare(session)
    if not session.posargs:
        session.error("name a program: nox -s run -- papermill --help")
    # What the program starts finds this environment's programs too, as after activation.
    search = os.pathsep.join([str(BIN), os.environ.get("PATH", os.defpath)])
    program = shutil.which(session.posargs[0], path=search) or session.posargs[0]
    around = {"PATH": search, "VIRTUAL_ENV": str(ENVIRONMENT)}
    session.run(program, *session.posargs[1:], external=True, env=around)


@nox.session
def tests(session: nox.Session) -> None:
    """Run all tests, two at a time."""
    prepare(session)
    browser(session)
    test(session, *session.posargs)


@nox.session
def check(session: nox.Session) -> None:
    """Run lint and the quick tests: what to run before a commit."""
    prepare(session)
    inspect(session)
    test(session, "-m", "not slow", *session.posargs)


def test(session: nox.Session, *arguments: str) -> None:
    """Run pytest in two processes."""
    # Each test is one thread wide: two processes of two threads would take turns on the cores. A file
    # stays in one process, since its tests share what is expensive to make; conftest.py puts the longest first.
    threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
    spread = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
    call(session, "python", "-m", "pytest", *spread, *arguments, env=threads)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure beside named baselines: nox -s bench -- compression|evaluation|vision|engine|clone|coverage [--help]."""
    name, *rest = session.posargs or [""]
    if name not in BENCHES:
        session.error(f"cannot measure {name or 'nothing'!r}; name one: nox -s bench -- {'|'.join(BENCHES)}")
    prepare(session)
    if name == "compression" and not {"-h", "--help"} & set(rest):  # the peer needs an environment of its own
        peer = install(session, ENVIRONMENT.with_name("llm-compressor"), Path("bench", "llm-compressor.txt"))
        rest = ["--peer", str(peer / "python"), *rest]
    call(session, "python", f"bench/{name}.py", *rest)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, types, which package may import which, and that no module changed without a word on its version."""
    prepare(session)
    inspect(session)


def inspect(session: nox.Session) -> None:
    """Run everything that reads the code without running the study."""
    call(session, "ruff", "check", ".")
    call(session, "ruff", "format", "--check", ".")
    call(session, "mypy")
    call(session, "lint-imports", "--no-cache")
    call(session, "python", "-m", "unicomp_lib.study.versions", "--check")


@nox.session
def versions(session: nox.Session) -> None:
    """Record the modules whose version was raised: nox -s versions [-- --check | --same NAME ...]."""
    prepare(session)
    call(session, "python", "-m", "unicomp_lib.study.versions", *session.posargs)


@nox.session
def lock(session: nox.Session) -> None:
    """Compile the locks from pyproject.toml: nox -s lock [-- --upgrade-package NAME | --upgrade]."""
    folder = ENVIRONMENT.with_name("lock")
    session.run(sys.executable, "-m", "venv", str(folder))
    session.run(str(folder / "bin" / "pip"), "install", "--quiet", UV)
    for name, what in LOCKS.items():
        # Versions in the file stay unless an upgrade is asked for. One file serves all platforms and Pythons.
        session.run(
            str(folder / "bin" / "uv"), "pip", "compile", "--quiet", *what, "--output-file", name,
            "--universal", "--python-version", "3.11", "--generate-hashes", "--no-emit-package", "torch",
            "--no-emit-index-url", "--annotation-style", "line", "--custom-compile-command", "nox -s lock",
            *session.posargs,
        )  # fmt: skip
