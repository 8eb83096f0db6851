"""A notebook that is run by hand has a folder of its own by its parameters, and refuses one that it does not have."""

import json
import subprocess
import sys
from types import SimpleNamespace

import nbformat
import pytest

from unicomp_lib import by_hand, paths

OWN = 'checkpoint = "a"  # a model\nsparsity = 0.5  # a share\ntasks = {"x": 1}\noutput = ""  # a folder'


@pytest.fixture
def notebook(monkeypatch, home):
    """Pretends to be a notebook that has run these cells, and returns the folder of its outputs."""

    def run(*cells, output="", name="wanda"):
        space = {"In": ["", *cells, "from unicomp_lib import paths\npaths.output_folder(output, 'wanda')"]}
        for cell in cells:
            exec(cell, space)
        monkeypatch.setattr(by_hand, "_shell", lambda: SimpleNamespace(user_ns=space))
        return paths.output_folder(output, name)

    return run


def injected(**parameters):
    return "\n".join([by_hand.INJECTED, *(f"{name} = {value!r}" for name, value in parameters.items())])


def test_other_parameters_have_another_folder_and_the_same_the_same(notebook, home, capsys):
    first = notebook(OWN)
    assert first.is_dir()
    assert first.parent == home / "scratch"
    assert first.name.startswith("wanda-")
    assert capsys.readouterr().out == f"what this notebook saves is in {first}\n"
    plain = {"checkpoint": "a", "sparsity": 0.5, "tasks": {"x": 1}, "output": ""}
    assert json.loads((first / "parameters.json").read_text()) == plain
    others = [
        notebook(OWN, injected(sparsity=0.7)), notebook(OWN, injected(tasks={"x": 2})), notebook(OWN, name="magnitude"),
        notebook(OWN.replace("0.5", "0.6")), notebook(OWN, "print(1)", OWN.replace('"a"', '"b"')),
    ]  # fmt: skip
    assert len({first, *others}) == 6
    assert notebook(OWN, injected(sparsity=0.5)) == first  # as by default
    assert notebook(OWN, "x = 3\nprint(x)") == first  # what else there is does not count
    assert notebook(OWN.replace("0.5", "0.6"), OWN) == first  # edited, and edited back


def test_a_given_folder_is_taken_as_it_is(notebook, tmp_path, capsys):
    assert notebook(OWN, injected(output=str(tmp_path / "x")), output=str(tmp_path / "x")) == tmp_path / "x"
    assert list((tmp_path / "x").iterdir()) == []
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "hint"), [("sparsty", "did you mean 'sparsity'?"), ("zzz", "correct the name or leave it out")]
)
@pytest.mark.parametrize("output", ["", "out"])
def test_a_parameter_that_the_notebook_does_not_have_is_refused(notebook, tmp_path, monkeypatch, name, hint, output):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"parameter '{name}' is given") as caught:
        notebook(OWN, injected(checkpoint="b", **{name: 0.7}), output=output)
    assert str(caught.value) == (
        f"parameter {name!r} is given, which this notebook does not have; it has checkpoint, sparsity, tasks, output; "
        f"{hint}"
    )


def test_one_that_has_no_plain_form_is_seen_too(notebook):
    with pytest.raises(ValueError, match="parameter 'wrong' is given"):
        notebook(OWN, f"{by_hand.INJECTED}\nwrong = float('nan')")


def test_where_no_notebook_runs_a_name_is_a_folder(home, capsys):
    assert by_hand.given() == {}
    assert paths.output_folder("", "wanda") == home / "scratch" / "wanda"
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_papermill_and_a_notebook_agree_on_it(tmp_path, home):
    cells = [
        nbformat.v4.new_code_cell(OWN, metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(
            "from unicomp_lib import paths\nfolder = paths.output_folder(output, 'a')\n(folder / str(sparsity)).touch()"
        ),
    ]
    about = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=about), tmp_path / "a.ipynb")
    command = [sys.executable, "-m", "papermill", "-k", "python3", str(tmp_path / "a.ipynb"), str(tmp_path / "b.ipynb")]
    for given in ("0.3", "0.4"):
        done = subprocess.run([*command, "-p", "sparsity", given], capture_output=True, text=True, cwd=paths.project())
        assert done.returncode == 0, done.stderr[-2000:]
    assert sorted(path.name for path in home.glob("scratch/a-*/0.*")) == ["0.3", "0.4"]
    assert len(list(home.glob("scratch/a-*"))) == 2
    done = subprocess.run([*command, "-p", "sparsty", "0.3"], capture_output=True, text=True, cwd=paths.project())
    assert done.returncode != 0
    assert "ValueError: parameter 'sparsty' is given, which this notebook does not have" in done.stderr
