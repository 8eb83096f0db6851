import ast
import json
import re
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import nbformat
import pytest
from checkout import copied, environment

from unicomp_lib import paths
from unicomp_lib.inputs import assets, hub
from unicomp_lib.study import code, notebooks, steps, versions

# Keys are asked for in a process of a copied checkout, since what they are made of is read from there.
ASK = """
import json, sys
from unicomp_lib.study import params, plan, steps
print(json.dumps(steps.keys(plan.plan(params.load("tiny")))))
"""


def keys(checkout):
    done = subprocess.run(
        [sys.executable, "-c", ASK], cwd=checkout, env=environment(checkout), capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@cache
def unedited():
    """The keys of a copy in which nothing has been edited: they do not depend on its place."""
    with tempfile.TemporaryDirectory() as folder:
        return keys(copied(Path(folder) / "study"))


def changed(checkout, edit):
    before = unedited()
    edit()
    after = keys(checkout)
    return {name for name in before if before[name] != after[name]}


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


WANDA = {f"evaluate/tiny/wanda-2-4/seed-{{}}/{d}" for d in ("fidelity", "performance", "reliability", "efficiency")}


def test_a_calibration_seed_changes_exactly_what_depends_on_it(copy):
    before = unedited()
    replace(copy / "params" / "tiny.yaml", "seeds: [0]", "seeds: [1]")
    after = keys(copy)
    same = {name for name in before if after.get(name) == before[name]}
    assert set(before) - same == {
        "compress/tiny/wanda-2-4/seed-0",
        *(name.format(0) for name in WANDA),
        *(name for name in before if name.startswith(("judge/", "scores/", "figures/"))),
    }


def edit_notebook(checkout, name, kind, change):
    path = checkout / "notebooks" / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    cell = [each for each in notebook.cells if each.cell_type == kind][-1]
    cell.source = change(cell.source)
    nbformat.write(notebook, path)


def test_markdown_comments_and_library_comments_change_nothing(copy):
    def edit():
        edit_notebook(copy, "compress/wanda", "markdown", lambda source: source + "\nMore words.")
        edit_notebook(copy, "compress/wanda", "code", lambda source: "# a remark\n" + source)
        replace(copy / "unicomp_lib" / "compress" / "wanda.py", "VERSION =", "# a remark\nVERSION =")
        replace(copy / "params" / "tiny.yaml", "precision:", "# a remark\nprecision:")

    assert changed(copy, edit) == set()


def test_code_changes_its_steps_and_what_reads_them(copy):
    found = changed(
        copy, lambda: edit_notebook(copy, "evaluate/fidelity", "code", lambda source: source + "\nprint(1)")
    )
    assert found == {
        *(f"evaluate/tiny/{cell}/fidelity" for cell in ("dense", "magnitude-50", "wanda-2-4/seed-0", "quanto-int8")),
        "scores/fidelity", "figures/fidelity", "figures/size", "figures/overview", "figures/efficiency",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("module", "hit", "spared"),
    [
        ("compress/wanda.py", "compress/tiny/wanda-2-4/seed-0", "compress/tiny/magnitude-50"),
        ("compress/weight_masks.py", "compress/tiny/magnitude-50", "compress/tiny/dense"),
        ("evaluate/packed_lm.py", "evaluate/tiny/dense/performance", "evaluate/tiny/dense/fidelity"),
        ("evaluate/statistics.py", "scores/fidelity", "evaluate/tiny/dense/fidelity"),
    ],
)
def test_the_version_of_a_library_step_counts_where_it_is_called(copy, module, hit, spared):
    found = changed(copy, lambda: replace(copy / "unicomp_lib" / module, 'VERSION = "', 'VERSION = "9'))
    assert hit in found
    assert spared not in found


def test_drawing_counts_in_figures_alone_and_training_in_all_that_follows_it(copy):
    def raised(*modules):
        for module in modules:
            text = module.read_text()
            module.write_text(text.replace('VERSION = "', 'VERSION = "9'))

    before = unedited()
    drawing = sorted((copy / "unicomp_lib" / "figures").glob("*.py"))
    raised(*drawing)
    assert {"panels", "palette", "networks", "marks"} <= {
        module.stem for module in drawing if "9" in module.read_text()
    }
    drawn = keys(copy)
    found = {name for name in before if before[name] != drawn[name]}
    assert found == {name for name in before if name.startswith("figures/")}
    raised(copy / "unicomp_lib" / "vision" / "training.py")
    trained = keys(copy)
    found = {name for name in drawn if drawn[name] != trained[name]}
    assert {name for name in found if not name.startswith("figures/")} == {
        name for name in before if name.startswith("vision/") or name == "scores/vision"
    }


def test_a_task_or_an_asset_counts_where_it_is_read(copy):
    task = copy / "unicomp_lib" / "evaluate" / "tasks" / "_sets.yaml"
    found = changed(copy, lambda: replace(task, "fairness, chance: 0.3333", "fairness, chance: 0.25"))
    assert {name for name in found if name.startswith("evaluate/")} == {
        f"evaluate/tiny/{cell}/reliability" for cell in ("dense", "magnitude-50", "wanda-2-4/seed-0", "quanto-int8")
    }


def test_a_module_that_moves_to_another_package_changes_no_key(copy):
    def move():
        library = copy / "unicomp_lib"
        (library / "methods").mkdir()
        (library / "methods" / "__init__.py").write_text('"""Moved."""\n')
        (library / "compress" / "wanda.py").rename(library / "methods" / "wanda.py")
        notebook = copy / "notebooks" / "compress" / "wanda.ipynb"
        text = notebook.read_text()
        assert "from unicomp_lib.compress import wanda" in text
        notebook.write_text(
            text.replace("from unicomp_lib.compress import wanda", "from unicomp_lib.methods import wanda")
        )

    assert changed(copy, move) == set()


def test_another_module_under_the_same_name_changes_its_steps(copy):
    def swap():
        notebook = copy / "notebooks" / "compress" / "wanda.ipynb"
        text = notebook.read_text()
        assert "import wanda\\n" in text
        notebook.write_text(text.replace("import wanda\\n", "import sparsegpt as wanda\\n"))

    assert {name for name in changed(copy, swap) if name.startswith("compress/")} == {"compress/tiny/wanda-2-4/seed-0"}


NOTEBOOKS = sorted(f"{file.parent.name}/{file.stem}" for file in (paths.project() / "notebooks").glob("*/*.ipynb"))
CACHED = (notebooks.data, assets.catalogue, hub.catalogue)


@pytest.fixture
def by_default(copy, monkeypatch):
    """Gives the keys of all notebooks of a copied checkout, each with its defaults, as a new process would see them."""
    monkeypatch.setattr(paths, "project", lambda: copy)

    def known():
        for cached in CACHED:
            cached.cache_clear()
        return {name: steps.key(steps.Step(steps.Stage.FIGURES, name, {}), {}) for name in NOTEBOOKS}

    yield known
    for cached in CACHED:
        cached.cache_clear()


JUDGED = {"evaluate/judge", "evaluate/scores", "vision/scores", "figures/reliability", "learn/5_judging_refusals"}


def test_the_files_and_assets_that_are_read_by_name_count_where_they_are_read(copy, by_default):
    def of_asset(name):
        text = (copy / "params" / "assets.yaml").read_text()
        _, found, after = text.partition(f"\n{name}:")
        assert found
        digest = re.search(r"[0-9a-f]{64}", after)
        return {digest[0]: "a" * 64}

    cases = (
        ("params/published.yaml", {}, {"figures/published"}),
        ("params/published_scores.yaml", {}, {"figures/published_tasks"}),
        ("params/claims.yaml", {}, {"figures/claims", "explore/chat"}),
        ("labels/agreement.csv", {}, JUDGED),
        ("labels/own.csv", {}, {"learn/5_judging_refusals"}),
        ("params/assets.yaml", {}, set()),  # a comment
        ("params/hub.yaml", {}, set()),
        ("params/assets.yaml", of_asset("minilm"), {"evaluate/judge", "learn/5_judging_refusals"}),
        ("params/assets.yaml", of_asset("pyrit"), {"learn/5_judging_refusals"}),
        (
            "params/assets.yaml", of_asset("efficientnet-lite0"),
            {"vision/interpretability", "learn/7_what_pruning_does_to_a_neuron"},
        ),
    )  # fmt: skip
    before = by_default()
    for name, changes, hit in cases:
        content = (copy / name).read_text()
        for old, new in changes.items():
            replace(copy / name, old, new)
        if not changes:
            (copy / name).write_text(content + "# a remark\n")
        after = by_default()
        assert {notebook for notebook in before if after[notebook] != before[notebook]} == hit, (name, changes)
        (copy / name).write_text(content)


def test_what_commands_have_made_counts_in_no_key(copy, by_default):
    before = by_default()
    made = copy / ".nox" / "llama-cpp" / "bin" / "python"  # as nox -s engine makes it
    made.parent.mkdir(parents=True)
    made.write_text("an interpreter")
    assert by_default() == before


@pytest.mark.parametrize("notebook", ["evaluate/efficiency", "evaluate/served"])
def test_an_engine_counts_with_its_lock_and_its_script_and_no_other_cell_with_them(copy, monkeypatch, notebook):
    monkeypatch.setattr(paths, "project", lambda: copy)
    lock, script = copy / "bench" / "llama-cpp.txt", copy / "unicomp_lib" / "evaluate" / "llama_cpp_process.py"
    lock.parent.mkdir()
    lock.write_text("# compiled\nxllamacpp==1 \\\n    --hash=sha256:aa\n")
    given = {"engine": {"engine": "llama.cpp"}, "own": {"engine": "llama.cpp", "interpreter": "python"}}
    given |= {"none": {}, "vllm": {"engine": "vllm", "interpreter": "python"}, "unknown": {"engine": "ollama"}}

    def known():
        code._parsed.cache_clear()
        made = {name: steps.Step(steps.Stage.EVALUATE, notebook, values) for name, values in given.items()}
        return {name: steps.key(step, {}) for name, step in made.items()}

    def stale(path, old, new):
        before = known()
        replace(path, old, new)
        after = known()
        return {name for name in before if before[name] != after[name]}

    assert stale(lock, "# compiled", "# compiled anew") == set()
    assert stale(lock, "xllamacpp==1 ", "xllamacpp==2 ") == {"engine"}
    assert stale(lock, "sha256:aa", "sha256:bb") == {"engine"}
    assert stale(script, "def main", "# a remark\ndef main") == set()
    assert stale(script, '"temperature": 0,', '"temperature": 1,') == {"engine", "own"}
    code._parsed.cache_clear()


def test_an_interpreter_of_ones_own_counts_with_what_is_installed_beside_it(tmp_path):
    def known(name):
        given = {"engine": "vllm", "interpreter": str(tmp_path / name / "bin" / "python")}
        step = steps.Step(steps.Stage.EVALUATE, "evaluate/efficiency", given)
        return steps.key(step, {})

    for name, version in (("one", "0.9"), ("other", "0.11"), ("moved", "0.9")):
        (tmp_path / name / "lib" / "python3.12" / "site-packages" / f"vllm-{version}.dist-info").mkdir(parents=True)
    installed = [steps._installed(tmp_path / name / "bin" / "python") for name in ("one", "other", "moved")]
    assert installed == [["vllm-0.9.dist-info"], ["vllm-0.11.dist-info"], ["vllm-0.9.dist-info"]]
    before = known("one")
    (tmp_path / "one" / "lib" / "python3.12" / "site-packages" / "torch-2.dist-info").mkdir()
    assert known("one") != before


def test_a_chapter_counts_the_scores_it_reads(copy, by_default):
    before = by_default()
    published = copy / "results" / "embedded" / "scores.parquet"
    published.parent.mkdir(parents=True)
    published.write_bytes(b"a table")
    once = by_default()
    published.write_bytes(b"another")
    chapter = "learn/8_how_many_items"
    assert len({before[chapter], once[chapter], by_default()[chapter]}) == 3
    assert once["compress/wanda"] == before["compress/wanda"]


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ('paths.project() / "params" / "published.yaml"', {("file", "params/published.yaml")}),
        ('paths.project() / "params/published.yaml"', {("file", "params/published.yaml")}),
        ('NAME = "own.csv"\nopen(paths.project() / "labels" / NAME)', {("file", "labels"), ("file", "labels/own.csv")}),
        ('paths.home() / "params" / "published.yaml"', set()),
        ('paths.project() / "params" / given', {("file", "params")}),
        ('assets.path("pyrit", f"{inside}.csv")', {("asset", "pyrit")}),
        ('MODEL = "minilm"\n\n\ndef f():\n    return assets.fetch(MODEL)', {("asset", "minilm")}),
        ("(inside,) = assets.asset(given).files", set()),
        ('NAME = "gsm8k"\nhub.rows(NAME, "main", "test")', {("data set", "gsm8k")}),
        ('half = 1 / "a"', set()),
    ],
)
def test_what_is_read_by_name(source, read):
    found = code._read(ast.parse(source))
    assert found - {("file", "params")} == read - {("file", "params")}


def test_what_is_read_under_a_computed_name_is_counted_by_a_parameter():
    """A module that is new here must have what it reads counted: see ``steps.key``."""
    computed = set()
    for module in versions._called():
        for node in ast.walk(code._source(module)):
            calls = isinstance(node, ast.Call) and ast.unparse(node.func) in code.CALLS
            joins = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)
            if (calls and not isinstance(node.args[0], ast.Constant)) or (
                joins
                and ast.unparse(node.left).startswith("paths.project()")
                and not isinstance(node.right, ast.Constant)
            ):
                computed.add(code.name(module))
    of_parameters = {
        "efficiency",
        "folder",
        "folders",
        "images",
        "models",
        "task",
        "texts",
    }  # engine, data_dir, data, model, tasks, calibration
    assert computed == {*of_parameters, "meaning", "results"}  # a constant, and the tables of *_scores
