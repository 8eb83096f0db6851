"""Every notebook is fit to be read, and runs top to bottom with its defaults."""

import ast
import os
import re
import subprocess
import sys

import nbformat
import pytest
import yaml
from checkout import copied, environment

from unicomp_lib import paths
from unicomp_lib.checkpoints import models
from unicomp_lib.figures import answers
from unicomp_lib.study import code, notebooks, records, scheduler

FOLDER = paths.project() / "notebooks"
NAMES = sorted(str(file.relative_to(FOLDER).with_suffix("")) for file in FOLDER.rglob("*.ipynb"))
JUDGED = paths.project() / "results" / "embedded" / "items" / "smollm2-135m.dense.reliability.parquet"
DEFAULT = "smollm2-135m-instruct"  # the model of notebooks that are not told of another

# Parameters given in place of a default that computes for long: what a notebook does is the same with less of it.
SHORT = {"samples": "4", "length": "64"}
TINY = {"checkpoint": "tiny-random-llama"}
QUICK = {
    "compress/awq": SHORT,
    "compress/cache": TINY | {"group_size": "16"},
    "compress/given": {"model": "tiny-random-llama", "dense": "tiny-random-llama"},
    "compress/gptq": SHORT,
    "compress/hqq": TINY | {"group_size": "32"},
    "compress/finetune": TINY | {"length": "32", "training_samples": "4"},
    "compress/lrc": TINY | SHORT | {"hidden": "32", "training_samples": "4"},
    "compress/minitron": TINY | SHORT | {"layers": "1", "training_samples": "4"},
    "compress/mxfp4": TINY,
    "compress/quarot": TINY | SHORT | {"group_size": "32"},
    "compress/sinq": TINY | {"group_size": "32"},
    "compress/smoothquant": SHORT,
    "compress/sparsegpt": SHORT,
    "compress/wanda": SHORT,
    "evaluate/efficiency": {"prompt": "32", "generate": "4", "repeats": "2"},
    "evaluate/fidelity": {"samples": "4"},
    "evaluate/judge": {"items": str([str(JUDGED)])},
    "evaluate/performance": {"tasks": "{piqa_cloze: 6, openbookqa_generate: 4, asdiv_generate: 2}"},
    "evaluate/reliability": {"tasks": "{facts_cloze: 6, bbq_cloze: 6, overrefusal_generate: 2}"},
    "evaluate/served": {"samples": "2", "length": "8"},
    "explore/chat": {"profile": "tiny", "limit": "4"},
    "explore/layers": {"model": "tiny-random-llama", "group_size": "32", "samples": "4", "map_samples": "2"},
    "learn/1_what_a_weight_is_worth": {"layer": "1"},
    "learn/3_less_model_same_teacher": {"model": "tiny-random-llama", "keep": "1", "steps": "4"},
    "learn/4_measuring_damage": {"model": DEFAULT, "tasks": "{piqa_cloze: 30, openbookqa_letter: 20}"},
    "learn/6_why_not_smaller_or_faster": {"outputs": "1024", "inputs": "1024", "seconds": "0.1"},
    "learn/7_what_pruning_does_to_a_neuron": {"epochs": "0", "size": "32", "tasks_per_unit": "4"},
    "vision/train": {"number": "60", "epochs": "1"},
    "vision/prune": {"number": "60"},
    "vision/accuracy": {"number": "60"},
    "vision/interpretability": {"number": "60", "tasks_per_unit": "3", "explanations": "2"},
}


# One of each folder, run as a reader would: without the runner, in the kernel that Jupyter has. The others are run as
# steps, whose kernels have their imports done.
BY_HAND = (
    "compress/magnitude", "evaluate/fidelity", "explore/chat", "explore/results", "figures/fidelity",
    "learn/2_rounding_well", "vision/prune",
)  # fmt: skip


def test_what_is_made_quick_is_there():
    assert set(QUICK) <= set(NAMES)
    assert set(BY_HAND) <= set(NAMES)
    assert {name.partition("/")[0] for name in BY_HAND} == {name.partition("/")[0] for name in NAMES}


def cells(name, kind):
    return [cell for cell in nbformat.read(FOLDER / f"{name}.ipynb", as_version=4).cells if cell.cell_type == kind]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_fit_to_be_read(name):
    first = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4).cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    assert "**Question.**" in first.source
    assert "What to try next" in cells(name, "markdown")[-1].source
    for cell in cells(name, "code"):
        assert not cell.outputs
        assert cell.execution_count is None
        ast.parse(cell.source)  # no magics: the code is also read by the runner
        assert not re.search(r"[\"'](/|~|[A-Z]:\\)", cell.source), "an absolute path"


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_has_a_default_and_a_comment(name):
    assert "output" in notebooks.defaults(name)
    (cell,) = [cell for cell in cells(name, "code") if "parameters" in cell.metadata.get("tags", [])]
    for line in cell.source.splitlines():
        assert re.fullmatch(r"\w+ = .+  # \S.*", line), line


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(("compress/", "evaluate/", "vision/"))])
def test_what_computes_is_keyed_by_no_code_that_draws(name):
    reached = {module for cell in cells(name, "code") for module in code.reached(ast.parse(cell.source))}
    assert not [module for module in reached if module.startswith("unicomp_lib.figures.")]


@pytest.fixture(scope="session")
def network(tmp_path_factory):
    """A network for the notebooks that read the one of ``vision/train``."""
    from unicomp_lib.vision import network

    return network.save(network.new(9), tmp_path_factory.mktemp("network"))


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """The default model with its first two layers alone: all that fits its widths and its tokenizer fits these."""
    model, tokenizer = models.load(DEFAULT, on="cpu")
    model.model.layers = model.model.layers[:2]
    model.config.num_hidden_layers = 2
    folder = tmp_path_factory.mktemp("small")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


LENGTHS = (("reasoning", "performance"), ("instruction following", "performance"), ("reliability", "reliability"))


def given(name, network):
    """The parameters to run a notebook with, as texts."""
    quick = QUICK.get(name, {})
    if name.startswith("vision/") and "checkpoint" in notebooks.defaults(name):
        quick = quick | dict.fromkeys({"checkpoint", "dense"} & set(notebooks.defaults(name)), str(network))
    return quick


def shown(executed):
    """What an executed notebook prints; nothing of it in red."""
    outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == [], "it shows something in red"
    return "".join(output.text for output in outputs if output.get("name") == "stdout")


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(BY_HAND)))
def test_it_runs_as_a_step_with_its_defaults(name, tmp_path, network, small):
    run = tmp_path / "runs" / "step"
    run.mkdir(parents=True)
    own = {key: str(small) for key, value in notebooks.defaults(name).items() if value == DEFAULT}
    quick = {key: yaml.safe_load(value) for key, value in given(name, network).items()}
    parameters = own | quick | {"output": str(run)}
    job = {
        "name": name, "notebook": name, "key": "k", "forced": False, "limit": None, "parameters": parameters,
        "run": str(run),
    }  # fmt: skip
    done = scheduler.run_job(job)
    assert done.state == scheduler.DONE, (run / records.LOG).read_text()[-2000:]
    said = shown(nbformat.read(run / records.NOTEBOOK, as_version=4))
    # A table of scores without lengths, such as an older one, gives no picture but a sentence for each.
    nothing = [answers.NOTHING.format(*kind) in said for kind in LENGTHS] if name == "figures/length" else [False]
    assert set(records.finished(run)["files"]) > {records.NOTEBOOK} or all(nothing)


@pytest.mark.parametrize("name", BY_HAND)
def test_it_runs_with_its_defaults_and_no_runner(name, tmp_path, network):
    quick = given(name, network)
    # What makes missing cells of the study does so in a copy.
    where = environment(copied(tmp_path / "study")) if name == "explore/chat" else {**os.environ}
    command = [sys.executable, "-m", "papermill", "-k", "python3", "--cwd", str((FOLDER / name).parent)]
    done = subprocess.run(
        [
            *command,
            str(FOLDER / f"{name}.ipynb"),
            str(tmp_path / "out.ipynb"),
            "-p",
            "output",
            str(tmp_path / "output"),
            *(part for name, value in quick.items() for part in ("-p", name, value)),
            *(["-y", "variants: [dense, magnitude-50]"] if name == "explore/chat" else []),
        ],
        env=where,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    executed = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    shown(executed)
    assert any((tmp_path / "output").iterdir())


def test_a_notebook_without_parameters_or_with_code_in_them_is_refused(copy, monkeypatch):
    monkeypatch.setattr(paths, "project", lambda: copy)
    notebooks._cells.cache_clear()
    path = copy / "notebooks" / "compress" / "odd.ipynb"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x = 1")])
    nbformat.write(notebook, path)
    with pytest.raises(notebooks.NotebookError, match="has 0 cells tagged 'parameters'; it must have one"):
        notebooks.defaults("compress/odd")
    notebook.cells[0].metadata["tags"] = ["parameters"]
    notebook.cells[0].source = "x = 1\nprint(x)"
    nbformat.write(notebook, path)
    with pytest.raises(notebooks.NotebookError, match="holds more than assignments of literals"):
        notebooks.defaults("compress/odd")


def test_types_are_checked_as_python_would():
    notebooks.check("compress/wanda", {"sparsity": 0, "seed": 3}, "here")  # an int where a float is the default
    for wrong in ({"seed": 0.5}, {"seed": True}, {"sparsity": "0.5"}):
        with pytest.raises(notebooks.NotebookError, match=f"here gives {next(iter(wrong))}="):
            notebooks.check("compress/wanda", wrong, "here")
