"""What ``nox -s lint`` runs, on the checkout as it is."""

import subprocess
import sys

import pytest

from unicomp_lib import paths


@pytest.mark.parametrize("command", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]])
def test_style_and_types(command):
    if not (paths.project() / ".git").exists():
        pytest.skip("not a checkout: other files may lie beside the project's")
    done = subprocess.run([sys.executable, "-m", *command], cwd=paths.project(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
