"""What uses the pretended accelerator, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FILES = ("test_pretended.py", *(f"{package}/test_accelerator.py" for package in ("compress", "evaluate", "vision")))


def test_all_that_uses_the_pretended_accelerator_passes():
    files = [str(TESTS / name) for name in FILES]
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-p", "no:xdist", *files]
    done = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "deselected" not in done.stdout, done.stdout
    if " passed" not in done.stdout:
        pytest.skip(done.stdout.strip().splitlines()[-1])
