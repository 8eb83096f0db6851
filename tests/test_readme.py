"""What README.md, CONTRIBUTING.md and docs/ say: every command exists, every link leads somewhere, answers are true."""

import re
import shlex
import subprocess
import sys
import tomllib

import polars as pl
import pytest
import yaml

from unicomp_lib import paths
from unicomp_lib.__main__ import main
from unicomp_lib.study import notebooks, versions

PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "data/README.md")
FOLDERS = ("docs/*.md", "notebooks/*/README.md")
FILES = [paths.project() / name for name in PAGES] + [
    file for folder in FOLDERS for file in sorted(paths.project().glob(folder))
]
TEXTS = {str(file.relative_to(paths.project())): file.read_text() for file in FILES}


def commands():
    found = []
    for text in TEXTS.values():
        text = text.partition("## Add a compression method: a walk")[0]  # the walks have a test of their own
        for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL):
            for line in block.splitlines():
                found += [part.strip() for part in line.partition("#")[0].split("&&") if part.strip()]
    return sorted(set(found))


@pytest.mark.slow
@pytest.mark.parametrize("command", [command for command in commands() if command.startswith("nox -s")])
def test_nox_commands(command, capsys):
    words = shlex.split(command)
    assert words[1] == "-s"
    noxfile = (paths.project() / "noxfile.py").read_text()
    assert f"def {words[2]}(session" in noxfile
    rest = words[words.index("--") + 1 :] if "--" in words else []
    if words[2] in ("reproduce", "status"):
        dry = ["--dry-run"] if words[2] == "reproduce" else []
        assert exit_code(main, [words[2], *rest, *dry]) == 0, capsys.readouterr().err
    elif words[2] in ("label", "prefetch", "report", "versions"):
        action = [word for word in rest[:1] if not word.startswith("--")]
        program, first = (versions.main, []) if words[2] == "versions" else (main, [words[2]])
        assert exit_code(program, [*first, *action, "--help"]) == 0
        assert flags(rest) <= flags(re.findall(r"--[\w-]+", capsys.readouterr().out))
    elif words[2] == "bench":
        program = [sys.executable, f"bench/{rest[0]}.py", "--help"]
        done = subprocess.run(program, cwd=paths.project(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert flags(rest) <= flags(re.findall(r"--[\w-]+", done.stdout))
    elif words[2] == "run" and rest[0] != "papermill":
        assert rest[:3] == ["python", "-m", "unicomp_lib"]
        assert exit_code(main, [*rest[3:], "--help"]) == 0


def exit_code(command, arguments):
    """What a command line returns; ``--help`` leaves by an exception."""
    try:
        return command(arguments)
    except SystemExit as end:
        return end.code


def flags(words):
    return {word for word in words if word.startswith("--")}


def test_the_other_commands_are_known():
    allowed = (
        "nox ", "pip install nox", "pip install --no-build-isolation --no-deps ", "papermill notebooks/", "conda ",
        "source .nox/unicomp/bin/activate",
    )  # fmt: skip
    assert [command for command in commands() if not command.startswith(allowed)] == []


def test_the_environment_to_activate_is_the_one_that_nox_makes():
    assert 'ENVIRONMENT = Path(__file__).parent / ".nox" / "unicomp"' in (paths.project() / "noxfile.py").read_text()


def test_papermill_commands_name_a_notebook_and_its_parameters():
    bare = [command.removeprefix("nox -s run -- ") for command in commands()]
    found = [shlex.split(command) for command in bare if command.startswith("papermill ")]
    assert found
    for words in found:
        name = words[1].removeprefix("notebooks/").removesuffix(".ipynb")
        given = {words[place + 1] for place, word in enumerate(words) if word == "-p"}
        assert given <= set(notebooks.defaults(name))


def test_ci_runs_exactly_the_test_command():
    assert "pip install nox && nox -s tests" in TEXTS["README.md"]
    assert (paths.project() / ".ci" / "run").read_text().splitlines()[-1] == "pip install nox && nox -s tests"


@pytest.mark.parametrize("name", TEXTS)
def test_pictures_and_links_exist(name):
    for target in re.findall(r"\]\(([^)#]+)\)", TEXTS[name]):
        if not target.startswith("http"):
            assert (paths.project() / name).parent.joinpath(target).exists(), target


def test_the_readme_leads_to_every_page():
    linked = set(re.findall(r"\]\(([^)#]+)\)", TEXTS["README.md"]))
    assert {name for name in TEXTS if name not in ("README.md", "data/README.md")} <= linked


@pytest.mark.parametrize("folder", sorted(file.name for file in (paths.project() / "notebooks").iterdir()))
def test_a_folder_of_notebooks_has_a_line_for_each(folder):
    lines = TEXTS[f"notebooks/{folder}/README.md"].splitlines()
    there = {file.name for file in (paths.project() / "notebooks" / folder).glob("*.ipynb")}
    linked = [re.findall(r"\((\w+\.ipynb)\)", line) for line in lines if ".ipynb)" in line]
    assert sorted(linked) == sorted([name] for name in there)


def test_how_to_cite_agrees_with_the_package():
    citation = yaml.safe_load((paths.project() / "CITATION.cff").read_text())
    project = tomllib.loads((paths.project() / "pyproject.toml").read_text())["project"]
    assert citation["cff-version"] == "1.2.0"
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    papers = {reference["identifiers"][0]["value"] for reference in citation["references"]}
    assert all(f"arxiv.org/abs/{paper.removeprefix('arXiv:')}" in TEXTS["README.md"] for paper in papers)
    assert len(papers) == 2


def test_conda_and_pip_read_the_same_lock():
    text = (paths.project() / "environment.yml").read_text()
    steps = re.findall(r"^# (pip install .*)$", text, flags=re.MULTILINE)
    locked = "pip install --no-build-isolation --no-deps"
    assert steps == [f"{locked} --require-hashes -r requirements.lock", f"{locked} -e ."]
    (torch,) = yaml.safe_load(text)["dependencies"][-1]["pip"]  # the version: tests/test_packaging.py
    assert torch.startswith("torch==")
    noxfile = (paths.project() / "noxfile.py").read_text()
    assert 'session.run(*pip, "--no-build-isolation", "--no-deps", "--require-hashes", "-r", str(lock))' in noxfile
    assert 'session.run(*pip, "--no-build-isolation", "--no-deps", "-e", ".")' in noxfile


def test_results_read_by_default_are_those_of_the_committed_figures():
    scores = pl.read_parquet(paths.project() / "results" / "embedded" / "scores.parquet")
    shown = pl.read_csv(paths.project() / "figures" / "embedded" / "retention.csv")
    for row in shown.iter_rows(named=True):
        match = scores.filter(
            pl.col("variant") == row["variant"], pl.col("capability") == row["capability"],
            pl.col("format") == row["format"], pl.col("metric") == row["metric"], pl.col("seed").is_null(),
        )  # fmt: skip
        assert match["value"].to_list() == [pytest.approx(row["value"], nan_ok=True)]
