"""What JupyterLab saves leaves the checkout as it was."""

import asyncio
import copy
import re
import subprocess

import nbformat
import pytest

from unicomp_lib import paths
from unicomp_lib.explore import lab

NOTEBOOKS = sorted(str(path.relative_to(paths.project())) for path in (paths.project() / "notebooks").glob("*/*.ipynb"))


@pytest.fixture
def manager(tmp_path):
    """Jupyter's manager of files, with the option that ``nox -s lab`` gives."""
    text = (paths.project() / "noxfile.py").read_text()
    (hook,) = re.findall(r'"--FileContentsManager\.pre_save_hook=([\w.]+)"', text)
    files = pytest.importorskip("jupyter_server.services.contents.largefilemanager")  # JupyterLab brings it
    return files.AsyncLargeFileManager(root_dir=str(tmp_path), pre_save_hook=hook)


def run_all(notebook):
    """What JupyterLab makes of a notebook in which all cells were run, all folds opened."""
    notebook["metadata"]["kernelspec"] = {"display_name": "mine", "language": "python", "name": "python3"}
    notebook["metadata"]["language_info"] = {"name": "python", "version": "3.11.7", "pygments_lexer": "ipython3"}
    notebook["metadata"]["widgets"] = {"application/vnd.jupyter.widget-state+json": {}}
    for place, cell in enumerate(notebook["cells"]):
        cell["metadata"].pop("jp-MarkdownHeadingCollapsed", None)
        if cell["cell_type"] == "code":
            cell["execution_count"] = place
            cell["outputs"] = [nbformat.v4.new_output("stream", text="42")]
            cell["metadata"].pop("jupyter", None)
            cell["metadata"].update(trusted=True, execution={"iopub.execute_input": "now"}, scrolled=False)


@pytest.mark.parametrize("name", [name for name in NOTEBOOKS if "/learn/" in name or name.endswith("wanda.ipynb")])
def test_a_notebook_that_was_run_is_saved_as_it_was(manager, tmp_path, name):
    before = (paths.project() / name).read_bytes()
    (tmp_path / "a.ipynb").write_bytes(before)
    model = asyncio.run(manager.get("a.ipynb"))
    run_all(model["content"])
    asyncio.run(manager.save(copy.deepcopy(model), "a.ipynb"))
    assert (tmp_path / "a.ipynb").read_bytes() == before
    # And what was written in it is kept.
    cell = model["content"]["cells"][-1]
    cell["source"] += "\nmine"
    asyncio.run(manager.save(model, "a.ipynb"))
    assert nbformat.read(tmp_path / "a.ipynb", as_version=4).cells[-1].source.endswith("\nmine")


def test_new_notebooks_other_files_and_damaged_ones_are_saved(manager, tmp_path):
    cells = [nbformat.v4.new_code_cell("1", outputs=[nbformat.v4.new_output("stream", text="1")])]
    content = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": {"name": "k", "display_name": "k"}})
    (tmp_path / "damaged.ipynb").write_text("{")
    for name in ("new.ipynb", "damaged.ipynb"):
        asyncio.run(manager.save({"type": "notebook", "format": "json", "content": copy.deepcopy(content)}, name))
        saved = nbformat.read(tmp_path / name, as_version=4)
        assert (saved.cells[0].outputs, saved.metadata.kernelspec.name) == ([], "k")
    asyncio.run(manager.save({"type": "file", "format": "text", "content": "text"}, "a.txt"))
    assert (tmp_path / "a.txt").read_text() == "text"


def test_what_jupyter_leaves_beside_is_ignored():
    command = ["git", "-C", str(paths.project()), "check-ignore", "notebooks/learn/.ipynb_checkpoints/a.ipynb"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 128:
        pytest.skip("this is no checkout of git")
    assert done.returncode == 0


def test_an_old_format_is_left_alone():
    model = {"type": "notebook", "content": {"nbformat": 3, "worksheets": []}}
    lab.strip(model, "a.ipynb", None)
    assert model["content"] == {"nbformat": 3, "worksheets": []}
