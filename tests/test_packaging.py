"""What pip installs is whole, what is imported is declared, and what is installed is held to hashes."""

import ast
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from checkout import copied

from unicomp_lib import paths

PROJECT = tomllib.loads((paths.project() / "pyproject.toml").read_text(encoding="utf-8"))
LOCKS = ("requirements.lock", "bench/llm-compressor.txt")
HOOKS = yaml.safe_load((paths.project() / ".pre-commit-config.yaml").read_text(encoding="utf-8"))

# What users install themselves, in the study's environment or one of its own: an error says so where it is missing.
OPTIONAL = {"dreamsim", "openvino", "openvino-genai", "vllm", "xllamacpp"}
# What no file imports, yet another package looks for by name, or a command starts.
BY_NAME = {"accelerate", "bokeh", "cryptography", "emoji", "gguf", "jupyterlab"}


def plain(requirement: str) -> str:
    """The package that a requirement names, as the registry writes it."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def declared(*groups: str) -> set[str]:
    lists = [PROJECT["project"]["dependencies"], *(PROJECT["dependency-groups"][group] for group in groups)]
    return {plain(requirement) for requirements in lists for requirement in requirements}


def imported(*parts: str) -> set[str]:
    """Packages that the Python files and notebooks of ``parts`` import, other than Python's and their own."""
    files = [file for part in parts for file in _files(paths.project() / part)]
    own = {file.stem for file in files} | {"unicomp_lib"}
    names = {name.partition(".")[0] for file in files for name in _imports(_code(file))}
    owners = importlib.metadata.packages_distributions()
    return {plain(owners.get(name, [name])[0]) for name in names - own - sys.stdlib_module_names}


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted([*path.rglob("*.py"), *path.rglob("*.ipynb")])


def _code(file: Path) -> str:
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".py":
        return text
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code")


def _imports(code: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.append(node.module)
    return found


def test_imports_of_the_study_are_declared_and_no_more():
    runtime = imported("unicomp_lib", "notebooks") - OPTIONAL
    assert runtime - declared("report") == set()
    assert declared() - runtime == BY_NAME


def test_only_the_report_imports_what_only_the_report_needs():
    inside = [path for path in (paths.project() / "unicomp_lib").iterdir() if path.is_dir() or path.suffix == ".py"]
    parts = [f"unicomp_lib/{path.name}" for path in inside if path.name != "report"]
    assert imported(*parts, "notebooks") - OPTIONAL - declared() == set()


def test_imports_of_tests_and_benches_are_declared():
    assert imported("tests", "bench", "noxfile.py") - declared("dev", "llm-compressor") == set()


def pins(lock: str) -> dict[str, set[str]]:
    """Versions by package: more than one where Pythons differ."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==(\S+)", (paths.project() / lock).read_text(), flags=re.MULTILINE):
        found.setdefault(plain(name), set()).add(version)
    return found


def test_everything_declared_is_in_the_lock():
    assert declared("dev", "report", "build") - {"torch"} - set(pins("requirements.lock")) == set()
    exact = [each for each in PROJECT["dependency-groups"]["llm-compressor"] if not each.startswith("torch==")]
    assert all(pins("bench/llm-compressor.txt")[plain(each)] == {each.partition("==")[2]} for each in exact)


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_installs_on_any_machine(lock):
    text = (paths.project() / lock).read_text()
    requirements = re.sub(r"\\\n\s*", "", text).splitlines()
    requirements = [line for line in requirements if line and not line.lstrip().startswith("#")]
    assert len(requirements) > 50
    for line in requirements:  # each by its hashes: no index, no link, no file of one machine
        assert re.fullmatch(r"[\w.-]+==[\w.!]+( ; [^\\]+?)? +(--hash=sha256:[0-9a-f]{64} *)+", line), line
    # What only one of torch's builds needs comes with torch.
    builds = re.compile(r"torch|triton|(nvidia|cuda)-(?!ml-py)")
    assert [name for name in pins(lock) if builds.match(name) and name != "torch-pruning"] == []


def test_torch_has_one_version_in_all_that_name_it():
    (torch,) = (each for each in PROJECT["project"]["dependencies"] if each.startswith("torch=="))
    (described,) = PROJECT["tool"]["uv"]["dependency-metadata"]
    assert f"{described['name']}=={described['version']}" == torch
    assert torch in PROJECT["dependency-groups"]["llm-compressor"]
    environment = yaml.safe_load((paths.project() / "environment.yml").read_text())
    assert environment["dependencies"][-1]["pip"] == [torch]


def test_hooks_before_a_commit_run_the_versions_of_the_lock():
    (local,) = HOOKS["repos"]
    named = [each for hook in local["hooks"] for each in hook["additional_dependencies"]]
    assert {plain(each) for each in named} == {"ruff", "nbstripout"}
    assert all(pins("requirements.lock")[plain(each)] == {each.partition("==")[2]} for each in named)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy to build from: building leaves files beside the sources."""
    folder = copied(tmp_path_factory.mktemp("source") / "study")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(paths.project() / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def installed(source, tmp_path_factory):
    """The folder that pip installs the package to."""
    target = tmp_path_factory.mktemp("installed")
    quiet = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    command = [sys.executable, "-m", "pip", "install", *quiet, "--target", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def contents(root):
    return {str(file.relative_to(root)) for file in root.rglob("*") if file.is_file() and file.suffix != ".pyc"}


def test_an_installed_package_holds_every_module_and_all_their_data(source, installed):
    found = contents(installed / "unicomp_lib")
    assert "evaluate/tasks/_letter.yaml" in found
    assert found == contents(source / "unicomp_lib")


def outside(installed, folder, *arguments):
    env = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=env, capture_output=True, text=True)


@pytest.mark.slow
def test_an_installed_package_imports(installed, tmp_path):
    code = (
        "import importlib, pkgutil, unicomp_lib\n"
        "for module in pkgutil.walk_packages(unicomp_lib.__path__, 'unicomp_lib.'):\n"
        "    print(importlib.import_module(module.name).__file__)\n"
    )
    done = outside(installed, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    modules = done.stdout.split()
    assert len(modules) == len(list((installed / "unicomp_lib").rglob("*.py"))) - 1  # all but the package's own
    assert all(Path(module).is_relative_to(installed) for module in modules)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["status", "reproduce"])
def test_outside_a_checkout_a_command_says_that_it_needs_one(installed, tmp_path, command):
    done = outside(installed, tmp_path, "-m", "unicomp_lib", command)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: the study runs in a checkout: beside the package, {installed} has no folders")
    assert "clone the repository" in line
