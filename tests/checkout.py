"""Copies of the checkout that a test may edit and run, and the processes that run in them."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from unicomp_lib import paths

# What a checkout holds that the study reads.
PARTS = ("labels", "notebooks", "params", "unicomp_lib")


def copied(target: Path) -> Path:
    for part in PARTS:
        shutil.copytree(paths.project() / part, target / part, ignore=shutil.ignore_patterns("__pycache__"))
    return target


def environment(checkout: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(checkout)}


def unicomp(checkout: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m unicomp_lib`` of a copied checkout."""
    command = [sys.executable, "-m", "unicomp_lib", *arguments]
    env = environment(checkout) | extra
    return subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True, timeout=600)


def steps(checkout: Path) -> list[psutil.Process]:
    """The processes of steps: each is in its run folder, and what has started it is not."""
    runs = str(checkout / "runs")
    inside = {process.pid: process for process in psutil.process_iter() if _folder(process).startswith(runs)}
    return [process for process in inside.values() if _parent(process) not in inside]


def worker_of(step: psutil.Process) -> psutil.Process:
    """The worker that has a step run: what has started it, or the process that the step was forked from."""
    parent = psutil.Process(step.ppid())
    return parent.parent() if "unicomp_lib.study.preloaded" in parent.cmdline() else parent


def _folder(process: psutil.Process) -> str:
    try:
        return process.cwd()
    except psutil.Error:
        return ""


def _parent(process: psutil.Process) -> int:
    try:
        return process.ppid()
    except psutil.Error:
        return 0


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    """Wait until ``condition`` holds; that it does not in time fails the test."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)
