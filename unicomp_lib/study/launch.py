"""The process of a step's kernel: ``python -m unicomp_lib.study.launch -f CONNECTION --parent PID --facts FILE``."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from ipykernel.kernelapp import IPKernelApp

from unicomp_lib import files, hardware
from unicomp_lib.study import records, surroundings


class App(IPKernelApp):
    """IPython's kernel without anybody's configuration or start-up files, the machine's own included."""

    def load_config_file(self, *_: Any, **__: Any) -> None:
        """Load none."""

    def _run_startup_files(self) -> None:
        """Run none."""


def facts() -> dict[str, Any]:
    """What a record says of the process that computed: its Python, packages, machine and variables."""
    return {
        "interpreter": sys.executable, "packages": records.packages(), "hardware": records.machine(),
        "variables": surroundings.recorded(os.environ),
    }  # fmt: skip


def main(arguments: list[str], *, preloaded: dict[str, float] | None = None) -> None:
    """Note the facts, then be a kernel until the parent has ended or says so.

    ``preloaded``: the seconds that imports took in the process that this one was forked from.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--facts", type=Path, required=True)
    given, rest = parser.parse_known_args(arguments)
    hardware.end_with_parent(given.parent)
    os.environ["MATPLOTLIBRC"] = surroundings.matplotlibrc()
    noted = facts() | ({"preloaded": preloaded} if preloaded else {})
    files.write_text(given.facts, json.dumps(noted))
    App.launch_instance(rest)


if __name__ == "__main__":
    main(sys.argv[1:])
