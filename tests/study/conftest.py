"""Steps of one cell, to be run as a worker would."""

import os

import nbformat
import pytest

from unicomp_lib import paths


@pytest.fixture
def steps(tmp_path):
    """Makes jobs of one-cell notebooks, whose code may read ``output`` and ``source``."""
    (tmp_path / "runs").mkdir()

    def make(name, code, *, source="", forced=False, limit=None):
        parameters = nbformat.v4.new_code_cell('output = ""\nsource = ""', metadata={"tags": ["parameters"]})
        content = nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell(code)])
        content.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
        nbformat.write(content, tmp_path / f"{name}.ipynb")
        run = tmp_path / "runs" / f"{name}-k"
        return {
            "name": name, "key": "k", "forced": forced, "limit": limit, "run": str(run),
            "notebook": os.path.relpath(tmp_path / name, paths.project() / "notebooks"),
            "parameters": {"output": str(run), "source": source},
        }  # fmt: skip

    return make
