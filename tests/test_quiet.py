"""Known warnings and bars of other libraries are left out of notebooks, and nothing else is."""

import logging
import os
import subprocess
import sys

import nbformat
import pytest

from unicomp_lib import paths, quiet

TEXTS = [(name, text) for name, texts in quiet.KNOWN.items() for text in texts]


@pytest.mark.parametrize(("name", "text"), TEXTS)
def test_a_known_warning_is_left_out_and_all_others_are_shown(name, text, home, caplog, monkeypatch):
    paths.output_folder("", "any")  # as every notebook does
    logger = logging.getLogger(name)
    for above in (name, name.partition(".")[0]):
        monkeypatch.setattr(logging.getLogger(above), "propagate", True)
    with caplog.at_level(logging.INFO, logger=name):
        logger.warning("%s, and more", text)
        logger.warning("some weights are missing")
    assert "some weights are missing" in caplog.text
    assert text not in caplog.text
    quiet.known()
    assert len(logger.filters) == 1


@pytest.mark.slow
def test_bars_of_text_are_left_out_of_a_notebook_and_others_are_widgets(tmp_path, home):
    code = (
        "from unicomp_lib import paths\npaths.output_folder('', 'a')\npaths.output_folder('', 'a')\n"
        "import tqdm, tqdm.auto\nfrom tqdm import tqdm as plain, trange\n"
        "assert list(plain(range(3))) == list(trange(3)) == [0, 1, 2]\n"
        "assert list(tqdm.auto.tqdm(range(3))) == [0, 1, 2]"
    )
    about = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)], metadata=about)
    nbformat.write(content, tmp_path / "a.ipynb")
    command = [sys.executable, "-m", "papermill", "-k", "python3", str(tmp_path / "a.ipynb"), str(tmp_path / "b.ipynb")]
    env = {name: value for name, value in os.environ.items() if not name.startswith("TQDM_")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=paths.project(), env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    (cell,) = nbformat.read(tmp_path / "b.ipynb", as_version=4).cells
    assert [output.output_type for output in cell.outputs] == ["display_data"]
    assert "application/vnd.jupyter.widget-view+json" in cell.outputs[0].data
