"""What the scheduler costs, and what a second worker gains.

The same independent cells, each some seconds of arithmetic on one thread, run in three ways: as a plain script,
by papermill alone, and as steps of the scheduler with one worker and with two, in a copy of the checkout.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import polars as pl

from unicomp_lib import files, paths
from unicomp_lib.study.scheduler import ENVIRONMENT

PARAMETERS = 'loops = 1  # products\nindex = 0  # distinguishes the cells\noutput = ""  # folder to write to'
CODE = """import time
from pathlib import Path

import numpy as np

start = time.perf_counter()
matrix = np.random.default_rng(index).normal(size=(800, 800))
for _ in range(loops):
    product = matrix @ matrix
(Path(output) / "seconds.txt").write_text(str(time.perf_counter() - start))
"""


def main() -> None:
    """Parse the command line, run the cells every way and print and save the table."""
    parser = argparse.ArgumentParser(prog="nox -s bench -- engine", description=__doc__)
    parser.add_argument("--cells", type=int, default=8, help="independent cells (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20, help="approximate arithmetic per cell (%(default)s)")
    parser.add_argument("--child", type=int, metavar="WORKERS", help=argparse.SUPPRESS)
    parser.add_argument("--loops", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _engine(options.cells, options.loops, options.child)
        return
    with tempfile.TemporaryDirectory() as temporary:
        checkout = _checkout(Path(temporary))
        loops = max(1, round(options.seconds / _script(checkout, 20)[1] * 20))
        rows = [
            _row("script", [_script(checkout, loops) for _ in range(3)]),
            _row("papermill", [_papermill(checkout, loops) for _ in range(3)]),
            *(_steps(checkout, options.cells, loops, workers) for workers in (1, 2)),
        ]
    table = pl.DataFrame(rows)
    target = paths.project() / "results" / "bench" / "engine.csv"
    target.parent.mkdir(parents=True, exist_ok=True)
    files.write_whole(target, table.write_csv)
    with pl.Config(tbl_cols=-1, tbl_rows=-1, tbl_width_chars=160, float_precision=2):
        print(table)
    one, two = (row["cells_per_minute"] for row in rows[2:])
    print(f"two workers have {two / one:.2f} times the throughput of one; written to {target}")


def _checkout(folder: Path) -> Path:
    """A copy of the library, with the measured code as a notebook and as a script."""
    for part in ("unicomp_lib", "params"):
        shutil.copytree(paths.project() / part, folder / part)
    cells = [nbformat.v4.new_code_cell(PARAMETERS), nbformat.v4.new_code_cell(CODE)]
    cells[0].metadata["tags"] = ["parameters"]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = folder / "notebooks" / "bench" / "cell.ipynb"
    notebook.parent.mkdir(parents=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), notebook)
    (folder / "cell.py").write_text(f"import sys\nloops, index, output = int(sys.argv[1]), 0, sys.argv[2]\n{CODE}")
    return folder


def _script(checkout: Path, loops: int) -> tuple[float, float]:
    return _timed(checkout, [sys.executable, "cell.py", str(loops), str(checkout)])


def _papermill(checkout: Path, loops: int) -> tuple[float, float]:
    command = [sys.executable, "-m", "papermill", "-k", "python3", "notebooks/bench/cell.ipynb", os.devnull]
    return _timed(checkout, [*command, "-p", "loops", str(loops), "-p", "output", str(checkout)])


def _timed(checkout: Path, command: list[str]) -> tuple[float, float]:
    """Seconds of the whole command, and those of the arithmetic inside it."""
    start = time.perf_counter()
    subprocess.run(command, cwd=checkout, env=_environment(checkout), check=True, capture_output=True)
    return time.perf_counter() - start, float((checkout / "seconds.txt").read_text())


def _row(name: str, timings: list[tuple[float, float]]) -> dict[str, object]:
    wall, arithmetic = (statistics.median(values) for values in zip(*timings, strict=True))
    overhead = statistics.median(total - inside for total, inside in timings)
    return {"way": name, "workers": 1, "arithmetic": arithmetic, "overhead": overhead, "cells_per_minute": 60 / wall}


def _steps(checkout: Path, cells: int, loops: int, workers: int) -> dict[str, object]:
    """Throughput of the scheduler, from its start to its end; overhead is a worker's time apart from the arithmetic."""
    shutil.rmtree(checkout / "runs", ignore_errors=True)
    command = [sys.executable, __file__, "--child", str(workers), "--cells", str(cells), "--loops", str(loops)]
    done = subprocess.run(command, env=_environment(checkout), check=True, capture_output=True, text=True)
    wall = json.loads(done.stdout.splitlines()[-1])
    arithmetic = [float(file.read_text()) for file in checkout.glob("runs/*/seconds.txt")]
    overhead = (wall * workers - sum(arithmetic)) / cells
    return {
        "way": "engine", "workers": workers, "arithmetic": statistics.median(arithmetic), "overhead": overhead,
        "cells_per_minute": 60 * cells / wall,
    }  # fmt: skip


def _environment(checkout: Path) -> dict[str, str]:
    return {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(checkout)}


def _engine(cells: int, loops: int, workers: int) -> None:
    """In a process that imports the copied checkout: run the cells and print the seconds from first to last."""
    from unicomp_lib.study import scheduler
    from unicomp_lib.study.steps import Stage, Step, keys

    steps = [
        Step(Stage.EXPLORE, "bench/cell", {"loops": loops, "index": index}, topic=f"bench-{index}")
        for index in range(cells)
    ]
    began: list[float] = []
    ended: list[scheduler.Outcome] = []
    scheduler.run(
        steps, keys(steps), forced=set(), workers=workers,
        opened=lambda *_: began.append(time.perf_counter()), ended=ended.append,
    )  # fmt: skip
    wall = time.perf_counter() - began[0]
    failures = [outcome.reason for outcome in ended if outcome.state != scheduler.DONE]
    if failures:
        sys.exit(failures[0])
    print(wall)


if __name__ == "__main__":
    main()
