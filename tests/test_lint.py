"""What ``nox -s lint`` runs, on the checkout as it is."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from unicomp_lib import paths

NOXFILE = (paths.project() / "noxfile.py").read_text(encoding="utf-8")
INSPECT = NOXFILE.partition("def inspect(")[2].partition("\n\n\n")[0]
COMMANDS = [re.findall(r'"([^"]+)"', line) for line in INSPECT.splitlines() if "call(" in line]


@pytest.mark.slow  # `nox -s check` runs the same commands itself
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_lint_finds_nothing(command):
    if not (paths.project() / ".git").exists():
        pytest.skip("not a checkout: other files may lie beside the project's")
    program, *arguments = command
    done = subprocess.run(
        [Path(sys.executable).with_name(program), *arguments], cwd=paths.project(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_lint_runs_every_tool():
    assert [command[0] for command in COMMANDS] == ["ruff", "ruff", "mypy", "lint-imports", "python"]
